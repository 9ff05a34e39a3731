"""Labeled samples of several sensors, in memory and as an NPZ file."""

from __future__ import annotations

import os
import struct
import tokenize
import zipfile
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import msgspec
import numpy as np
from numpy.typing import ArrayLike, NDArray

from .errors import InputError
from .files import new_file
from .task import Classification, MultiLabel, Regression, Single, Task

_LABEL = "label"


#: Optional: whom, which day or which site each sample is of.
_GROUP = "group"


#: Optional: the unit of each value.
_UNITS = "units"


#: Which task the names in a file are of, by what they are called there.
NAMES: Mapping[str, Callable[[tuple[str, ...]], Single]] = {
    "class_names": Classification,
    "label_names": MultiLabel,
    "value_names": Regression,
}


#: Optional: of a task that names do not say, its description in JSON.
_TASK = "task"


#: Names in a file that no sensor may have.
_KEYS = (_LABEL, *NAMES, _UNITS, _TASK, _GROUP)


_CONTENT = (
    "one uint8, int32 or float array per sensor, 'label', and 'class_names' (or 'label_names' of "
    "several labels, or 'value_names' of numbers)"
)


# What numpy and zipfile raise for a damaged archive; each was seen by flipping bytes.
DAMAGED = (
    ValueError,
    EOFError,
    KeyError,
    IndexError,
    TypeError,
    SyntaxError,
    OverflowError,
    MemoryError,
    NotImplementedError,
    RuntimeError,
    struct.error,
    tokenize.TokenError,
    zipfile.BadZipFile,
    zlib.error,
)


@dataclass(frozen=True, eq=False, init=False)
class Samples:
    """What the sensors saw, and what it was.

    Attributes:
        inputs: Sensor name to an array of shape `(N, …)`, uint8, int32 or floating point. Pictures
            are `(N, height, width, 3)`, uint8, in the order red, green, blue; int32 are whole
            numbers such as the ids of words.
        labels: `(N,)`, int64, positions in `class_names`; or what else `task` says, see its
            `checked`.
        task: What the labels mean. A sequence of names that is given stands for classes, each
            once. A class may have no sample.
        groups: `(N,)`, strings or integers: whom, which day or which site each sample is of, where
            that is known. Samples of one group are alike, so they are split together.

    Raises:
        InputError: There is no sample or no sensor, lengths differ, labels are not what `task`
            says, a float is NaN or infinite, a type is not uint8, int32 or float, an array holds
            nothing or has channels before height and width, or a group is neither a non-empty
            string nor an integer.
    """

    inputs: dict[str, NDArray[Any]]
    labels: NDArray[Any]
    task: Task
    groups: NDArray[Any] | None

    def __init__(
        self,
        inputs: Mapping[str, ArrayLike],
        labels: ArrayLike,
        task: Task | Sequence[str],
        groups: ArrayLike | None = None,
    ) -> None:
        if not isinstance(task, msgspec.Struct):
            task = Classification(_names(task))
        kept = task.checked(labels)
        if not inputs:
            raise InputError("samples have no sensor: expected at least one array beside the label")
        values = {
            "inputs": {name: _checked_input(name, x, len(kept)) for name, x in inputs.items()},
            "labels": kept,
            "task": task,
            "groups": None if groups is None else _checked_groups(groups, len(kept)),
        }
        for name, value in values.items():
            object.__setattr__(self, name, value)

    @property
    def class_names(self) -> tuple[str, ...]:
        """The classes, by label. Raises `InputError` where the labels are no classes."""
        if not isinstance(self.task, Classification):
            raise InputError(
                f"the data's labels are a {self.task}: expected classification, one class a "
                "sample, which is all that is known here"
            )
        return self.task.class_names

    def __len__(self) -> int:
        """Number of samples."""
        return len(self.labels)

    def __getitem__(self, rows: slice) -> Samples:
        """The samples of a slice, as `samples[:100]`; use `take` for indices or a mask."""
        if not isinstance(rows, slice):
            raise TypeError("samples are sliced, as in samples[2:5]; for indices use take()")
        return self._rows(rows)

    def take(self, indices: ArrayLike) -> Samples:
        """The samples at `indices` (integers, in that order) or where a boolean mask is true."""
        rows = np.asarray(indices)
        if rows.size == 0:
            rows = rows.astype(np.intp)
        return self._rows(rows)

    def _rows(self, rows: Any) -> Samples:
        return Samples(
            {name: values[rows] for name, values in self.inputs.items()},
            self.labels[rows],
            self.task,
            None if self.groups is None else self.groups[rows],
        )

    def learned(self) -> Task:
        """The task with what these labels say before anything is seen, such as frequencies."""
        return self.task.learned(self.labels)

    def frequencies(self) -> NDArray[np.float64]:
        """Share of each class, shape `(classes,)`, float64, summing to 1."""
        counts = np.bincount(self.labels, minlength=len(self.class_names))
        return np.asarray(counts / counts.sum(), np.float64)

    def check(self, sensors: Mapping[str, tuple[Sequence[int], str]]) -> None:
        """Raise unless the sensors, their shapes and types are exactly those expected.

        Args:
            sensors: Sensor name to the shape of one sample (without the leading N) and the name
                of its type, such as `((32, 32, 3), "uint8")`.

        Raises:
            InputError: A sensor is missing or unknown, or a shape or type differs.
        """
        missing = [name for name in sensors if name not in self.inputs]
        unknown = [name for name in self.inputs if name not in sensors]
        if missing or unknown:
            raise InputError(
                f"the data does not have the topology's sensors: expected {_listed(sensors)}; "
                f"came {_listed(self.inputs)} (missing: {_listed(missing)}; "
                f"unknown: {_listed(unknown)}). Rename the arrays or the topology's sensors"
            )
        for name, (shape, dtype) in sensors.items():
            values = self.inputs[name]
            if values.shape[1:] != tuple(shape):
                raise InputError(
                    f"sensor '{name}' has the wrong shape: expected {tuple(shape)} per sample, "
                    f"came {values.shape[1:]}. Read the data at the topology's size, or change "
                    "the sensor's shape in the topology"
                )
            if values.dtype != np.dtype(dtype):
                of_cut = " (of a model that was cut: cut it again with --byte-range)"
                raise InputError(
                    f"sensor '{name}' has the wrong type: expected {np.dtype(dtype)}, "
                    f"came {values.dtype}. Convert the array, or change the sensor's dtype "
                    f"in the topology{of_cut if values.dtype == np.uint8 else ''}"
                )

    def save_npz(self, path: str | os.PathLike[str]) -> None:
        """Write an `.npz`: an array per sensor, `label`, and the names of what it is.

        `class_names` where labels are classes, `label_names` of several labels, `value_names` and
        maybe `units` of a regression, `task`, as JSON, of any other task; and `group`, where that
        is known.

        The file appears, complete, by a rename. Raises InputError where it cannot be written.
        """
        arrays: dict[str, Any] = {
            **self.inputs,
            _LABEL: self.labels,
            **_said(self.task),
        }
        if self.groups is not None:
            arrays[_GROUP] = self.groups
        try:
            with new_file(Path(path)) as beside:
                _write_arrays(beside, arrays)
        except OSError as error:
            raise InputError(
                f"cannot write {path}: {error.strerror or error}. Choose a place with room"
            ) from error

    @classmethod
    def load_npz(cls, path: str | os.PathLike[str]) -> Samples:
        """Read an `.npz` as `save_npz` writes it; every array of another name is a sensor.

        Raises:
            InputError: The file is absent, unreadable, damaged or not an `.npz`, holds Python
                objects, lacks a key, or its arrays do not make `Samples`.
        """
        arrays = _read_arrays(Path(path))
        try:
            if _LABEL not in arrays:
                raise _missing(_LABEL, arrays)
            labels, groups = arrays.pop(_LABEL), arrays.pop(_GROUP, None)
            return cls(arrays, labels, _take_task(arrays), groups)
        except InputError as error:
            raise InputError(f"{path}: {error}") from error


