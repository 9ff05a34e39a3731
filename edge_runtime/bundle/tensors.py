"""A section's tensors: their names, and the inputs that were not delivered."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from ..arrays import Array, TensorSpec
from ..errors import InputError
from ..topology import Topology

#: Name of the input with which a section asks for link-present flags.
PRESENT = "present"


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
        received = {name.partition("__")[0] for name in delivered}
        flags = [sender in received for sender in senders]
        inputs[PRESENT] = np.tile(np.array(flags, np.float32), (batch, 1))
    return inputs


class Section(Protocol):
    """One node's computation; `LiteRTSection` is one."""

    @property
    def inputs(self) -> Mapping[str, TensorSpec]:
        """Shape and dtype of each input by name, without the batch axis."""

    def with_exit(self, inputs: Mapping[str, Array]) -> tuple[Array, ...]:
        """Evaluate on all inputs, batch first: what is sent, and last the exit's answer if any."""


_T = TypeVar("_T")


def named(sender: str, outputs: tuple[_T, ...]) -> dict[str, _T]:
    """A sender's tensors under the names by which its receivers know them."""
    if len(outputs) == 1:
        return {sender: outputs[0]}
    return {f"{sender}__{k}": output for k, output in enumerate(outputs)}


def answer_in(outputs: tuple[Array, ...], *, exit: bool) -> Array:
    """The answer among a section's outputs, (batch, width).

    That of an exit is the last of them; of the output node all are, one after the other.
    """
    if exit or len(outputs) == 1:
        return outputs[-1]
    return np.concatenate(outputs, axis=1)


def messages(topology: Topology, sender: str, outputs: tuple[_T, ...]) -> dict[str, _T]:
    """What a node sends of its section's outputs, as `named`: all but what its exit answers."""
    return named(sender, outputs[:-1] if sender in topology.exits else outputs)
