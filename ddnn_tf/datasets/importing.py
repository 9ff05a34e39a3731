"""A user's arrays, tables and pictures as `Samples`: what `ddnn data import` reads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_runtime.errors import InputError
from edge_runtime.samples import Samples
from edge_runtime.task import Classification, MultiLabel, Regression, Task

from .csv_table import CsvTable, read_text
from .pictures import crop, read_picture
from .splits import group_names

#: The one sensor of a table, and of a folder of class folders.
FEATURES, PICTURES = "features", "cam0"
_PICTURE = (".jpg", ".jpeg", ".png")


@dataclass(frozen=True)
class Wanted:
    """What the labels shall be: one of the three, or nothing, which stands for classes.

    Attributes:
        classes: Names of the classes, in the order of their numbers.
        labels: Names of the labels of which several may hold; in a table, their columns.
        values: Names of the values of a regression; in a table, their columns.
        units: Of each value, or none.
    """

    classes: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()
    values: tuple[str, ...] = ()
    units: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        given = [name for name in ("classes", "labels", "values") if getattr(self, name)]
        if len(given) > 1:
            raise InputError(
                f"expected one of --classes, --labels and --values, by what the labels are; came "
                f"{' and '.join(f'--{name}' for name in given)}"
            )
        if self.units and not self.values:
            raise InputError("--units are those of --values; name the values")

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns of a table that hold the labels, where that are several or numbers."""
        return self.labels or self.values

    def labeled(self, target: NDArray[Any], where: str) -> tuple[NDArray[Any], Task]:
        """The labels as `Samples` takes them, from an array as people keep them.

        Classes may be integers `(N,)` or `(N, 1)`, strings `(N,)`, or a 1 among zeros
        `(N, classes)`; the labels of several, numbers that are all 0 or 1.

        Raises:
            InputError: They are not what is wanted.
        """
        if self.values:
            return target, Regression(self.values, self.units)
        if self.labels:
            whole = target.astype(np.int64) if _is_whole(target) else target
            return whole, MultiLabel(self.labels)
        if target.ndim == 2 and target.shape[1] == 1:
            target = target[:, 0]
        if target.dtype.kind == "U":
            return _numbered(target, self.classes, where)
        if target.ndim == 2 and _is_whole(target) and self.classes:
            if ((target == 0) | (target == 1)).all() and (target.sum(axis=1) == 1).all():
                target = target.argmax(axis=1)
            else:
                raise InputError(
                    f"{where} has columns in which not one class a sample is 1: where several "
                    "labels may hold give --labels in place of --classes"
                )
        if target.ndim != 1 or not _is_whole(target):
            raise InputError(
                f"{where} holds {target.dtype} of shape {target.shape}, which is no class a "
                "sample: say with --labels NAMES that several labels may hold, or with --values "
                "NAMES that they are numbers to predict"
            )
        labels = target.astype(np.int64)
        names = self.classes or tuple(str(i) for i in range(max(int(labels.max(initial=0)), 0) + 1))
        return labels, Classification(tuple(names))


