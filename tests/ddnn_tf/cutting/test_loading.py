"""Models from the files that people have: by today's Keras, by Keras 2, and what is none."""

import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import keras
import numpy as np
import pytest
from keras import layers

from ddnn_tf.cli import main
from ddnn_tf.cutting.loading import read_model
from ddnn_tf.cutting.partition import partition
from edge_runtime.errors import InputError
from edge_runtime.samples import Samples
from export.bridge import legacy
from tests.commands import done, refused
from tests.models import randomized, residual_net

OLD, TFMOT = legacy()
# Both say of their older formats that they are older.
pytestmark = [
    pytest.mark.filterwarnings("ignore:You are saving your model as an HDF5 file"),
    pytest.mark.filterwarnings("ignore:The object being serialized includes a `lambda`"),
]
KINDS = ("h5", "keras", "folder")


def saved(model: Any, folder: Path, kind: str) -> Path:
    """A model of Keras 2 as a file of one of its three kinds."""
    path = folder / ("model" if kind == "folder" else f"model.{kind}")
    model.save(path, **({"save_format": "tf"} if kind == "folder" else {}))
    return path


def old_model(make: Callable[..., Any], *shapes: tuple[int, ...]) -> Any:
    """A model of Keras 2, no weight of which is zero, and trained for something."""
    inputs = [OLD.Input(shape, name=f"in{k}") for k, shape in enumerate(shapes)]
    model = OLD.Model(inputs, make(OLD.layers, *inputs))
    rng = np.random.default_rng(0)
    model.set_weights(
        [
            rng.uniform(0.5, 1, w.shape) if "variance" in w.name else rng.normal(0, 0.5, w.shape)
            for w in model.weights
        ]
    )
    model.compile("adam", "categorical_crossentropy")
    return model


def _nested(lib: Any, x: Any) -> Any:
    """A functional and a Sequential model, each called twice."""
    image = OLD.Input((5,), name="inner_in")
    inner = OLD.Model(image, lib.Dense(5, activation="tanh")(image), name="inner")
    stack = OLD.Sequential([OLD.Input((5,)), lib.Dense(5, activation="relu")], name="stack")
    return lib.Dense(3)(lib.Add()([stack(inner(x)), inner(stack(x))]))


def _operations(lib: Any, x: Any, y: Any) -> Any:
    """What Keras 2 writes as a function's name: arithmetic, slices, lists of tensors."""
    import tensorflow as tf

    z = tf.concat([y[:, :2], tf.nn.relu(y[:, 2:]) * 0.5], 1)
    return lib.Dense(3)(1.0 - z * 2.0 + x)


