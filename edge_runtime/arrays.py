"""Arrays, and what is promised of one: the types that every room shares."""

from __future__ import annotations

from typing import Any

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