def _is_whole(values: NDArray[Any]) -> bool:
    """Whether all values are integers, of whatever type."""
    if values.dtype.kind in "iub":
        return True
    return values.dtype.kind == "f" and bool((np.isfinite(values) & (values == values // 1)).all())


def _numbered(
    words: NDArray[Any], classes: tuple[str, ...], where: str
) -> tuple[NDArray[Any], Task]:
    """Classes given by name, as numbers; by default in the order of `group_names`."""
    found, labels = np.unique(words, return_inverse=True)
    names = classes or tuple(map(str, group_names(words)))
    unknown = [str(name) for name in found if str(name) not in names]
    if unknown:
        raise InputError(
            f"{where} holds the class {unknown[0]!r}, which is none of --classes "
            f"{', '.join(names)} ({len(unknown)} are not)"
        )
    numbers = np.array([names.index(str(name)) for name in found], np.int64)
    return numbers[labels], Classification(tuple(names))


# -- arrays ----------------------------------------------------------------------------------------


def import_arrays(
    sensors: Mapping[str, Path], target: Path, wanted: Wanted, group: Path | None = None
) -> Samples:
    """Samples from `.npy` files: one of each sensor, and one of what the samples are.

    Numbers become float32. Raises `InputError` for what no sensor may give, see `Samples`.
    """
    inputs = {name: _sensor_array(path) for name, path in sensors.items()}
    labels, task = wanted.labeled(_array(target), str(target))
    groups = None if group is None else _groups(group)
    return _samples(inputs, labels, task, groups, str(target))


def _samples(
    inputs: Mapping[str, NDArray[Any]],
    labels: NDArray[Any],
    task: Task,
    groups: NDArray[Any] | None,
    where: str,
) -> Samples:
    try:
        return Samples(dict(inputs), labels, task, groups)
    except InputError as error:
        raise InputError(f"{where}: {error}") from error


def _array(path: Path) -> NDArray[Any]:
    """The array in a `.npy` file; `InputError` for anything else, Python objects among it."""
    if path.suffix != ".npy":
        raise InputError(f"{path}: expected a .npy file, as np.save writes it")
    try:
        with path.open("rb") as file:
            values = np.lib.format.read_array(file, allow_pickle=False)
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}") from error
    except (ValueError, EOFError, MemoryError, TypeError, SyntaxError, OverflowError) as error:
        if "bject array" in str(error):
            raise InputError(
                f"{path} holds Python objects, which are not read: expected an array of numbers "
                "or strings. Give all samples one shape, as np.stack does, and save it again"
            ) from error
        raise InputError(f"{path} is damaged or no .npy file: {error}. Save it again") from error
    return np.asarray(values)


def _sensor_array(path: Path) -> NDArray[Any]:
    values = _array(path)
    if values.dtype == np.uint8:
        if values.ndim == 3 or (values.ndim == 4 and values.shape[3] in (1, 4)):
            raise InputError(
                f"{path} holds pictures of the shape {values.shape[1:]}: expected (height, width, "
                "3), red, green, blue. Of gray pictures write np.stack([x, x, x], axis=-1), of "
                "others leave out the fourth channel"
            )
        return values
    if values.dtype.kind != "f":
        raise InputError(
            f"{path} holds {values.dtype}: expected uint8 (pictures) or floating point. Write "
            "x.astype(np.uint8) where they are bytes, x.astype(np.float32) where they are numbers"
        )
    with np.errstate(over="ignore"):
        kept = values.astype(np.float32)
    if not (np.isfinite(kept) | ~np.isfinite(values)).all():
        raise InputError(f"{path} holds numbers beyond those of float32. Scale them")
    return kept


def _groups(path: Path) -> NDArray[Any]:
    """Groups from a `.npy` file, or from the lines of a text."""
    if path.suffix == ".npy":
        return _array(path)
    lines = read_text(path).splitlines()
    if not lines:
        raise InputError(f"{path} is empty: expected a group for each sample, one a line")
    return np.array([line.strip() for line in lines])


# -- tables ----------------------------------------------------------------------------------------


def import_table(
    source: Path,
    wanted: Wanted,
    *,
    label: str | None = None,
    sensors: Mapping[str, Sequence[str]] | None = None,
    group: str | None = None,
) -> Samples:
    """Samples from a CSV file with a line of column names; each further line is a sample.

    Args:
        source: The file: UTF-8, columns between commas, semicolons or tabs.
        wanted: What the labels are; `labels` and `values` name columns.
        label: The column of the class, by name or number; with neither `labels` nor `values`.
        sensors: Sensor to its columns, by name or pattern such as `arm_*`; by default one sensor
            `features` of every column that is neither label nor group. Float32 (columns,).
        group: The column of the groups; integers where all are.

    Raises:
        InputError: A column is missing or named twice, a line has other columns or a cell that is
            no number, or the labels are not what is wanted.
    """
    table = CsvTable.read(source)
    if (label is None) == (not wanted.columns):
        raise InputError(
            f"{source}: expected the column of the class as --label, or the columns of several "
            "labels as --labels or of numbers as --values; one of the three"
        )
    taken = {*wanted.columns, *([label] if label else []), *([group] if group else [])}
    for name in sorted(taken):
        table.column(name)  # so that a misspelled label is refused before a sensor has it
    if sensors is None:
        rest = [name for name in table.names if name not in taken]
        if not rest:
            raise InputError(f"{source} has no column beside {', '.join(table.names)} for a sensor")
        sensors = {FEATURES: rest}
    inputs = {
        name: table.numbers(table.matching(patterns, taken)) for name, patterns in sensors.items()
    }
    if label is not None:
        target = _classes_or_integers(np.array(table.column(label)), wanted.classes)
    else:
        target = table.numbers(wanted.columns, np.float64)
    labels, task = wanted.labeled(target, f"{source}, column {label or ', '.join(taken)}")
    groups = None if group is None else _integers(np.array(table.column(group)))
    return _samples(inputs, labels, task, groups, str(source))


def _integers(words: NDArray[Any]) -> NDArray[Any]:
    """Integers where every word is one, else the words."""
    try:
        return words.astype(np.int64)
    except (ValueError, OverflowError):
        return words


def _classes_or_integers(words: NDArray[Any], classes: tuple[str, ...]) -> NDArray[Any]:
    """Names of classes, or their numbers where none of the classes is named so."""
    return _integers(words) if classes and not set(words.tolist()) & set(classes) else words


# -- pictures --------------------------------------------------------------------------------------


def import_pictures(source: Path, wanted: Wanted, size: tuple[int, int] | None = None) -> Samples:
    """Samples from a folder of class folders of pictures, or of sensors that hold such folders.

        {class}/{name}.jpg                 one sensor, `cam0`
        {sensor}/{class}/{name}.jpg        several: pictures of one class and name are one sample

    Args:
        source: The folder. Names that begin with a dot are left out.
        wanted: Maybe the `classes`, in their order; by default sorted by name.
        size: Height and width that all pictures are scaled to; else they must agree.

    Raises:
        InputError: A folder is empty or holds something else, a sensor lacks a picture, a picture
            is corrupt, or pictures differ in size.
    """
    if wanted.columns:
        raise InputError("folders of pictures are classes; for other labels import arrays")
    folders = _folders(source)
    if not folders:
        raise InputError(f"{source} holds no folder: expected one a class, of pictures")
    if all(_folders(folder) for folder in folders):
        sensors = {folder.name: folder for folder in folders}
    else:
        sensors = {PICTURES: source}
    pictures = {name: _pictures_of(folder) for name, folder in sensors.items()}
    (first, expected), *others = pictures.items()
    for name, found in others:
        odd = sorted(expected.keys() ^ found.keys())
        if odd:
            lacking = name if odd[0] in expected else first
            raise InputError(
                f"{sensors[lacking]} has no picture {'/'.join(odd[0])}, which other sensors have "
                f"({len(odd)} are not in all). Put a black one where a sensor did not see it"
            )
    keys = sorted(expected)
    inputs = {
        name: _stacked([found[key] for key in keys], size) for name, found in pictures.items()
    }
    words = np.array([key[0] for key in keys])
    labels, task = wanted.labeled(words, str(source))
    return _samples(inputs, labels, task, None, str(source))


def _folders(folder: Path) -> list[Path]:
    return sorted(x for x in folder.iterdir() if x.is_dir() and not x.name.startswith("."))


def _pictures_of(folder: Path) -> dict[tuple[str, str], Path]:
    """The pictures in class folders, by class and by name without its suffix."""
    found: dict[tuple[str, str], Path] = {}
    for path in sorted(x for x in folder.iterdir() if not x.name.startswith(".")):
        if not path.is_dir():
            raise InputError(f"{path} does not belong here: expected only folders, one a class")
        files = sorted(x for x in path.iterdir() if not x.name.startswith("."))
        if not files:
            raise InputError(f"{path} is empty: expected pictures, or no such folder")
        for file in files:
            if file.suffix.lower() not in _PICTURE or not file.is_file():
                raise InputError(f"{file} is no picture: expected {', '.join(_PICTURE)}. Remove it")
            key = (path.name, file.stem)
            if key in found:
                raise InputError(f"{file} has the name of {found[key].name}: one of them must go")
            found[key] = file
    return found


def _stacked(files: Sequence[Path], size: tuple[int, int] | None) -> NDArray[np.uint8]:
    first = read_picture(files[0])
    height, width = size or first.shape[:2]
    stack = np.empty((len(files), height, width, 3), np.uint8)
    for i, file in enumerate(files):
        picture = read_picture(file)
        if size is not None:
            whole = (0.0, 0.0, float(picture.shape[1]), float(picture.shape[0]))
            scaled = crop(picture, whole, size)
            assert scaled is not None  # the box is the whole picture
            picture = scaled
        elif picture.shape != first.shape:
            raise InputError(
                f"{file} has {picture.shape[0]}x{picture.shape[1]} pixels, {files[0].name} "
                f"{height}x{width}: say with --size HEIGHTxWIDTH to what all are scaled"
            )
        stack[i] = picture
    return stack
