"""A user's own data: an `.npz` file, or a folder of them, one for each group.

    {group}.npz

Files of a folder hold the same sensors and classes. The name of a file is the group of all its
samples, but where the files say themselves, in `group`, what each sample is of.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from edge_runtime.errors import InputError
from edge_runtime.samples import Samples
from edge_runtime.task import Classification

from .dataset import Dataset
from .pictures import is_blank
from .splits import Table, default_family, group_names

FORM = "npz"


def is_npz(source: Path) -> bool:
    """Whether a source is an `.npz` file, or a folder that holds one."""
    return source.suffix == ".npz" if not source.is_dir() else bool(_files(source))


def read_npz(
    source: str | os.PathLike[str],
    *,
    split: str | None = None,
    seed: int = 0,
    batch_size: int = 64,
) -> Dataset:
    """Read an `.npz` of the form of `edge_runtime.samples.Samples`, or a folder of them.

    A picture counts as not visible where it is all black, a float array where it is all zero.
    Where the samples have two groups or more, such as the files of a folder, they are divided by
    group (`group:train`, …), else 70/15/15 at random (`npz:train`, …); `all` is all of it.

    Args:
        source: The file, or a folder of files named after the group that each holds.
        split: The splits that `train`, `validation` and `test` stand for: `group`, `npz`, or `all`
            for everything each time; `group` where there are groups, else `npz`.
        seed: Seed of the order of the training samples.
        batch_size: Samples per batch.

    Raises:
        InputError: See `Samples.load_npz`; files of a folder differ in their sensors or classes;
            or there is no such split.
    """
    path = Path(source)
    samples = _joined(path) if path.is_dir() else Samples.load_npz(path)
    visible = [
        ~is_blank(values)
        if values.dtype == np.uint8
        else (values.reshape(len(values), -1) != 0).any(axis=1)
        for values in samples.inputs.values()
    ]
    # Only classes are divided alike; of several labels some combinations are too rare for that.
    classes = isinstance(samples.task, Classification)
    labels = samples.labels if classes else np.zeros(len(samples), np.int64)
    table = Table(labels=labels, groups=samples.groups)
    return Dataset(
        samples=samples,
        visible=np.stack(visible, axis=1),
        table=table,
        source=str(path),
        form=FORM,
        family=default_family(table) if split is None else split,
        seed=seed,
        batch_size=batch_size,
    )


def _files(folder: Path) -> dict[str, Path]:
    """The `.npz` files of a folder by the group that each is of."""
    found = {x.stem: x for x in folder.glob("*.npz") if not x.name.startswith(".")}
    return {name: found[name] for name in group_names(np.array([*found]))} if found else {}


def _joined(folder: Path) -> Samples:
    files = _files(folder)
    parts = {path: Samples.load_npz(path) for path in files.values()}
    _check_alike(parts)
    held = [part.groups for part in parts.values()]
    own = [x for x in held if x is not None]
    if own and (len(own) < len(held) or len({x.dtype.kind == "U" for x in own}) > 1):
        raise InputError(
            f"{folder}: expected 'group' in every file, of strings or of integers in all, or in "
            "none, where the files' names are the groups; write it into all of them or none"
        )
    sizes = [len(part) for part in parts.values()]
    groups = np.concatenate(own) if own else np.repeat(np.array([*files]), sizes)
    first = next(iter(parts.values()))
    return Samples(
        {name: np.concatenate([p.inputs[name] for p in parts.values()]) for name in first.inputs},
        np.concatenate([part.labels for part in parts.values()]),
        first.task,
        groups,
    )


def _check_alike(parts: Mapping[Path, Samples]) -> None:
    """`InputError`, which names the file, where one holds other sensors or classes."""
    (path, first), *others = parts.items()
    expected = {name: (x.shape[1:], x.dtype.name) for name, x in first.inputs.items()}
    for other, samples in others:
        try:
            samples.check(expected)
        except InputError as error:
            raise InputError(f"{other} differs from {path.name}: {error}") from error
        if samples.task != first.task:
            raise InputError(
                f"{other} differs from {path.name}: expected {first.task}; came "
                f"{samples.task}. Write the files with the same names in the same order"
            )
