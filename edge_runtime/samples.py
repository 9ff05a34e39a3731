"""Labeled samples of several sensors, in memory and as an NPZ file."""

from __future__ import annotations

import os
import struct
import tokenize
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .errors import InputError
from .files import new_file
from .task import Classification

_LABEL = "label"


_CLASS_NAMES = "class_names"


#: Optional: whom, which day or which site each sample is of.
_GROUP = "group"


#: Names in a file that no sensor may have.
_KEYS = (_LABEL, _CLASS_NAMES, _GROUP)


_CONTENT = "one uint8 or float array per sensor, 'label' (integers) and 'class_names' (strings)"


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


@dataclass(frozen=True, eq=False)
class Samples:
    """What the sensors saw, and what it was.

    Attributes:
        inputs: Sensor name to an array of shape `(N, …)`, uint8 or floating point. Pictures are
            `(N, height, width, 3)`, uint8, in the order red, green, blue.
        labels: `(N,)`, int64; positions in `class_names`.
        class_names: The classes, each once. A class may have no sample.
        groups: `(N,)`, strings or integers: whom, which day or which site each sample is of, where
            that is known. Samples of one group are alike, so they are split together.

    Raises:
        InputError: There is no sample or no sensor, lengths differ, a label is out of range, a
            float is NaN or infinite, a type is neither uint8 nor float, a class name repeats, or
            a group is neither a non-empty string nor an integer.
    """

    inputs: dict[str, NDArray[Any]]
    labels: NDArray[np.int64]
    class_names: tuple[str, ...]
    groups: NDArray[Any] | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "class_names", _checked_names(self.class_names))
        object.__setattr__(self, "labels", _checked_labels(self.labels, self.class_names))
        if not self.inputs:
            raise InputError("samples have no sensor: expected at least one array beside the label")
        checked = {name: _checked_input(name, a, self.labels) for name, a in self.inputs.items()}
        object.__setattr__(self, "inputs", checked)
        if self.groups is not None:
            object.__setattr__(self, "groups", _checked_groups(self.groups, len(self.labels)))

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
            self.class_names,
            None if self.groups is None else self.groups[rows],
        )

    @property
    def task(self) -> Classification:
        """What the labels mean."""
        return Classification(self.class_names, tuple(self.frequencies().tolist()))

    def frequencies(self) -> NDArray[np.float64]:
        """Share of each class, shape `(classes,)`, float64, summing to 1."""
        counts = np.bincount(self.labels, minlength=len(self.class_names))
        return counts.astype(np.float64) / len(self)

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
        """Write an `.npz`: one array per sensor, `label` (int64), `class_names`, maybe `group`.

        The file appears, complete, by a rename. Raises InputError where it cannot be written.
        """
        arrays: dict[str, Any] = {
            **self.inputs,
            _LABEL: self.labels,
            _CLASS_NAMES: np.array(self.class_names, dtype=np.str_),
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
        """Read an `.npz` as `save_npz` writes it; every array beside the three is a sensor.

        Raises:
            InputError: The file is absent, unreadable, damaged or not an `.npz`, holds Python
                objects, lacks a key, or its arrays do not make `Samples`.
        """
        arrays = _read_arrays(Path(path))
        for key in (_LABEL, _CLASS_NAMES):
            if key not in arrays:
                raise InputError(
                    f"{path}: '{key}' is missing: expected {_CONTENT}; came {_listed(arrays)}"
                )
        labels = arrays.pop(_LABEL)
        names = arrays.pop(_CLASS_NAMES)
        if names.dtype.kind != "U" or names.ndim != 1:
            raise InputError(
                f"{path}: 'class_names' must be a one-dimensional array of strings; "
                f"came {names.dtype} of shape {names.shape}"
            )
        try:
            groups = arrays.pop(_GROUP, None)
            return cls(arrays, labels, tuple(names.tolist()), groups)
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


def _checked_names(names: Sequence[str]) -> tuple[str, ...]:
    if isinstance(names, str) or not all(isinstance(name, str) and name for name in names):
        raise InputError(f"class names must be a sequence of non-empty strings; came {names!r}")
    repeated = sorted({name for name in names if list(names).count(name) > 1})
    if repeated:
        raise InputError(f"class names must differ; {_listed(repeated)} repeats in {names!r}")
    return tuple(names)


def _checked_labels(labels: ArrayLike, class_names: tuple[str, ...]) -> NDArray[np.int64]:
    values = np.asarray(labels)
    if values.ndim != 1:
        raise InputError(f"labels must be one-dimensional, one per sample; came {values.shape}")
    if values.size == 0:
        raise InputError("there are no samples: expected at least one")
    if values.dtype.kind not in "iu":
        raise InputError(f"labels must be integers; came {values.dtype}")
    outside = np.flatnonzero((values < 0) | (values >= len(class_names)))
    if outside.size:
        raise InputError(
            f"label {values[outside[0]]} of sample {outside[0]} is out of range: expected 0 to "
            f"{len(class_names) - 1}, the positions in class_names {class_names} "
            f"({outside.size} labels are out of range)"
        )
    return values.astype(np.int64)


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


def _checked_input(name: str, array: ArrayLike, labels: NDArray[np.int64]) -> NDArray[Any]:
    if not isinstance(name, str) or not name or name in _KEYS:
        raise InputError(
            f"{name!r} is no name for a sensor: expected a non-empty string other than "
            f"{_listed(_KEYS)}"
        )
    values = np.asarray(array)
    if values.dtype != np.uint8 and values.dtype.kind != "f":
        raise InputError(
            f"sensor '{name}' has type {values.dtype}: expected uint8 (pictures) or floating point"
        )
    if values.ndim == 0 or len(values) != len(labels):
        came = "a single value" if values.ndim == 0 else f"{len(values)}"
        raise InputError(
            f"sensor '{name}' has the wrong number of samples: expected {len(labels)}, one per "
            f"label; came {came}"
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