class NoArchiveError(zipfile.BadZipFile):
    """Not even the beginning of an `.npz`."""


def npz_archive(file: BinaryIO) -> Any:
    """The `NpzFile` in an open file, to be closed; it and its arrays raise one of `DAMAGED`."""
    # What is no archive numpy takes for Python objects, and says how to load those.
    if file.read(2) != b"PK":
        raise NoArchiveError("no archive")
    file.seek(0)
    return np.load(file, allow_pickle=False)


def _write_arrays(path: Path, arrays: Mapping[str, NDArray[Any]]) -> None:
    # Not np.savez: it cannot store a sensor called "file", and it writes the time of day,
    # so that equal data would have different hashes.
    with zipfile.ZipFile(path, "w") as archive:
        for name, values in arrays.items():
            entry = zipfile.ZipInfo(f"{name}.npy")
            entry.compress_type = zipfile.ZIP_DEFLATED
            with archive.open(entry, "w", force_zip64=True) as file:
                np.lib.format.write_array(file, np.ascontiguousarray(values), allow_pickle=False)


def _read_arrays(path: Path) -> dict[str, NDArray[Any]]:
    try:
        # Opened here: np.load leaves a file open that it cannot make sense of.
        with path.open("rb") as file:
            start = file.read(len(np.lib.format.MAGIC_PREFIX))
            if start == np.lib.format.MAGIC_PREFIX:
                raise InputError(f"{path} is a single .npy array: expected an .npz with {_CONTENT}")
            file.seek(0)
            with npz_archive(file) as archive:
                return {key: archive[key] for key in archive.files}
    except InputError:
        raise
    except OSError as error:
        reason = error.strerror or str(error)
        raise InputError(f"cannot read {path}: {reason}. Expected an .npz file") from error
    except DAMAGED as error:
        raise InputError(
            f"{path} is damaged or not an .npz file ({error}): expected {_CONTENT}. "
            "Python objects are not accepted. Write the file again"
        ) from error