MODELS: dict[str, tuple[Callable[..., Any], *tuple[tuple[int, ...], ...]]] = {
    "attention": (lambda lib, x, y: lib.Flatten()(lib.Attention()([x, y])), (6, 4), (5, 4)),
    "bidirectional": (
        lambda lib, x: lib.Bidirectional(lib.LSTM(4, return_sequences=True))(x),
        (6, 3),
    ),
    "conv lstm": (lambda lib, x: lib.Flatten()(lib.ConvLSTM2D(3, 3)(x)), (4, 6, 6, 2)),
    "depthwise": (lambda lib, x: lib.Flatten()(lib.DepthwiseConv2D(3)(x)), (8, 8, 3)),
    "hard sigmoid": (lambda lib, x: lib.Dense(3, activation="hard_sigmoid")(x), (5,)),
    "hard sigmoid layer": (lambda lib, x: lib.Activation("hard_sigmoid")(x), (5,)),
    "gru": (lambda lib, x: lib.GRU(4)(x), (6, 3)),
    "gru, first form": (lambda lib, x: lib.GRU(4, reset_after=False)(x), (6, 3)),
    "heads": (lambda lib, x: lib.Flatten()(lib.MultiHeadAttention(2, 4)(x, x)), (6, 4)),
    "lstm": (lambda lib, x: lib.LSTM(4, recurrent_activation="hard_sigmoid")(x), (6, 3)),
    "nested": (_nested, (5,)),
    "norm": (lambda lib, x: lib.LayerNormalization()(lib.BatchNormalization()(x)), (6, 4)),
    "operations": (_operations, (5,), (5,)),
    "separable": (lambda lib, x: lib.Flatten()(lib.SeparableConv2D(4, 3)(x)), (8, 8, 3)),
    "spatial dropout": (lambda lib, x: lib.Flatten()(lib.SpatialDropout1D(0.2)(x)), (6, 3)),
    "threshold": (lambda lib, x: lib.ThresholdedReLU(0.3)(lib.LeakyReLU(0.2)(x)), (5,)),
    "transposed": (lambda lib, x: lib.Flatten()(lib.Conv2DTranspose(2, 3)(x)), (8, 8, 3)),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", MODELS)
def test_a_file_of_keras_2_answers_as_it_did(name: str, kind: str, tmp_path: Path) -> None:
    make, *shapes = MODELS[name]
    model = old_model(make, *shapes)
    rng = np.random.default_rng(1)
    inputs = [rng.normal(0, 2, (8, *shape)).astype(np.float32) for shape in shapes]
    expected = np.asarray(model(inputs, training=False))
    found = read_model(saved(model, tmp_path, kind))
    assert found.loss == "categorical_crossentropy"
    got = np.asarray(found.model(inputs, training=False))
    assert np.ptp(expected, axis=0).max() > 1e-2
    np.testing.assert_allclose(got, expected, atol=1e-5)


def test_a_gru_of_the_first_keras_2_has_the_first_form(tmp_path: Path) -> None:
    """Which had no other, and so did not write it."""
    model = old_model(lambda lib, x: lib.GRU(4, reset_after=False)(x), (6, 3))
    path = saved(model, tmp_path, "h5")
    with h5py.File(path, "r+") as file:
        config = json.loads(file.attrs["model_config"])
        del config["config"]["layers"][1]["config"]["reset_after"]
        file.attrs["model_config"] = json.dumps(config)
    x = np.random.default_rng(0).normal(size=(4, 6, 3)).astype(np.float32)
    np.testing.assert_allclose(read_model(path).model([x]), model([x]), atol=1e-5)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda lib, x: lib.LocallyConnected1D(2, 3, name="own")(x),
         "layer 'own' of class LocallyConnected1D, which Keras 2 had and Keras 3 does not"),
        (lambda lib, x: lib.LSTM(2, time_major=True, name="own")(x),
         r"layer 'own' \(LSTM\) was written by Keras 2 with time_major=True"),
        (lambda lib, x: lib.Lambda(lambda y: 2 * y, name="own")(x),
         "layer 'own' of class Lambda, which a file does not hold; .*--import LAYERS.py"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("kind", ["h5", "keras"])
def test_what_keras_3_does_not_have_is_named(
    make: Callable[..., Any], said: str, kind: str, tmp_path: Path
) -> None:
    path = saved(old_model(make, (6, 3)), tmp_path, kind)
    with pytest.raises(InputError, match=said):
        read_model(path)


def test_a_function_that_does_more_than_compute_is_refused(tmp_path: Path) -> None:
    path = saved(old_model(lambda lib, x: x * 2.0, (3,)), tmp_path, "h5")
    with h5py.File(path, "r+") as file:
        config = file.attrs["model_config"].replace('"math.multiply"', '"io.write_file"')
        file.attrs["model_config"] = config
    with pytest.raises(InputError, match=r"layer 'tf.math.multiply.*' calls tf.io.write_file"):
        read_model(path)


# -- training state --------------------------------------------------------------------------------


@keras.saving.register_keras_serializable("tests")
def own_loss(expected: Any, got: Any) -> Any:
    return keras.ops.mean(keras.ops.abs(expected - got))


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
@pytest.mark.parametrize("loss", ["mse", own_loss, lambda a, b: keras.ops.mean(a - b)])
def test_training_state_that_cannot_be_read_does_not_matter(
    loss: Any, suffix: str, tmp_path: Path
) -> None:
    model = residual_net()
    model.compile("adam", loss, metrics=[lambda a, b: keras.ops.mean(a * b)])
    path = tmp_path / f"model{suffix}"
    model.save(path)
    found = read_model(path)
    x = np.random.default_rng(0).normal(size=(4, 8, 8, 3)).astype(np.float32)
    np.testing.assert_allclose(found.model(x), model(x), atol=1e-6)
    assert found.loss == "mse" if loss == "mse" else found.loss is not None
    model.compile("adam", keras.losses.BinaryCrossentropy(from_logits=True))
    model.save(path)
    said = read_model(path).loss
    assert said["class_name"] == "BinaryCrossentropy"
    assert said["config"]["from_logits"] is True


def test_an_h5_with_an_old_optimizer_is_cut(tmp_path: Path) -> None:
    """As trained files are that packages ship."""
    make = lambda lib, x: lib.Dense(3, activation="softmax")(lib.Dense(4)(x))  # noqa: E731
    model = old_model(make, (5,))
    path = saved(model, tmp_path, "h5").rename(tmp_path / "model.hdf5")
    with h5py.File(path, "r+") as file:
        training = json.loads(file.attrs["training_config"])
        training["optimizer_config"]["config"] = {"lr": 1e-4, "decay": 0.0, "epsilon": 1e-8}
        file.attrs["training_config"] = json.dumps(training)
        file.attrs["keras_version"] = "2.0.5"
    cut = tmp_path / "cut.keras"
    done(main, "partition", path, "--nodes", "edge,cloud", "--out", cut)
    x = np.random.default_rng(0).normal(size=(4, 5)).astype(np.float32)
    got = keras.models.load_model(cut)({"in0": x}, training=False)
    np.testing.assert_allclose(got, model(x), atol=1e-6)


# -- what is no model ------------------------------------------------------------------------------


def test_what_is_no_keras_model_says_what_to_do(tmp_path: Path) -> None:
    model = residual_net()
    weights = tmp_path / "model.weights.h5"
    model.save_weights(weights)
    plain = tmp_path / "plain"
    model.export(plain, verbose=False)
    (tmp_path / "empty").mkdir()
    with zipfile.ZipFile(tmp_path / "other.pt", "w") as archive:
        archive.writestr("data.pkl", b"")
    (tmp_path / "model.tflite").write_bytes(b"\x1c\x00\x00\x00TFL3")
    for name, said in {
        "model.weights.h5": "holds weights alone.*load_weights",
        "plain": r"a SavedModel that holds what a model computes.*model.save\('model.keras'\)",
        "empty": "a folder without saved_model.pb; expected a .keras file",
        "none.keras": "cannot be read",
        "other.pt": "an archive without config.json",
        "model.tflite": "neither an archive nor HDF5",
    }.items():
        with pytest.raises(InputError, match=said) as caught:
            read_model(tmp_path / name)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("kind", ["h5", "keras"])
def test_wrappers_of_model_optimization_are_taken_off_first(kind: str, tmp_path: Path) -> None:
    model = old_model(lambda lib, x: lib.Dense(3, name="scores")(x), (5,))
    pruned = TFMOT.sparsity.keras.prune_low_magnitude(model)
    with pytest.raises(InputError, match=r"tfmot.sparsity.keras.strip_pruning\(model\)"):
        read_model(saved(pruned, tmp_path, kind))
    read_model(saved(TFMOT.sparsity.keras.strip_pruning(pruned), tmp_path, kind))
    aware = TFMOT.quantization.keras.quantize_model(model)
    with pytest.raises(InputError, match=r"quantize_layer.*before tfmot\.quantization\.keras"):
        read_model(saved(aware, tmp_path, kind))


def test_a_lambda_is_named_in_both_kinds_of_files(tmp_path: Path) -> None:
    image = keras.Input((4,))
    for name, layer in {
        "layer 'own' of class Lambda, which a file does not hold": layers.Lambda(
            lambda x: 2 * x, name="own"
        ),
        "the activation of layer 'own' is a lambda": layers.Dense(
            3, activation=lambda x: 2 * x, name="own"
        ),
    }.items():
        for suffix in ("h5", "keras"):
            path = tmp_path / f"model.{suffix}"
            keras.Model(image, layer(image)).save(path)
            line = refused(main, "partition", path, "--nodes", "a,b", "--out", tmp_path / "c.keras")
            assert name in line
            assert "--import LAYERS.py" in line


# -- layers of one's own ---------------------------------------------------------------------------

OWN = """
import keras
from beside import FACTOR

@keras.saving.register_keras_serializable("shop")
class Scaled(keras.layers.Layer):
    def call(self, x):
        return FACTOR * x
"""


def test_layers_of_ones_own_are_imported_at_each_command(tmp_path: Path) -> None:
    """In processes of their own, as this one would know the layer from the first command on."""
    import subprocess
    import sys

    (tmp_path / "beside.py").write_text("FACTOR = 3.0\n")
    (tmp_path / "own_layers.py").write_text(OWN)
    make = (
        "import numpy as np, keras, own_layers\n"
        "x = image = keras.Input((4,), name='image')\n"
        "x = keras.layers.Dense(4, name='first')(own_layers.Scaled(name='scaled')(x))\n"
        "keras.Model(image, keras.layers.Dense(3, name='scores')(x)).save('model.keras')\n"
    )
    subprocess.run([sys.executable, "-c", make], cwd=tmp_path, check=True)
    rng = np.random.default_rng(0)
    inputs = {"image": rng.normal(size=(60, 4)).astype(np.float32)}
    Samples(inputs, np.arange(60) % 3, ("0", "1", "2")).save_npz(tmp_path / "data.npz")

    def ran(*words: str) -> tuple[int, str]:
        command = [sys.executable, "-m", "ddnn_tf.cli.app", *words]
        done = subprocess.run(command, cwd=tmp_path, check=False, capture_output=True, text=True)
        return done.returncode, done.stderr

    nodes = ("--nodes", "edge,cloud", "--at", "first", "--task", "classification")
    cut = ("partition", "model.keras", *nodes, "--out", "c.keras")
    code, said = ran(*cut)
    assert code == 2
    assert "layer 'scaled' of class Scaled" in said
    assert "--import LAYERS.py" in said
    own = ("--import", "own_layers.py")
    for words in (
        cut,
        ("train", "--start", "c.keras", "--data", "data.npz", "--epochs", "1", "--out", "t.keras"),
        ("evaluate", "t.keras", "--data", "data.npz"),
        ("export", "t.keras", "--data", "data.npz", "--out", "bundle"),
    ):
        code, said = ran(*words, *own)
        assert code == 0, said


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("absent.py", None, "expected a Python file"),
        ("layers.txt", "", "expected a Python file"),
        ("broken.py", "x = 1\nx.y\n", r"AttributeError: .*\(line 2\)"),
        ("wrong.py", "def f(:\n", r"SyntaxError: .*\(line 1\)"),
        ("json.py", "", "a module 'json' is there already; rename the file"),
    ],
)
def test_a_file_that_cannot_be_imported_is_named(
    name: str, text: str | None, said: str, tmp_path: Path
) -> None:
    import re

    residual_net().save(tmp_path / "model.keras")
    if text is not None:
        (tmp_path / name).write_text(text)
    out = ("--nodes", "edge,cloud", "--out", tmp_path / "cut.keras")
    words = ("partition", tmp_path / "model.keras", *out, "--import", tmp_path / name)
    assert re.search(f"--import .*{said}", refused(main, *words))


