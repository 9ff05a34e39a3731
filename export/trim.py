"""A `.tflite` in fewer bytes that computes the same.

Only how it is written changes: operations, weights and scales stay bit by bit what the converter
made of them.
"""

from __future__ import annotations

from typing import Any

from .flatbuffer import read, written


def trimmed(content: bytes) -> bytes:
    """The same model in fewer bytes; LiteRT computes the same with it, bit by bit.

    Left out are names of tensors within the model, buffers of tensors that have no weights, and
    quantization that says nothing. Equal vectors are stored once: each channel of int8 has a zero
    point of 8 bytes, all of them 0, once for its kernel and once for its bias.
    """
    model = read(content)
    for graph in model.subgraphs:
        ends = {*graph.inputs, *graph.outputs}
        for i, tensor in enumerate(graph.tensors):
            if i not in ends:
                tensor.name = None
            if model.buffers[tensor.buffer].data is None:
                tensor.buffer = 0  # by convention the one that is empty
            if _says_nothing(tensor.quantization):
                tensor.quantization = None
    holders = [*(model.metadata or []), *(t for graph in model.subgraphs for t in graph.tensors)]
    kept = sorted({0, *(x.buffer for x in holders)})
    model.buffers = [model.buffers[i] for i in kept]
    for holder in holders:
        holder.buffer = kept.index(holder.buffer)
    model.metadataBuffer = None  # where metadata were before they had names
    return written(model)


def _says_nothing(quantization: Any) -> bool:
    fields = ("min", "max", "scale", "zeroPoint", "details")
    return quantization is None or all(getattr(quantization, x) is None for x in fields)
