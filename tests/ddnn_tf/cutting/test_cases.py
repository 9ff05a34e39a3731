"""What people bring, by the command line: cut and right, or refused in one line.

From public bug reports, by the number of each. What a file may hold beside the model, wrappers of
other libraries, layers of one's own and recurrences are in `test_loading` and `test_portable`.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from keras import layers

from ddnn_tf.cli import main
from ddnn_tf.cutting.partition import partition
from ddnn_tf.saved import load_model
from tests.commands import done, refused
from tests.models import randomized

pytestmark = pytest.mark.filterwarnings("ignore:You are saving your model as an HDF5 file")

Make = Callable[[Any], Any]


def model(make: Make, shape: tuple[int, ...] = (5,)) -> Any:
    """A model of one input, with a layer to cut at."""
    image = keras.Input(shape, name="image")
    x = layers.Dense(6, activation="tanh", name="middle")(image)
    return randomized(keras.Model(image, make(x), name="brought"), scale=1.0)


def numbers(shape: tuple[int, ...], count: int = 7) -> Any:
    return np.random.default_rng(2).normal(size=(count, *shape)).astype(np.float32)


def cut_by_command(path: Path, *options: str) -> tuple[Any, Any]:
    """The cut model, and what the command says of it."""
    out = path.parent / "cut.keras"
    said = done(main, "partition", path, "--nodes", "edge,cloud", "--out", out, "--json", *options)
    return load_model(out), said.json


def answers(cut: Any, x: Any) -> Any:
    """With nothing failed."""
    (sensor,) = cut.topology.sensor_names
    return cut.simulate({sensor: x}, np.ones(len(cut.topology.elements), bool))


def as_it_is(x: Any) -> Any:
    return np.asarray(x)


def with_other(x: Any) -> Any:
    p = np.asarray(x)
    return np.concatenate([1 - p, p], axis=1)


def by_sigmoid(x: Any) -> Any:
    return 1 / (1 + np.exp(-np.asarray(x, np.float64)))


def by_softmax(x: Any) -> Any:
    e = np.exp(np.asarray(x, np.float64))
    return e / e.sum(axis=1, keepdims=True)


# -- keras#14678, #5074: a Sequential model at the top ---------------------------------------------


def _sequential() -> Any:
    return randomized(
        keras.Sequential(
            [
                keras.Input((6, 6, 2), name="image"),
                layers.Conv2D(4, 3, activation="relu", name="middle"),
                layers.Flatten(),
                layers.Dense(3, activation="softmax", name="scores"),
            ]
        ),
        scale=1.0,
    )


@pytest.mark.parametrize("suffix", ["keras", "h5"])
def test_a_sequential_file_is_cut(suffix: str, tmp_path: Path) -> None:
    original, path = _sequential(), tmp_path / f"model.{suffix}"
    original.save(path)
    cut, said = cut_by_command(path, "--at", "middle")
    x = numbers((6, 6, 2))
    np.testing.assert_allclose(answers(cut, x), original(x), atol=1e-6)
    assert said["heads"][0]["task"] == "classification"
    assert said["heads"][0]["added"] == []


def test_a_sequential_model_in_memory_is_cut() -> None:
    x = numbers((6, 6, 2))
    never_called = _sequential()
    called = keras.Sequential(layers=_sequential().layers)
    called(x)
    for original in (never_called, called):
        cut = partition(original, ["edge", "cloud"], at=["middle"]).model
        np.testing.assert_allclose(answers(cut, x), original(x), atol=1e-6)


# -- what the outputs are --------------------------------------------------------------------------


@dataclass(frozen=True)
class Case:
    """A model by how it ends and what it was trained by; what its answers are."""

    make: Make
    loss: Any
    kind: str
    right: Callable[[Any], Any] = as_it_is
    shape: tuple[int, ...] = (5,)
    options: tuple[str, ...] = ()
    at: tuple[str, ...] = field(default=("--at", "middle"))


def dense(count: int, activation: Any = None, **more: Any) -> Make:
    return lambda x: layers.Dense(count, activation=activation, name="scores", **more)(x)  # type: ignore[no-any-return, unused-ignore]


def _autoencoder(x: Any) -> Any:
    code = layers.Dense(2, name="code")(x)
    return layers.Dense(5, name="decoded")(code)


def _averaged(x: Any) -> Any:
    return layers.Average()([layers.Dense(3, activation="softmax")(x) for _ in range(2)])


def _per_place(x: Any) -> Any:
    return layers.GlobalAveragePooling1D()(layers.Dense(3, activation="softmax")(x))


def _labels(x: Any) -> Any:
    return layers.Concatenate()([layers.Dense(1, activation="sigmoid")(x) for _ in range(3)])


def _softmax(last: Any) -> Make:
    return lambda x: last(layers.Dense(3, activation="softmax")(x))  # type: ignore[no-any-return, unused-ignore]


def _bce() -> Any:
    return keras.losses.BinaryCrossentropy(from_logits=True)


CASES: dict[str, Case] = {
    # tflite-micro#1209
    "lstm": Case(
        lambda x: layers.Dense(1)(layers.LSTM(4, name="memory")(x)), "mse", "regression",
        shape=(6, 3),
    ),
    "box": Case(dense(4), "mae", "regression"),
    "steering": Case(dense(1, "tanh"), "mse", "regression"),
    "count": Case(dense(1, "relu"), "mean_squared_error", "regression"),
    "count, poisson": Case(dense(1, "exponential"), "poisson", "regression"),
    "autoencoder": Case(_autoencoder, "mse", "regression"),
    "embedding": Case(
        lambda x: layers.UnitNormalization()(layers.Dense(4)(x)), "mse", "regression"
    ),
    "value by word": Case(dense(1), None, "regression", options=("--task", "regression")),
    # keras#2775
    "average": Case(_averaged, "categorical_crossentropy", "classification"),
    # tensorflow#35199
    "softmax, flatten": Case(_softmax(layers.Flatten()), None, "classification"),
    "softmax, reshape": Case(_softmax(layers.Reshape((3,))), None, "classification"),
    "softmax, float32": Case(
        _softmax(layers.Activation("linear", dtype="float32")), None, "classification"
    ),
    "softmax at each place": Case(
        _per_place, "sparse_categorical_crossentropy", "classification", shape=(4, 3)
    ),
    # several labels
    "labels, reshape": Case(
        lambda x: layers.Reshape((5,))(dense(5, "sigmoid")(x)), "binary_crossentropy",
        "multi-label",
    ),
    "labels together": Case(_labels, None, "multi-label"),
    "labels from logits": Case(dense(5), _bce(), "multi-label", by_sigmoid),
    "hard sigmoid": Case(
        dense(1, "hard_sigmoid"), "binary_crossentropy", "classification", with_other
    ),
    "sigmoid": Case(dense(1, "sigmoid"), None, "classification", with_other),
    "logits": Case(
        dense(3), keras.losses.SparseCategoricalCrossentropy(from_logits=True), "classification",
        by_softmax,
    ),
}  # fmt: skip


@pytest.mark.parametrize("suffix", ["keras", "h5"])
@pytest.mark.parametrize("name", CASES)
def test_answers_are_what_the_outputs_mean(name: str, suffix: str, tmp_path: Path) -> None:
    case = CASES[name]
    original, path = model(case.make, case.shape), tmp_path / f"model.{suffix}"
    if case.loss is not None:
        original.compile("sgd", case.loss)
    original.save(path)
    cut, said = cut_by_command(path, *case.at, *case.options)
    x = numbers(case.shape)
    np.testing.assert_allclose(answers(cut, x), case.right(original(x)), rtol=1e-4, atol=1e-6)
    assert said["heads"][0]["task"] == case.kind == cut.task.kind
    assert said["max_relative_error"] <= 1e-6


@pytest.mark.parametrize(
    ("make", "loss"),
    [
        (dense(1), None),
        (dense(3), None),
        (dense(1, "tanh"), None),
        (dense(3, "softmax"), "mse"),
        (dense(1, "sigmoid"), "mse"),
        (dense(5, "sigmoid"), "categorical_crossentropy"),
    ],
)
def test_what_is_open_is_asked_with_its_option(make: Make, loss: Any, tmp_path: Path) -> None:
    original, path = model(make), tmp_path / "model.keras"
    if loss is not None:
        original.compile("sgd", loss)
    original.save(path)
    out = tmp_path / "cut.keras"
    line = refused(main, "partition", path, "--nodes", "edge,cloud", "--out", out)
    assert "of layer 'scores'" in line
    assert "--task classification, multi-label or regression" in line
    assert not out.exists()


# -- what is beside the outputs --------------------------------------------------------------------


@keras.saving.register_keras_serializable("cases")
def own_metric(expected: Any, got: Any) -> Any:
    return keras.ops.mean(expected * got)


@pytest.mark.parametrize("suffix", ["keras", "h5"])
def test_a_metric_of_ones_own_does_not_matter(suffix: str, tmp_path: Path) -> None:
    original, path = model(dense(2)), tmp_path / f"model.{suffix}"
    original.compile("adam", "mse", metrics=[own_metric])
    original.fit(numbers((5,)), numbers((2,)), verbose=0)
    original.save(path)
    cut, _ = cut_by_command(path)
    x = numbers((5,))
    np.testing.assert_allclose(answers(cut, x), original(x), rtol=1e-5, atol=1e-6)


def _adapted() -> Any:
    norm = layers.Normalization(name="norm")
    norm.adapt(np.random.default_rng(0).normal(100, 30, (50, 5)).astype(np.float32))
    image = keras.Input((5,), name="image")
    # Not `randomized`, which would take away what was adapted.
    return keras.Model(image, layers.Dense(3, activation="softmax")(norm(image)))


def _efficientnet() -> Any:
    made = keras.applications.EfficientNetB0(weights=None, input_shape=(32, 32, 3), classes=4)
    rng = np.random.default_rng(0)
    (norm,) = (x for x in made.layers if isinstance(x, layers.Normalization))
    norm.adapt((rng.uniform(0, 1, (20, 32, 32, 3)) * [1.0, 0.5, 0.3]).astype(np.float32))
    return made


@pytest.mark.parametrize(
    ("make", "suffix"), [(_adapted, "keras"), (_adapted, "h5"), (_efficientnet, "keras")]
)
def test_what_was_adapted_is_kept(make: Callable[[], Any], suffix: str, tmp_path: Path) -> None:
    original, path = make(), tmp_path / f"model.{suffix}"
    original.save(path)
    cut, _ = cut_by_command(path)
    x = 100 + 30 * numbers(original.inputs[0].shape[1:])
    np.testing.assert_allclose(answers(cut, x), original(x), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("policy", ["mixed_float16", "float16", "mixed_bfloat16"])
def test_half_precision_by_the_command(policy: str, tmp_path: Path) -> None:
    """tensorflow#46380, #40930; with the float32 head that Keras' guide has, and without."""
    image = keras.Input((5,), name="image")
    x = layers.Dense(6, activation="tanh", dtype=policy, name="middle")(image)
    x = layers.Dense(3, dtype=policy)(x)
    x = layers.Activation("softmax", dtype="float32" if "mixed" in policy else policy)(x)
    original, path = randomized(keras.Model(image, x), scale=1.0), tmp_path / "model.keras"
    original.save(path)
    cut, said = cut_by_command(path)
    assert said["heads"][0]["added"] == []
    assert len(said["float32"]) >= 2
    given = numbers((5,))
    expected = np.asarray(keras.ops.cast(original(given), "float32"))
    np.testing.assert_allclose(answers(cut, given), expected, atol=0.02)
    assert said["float32_error"] <= 0.02


def test_an_operation_in_hdf5_says_to_save_it_otherwise(tmp_path: Path) -> None:
    original = model(lambda x: keras.ops.sigmoid(layers.Dense(3)(x)))
    original.save(tmp_path / "model.h5")
    out = ("--nodes", "edge,cloud", "--out", tmp_path / "cut.keras")
    line = refused(main, "partition", tmp_path / "model.h5", *out)
    assert "layer 'sigmoid', is an operation of keras.ops (Sigmoid)" in line
    assert "save the model as .keras" in line
    original.save(tmp_path / "model.keras")
    done(main, "partition", tmp_path / "model.keras", *out)