def _names(given: Any) -> Any:
    """Names of classes; whether they are any the task checks."""
    return given if isinstance(given, str) else tuple(given)


def _said(task: Task) -> dict[str, NDArray[Any]]:
    """What a file says of its labels: names, and all else where names do not say it."""
    key = next((key for key, kind in NAMES.items() if type(task) is kind), None)
    if key is None or getattr(task, "by", None) != getattr(NAMES[key](task.names), "by", None):
        return {_TASK: np.array([msgspec.json.encode(task).decode()], dtype=np.str_)}
    said = {key: np.array(task.names, dtype=np.str_)}
    if any(units := getattr(task, "units", ())):
        said[_UNITS] = np.array(units, dtype=np.str_)
    return said


def _take_task(arrays: dict[str, NDArray[Any]]) -> Task:
    """What the file says that its labels mean; the arrays that say it are taken out."""
    found = [key for key in (*NAMES, _TASK) if key in arrays]
    if not found:
        raise _missing(next(iter(NAMES)), arrays)
    if len(found) > 1:
        raise InputError(
            f"expected one of {_listed((*NAMES, _TASK))}, by what the labels are; came "
            f"{_listed(found)}. Leave out all but one"
        )
    said = _take_strings(arrays, found[0])
    if found[0] == _TASK:
        try:
            task: Task = msgspec.json.decode("".join(said), type=Task)
            return task
        except msgspec.DecodeError as error:
            raise InputError(f"'{_TASK}' is none that is known: {error}") from error
    if _UNITS in arrays:
        units = _take_strings(arrays, _UNITS)
        if found[0] != "value_names":
            raise InputError(f"units are of values; came '{_UNITS}' beside '{found[0]}'")
        return Regression(said, units)
    return NAMES[found[0]](said)


def _take_strings(arrays: dict[str, NDArray[Any]], key: str) -> tuple[str, ...]:
    names = arrays.pop(key)
    if names.dtype.kind != "U" or names.ndim != 1:
        raise InputError(
            f"'{key}' must be a one-dimensional array of strings; came {names.dtype} of shape "
            f"{names.shape}"
        )
    return tuple(names.tolist())


def _missing(key: str, arrays: Mapping[str, Any]) -> InputError:
    return InputError(f"'{key}' is missing: expected {_CONTENT}; came {_listed(arrays)}")


def _checked_groups(groups: ArrayLike, count: int) -> NDArray[Any]:
    values = np.asarray(groups)
    if values.dtype.kind not in "iuU" or values.shape != (count,):
        raise InputError(
            f"'{_GROUP}' must be strings or integers, one per sample ({count}); came "
            f"{values.dtype} of shape {values.shape}. No sensor may have this name"
        )
    if values.dtype.kind == "U" and (values == "").any():
        raise InputError(f"'{_GROUP}' of sample {int((values == '').argmax())} is empty: name it")
    return values


def _checked_input(name: str, array: ArrayLike, count: int) -> NDArray[Any]:
    if not isinstance(name, str) or not name or name in _KEYS:
        raise InputError(
            f"{name!r} is no name for a sensor: expected a non-empty string other than "
            f"{_listed(_KEYS)}"
        )
    values = np.asarray(array)
    if values.dtype not in (np.uint8, np.int32) and values.dtype.kind != "f":
        how = ": convert them, as in x.astype('int32')" if values.dtype.kind in "iu" else ""
        raise InputError(
            f"sensor '{name}' has type {values.dtype}: expected uint8 (pictures), floating point, "
            f"or int32 (whole numbers such as the ids of words){how}"
        )
    if values.ndim == 0 or len(values) != count:
        came = "a single value" if values.ndim == 0 else f"{len(values)}"
        raise InputError(
            f"sensor '{name}' has the wrong number of samples: expected {count}, one per "
            f"label; came {came}"
        )
    if not values.size:
        raise InputError(
            f"sensor '{name}' holds nothing: its samples have the shape {values.shape[1:]}; "
            "expected no dimension of 0"
        )
    if values.dtype == np.uint8 and values.ndim == 4 and values.shape[1] == 3 != values.shape[3]:
        raise InputError(
            f"sensor '{name}' has channels before height and width {values.shape[1:]}: expected "
            "pictures (height, width, 3). Write x.transpose(0, 2, 3, 1)"
        )
    if values.dtype.kind == "f":
        finite = np.isfinite(values.reshape(len(values), -1)).all(axis=1)
        if not finite.all():
            bad = np.flatnonzero(~finite)
            raise InputError(
                f"sensor '{name}' has NaN or infinite values in sample {bad[0]} "
                f"({bad.size} of {len(values)} samples): expected finite numbers. "
                "Replace or remove them"
            )
    return values


def _listed(names: Any) -> str:
    return ", ".join(f"'{name}'" for name in names) or "none"
