from typing import Any

import keras
import numpy as np
import pytest
from keras import layers
from numpy.typing import NDArray

from edge_runtime.bundle.litert import LiteRTSection
from edge_runtime.bundle.manifest import Quantization
from edge_runtime.errors import InputError
from export.litert import convert
from tests.models import randomized

Arrays = dict[str, NDArray[Any]]

# Largest error over max(1, max|reference|). Float32 adds up in another order. Float16 rounds each
# weight by 2^-11 at most and the errors of some hundred terms hardly add up. With 8 bits a weight
# or an activation is off by 1/254 of its range, in each of three layers.
TOLERANCES: dict[Quantization, float] = {
    "none": 1e-5,
    "float16": 2e-3,
    "dynamic": 0.05,
    "int8": 0.05,
}


@pytest.fixture(scope="module")
def section() -> Any:
    """A section with a picture, a message and link-present flags, as a node has."""
    inputs = {
        "cam": keras.Input((16, 16, 3), dtype="uint8", name="cam"),
        "edge": keras.Input((8,), name="edge"),
        "present": keras.Input((2,), name="present"),
    }
    x = layers.Rescaling(1 / 255, dtype="float32")(inputs["cam"])
    x = layers.Conv2D(8, 3, strides=2, padding="same", use_bias=False)(x)
    x = layers.ReLU()(layers.BatchNormalization()(x))
    x = layers.Concatenate()([layers.Flatten()(x), inputs["edge"], inputs["present"]])
    x = layers.Dense(64, activation="relu")(x)
    return randomized(keras.Model(inputs, [layers.Dense(32)(x), layers.Dense(4)(x)], name="fog"))


@pytest.fixture(scope="module")
def inputs() -> Arrays:
    rng = np.random.default_rng(0)
    return {
        "cam": rng.integers(0, 256, (48, 16, 16, 3)).astype(np.uint8),
        "edge": rng.normal(size=(48, 8)).astype(np.float32),
        "present": rng.integers(0, 2, (48, 2)).astype(np.float32),
    }


@pytest.fixture(scope="module")
def artifacts(section: Any, inputs: Arrays) -> dict[Quantization, bytes]:
    return {q: convert(section, q, representative=inputs) for q in TOLERANCES}


@pytest.mark.parametrize("quantization", TOLERANCES)
def test_an_artifact_computes_what_its_section_does(
    quantization: Quantization,
    section: Any,
    inputs: Arrays,
    artifacts: dict[Quantization, bytes],
) -> None:
    got = LiteRTSection(artifacts[quantization])(inputs)
    expected = [np.asarray(x) for x in section(inputs)]
    errors = []
    for x, y in zip(got, expected, strict=True):
        assert x.dtype == np.float32
        errors.append(np.abs(x - y).max() / max(1, np.abs(y).max()))
        assert np.ptp(y, axis=0).max() > 0.5, "outputs that hardly differ would prove nothing"
    assert max(errors) <= TOLERANCES[quantization]
    if quantization != "none":
        assert max(errors) > 1e-5, "nothing was quantized"


@pytest.mark.parametrize("quantization", TOLERANCES)
def test_inputs_keep_name_shape_and_type_and_the_batch_is_free(
    quantization: Quantization, inputs: Arrays, artifacts: dict[Quantization, bytes]
) -> None:
    section = LiteRTSection(artifacts[quantization])
    assert {n: (s.shape, s.dtype) for n, s in section.inputs.items()} == {
        n: (x.shape[1:], x.dtype.name) for n, x in inputs.items()
    }
    together = section(inputs)
    for start, end in ((0, 1), (1, 6), (6, 48)):
        part = section({n: x[start:end] for n, x in inputs.items()})
        for x, y in zip(part, together, strict=True):
            assert x.shape == y[start:end].shape
            # Dynamic ranges are found per batch row or per batch, as the kernel likes.
            limit = 0.05 if quantization == "dynamic" else 1e-5
            assert x == pytest.approx(y[start:end], abs=limit * max(1.0, float(np.abs(y).max())))


def test_fewer_bits_make_smaller_artifacts(artifacts: dict[Quantization, bytes]) -> None:
    size = {quantization: len(content) for quantization, content in artifacts.items()}
    assert size["float16"] < 0.6 * size["none"]
    assert size["dynamic"] < 0.4 * size["none"]
    assert size["int8"] < 0.4 * size["none"]


def test_int8_without_data_is_refused_with_the_sections_name(section: Any) -> None:
    with pytest.raises(InputError, match="int8 of section 'fog' needs representative inputs"):
        convert(section, "int8")
    with pytest.raises(InputError, match="int8 of section 'fog' needs representative inputs"):
        convert(section, "int8", representative={})


def test_converting_leaves_the_section_as_it_was(section: Any, inputs: Arrays) -> None:
    before = [np.asarray(x) for x in section(inputs)]
    convert(section, "int8", representative={n: x[:2] for n, x in inputs.items()})
    assert all((x == np.asarray(y)).all() for x, y in zip(before, section(inputs), strict=True))


@pytest.mark.parametrize("nested", [False, True])
def test_long_sums_are_as_exact_as_in_keras(nested: bool) -> None:
    """A dense layer on a whole picture; added up in one go it would be off by a multiple."""
    pixels = keras.Input((12288,), name="cam")
    weights = np.random.default_rng(0).uniform(-0.02, 0.04, (12288, 16)).astype(np.float32)
    dense = layers.Dense(16, use_bias=not nested)
    hidden = layers.Dense(16, activation="relu")
    inner = keras.Sequential([keras.Input((12288,)), dense, hidden])
    output = inner(pixels) if nested else hidden(dense(pixels))
    section = keras.Model({"cam": pixels}, output, name="edge")
    dense.kernel.assign(weights)
    hidden.kernel.assign(np.eye(16))
    x = np.random.default_rng(1).uniform(0, 2, (32, 12288)).astype(np.float32)
    exact = np.maximum(x.astype(np.float64) @ weights, 0)
    (got,) = LiteRTSection(convert(section))({"cam": x})
    assert np.abs(got - exact).max() / np.abs(exact).max() < 1.5e-6
    assert [type(layer) for layer in inner.layers] == [layers.Dense, layers.Dense], "a copy"
