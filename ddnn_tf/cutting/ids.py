"""Whole numbers that a model takes, such as the ids of words: which of them it knows."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np

from .graph import Call, Graph, Value

#: Below which numbers stay where no layer says how many there are.
_FEW = 256
#: What hands ids on as they are.
_AS_THEY_ARE = (
    keras.layers.Flatten,
    keras.layers.Identity,
    keras.layers.Permute,
    keras.layers.RepeatVector,
    keras.layers.Reshape,
)


def count_of(graph: Graph, value: Value) -> int:
    """How many ids an input may be, from 0 on: as few as the least table that it goes into has."""
    found = [_FEW]
    for call in graph.consumers.get(value, ()):
        layer: Any = call.operation
        if isinstance(layer, keras.layers.Embedding):
            found.append(int(layer.input_dim))
        elif isinstance(layer, keras.layers.CategoryEncoding):
            found.append(int(layer.num_tokens))
        elif _hands_on(call):
            found.append(count_of(graph, call.outputs[0]))
    return min(found)


def _hands_on(call: Call) -> bool:
    return isinstance(call.operation, _AS_THEY_ARE) or type(call.operation).__name__ == "Cast"


def drawn(graph: Graph, value: Value, samples: int, rng: np.random.Generator) -> Any:
    """Random ids, int32 (samples, …)."""
    shape = (samples, *(int(d or 0) for d in value.shape))
    return rng.integers(0, count_of(graph, value), shape, dtype=np.int32)
