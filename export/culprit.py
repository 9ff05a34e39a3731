"""Which layer of a section it is that fails."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import keras


def first_failing(section: keras.Model, fails: Callable[[keras.Model], bool]) -> Any:
    """The first operation with which a section fails, found by halving; None if it cannot be told.

    Args:
        section: functional, and `fails(section)` holds.
        fails: whether a model of a section's first operations fails; its inputs are some of the
            section's, its outputs all that nothing within it takes.
    """
    calls = list(calls_of(section)) if hasattr(section, "_nodes_by_depth") else []
    low, high = 0, len(calls) - 1
    while low < high:
        middle = (low + high) // 2
        if fails(_first(section, calls[: middle + 1])):
            high = middle
        else:
            low = middle + 1
    return calls[low].operation if calls else None


def calls_of(model: Any) -> Iterator[Any]:
    """The calls of a functional model, senders first; Keras keeps them under no public name."""
    for depth in sorted(model._nodes_by_depth, reverse=True):
        for node in model._nodes_by_depth[depth]:
            if node.operation and not node.is_input:
                yield node


def _first(section: keras.Model, calls: list[Any]) -> keras.Model:
    """A model of some first calls of a section."""
    taken = {id(x) for call in calls for x in call.input_tensors}
    outputs = [x for call in calls for x in call.outputs if id(x) not in taken]
    inputs = [x for x in section.inputs if id(x) in taken]
    return keras.Model(inputs, outputs, name=section.name)
