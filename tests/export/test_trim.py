"""What is left of a `.tflite` computes the same, bit by bit."""

from collections.abc import Callable, Iterator
from typing import Any, get_args

import keras
import numpy as np
import pytest
from keras import layers
from tensorflow.lite.python import schema_py_generated as schema

from edge_runtime.bundle.litert import LiteRTSection
from edge_runtime.bundle.manifest import Quantization
from export import litert
from export.flatbuffer import ALIGNMENT
from export.litert import convert
from export.trim import trimmed
from tests.models import randomized

INPUTS = {"cam": (8, 8, 3), "edge": (8,)}


@pytest.fixture(scope="module")
def section() -> Any:
    """Convolutions of equally many channels, one of them depthwise, as in MobileNetV2."""
    inputs = {name: keras.Input(shape, name=name) for name, shape in INPUTS.items()}
    x = layers.Conv2D(16, 3, strides=2, padding="same", activation="relu6")(inputs["cam"])
    x = layers.DepthwiseConv2D(3, padding="same", activation="relu6")(x)
    x = layers.Conv2D(16, 1)(x)
    x = layers.Concatenate()([layers.Flatten()(x), inputs["edge"]])
    x = layers.Dense(16, activation="relu")(x)
    return randomized(keras.Model(inputs, [layers.Dense(16)(x), layers.Dense(4)(x)], name="fog"))


def given(count: int = 32) -> dict[str, Any]:
    rng = np.random.default_rng(0)
    return {n: rng.normal(size=(count, *s)).astype(np.float32) for n, s in INPUTS.items()}


@pytest.fixture(params=[False, True], ids=["sends", "exit"])
def untrimmed(
    request: pytest.FixtureRequest, section: Any, monkeypatch: pytest.MonkeyPatch
) -> Callable[[Quantization], bytes]:
    """What the converter gives."""
    monkeypatch.setattr(litert, "trimmed", lambda content: content)
    return lambda kind: convert(section, kind, representative=given(), exit=request.param)


def starts(content: bytes) -> Iterator[int]:
    """Where the weights lie."""
    model = schema.Model.GetRootAsModel(content, 0)
    for i in range(model.BuffersLength()):
        table = model.Buffers(i)._tab
        if field := table.Offset(4):
            yield table.Vector(field)


def zero_points(content: bytes) -> set[int]:
    """Where those of 16 channels lie, in the first signature's graph."""
    graph = schema.Model.GetRootAsModel(content, 0).Subgraphs(0)
    found = (graph.Tensors(i).Quantization() for i in range(graph.TensorsLength()))
    tables = [q._tab for q in found if q is not None and q.ZeroPointLength() == 16]
    return {table.Vector(table.Offset(10)) for table in tables}


@pytest.mark.parametrize("kind", get_args(Quantization))
def test_fewer_bytes_compute_the_same_bit_by_bit(
    kind: Quantization, untrimmed: Callable[[Quantization], bytes]
) -> None:
    before = untrimmed(kind)
    after = trimmed(before)
    assert len(after) < len(before) - 400
    assert trimmed(after) == after
    whole, less = LiteRTSection(before), LiteRTSection(after)
    assert less.inputs == whole.inputs
    assert less.has_exit == whole.has_exit
    for count in (32, 1):
        x = given(count)
        pairs = zip(less.with_exit(x) + less(x), whole.with_exit(x) + whole(x), strict=True)
        assert all(a.tobytes() == b.tobytes() for a, b in pairs)


def test_zero_points_of_equally_many_channels_are_stored_once(
    untrimmed: Callable[[Quantization], bytes],
) -> None:
    before = untrimmed("int8")
    assert len(zero_points(before)) >= 10, "of five kernels and their biases"
    assert len(zero_points(trimmed(before))) == 1


@pytest.mark.parametrize("kind", get_args(Quantization))
def test_weights_begin_where_kernels_like_them(kind: Quantization, section: Any) -> None:
    found = list(starts(convert(section, kind, representative=given())))
    assert len(found) > 5
    assert not any(start % ALIGNMENT for start in found)
