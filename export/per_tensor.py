"""An int8 `.tflite` with per-tensor scales: one for each kernel, not for each of its channels."""

from __future__ import annotations

from typing import Any

import numpy as np
from tensorflow.lite.python import schema_py_generated as schema

from .flatbuffer import read, written
from .trim import trimmed

#: Whose kernels get one scale. A depthwise convolution has one small filter a channel, and folding
#: batch norm into it spreads their ranges wide, so that most would round to next to nothing
#: (Krishnamoorthi, "Quantizing deep convolutional networks for efficient inference", 2018).
KINDS = (schema.BuiltinOperator.CONV_2D, schema.BuiltinOperator.FULLY_CONNECTED)
_TYPES = {schema.TensorType.INT8: np.int8, schema.TensorType.INT32: np.int32}


def with_per_tensor_scales(content: bytes) -> bytes:
    """Round the kernels of convolutions and dense layers again, to the largest of their scales.

    The scales of a bias are those of its kernel times that of the layer's input, and follow. Saves
    8 bytes a channel; costs those channels precision whose weights are small.
    """
    model = read(content)
    for graph in model.subgraphs:
        kinds = [code.builtinCode for code in model.operatorCodes]
        taken = (op.inputs[1:] for op in graph.operators if kinds[op.opcodeIndex] in KINDS)
        # Each once, whichever layers share it.
        for i in sorted({int(i) for inputs in taken for i in inputs if i >= 0}):
            _give_one_scale(model, graph.tensors[i])
    return trimmed(written(model))


def _give_one_scale(model: Any, tensor: Any) -> None:
    """Round a constant to one scale; what has one or none stays as it is."""
    old = tensor.quantization
    if old is None or old.scale is None or len(old.scale) == 1:
        return
    largest = old.scale.max()
    along = np.ones(len(tensor.shape), int)
    along[old.quantizedDimension] = -1
    shares = (old.scale.astype(np.float64) / largest).reshape(along)
    kind = _TYPES[tensor.type]
    values = model.buffers[tensor.buffer].data.view(kind).reshape(tensor.shape)
    rounded = np.rint(values * shares).astype(kind)
    # In a buffer of its own: two signatures share theirs, and each is met.
    tensor.buffer = len(model.buffers)
    model.buffers.append(schema.BufferT(data=rounded.ravel().view(np.uint8)))
    tensor.quantization = schema.QuantizationParametersT(
        scale=np.array([largest]), zeroPoint=np.zeros(1, np.int64)
    )
