"""The raw form of the EPFL multi-view multi-class set: whole pictures and boxes.

    multiclass_ground_truth_images/c{camera}/{frame:08d}.jpg
    bounding_boxes_EPFL_cross/gt_files{n}_{class}/visible_frame/det_frame{n}_cam{camera}.txt

Each line of a box file is `xmin ymin xmax ymax` in pixels; row r is object r of that class and
frame, for every camera. A camera without the row, or whose box has no area inside the picture
(such as `0 0 0 0`), does not see the object: its view is black.

In the EPFL set itself a row is no identity: cameras may show different objects of the class in
the same row. The class holds.
"""

from __future__ import annotations

import math
import os
import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypedDict

import numpy as np
from numpy.typing import NDArray

from edge_runtime.errors import InputError
from edge_runtime.samples import Samples

from .boxes import Boxes, box_name
from .dataset import Dataset
from .pictures import Box, crop, cut_size, read_picture
from .splits import Table

FORM = "raw"
PICTURES = "multiclass_ground_truth_images"
BOXES = "bounding_boxes_EPFL_cross"
_CAMERA = re.compile(r"c(\d+)")
_PICTURE = re.compile(r"(\d+)\.(?:jpg|jpeg|png)", re.IGNORECASE)
_CLASS = re.compile(r"gt_files\d*_(.+)")
_BOX_FILE = re.compile(r"det_frame(\d+)_cam(\d+)\.txt")

_Key = tuple[str, int, int]  # class, frame, object
_Views = dict[int, Box]


class RawOptions(TypedDict, total=False):
    """The options of `read_raw`, as another reader hands them on."""

    split: str | None
    seed: int
    batch_size: int
    size: int | tuple[int, int]
    margin: float | Sequence[float]
    boxes: Boxes | None


def is_raw(source: Path) -> bool:
    """Whether a folder has this form: it holds the folders of pictures and of boxes."""
    return (source / PICTURES).is_dir() or (source / BOXES).is_dir()


