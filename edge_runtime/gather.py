"""What a node does with what has reached it: pure logic, no I/O."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from .errors import InputError

__all__ = ["PRESENT", "TensorSpec", "complete"]

#: Name of the input with which a section asks for link-present flags.
PRESENT = "present"


class TensorSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One tensor of a section, without its batch axis."""

    shape: tuple[int, ...]
    dtype: str


def complete(
    delivered: Mapping[str, NDArray[Any]],
    specs: Mapping[str, TensorSpec],
    senders: tuple[str, ...],
) -> dict[str, NDArray[Any]]:
    """All inputs that a section expects: zeros where nothing was delivered, flags if it asks.

    `delivered`: tensors by input name, batch first, at least one; `specs`: every input of the
    section; `senders`: of the incoming links, in topology order. Raises `InputError` for a tensor
    that is unknown or of another shape or dtype.
    """
    batch = None
    for name, tensor in delivered.items():
        spec = specs.get(name)
        if spec is None:
            raise InputError(f"unknown input {name!r}; expected {', '.join(specs)}")
        if tensor.shape[1:] != spec.shape or tensor.dtype != spec.dtype:
            raise InputError(
                f"input {name!r}: expected {spec.dtype} of shape (batch, "
                f"{', '.join(map(str, spec.shape))}), got {tensor.dtype} {tensor.shape}"
            )
        if batch not in (None, len(tensor)):
            raise InputError(f"input {name!r}: expected a batch of {batch}, got {len(tensor)}")
        batch = len(tensor)
    if batch is None:
        raise InputError("a silent node has nothing to compute; expected at least one input")
    inputs = {
        name: delivered[name] if name in delivered else np.zeros((batch, *s.shape), s.dtype)
        for name, s in specs.items()
        if name != PRESENT
    }
    if PRESENT in specs:
        heard = {name.partition("__")[0] for name in delivered}
        flags = [sender in heard for sender in senders]
        inputs[PRESENT] = np.tile(np.array(flags, np.float32), (batch, 1))
    return inputs
