"""A `.tflite` read into Python's objects of its schema, and written in few bytes."""

from __future__ import annotations

import flatbuffers
import numpy as np
from tensorflow.lite.python import schema_py_generated as schema

from edge_runtime.arrays import Array

#: What marks a `.tflite`; and of how many bytes the places where weights begin are multiples.
IDENTIFIER, ALIGNMENT = b"TFL3", 16


def read(content: bytes) -> schema.ModelT:
    """The model; its arrays are views of `content`, to be replaced and not written to."""
    return schema.ModelT.InitFromObj(schema.Model.GetRootAsModel(content, 0))


def written(model: schema.ModelT) -> bytes:
    """The model as a `.tflite`, in which equal vectors are stored once."""
    builder = _Sharing()
    builder.Finish(model.Pack(builder), file_identifier=IDENTIFIER)
    return bytes(builder.Output())


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
