"""What the labels of samples are: classes, several labels at once, or numbers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .errors import InputError

#: `classification`: one class a sample; `multi-label`: which of several labels hold, any number of
#: them; `regression`: one number or more.
TargetKind = Literal["classification", "multi-label", "regression"]

#: What the names are called, in a file and in messages.
NAMES: Mapping[TargetKind, str] = {
    "classification": "class_names",
    "multi-label": "label_names",
    "regression": "value_names",
}


@dataclass(frozen=True)
class Targets:
    """What the labels of samples are.

    Attributes:
        kind: See `TargetKind`.
        names: The classes, by label; or the labels or values, by column. Each once.
        units: Of regression alone: the unit of each value, such as `"m"`; or none.

    Raises:
        InputError: A kind is unknown, a name is empty or repeats, or units are not one for each
            value.
    """

    kind: TargetKind
    names: tuple[str, ...]
    units: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.kind not in get_args(TargetKind):
            raise InputError(
                f"expected targets of the kind {', '.join(get_args(TargetKind))}; came {self.kind}"
            )
        object.__setattr__(self, "names", _checked_names(NAMES[self.kind], self.names))
        object.__setattr__(self, "units", tuple(self.units))
        if self.units and (self.kind != "regression" or len(self.units) != len(self.names)):
            raise InputError(
                f"units are one for each value of a regression, or none; came {len(self.units)} "
                f"for {len(self.names)} {NAMES[self.kind]}"
            )

    def __str__(self) -> str:
        """The kind, and the names in their order."""
        units = f" in {', '.join(self.units)}" if self.units else ""
        return f"{self.kind} ({', '.join(self.names)}{units})"

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of the classes.

        Raises:
            InputError: These are no classes; so whatever knows classes alone refuses all else.
        """
        if self.kind != "classification":
            raise InputError(
                f"the data's labels are {self}: expected classification, one class a sample, "
                "which is all that models are made for so far"
            )
        return self.names

    def checked(self, labels: ArrayLike) -> NDArray[Any]:
        """The labels as they are kept, one row a sample.

        Returns:
            classification: int64 `(N,)`, positions in `names`; multi-label: uint8 `(N, names)`,
            0 or 1; regression: float32 `(N, names)`, where `(N,)` may be given for one value.

        Raises:
            InputError: There is no sample, or shape, type or a value is not of this kind.
        """
        values = np.asarray(labels)
        if values.ndim and not len(values):
            raise InputError("there are no samples: expected at least one")
        return _CHECKS[self.kind](values, self.names)

    def prior(self, labels: NDArray[Any]) -> NDArray[np.float64]:
        """What is known before anything is seen, float64 `(names,)`, from checked labels.

        classification: the share of each class, summing to 1; multi-label: the share of samples
        that have each label; regression: the mean of each value.
        """
        if self.kind == "classification":
            return np.bincount(labels, minlength=len(self.names)) / len(labels)
        return np.asarray(labels.mean(axis=0, dtype=np.float64))

    def counts(self, labels: NDArray[Any]) -> dict[str, int]:
        """Samples of each class, or with each label, by its name; empty for a regression."""
        if self.kind == "regression":
            return {}
        numbers = (
            np.bincount(labels, minlength=len(self.names))
            if self.kind == "classification"
            else labels.sum(axis=0, dtype=np.int64)
        )
        return dict(zip(self.names, numbers.tolist(), strict=True))


def _checked_names(what: str, names: Sequence[str]) -> tuple[str, ...]:
    words = what.replace("_", " ")
    if isinstance(names, str) or not all(isinstance(name, str) and name for name in names):
        raise InputError(f"{words} must be a sequence of non-empty strings; came {names!r}")
    repeated = sorted({name for name in names if list(names).count(name) > 1})
    if repeated:
        listed = ", ".join(f"'{name}'" for name in repeated)
        raise InputError(f"{words} must differ; {listed} repeats in {names!r}")
    return tuple(names)


def _classes(values: NDArray[Any], names: tuple[str, ...]) -> NDArray[Any]:
    if values.ndim != 1:
        raise InputError(f"labels must be one-dimensional, one per sample; came {values.shape}")
    if values.dtype.kind not in "iu":
        raise InputError(f"labels must be integers; came {values.dtype}")
    outside = np.flatnonzero((values < 0) | (values >= len(names)))
    if outside.size:
        raise InputError(
            f"label {values[outside[0]]} of sample {outside[0]} is out of range: expected 0 to "
            f"{len(names) - 1}, the positions in class_names {names} "
            f"({outside.size} labels are out of range)"
        )
    return values.astype(np.int64)


def _labels(values: NDArray[Any], names: tuple[str, ...]) -> NDArray[Any]:
    _check_columns(values, "label", names)
    if values.dtype.kind not in "iub":
        raise InputError(f"labels of several must be integers, 0 or 1; came {values.dtype}")
    wrong = np.argwhere((values != 0) & (values != 1))
    if wrong.size:
        row, column = wrong[0]
        raise InputError(
            f"label '{names[column]}' of sample {row} is {values[row, column]}: expected 0 or 1, "
            f"whether the sample has it ({len(wrong)} are neither)"
        )
    return values.astype(np.uint8)


def _values(values: NDArray[Any], names: tuple[str, ...]) -> NDArray[Any]:
    if values.ndim == 1:
        values = values[:, None]
    _check_columns(values, "value", names)
    if values.dtype.kind not in "iuf":
        raise InputError(f"values must be numbers; came {values.dtype}")
    with np.errstate(over="ignore"):
        kept = values.astype(np.float32)
    wrong = np.argwhere(~np.isfinite(kept))
    if wrong.size:
        row, column = wrong[0]
        raise InputError(
            f"value '{names[column]}' of sample {row} is {values[row, column]}: expected finite "
            f"numbers of float32 ({len(wrong)} are none). Replace them, or leave the samples out"
        )
    return kept


def _check_columns(values: NDArray[Any], what: str, names: tuple[str, ...]) -> None:
    if not names or values.ndim != 2 or values.shape[1] != len(names):
        raise InputError(
            f"expected an array (samples, {len(names)}), a column for each of the {what}s "
            f"{', '.join(names) or '(none is named)'}; came {values.shape}"
        )


_CHECKS: Mapping[TargetKind, Callable[[NDArray[Any], tuple[str, ...]], NDArray[Any]]] = {
    "classification": _classes,
    "multi-label": _labels,
    "regression": _values,
}
