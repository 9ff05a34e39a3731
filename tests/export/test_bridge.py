"""Every kind of layer that sections are made of computes the same in tf_keras."""

import os
from importlib.util import find_spec
from typing import Any

import keras
import numpy as np
import pytest
from keras import layers

from edge_runtime.errors import InputError
from export.bridge import counterpart, legacy
from tests.models import randomized

# Found and not imported: how it is imported is what is tested.
pytestmark = pytest.mark.skipif(
    find_spec("tensorflow_model_optimization") is None, reason="needs ddnn-tf[compress]"
)

FLAT, SERIES, MAP = (6,), (8, 3), (8, 8, 3)


def section(shape: tuple[int, ...], make: Any) -> Any:
    x = keras.Input(shape, name="left")
    return randomized(keras.Model({"left": x}, make(x), name="top"))


def probe(model: Any, seed: int = 0) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    return {x.name: rng.normal(size=(4, *x.shape[1:])).astype(x.dtype) for x in model.inputs}


def both(x: Any, layer: Any) -> Any:
    """The layer on a tensor and on another made of it."""
    return layer([x, layers.Activation("tanh")(x)])


# What no layer below sees is in the middle, so that a wrong default would show.
LAYERS: dict[str, tuple[tuple[int, ...], Any]] = {
    "dense": (FLAT, layers.Dense(5, activation="relu")),
    "softmax": (FLAT, layers.Dense(5, activation="softmax")),
    "no bias": (FLAT, layers.Dense(5, use_bias=False, kernel_regularizer="l2")),
    "sigmoid": (FLAT, layers.Activation("sigmoid")),
    "relu6": (FLAT, layers.ReLU(max_value=0.5, negative_slope=0.1)),
    "leaky": (FLAT, layers.LeakyReLU(negative_slope=0.2)),
    "prelu": (FLAT, layers.PReLU()),
    "elu": (FLAT, layers.ELU(alpha=0.7)),
    "rescaling": (FLAT, layers.Rescaling(0.3, offset=0.1)),
    "norm": (FLAT, layers.BatchNormalization(center=False, epsilon=0.1)),
    "layer norm": (FLAT, layers.LayerNormalization(epsilon=0.1)),
    "dropout": (FLAT, layers.Dropout(0.5)),
    "repeat": (FLAT, layers.RepeatVector(3)),
    "reshape": (FLAT, layers.Reshape((3, 2))),
    "conv1d": (SERIES, layers.Conv1D(4, 3, padding="same", strides=2)),
    "permute": (SERIES, layers.Permute((2, 1))),
    "crop1d": (SERIES, layers.Cropping1D((1, 2))),
    "mean1d": (SERIES, layers.GlobalAveragePooling1D()),
    "conv2d": (MAP, layers.Conv2D(4, 3, strides=2, padding="same", activation="relu")),
    "grouped": (MAP, layers.Conv2D(6, 3, groups=3, dilation_rate=2)),
    "depthwise": (MAP, layers.DepthwiseConv2D(3, depth_multiplier=2, padding="same")),
    "separable": (MAP, layers.SeparableConv2D(4, 3)),
    "transposed": (MAP, layers.Conv2DTranspose(4, 3, strides=2)),
    "pad": (MAP, layers.ZeroPadding2D(((0, 1), (2, 0)))),
    "crop": (MAP, layers.Cropping2D(((0, 1), (2, 0)))),
    "pool": (MAP, layers.MaxPooling2D(2, padding="same")),
    "mean": (MAP, layers.AveragePooling2D(3, strides=2)),
    "global": (MAP, layers.GlobalAveragePooling2D(keepdims=True)),
    "most": (MAP, layers.GlobalMaxPooling2D()),
    "up": (MAP, layers.UpSampling2D((2, 3))),
    "flatten": (MAP, layers.Flatten()),
}
MERGES = {
    "add": layers.Add(),
    "subtract": layers.Subtract(),
    "multiply": layers.Multiply(),
    "average": layers.Average(),
    "maximum": layers.Maximum(),
    "minimum": layers.Minimum(),
    "concatenate": layers.Concatenate(),
}