def read_raw(
    source: str | os.PathLike[str],
    *,
    split: str | None = None,
    seed: int = 0,
    batch_size: int = 64,
    size: int | tuple[int, int] = 32,
    margin: float | Sequence[float] = 1.0,
    boxes: Boxes | None = None,
) -> Dataset:
    """Read pictures and boxes, and cut out what the boxes hold.

    Classes are sorted by name; sensors are `cam0`, `cam1`, … by camera number. What was skipped
    or dropped is reported in `Dataset.summary`.

    Args:
        source: The folder that holds the two folders above.
        split: The splits that `train`, `validation` and `test` stand for; `time` by default.
        seed: Seed of the order of the training samples.
        batch_size: Samples per batch.
        size: Height and width of a view in pixels; one number for a square.
        margin: How much wider and higher than its box a view is; 1.5 shows half as much again.
            Several give a view the channels of as many cuts, one after another: the object
            itself and what is around it.
        boxes: Whether the size of each view's box is a sensor of its own, `beside` the view or
            `alone`, see `Boxes`.

    Raises:
        InputError: A folder or file is missing, empty or not of the form, a picture is corrupt
            or has another size than its camera's others, a line is no box,
            or `size` or `margin` is out of range.
    """
    root = Path(source)
    form = _form_of_views(size, margin)
    pictures = _listed_pictures(root)
    cameras = sorted(pictures)
    listed = listed_boxes(root, set(cameras))
    class_names = tuple(sorted({key[0] for key in listed}))
    events: Counter[str] = Counter()
    keys = _with_pictures(listed, pictures, events)
    if not keys:
        raise InputError(f"{root}: no box belongs to a picture: the frame numbers do not meet")
    views = _cut_views(keys, listed, pictures, form, events)
    seen = np.flatnonzero(views.visible.any(axis=1))
    events["dropped objects no camera sees"] += len(keys) - len(seen)
    if not len(seen):
        raise InputError(f"{root}: no box has an area inside its picture")
    keys = [keys[row] for row in seen]
    labels = np.array([class_names.index(key[0]) for key in keys], dtype=np.int64)
    frames = sorted(pictures[cameras[0]])
    events["frames without pictures"] = frames[-1] - frames[0] + 1 - len(frames)
    inputs = _inputs(views, cameras, seen, boxes)
    return Dataset(
        samples=Samples(inputs, labels, class_names),
        visible=np.repeat(views.visible[seen], len(inputs) // len(cameras), axis=1),
        table=Table(
            labels=labels,
            objects=np.array([key[2] for key in keys], dtype=np.int64),
            frames=np.array([key[1] for key in keys], dtype=np.int64),
            span=(frames[0], frames[-1]),
        ),
        source=str(root),
        form=FORM,
        family="time" if split is None else split,
        events=dict(events),
        seed=seed,
        batch_size=batch_size,
    )


def _form_of_views(
    size: int | tuple[int, int], margin: float | Sequence[float]
) -> tuple[tuple[int, int], list[float]]:
    """Height and width of a view, and the margins of its cuts."""
    height, width = (size, size) if isinstance(size, int) else size
    if min(height, width) < 1:
        raise InputError(f"size must be at least 1 pixel; came {size}")
    margins = [margin] if isinstance(margin, (int, float)) else list(margin)
    if not margins or not all(math.isfinite(m) and m >= 1 for m in margins):
        raise InputError(f"margin must be a number of at least 1, or several; came {margin}")
    return (height, width), margins


class _Cut(NamedTuple):
    """Views by camera, a row each object, with the sizes of their boxes and who sees what."""

    views: dict[int, NDArray[Any]]  # uint8 (objects, height, width, channels)
    sizes: dict[int, NDArray[Any]]  # float32 (objects, 2), as shares of the picture
    visible: NDArray[Any]  # bool (objects, cameras)


def _cut_views(
    keys: Sequence[_Key],
    listed: Mapping[_Key, _Views],
    pictures: Mapping[int, Mapping[int, Path]],
    form: tuple[tuple[int, int], list[float]],
    events: Counter[str],
) -> _Cut:
    """Cut what the boxes hold out of the pictures, each of which is read once a camera."""
    cameras = sorted(pictures)
    size, margins = form
    shape = (len(keys), *size, 3 * len(margins))
    cut = _Cut(
        {c: np.zeros(shape, dtype=np.uint8) for c in cameras},
        {c: np.zeros((len(keys), 2), dtype=np.float32) for c in cameras},
        np.zeros((len(keys), len(cameras)), dtype=bool),
    )
    for column, camera in enumerate(cameras):
        by_frame: dict[int, list[int]] = defaultdict(list)
        for row, key in enumerate(keys):
            if camera in listed[key]:
                by_frame[key[1]].append(row)
        for picture, rows in _pictures_of(by_frame, pictures[camera]):
            for row in rows:
                box = listed[keys[row]][camera]
                view = crop(picture, box, size, margins)
                if view is None:
                    events["views with an empty box"] += 1
                else:
                    cut.views[camera][row] = view
                    cut.sizes[camera][row] = np.divide(cut_size(picture, box), picture.shape[:2])
                    cut.visible[row, column] = True
    return cut


def _pictures_of(
    by_frame: Mapping[int, list[int]], pictures: Mapping[int, Path]
) -> Iterator[tuple[NDArray[np.uint8], list[int]]]:
    """One camera's pictures, all of one size, with the rows of the objects in each."""
    shape: tuple[int, ...] | None = None
    for frame, rows in sorted(by_frame.items()):
        path = pictures[frame]
        picture = read_picture(path)
        if shape is not None and picture.shape != shape:
            raise InputError(
                f"{path} has the wrong size: expected {shape[1]}x{shape[0]} pixels as the "
                f"camera's others; came {picture.shape[1]}x{picture.shape[0]}"
            )
        shape = picture.shape
        yield picture, rows


def _inputs(
    cut: _Cut, cameras: Sequence[int], seen: NDArray[np.intp], boxes: Boxes | None
) -> dict[str, NDArray[Any]]:
    """The arrays of all sensors, for the objects that some camera sees."""
    inputs: dict[str, NDArray[Any]] = {}
    for camera in cameras:
        name = f"cam{camera}"
        if boxes != "alone":
            inputs[name] = cut.views[camera][seen]
        if boxes:
            inputs[box_name(name)] = cut.sizes[camera][seen]
    return inputs


def _listed_pictures(root: Path) -> dict[int, dict[int, Path]]:
    """Camera to frame to picture; every camera has the same frames."""
    pictures: dict[int, dict[int, Path]] = {}
    for folder in _visible_entries(root / PICTURES):
        match = _CAMERA.fullmatch(folder.name)
        if match is None or not folder.is_dir():
            raise InputError(f"{folder} does not belong here: expected folders c0, c1, …")
        frames: dict[int, Path] = {}
        for path in _visible_entries(folder):
            found = _PICTURE.fullmatch(path.name)
            if found is None:
                raise InputError(
                    f"{path} has an unexpected name: expected FRAME.jpg, such as 00000042.jpg"
                )
            frames[int(found[1])] = path
        pictures[int(match[1])] = frames
    every = set().union(*pictures.values())
    for camera, frames in pictures.items():
        missing = sorted(every - set(frames))
        if missing:
            shown = ", ".join(map(str, missing[:5])) + (", …" if len(missing) > 5 else "")
            raise InputError(
                f"{root / PICTURES}: camera {camera} has no picture of {len(missing)} frames that "
                f"other cameras have ({shown}). Restore the view files, or remove these frames "
                "from every camera"
            )
    return pictures


def listed_boxes(root: Path, cameras: set[int]) -> dict[_Key, _Views]:
    """The boxes of every (class, frame, object), by camera, as they stand in the files.

    Raises `InputError` for files that are not of the form, or of another camera than these.
    """
    boxes: dict[_Key, _Views] = defaultdict(dict)
    for folder in _visible_entries(root / BOXES):
        match = _CLASS.fullmatch(folder.name)
        if match is None or not folder.is_dir():
            raise InputError(f"{folder} does not belong here: expected folders gt_filesN_CLASS")
        for path in _visible_entries(folder / "visible_frame"):
            found = _BOX_FILE.fullmatch(path.name)
            if found is None:
                raise InputError(
                    f"{path} has an unexpected name: expected det_frameFRAME_camCAMERA.txt"
                )
            frame, camera = int(found[1]), int(found[2])
            if camera not in cameras:
                raise InputError(
                    f"{path} is of camera {camera}, which has no pictures: expected the folder "
                    f"{root / PICTURES / f'c{camera}'}. Restore it, or remove the camera's boxes"
                )
            for number, box in enumerate(_read_boxes(path)):
                boxes[match[1], frame, number][camera] = box
    return dict(boxes)


def _visible_entries(folder: Path) -> list[Path]:
    if not folder.is_dir():
        raise InputError(f"{folder} is missing: expected a folder. See the raw EPFL form")
    entries = [path for path in sorted(folder.iterdir()) if not path.name.startswith(".")]
    if not entries:
        raise InputError(f"{folder} is empty. Fill the folder or remove it")
    return entries


def _read_boxes(path: Path) -> list[Box]:
    try:
        lines = path.read_text(encoding="ascii").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"cannot read {path}: {error}") from error
    boxes: list[Box] = []
    for number, line in enumerate(lines, start=1):
        words = line.split()
        if not words:
            continue
        try:
            xmin, ymin, xmax, ymax = map(float, words)
        except ValueError:
            xmin = ymin = xmax = ymax = math.nan
        if not all(map(math.isfinite, (xmin, ymin, xmax, ymax))):
            raise InputError(
                f"{path}, line {number}: expected four finite numbers, xmin ymin xmax ymax in "
                f"pixels; came '{line.strip()}'"
            )
        boxes.append((xmin, ymin, xmax, ymax))
    return boxes


def _with_pictures(
    boxes: dict[_Key, _Views], pictures: dict[int, dict[int, Path]], events: Counter[str]
) -> list[_Key]:
    frames = set().union(*pictures.values())
    keys = sorted(key for key in boxes if key[1] in frames)
    events["dropped objects without pictures"] += len(boxes) - len(keys)
    return keys
