"""The poster's folder form: one small picture per object, frame and camera.

    {train_dir,test_dir,holdout_dir,…}/{class}_images/c{camera}_{object}_{frame:08d}.jpg

Views belong together when class, object and frame, read from the names, are equal. A view that
does not see the object is an all-black picture.
"""

from __future__ import annotations

import os
import re
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from edge_runtime.errors import InputError
from edge_runtime.samples import Samples

from .dataset import Dataset
from .pictures import is_blank, read_picture
from .splits import Table

FORM = "crops"
_FILE = re.compile(r"c(\d+)_(\d+)_(\d+)\.(?:jpg|jpeg|png)", re.IGNORECASE)
_SUFFIX = "_images"
# A camera now and then misses an object; a damaged copy misses more.
_MISSING_SHARE = 0.01


class _Key(NamedTuple):
    folder: str
    label: str
    frame: int
    number: int


@dataclass
class _Account:
    events: Counter[str] = field(default_factory=Counter)
    notes: list[str] = field(default_factory=list)


_Groups = dict[_Key, dict[int, Path]]


def is_crops(source: Path) -> bool:
    """Whether a folder has this form: it holds a folder named `…_dir`."""
    return source.is_dir() and any(_split_folders(source))


def read_crops(
    source: str | os.PathLike[str],
    *,
    split: str | None = None,
    seed: int = 0,
    batch_size: int = 64,
    fill_missing: bool | None = None,
) -> Dataset:
    """Read a folder of crops.

    Classes are sorted by name; sensors are `cam0`, `cam1`, … by camera number. Two incomplete
    groups of the same folder, class and frame that complete each other are one object under two
    numbers: they are merged. Views that are still missing are filled with black pictures.
    Merging and filling is reported in `Dataset.summary`.

    Args:
        source: The folder that holds the `…_dir` folders.
        split: The splits that `train`, `validation` and `test` stand for; `train_dir` by default.
        seed: Seed of the order of the training samples.
        batch_size: Samples per batch.
        fill_missing: Whether missing views may be filled. By default, as long as no more than
            1 % of a folder's samples are incomplete, since more looks like a damaged copy.

    Raises:
        InputError: A folder or name is not of the form, a class folder is empty, a camera has no
            picture in a folder, too many views are missing, a picture is corrupt or has another
            size than the others.
    """
    root = Path(source)
    groups = _listed_groups(root)
    cameras = _cameras(root, groups)
    account = _Account()
    groups = _merged(groups, cameras, account)
    _check_missing(root, groups, cameras, fill_missing, account)
    keys = sorted(groups)
    class_names = tuple(sorted({key.label for key in keys}))
    pictures = _read(groups, keys, cameras)
    labels = np.array([class_names.index(key.label) for key in keys], dtype=np.int64)
    frames = np.array([key.frame for key in keys], dtype=np.int64)
    folders = np.array([key.folder for key in keys])
    default = "train_dir" if "train_dir" in folders else str(folders[0])
    return Dataset(
        samples=Samples({f"cam{c}": pictures[c] for c in cameras}, labels, class_names),
        visible=np.stack([~is_blank(pictures[c]) for c in cameras], axis=1),
        table=Table(
            labels=labels,
            folders=folders,
            objects=np.array([key.number for key in keys], dtype=np.int64),
            frames=frames,
            span=(int(frames.min()), int(frames.max())),
        ),
        source=str(root),
        form=FORM,
        family=default if split is None else split,
        events=account.events,
        notes=tuple(account.notes),
        seed=seed,
        batch_size=batch_size,
    )


def _split_folders(root: Path) -> list[Path]:
    return sorted(p for p in root.iterdir() if p.name.endswith("_dir") and p.is_dir())


