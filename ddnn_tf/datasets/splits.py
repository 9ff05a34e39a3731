"""Named splits: which samples belong to `train_dir`, `time:test`, `frame:validation`, ….

Every rule is deterministic and depends on the samples' class, object and frame alone, never on
the order in which files were listed.

`NAME_dir`
    A folder's own split, as it stands on disk.
`NAME_dir:train`, `NAME_dir:validation`
    The same in two parts. Per class, about 15 % of the frames (at least one), evenly spaced over
    the frames in which the class occurs, are for validation. A class with one frame but several
    objects is divided by object; a class with one sample stays in the training part.
`time:train`, `time:validation`, `time:test`
    Past, present, future. For 242 frames: up to 165, 171 to 195, from 201; the gaps keep
    neighboring frames apart. Other lengths are divided in the same proportions.
`time-backward:train`, `time-backward:validation`, `time-backward:test`
    The other way round. For 242 frames: test up to 111; validation 118 to 136, between the two
    as above; train from 143.
`frame:train`, `frame:validation`, `frame:test`
    Interleaved: of every five frames the last (divisible by five) is test, the third validation
    (frame modulo 5 is 3), the others train. Neighboring frames are alike, so this split is easy.
`group:train`, `group:validation`, `group:test`
    By person, day or site, in the order of their names: the last fifth of the groups, at least one,
    is test, the tenth before them validation, the others train. Of two groups the first trains and
    the second tests.
`npz:train`, `npz:validation`, `npz:test`
    For data without frames, whatever its groups: per class, if there are any, 70 %, 15 % and 15 %
    of its samples, mixed by position (`_mixed`), so that neither a sorted nor a periodic file
    biases a part.
`…:train+validation`, of each of these but the folders'
    Both, to train on once more when all is chosen; for a folder that is `train_dir`.
`all`
    Everything.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_runtime.errors import InputError

_VALIDATION_SHARE = 0.15
_TEST_GROUPS, _VALIDATION_GROUPS = 0.2, 0.1
_NPZ_SHARES = {"train": (0.0, 0.70), "validation": (0.70, 0.85), "test": (0.85, 1.0)}

# First and last frame of each part of a 242-frame sequence; None is open.
_SPAN = 242
_TIME: dict[str, dict[str, tuple[int | None, int | None]]] = {
    "time": {"train": (None, 165), "validation": (171, 195), "test": (201, None)},
    "time-backward": {"train": (143, None), "validation": (118, 136), "test": (None, 111)},
}
_FRAME = {"train": (1, 2, 4), "validation": (3,), "test": (0,)}
_PARTS = ("train", "validation", "test", "train+validation")

Rows = NDArray[np.intp]


@dataclass(frozen=True, eq=False)
class Table:
    """What splits are made from; each array has one entry per sample.

    Attributes:
        labels: int64, the class; 0 where labels are no classes.
        folders: The `*_dir` folder of each sample, or None.
        objects: Object number within class and frame, or None.
        frames: Frame number, or None.
        span: First and last frame of the whole sequence, or None.
        groups: Whom, which day or which site each sample is of, strings or integers; or None.
    """

    labels: NDArray[np.int64]
    folders: NDArray[np.str_] | None = None
    objects: NDArray[np.int64] | None = None
    frames: NDArray[np.int64] | None = None
    span: tuple[int, int] | None = None
    groups: NDArray[Any] | None = None


def split_names(table: Table) -> tuple[str, ...]:
    """The names `rows_of` understands for this table, also of splits that are empty."""
    names: list[str] = []
    if table.folders is not None:
        for folder in _folder_names(table):
            names += [folder, f"{folder}:train", f"{folder}:validation"]
    if table.frames is not None:
        names += [f"{family}:{part}" for family in (*_TIME, "frame") for part in _PARTS]
    if table.groups is not None and len(group_names(table.groups)) > 1:
        names += [f"group:{part}" for part in _PARTS]
    if table.frames is None:
        names += [f"npz:{part}" for part in _PARTS]
    return (*names, "all")


def default_family(table: Table) -> str:
    """The splits that stand for training, validation and test of data without frames."""
    return "group" if "group:train" in split_names(table) else "npz"


def training_split(name: str, table: Table) -> str:
    """The split a model is trained on where `name` is used; its frequencies are the prior."""
    family, _, part = name.partition(":")
    if family.endswith("_dir"):
        folders = _folder_names(table)
        return "train_dir" if "train_dir" in folders else family
    return name if family == "all" or part == "train+validation" else f"{family}:train"


def rows_of(name: str, table: Table) -> Rows:
    """Positions of the samples of a split, ascending.

    Raises:
        InputError: The data has no split of that name, or it is empty.
    """
    names = split_names(table)
    if name not in names:
        raise InputError(f"there is no split '{name}': this data has {', '.join(names)}")
    family, _, parts = name.partition(":")
    rows = np.sort(np.concatenate([_rows(family, part, table) for part in parts.split("+")]))
    if rows.size == 0:
        few = (
            f"its {len(group_names(table.groups))} groups are too few for three parts; "
            if (family == "group" and table.groups is not None)
            else ""
        )
        raise InputError(
            f"split '{name}' is empty: {few}none of the {len(table.labels)} samples belongs to it. "
            f"Choose another of {', '.join(names)}"
        )
    return rows


def leak_of(name: str, table: Table, trained: str | None = None) -> str | None:
    """What a split shares with the one that is trained on, in one line; None for nothing.

    It leaks where samples of one group, or frames that lie between one another, are both trained
    and reported on: a model then does better on it than on what is new. Of one group alone, and
    without a training part, nothing is known.

    Args:
        name: The split that is reported.
        table: What is known about the samples.
        trained: The split that is trained on; `training_split` by default.

    Raises:
        InputError: The data has no such split, or it is empty.
    """
    after = rows_of(name, table)
    try:
        trained = training_split(name, table) if trained is None else trained
        before = rows_of(trained, table)
    except InputError:  # a short sequence may have no training part
        return None
    if trained == name:  # reported on what was trained on, as was asked for
        return None
    groups, frames = table.groups, table.frames
    if groups is not None and len(group_names(groups)) > 1:
        shared = np.intersect1d(groups[before], groups[after])
        if shared.size:
            count = len(np.unique(groups[after]))
            which = "its groups" if len(shared) == count else f"{len(shared)} of its {count} groups"
            why = f"{which} are in {trained} too, such as {group_names(shared)[0]}"
            return _leak(name, why, "group", table)
    if frames is not None:
        ours, theirs = frames[before], frames[after]
        if ours.min() <= theirs.max() and theirs.min() <= ours.max():
            why = f"its frames lie between those of {trained}, and successive frames are alike"
            return _leak(name, why, "time", table)
    return None


def _leak(name: str, why: str, family: str, table: Table) -> str:
    instead = f"{family}:{'validation' if name.endswith(':validation') else 'test'}"
    advice = f"; use {instead}" if instead in split_names(table) else ""
    return f"{name} leaks, so what is new will be harder: {why}{advice}"


def group_names(groups: NDArray[Any]) -> list[Any]:
    """Each group once: integers by value, names by their words and the numbers in them."""
    return sorted(np.unique(groups).tolist(), key=_naturally)


def _naturally(name: str | int) -> list[tuple[int, str]]:
    """A key that puts `subject2` before `subject10`, and negative numbers first."""
    if isinstance(name, int):
        return [(name, "")]
    return [(int(x), "") if x.isdecimal() else (-1, x) for x in re.split(r"(\d+)", name)]


def _rows(family: str, part: str, table: Table) -> Rows:
    if family == "all":
        return np.arange(len(table.labels))
    if family == "npz":
        return _npz_rows(table.labels, part)
    if family == "group":
        assert table.groups is not None  # split_names offers it only then
        return np.flatnonzero(np.isin(table.groups, _groups(table.groups, part)))
    if family in _TIME:
        return np.flatnonzero(_in_time(table, *_TIME[family][part]))
    if family == "frame":
        assert table.frames is not None  # split_names offers it only then
        return np.flatnonzero(np.isin(table.frames % 5, _FRAME[part]))
    return _folder_rows(table, family, part)


def _folder_names(table: Table) -> list[str]:
    return [] if table.folders is None else sorted({str(name) for name in table.folders})


def _in_time(table: Table, first: int | None, last: int | None) -> NDArray[np.bool_]:
    assert table.frames is not None  # split_names offers it only then
    start, end = table.span or (int(table.frames.min()), int(table.frames.max()))
    # In 242nds of the sequence; in integers, so that a sequence of 242 is divided exactly.
    length = end - start + 1
    position = (table.frames - start + 1) * _SPAN
    inside = np.ones(len(table.frames), dtype=bool)
    if first is not None:
        inside &= position >= first * length
    if last is not None:
        inside &= position <= last * length
    return inside


def _folder_rows(table: Table, folder: str, part: str) -> Rows:
    assert table.folders is not None  # split_names offers it only then
    rows = np.flatnonzero(table.folders == folder)
    if not part:
        return rows
    held_out = np.zeros(len(rows), dtype=bool)
    labels = table.labels[rows]
    for label in np.unique(labels):
        mine = np.flatnonzero(labels == label)
        for keys in (table.frames, table.objects):
            if keys is None:
                continue
            values = np.unique(keys[rows[mine]])
            if len(values) > 1:
                count = max(1, round(_VALIDATION_SHARE * len(values)))
                chosen = values[((np.arange(count) + 0.5) * len(values) / count).astype(np.intp)]
                held_out[mine] = np.isin(keys[rows[mine]], chosen)
                break
    return rows[held_out] if part == "validation" else rows[~held_out]


def _groups(groups: NDArray[Any], part: str) -> list[Any]:
    found = group_names(groups)
    test = max(1, round(_TEST_GROUPS * len(found)))
    validation = max(1, round(_VALIDATION_GROUPS * len(found))) if len(found) > 2 else 0
    train = len(found) - test - validation
    ends = {"train": (0, train), "validation": (train, train + validation)}
    return found[slice(*ends.get(part, (train + validation, None)))]


def _npz_rows(labels: NDArray[np.int64], part: str) -> Rows:
    low, high = _NPZ_SHARES[part]
    rows: list[Rows] = []
    for label in np.unique(labels):
        mine = _mixed(np.flatnonzero(labels == label))
        rows.append(mine[round(low * len(mine)) : round(high * len(mine))])
    return np.sort(np.concatenate(rows)).astype(np.intp)


def _mixed(rows: Rows) -> Rows:
    """A fixed shuffle: the same file gives the same parts on every machine."""
    return np.asarray(np.random.default_rng(242).permutation(rows))
