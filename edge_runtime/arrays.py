"""Arrays, and what is promised of one: the types that every room shares."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol

import msgspec
import numpy as np
from numpy.typing import NDArray

#: Of any shape and type.
Array = NDArray[Any]
#: float64 of one axis.
Vector = NDArray[np.float64]


class TensorSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One tensor of a section, without its batch axis."""

    shape: tuple[int, ...]
    dtype: str


class Labeled(Protocol):
    """Views and labels that belong together; `Samples` is one, whose arrays are checked."""

    @property
    def inputs(self) -> Mapping[str, NDArray[Any]]:
        """By sensor, samples first."""

    @property
    def labels(self) -> NDArray[Any]:
        """Target of every sample, samples first: its class, labels or values, see `task`."""


class LabeledArrays(NamedTuple):
    """Views and labels as a caller has them; whoever uses them checks what it needs."""

    inputs: Mapping[str, NDArray[Any]]
    labels: NDArray[Any]