# -- what was adapted from data --------------------------------------------------------------------


def test_an_adapted_norm_keeps_what_it_learned(tmp_path: Path) -> None:
    data = np.random.default_rng(0).normal(100, 30, (50, 8, 8, 3)).astype(np.float32)
    x = image = keras.Input((8, 8, 3), name="image")
    norm = layers.Normalization(name="norm")
    norm.adapt(data)
    x = layers.Conv2D(4, 3, name="conv")(norm(x))
    # Twice the terms of a block, so that export makes the section again, too.
    x = layers.Dense(3, name="scores")(layers.Flatten()(layers.UpSampling2D(4)(x)))
    model = keras.Model(image, x)
    kernel = model.get_layer("conv").kernel
    kernel.assign(np.random.default_rng(1).normal(size=kernel.shape))
    expected = keras.ops.softmax(model(data))
    assert np.ptp(np.asarray(expected), axis=0).max() > 1e-2
    for nodes, at in ((["edge", "cloud"], ["conv"]), (["edge", "cloud"], ["norm"])):
        cut = partition(model, nodes, at=at, task="classification")
        np.testing.assert_allclose(cut.model({"image": data}, training=False), expected, atol=1e-6)
        cut.model.save(tmp_path / "cut.keras")
        again = keras.models.load_model(tmp_path / "cut.keras")
        np.testing.assert_allclose(again({"image": data}, training=False), expected, atol=1e-6)