def same(model: Any) -> None:
    inputs = probe(model, seed=1)
    made = counterpart(model, probe(model))
    expected = np.asarray(model(inputs, training=False))
    got = np.asarray(made.model([inputs[x.name] for x in model.inputs], training=False))
    np.testing.assert_allclose(got, expected, atol=1e-5, rtol=1e-5)
    assert np.ptp(expected, axis=0).max() > 1e-2  # it would show if inputs did not matter


def test_what_was_frozen_may_learn_again() -> None:
    # As the first node of a cut model, whose parts above it alone were trained on.
    model = section(FLAT, layers.Dense(5))
    model.trainable = False
    found = counterpart(model, probe(model))
    dense = found.model.layers[-1]
    assert len(dense.trainable_weights) == 2
    dense.set_weights([w + 1 for w in dense.get_weights()])
    before = model.layers[-1].get_weights()
    found.read_back(found.model)
    after = model.layers[-1].get_weights()
    assert all(np.array_equal(b, a + 1) for a, b in zip(before, after, strict=True))


@pytest.mark.parametrize("kind", LAYERS)
def test_a_layer_computes_the_same(kind: str) -> None:
    shape, layer = LAYERS[kind]
    same(section(shape, layer))


@pytest.mark.parametrize("kind", MERGES)
def test_a_merge_computes_the_same(kind: str) -> None:
    same(section(FLAT, lambda x: both(x, MERGES[kind])))


def test_a_nested_model_is_opened_and_a_shared_layer_stays_one() -> None:
    inner_input = keras.Input(FLAT)
    shared = layers.Dense(6, activation="tanh", name="shared")
    inner = keras.Model(inner_input, shared(shared(inner_input)), name="inner")
    # A second layer by the name of one inside.
    model = section(FLAT, lambda x: layers.Dense(3, name="shared")(inner(inner(x))))
    same(model)
    made = counterpart(model, probe(model))
    assert sorted(made.ours) == ["shared", "shared_1"]
    assert len(made.model.layers) == 3


def test_bytes_are_taken_as_floats() -> None:
    x = keras.Input(MAP, dtype="uint8", name="cam")
    model = randomized(
        keras.Model({"cam": x}, layers.Dense(3)(layers.Flatten()(layers.Rescaling(0.01)(x))))
    )
    given = {"cam": np.random.default_rng(0).integers(0, 256, (4, *MAP)).astype(np.uint8)}
    made = counterpart(model, given)
    got = np.asarray(made.model(list(given.values())))
    np.testing.assert_allclose(got, np.asarray(model(given)), atol=1e-5, rtol=1e-5)


def test_weights_come_back_to_where_they_were() -> None:
    model = section(FLAT, lambda x: layers.Dense(4)(layers.BatchNormalization()(x)))
    made = counterpart(model, probe(model))
    expected = [w + 1 for w in model.get_weights()]
    made.model.set_weights([w + 1 for w in made.model.get_weights()])
    made.read_back(made.model)
    for got, wanted in zip(model.get_weights(), expected, strict=True):
        np.testing.assert_array_equal(got, wanted)


@keras.saving.register_keras_serializable("tests")
class Own(layers.Layer):
    def call(self, x: Any) -> Any:
        return 2 * x


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (Own(name="mine"), "section 'top': Own 'mine' is a layer that tf_keras does not have"),
        (lambda x: keras.ops.sin(x), "Sin 'sin"),
        # One name, two functions: Keras 3 follows PyTorch.
        (layers.Activation("hard_sigmoid", name="gate"), "'gate' computes something else"),
    ],
)
def test_what_has_no_twin_is_named(make: Any, said: str) -> None:
    model = section(FLAT, make)
    with pytest.raises(InputError, match=said):
        counterpart(model, probe(model))


def test_importing_it_turns_nothing_into_old_keras() -> None:
    legacy()
    import tensorflow as tf

    assert "TF_USE_LEGACY_KERAS" not in os.environ
    assert tf.keras.__version__.startswith("3.")
