"""One scale a kernel: what is rounded again, by how much, and what is left alone."""

from typing import Any

import keras
import numpy as np
import pytest
from keras import layers
from numpy.typing import NDArray
from tensorflow.lite.python import schema_py_generated as schema

from edge_runtime.bundle.litert import LiteRTSection
from export import Compression, export_bundle
from export.flatbuffer import read
from export.litert import convert
from export.per_tensor import with_per_tensor_scales
from tests.export.conftest import Labeled
from tests.models import randomized

INPUTS = {"cam": (8, 8, 16), "edge": (8, 8, 16)}
INT8, INT32 = schema.TensorType.INT8, schema.TensorType.INT32


def section() -> Any:
    """Convolutions, one depthwise and one called twice, and dense layers, of 16 channels each."""
    inputs = {name: keras.Input(shape, name=name) for name, shape in INPUTS.items()}
    twice = layers.Conv2D(16, 1, activation="relu6")
    x = layers.Add()([twice(inputs["cam"]), twice(inputs["edge"])])
    x = layers.DepthwiseConv2D(3, padding="same", activation="relu6")(x)
    x = layers.Conv2D(16, 3, strides=4)(x)
    x = layers.Dense(16, activation="relu")(layers.Flatten()(x))
    return randomized(keras.Model(inputs, [layers.Dense(16)(x), layers.Dense(16)(x)], name="fog"))


def given(count: int = 32) -> dict[str, Any]:
    rng = np.random.default_rng(0)
    # Of unlike ranges, as then the layer that is called twice has two biases.
    scales = dict(zip(INPUTS, (1.0, 3.0), strict=True))
    return {
        n: scales[n] * rng.normal(size=(count, *s)).astype(np.float32) for n, s in INPUTS.items()
    }


@pytest.fixture(scope="module", params=[False, True], ids=["sends", "exit"])
def both(request: pytest.FixtureRequest) -> tuple[bytes, bytes]:
    before = convert(section(), "int8", representative=given(), exit=request.param)
    return before, with_per_tensor_scales(before)


def constants(content: bytes) -> list[tuple[Any, NDArray[Any], NDArray[Any]]]:
    """Each int8 kernel and bias: its tensor, what it stands for, and its scales."""
    model = read(content)
    found = []
    for graph in model.subgraphs:
        for tensor in graph.tensors:
            data = model.buffers[tensor.buffer].data
            if tensor.type in (INT8, INT32) and data is not None and tensor.quantization:
                values = data.view(np.int8 if tensor.type == INT8 else np.int32)
                scales = tensor.quantization.scale.astype(np.float64)
                shape = np.ones(len(tensor.shape), int)
                shape[tensor.quantization.quantizedDimension] = -1
                found.append((tensor, values.reshape(tensor.shape) * scales.reshape(shape), scales))
    return found


def test_all_but_depthwise_kernels_are_rounded_to_their_largest_scale(
    both: tuple[bytes, bytes],
) -> None:
    before, after = (constants(content) for content in both)
    assert len(before) == len(after)
    alone = 0
    for (tensor, old, scales), (_, new, own) in zip(before, after, strict=True):
        if len(own) == 1:
            assert own[0] == scales.max()
            assert np.abs(new - old).max() <= own[0] * (0.5 + 1e-6)
        else:  # the depthwise convolution's and its bias
            alone += 1
            assert tensor.shape[-1] == 16
            assert np.array_equal(new, old)
            assert np.array_equal(own, scales)
    assert alone == 2 * len(read(both[0]).subgraphs)
    assert len(before) > 5 * alone


def test_what_is_computed_hardly_changes_and_both_signatures_agree(
    both: tuple[bytes, bytes],
) -> None:
    before, after = map(LiteRTSection, both)
    assert len(both[1]) < len(both[0])
    x = given()
    wanted, got = before.with_exit(x), after.with_exit(x)
    for a, b in zip(got, wanted, strict=True):
        assert 0 < np.abs(a - b).max() < 0.1 * np.ptp(b)
    assert all(np.array_equal(a, b) for a, b in zip(after(x), got, strict=False))


@pytest.mark.parametrize("kind", ["none", "float16"])
def test_floats_have_no_scales(kind: Any) -> None:
    content = convert(section(), kind)
    assert with_per_tensor_scales(content) == content


def test_a_bundle_takes_it_by_name(model: Any, calibration: Labeled, tmp_path: Any) -> None:
    size = {}
    for name in ("int8", "int8+coarse"):
        report = export_bundle(
            model, tmp_path / name, calibration, compression={"top": Compression.parse(name)}
        )
        assert report.compression["top"] == name
        size[name] = report.bytes["top"]
    assert size["int8+coarse"] < size["int8"]