def _listed_groups(root: Path) -> _Groups:
    groups: _Groups = defaultdict(dict)
    for folder in _split_folders(root):
        classes = [path for path in sorted(folder.iterdir()) if not path.name.startswith(".")]
        if not classes:
            raise InputError(f"{folder} is empty: expected folders named CLASS{_SUFFIX}")
        for path in classes:
            if not path.is_dir() or not path.name.endswith(_SUFFIX) or path.name == _SUFFIX:
                raise InputError(
                    f"{path} does not belong here: expected only folders named CLASS{_SUFFIX}, "
                    f"such as car{_SUFFIX}. Rename or remove it"
                )
            files = [name for name in sorted(os.listdir(path)) if not name.startswith(".")]
            if not files:
                raise InputError(
                    f"{path} is empty: expected pictures named cCAMERA_OBJECT_FRAME.jpg. "
                    "Fill the class folder, or remove it if the class does not occur"
                )
            for name in files:
                match = _FILE.fullmatch(name)
                if match is None:
                    raise InputError(
                        f"{path / name} has an unexpected name: expected "
                        "cCAMERA_OBJECT_FRAME.jpg, such as c0_1_00000042.jpg. Rename or remove it"
                    )
                camera, number, frame = map(int, match.groups())
                key = _Key(folder.name, path.name.removesuffix(_SUFFIX), frame, number)
                if camera in groups[key]:
                    raise InputError(
                        f"{path / name} is camera {camera} of {_named(key)} a second time, after "
                        f"{groups[key][camera].name}. Remove one of them"
                    )
                groups[key][camera] = path / name
    return dict(groups)


def _cameras(root: Path, groups: _Groups) -> list[int]:
    seen: dict[str, set[int]] = defaultdict(set)
    for key, views in groups.items():
        seen[key.folder].update(views)
    if not seen:
        raise InputError(f"{root} holds no pictures: expected folders such as train_dir")
    highest = max(max(cameras) for cameras in seen.values())
    for folder, cameras in sorted(seen.items()):
        absent = sorted(set(range(highest + 1)) - cameras)
        if absent:
            raise InputError(
                f"{root / folder} has no picture of camera {', '.join(map(str, absent))}: expected "
                f"view files c0_… to c{highest}_… . Restore the missing views"
            )
    return list(range(highest + 1))


def _merged(groups: _Groups, cameras: list[int], account: _Account) -> _Groups:
    """Join pairs of incomplete groups whose cameras complete each other, where unambiguous."""
    incomplete: dict[tuple[str, str, int], list[_Key]] = defaultdict(list)
    for key in sorted(groups):
        if len(groups[key]) < len(cameras):
            incomplete[key[:3]].append(key)
    result = dict(groups)
    for keys in incomplete.values():
        partners = {
            key: [k for k in keys if sorted([*groups[key], *groups[k]]) == cameras] for key in keys
        }
        for key, others in partners.items():
            if len(others) != 1 or partners[others[0]] != [key]:
                continue
            larger, smaller = sorted((key, others[0]), key=lambda k: (-len(groups[k]), k))
            if key != larger:
                continue
            result[larger] = {**result[larger], **result.pop(smaller)}
            account.events["merged pairs"] += 1
            account.notes.append(f"merged {_named(smaller)} into object {larger.number}")
    return result


def _check_missing(
    root: Path,
    groups: _Groups,
    cameras: list[int],
    fill: bool | None,
    account: _Account,
) -> None:
    totals = Counter(key.folder for key in groups)
    for folder in sorted(totals):
        mine = sorted(k for k in groups if k.folder == folder and len(groups[k]) < len(cameras))
        notes = []
        for key in mine:
            absent = sorted(set(cameras) - set(groups[key]))
            account.events["filled views"] += len(absent)
            notes.append(f"{_named(key)}, camera {', '.join(map(str, absent))}")
        allowed = fill if fill is not None else len(mine) <= _MISSING_SHARE * totals[folder]
        if notes and not allowed:
            more = f" and {len(notes) - 3} more" if len(notes) > 3 else ""
            raise InputError(
                f"{root / folder}: view files are missing in {len(mine)} of {totals[folder]} "
                f"samples: {'; '.join(notes[:3])}{more}. Expected one picture per camera "
                f"(c0 to c{cameras[-1]}). Restore them, or pass fill_missing=True for black views"
            )
        account.notes += [f"filled {note} with a black view" for note in notes]


def _named(key: _Key) -> str:
    return f"{key.folder} {key.label} {key.number} in frame {key.frame}"


def _read(groups: _Groups, keys: list[_Key], cameras: list[int]) -> dict[int, NDArray[np.uint8]]:
    first = groups[keys[0]][min(groups[keys[0]])]
    shape = read_picture(first).shape
    pictures = {c: np.zeros((len(keys), *shape), dtype=np.uint8) for c in cameras}
    for row, key in enumerate(keys):
        for camera, path in groups[key].items():
            picture = read_picture(path)
            if picture.shape != shape:
                raise InputError(
                    f"{path} has the wrong size: expected {shape[1]}x{shape[0]} pixels as "
                    f"{first} has; came {picture.shape[1]}x{picture.shape[0]}. "
                    "All crops of a data set have one size"
                )
            pictures[camera][row] = picture
    return pictures