def test_efficientnet_with_statistics_is_cut() -> None:
    model = keras.applications.EfficientNetB0(weights=None, input_shape=(32, 32, 3), classes=5)
    rng = np.random.default_rng(0)
    (norm,) = (x for x in model.layers if isinstance(x, layers.Normalization))
    norm.adapt((rng.uniform(0, 1, (20, 32, 32, 3)) * [1.0, 0.5, 0.3]).astype(np.float32))
    cut = partition(model, ["edge", "fog", "cloud"], task="classification")
    assert cut.max_relative_error <= 1e-6
    x = rng.uniform(0, 255, (4, 32, 32, 3)).astype(np.float32)
    (sensor,) = cut.model.topology.sensor_names
    got = cut.model({sensor: x}, training=False)
    np.testing.assert_allclose(got, model(x, training=False), atol=1e-6)


# -- sizes -----------------------------------------------------------------------------------------


def _dynamic() -> Any:
    """Any length, in a shared layer and a nested model."""
    x = series = keras.Input((None, 4), name="series")
    shared = layers.Conv1D(4, 3, padding="same", name="shared")
    inner = keras.Input((None, 4), name="inner_in")
    nested = keras.Model(inner, layers.Conv1D(4, 1, name="within")(inner) * 2.0, name="nested")
    x = shared(shared(x)) + nested(x)
    x = layers.GlobalAveragePooling1D(name="mean")(x)
    return randomized(keras.Model(series, layers.Dense(3, name="scores")(x), name="any"))


