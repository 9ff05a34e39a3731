"""A `.tflite` in fewer bytes that computes the same.

Only how it is written changes: operations, weights and scales stay bit by bit what the converter
made of them.
"""

from __future__ import annotations

from typing import Any

import flatbuffers
import numpy as np
from numpy.typing import NDArray
from tensorflow.lite.python import schema_py_generated as schema

__all__ = ["trimmed"]

Array = NDArray[Any]

#: What marks a `.tflite`; and of how many bytes the places where weights begin are multiples.
IDENTIFIER, ALIGNMENT = b"TFL3", 16


class _Sharing(flatbuffers.Builder):
    """Writes equal strings and equal vectors of numbers once, and refers to them many times.

    Vectors of tables are written as they are: they hold distances, which mean something else
    elsewhere.
    """

    def __init__(self) -> None:
        super().__init__(1024)
        self._written: dict[tuple[str, bytes], int] = {}

    def CreateNumpyVector(self, x: Array) -> int:  # noqa: N802
        key = x.dtype.str, x.tobytes()
        if key not in self._written:
            if x.dtype == np.uint8:  # LiteRT's schema asks it of weights; Python's forgets
                self.Prep(ALIGNMENT, x.nbytes)
            self._written[key] = super().CreateNumpyVector(x)
        return self._written[key]

    def CreateString(self, s: bytes | str, *how: str) -> int:  # noqa: N802
        key = "string", s.encode() if isinstance(s, str) else s
        if key not in self._written:
            self._written[key] = super().CreateString(s, *how)
        return self._written[key]


def trimmed(content: bytes) -> bytes:
    """The same model in fewer bytes; LiteRT computes the same with it, bit by bit.

    Left out are names of tensors within the model, buffers of tensors that have no weights, and
    quantisation that says nothing. Equal vectors are stored once: each channel of int8 has a zero
    point of 8 bytes, all of them 0, once for its kernel and once for its bias.
    """
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAsModel(content, 0))
    metadata = model.metadata or []
    for graph in model.subgraphs:
        ends = {*graph.inputs, *graph.outputs}
        for i, tensor in enumerate(graph.tensors):
            if i not in ends:
                tensor.name = None
            if model.buffers[tensor.buffer].data is None:
                tensor.buffer = 0  # by convention the one that is empty
            if _says_nothing(tensor.quantization):
                tensor.quantization = None
    holders = [*metadata, *(t for graph in model.subgraphs for t in graph.tensors)]
    kept = sorted({0, *(x.buffer for x in holders)})
    model.buffers = [model.buffers[i] for i in kept]
    for holder in holders:
        holder.buffer = kept.index(holder.buffer)
    model.metadataBuffer = None  # where metadata were before they had names
    builder = _Sharing()
    builder.Finish(model.Pack(builder), file_identifier=IDENTIFIER)
    return bytes(builder.Output())


def _says_nothing(quantization: Any) -> bool:
    fields = ("min", "max", "scale", "zeroPoint", "details")
    return quantization is None or all(getattr(quantization, x) is None for x in fields)