@pytest.mark.parametrize("shape", ["series=16,4", "16,4"])
def test_a_dynamic_input_gets_a_size(shape: str, tmp_path: Path) -> None:
    model = _dynamic()
    path, cut = tmp_path / "model.keras", tmp_path / "cut.keras"
    model.save(path)
    task = ("--task", "classification")
    options = ("--nodes", "edge,cloud", "--at", "nested/within", *task, "--out", cut)
    line = refused(main, "partition", path, *options)
    assert "dynamic shape (None, None, 4)" in line
    assert "--shape series=SIZES" in line
    done(main, "partition", path, *options, "--shape", shape)
    x = np.random.default_rng(0).normal(size=(5, 16, 4)).astype(np.float32)
    got = keras.models.load_model(cut)({"series": x}, training=False)
    np.testing.assert_allclose(got, keras.ops.softmax(model(x)), atol=1e-6)


@pytest.mark.parametrize(
    ("shape", "said"),
    [
        ("other=16,4", "no input for 'other'; it has series"),
        ("16,5", "input 'series' takes any,4, got 16,5"),
        ("16", "input 'series' takes any,4, got 16"),
        ("0,4", "input 'series' takes any,4, got 0,4"),
        ("series=long", "expected NAME=SIZES"),
    ],
)
def test_a_size_that_does_not_fit_is_refused(shape: str, said: str, tmp_path: Path) -> None:
    path = tmp_path / "model.keras"
    _dynamic().save(path)
    words = ("partition", path, "--nodes", "a,b", "--out", tmp_path / "c.keras", "--shape", shape)
    assert said in refused(main, *words)
