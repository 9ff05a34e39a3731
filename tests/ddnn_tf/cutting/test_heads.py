"""What a model's outputs mean: models drawn at random, and such as look like what they are not.

30 models here; `make heads` for more. What a user expects of each is computed in this file, from
what the model is made of and what it was trained by, with nothing of `ddnn_tf.cutting.head`.
"""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from keras import layers, ops

from ddnn_tf.cutting.loading import read_model
from ddnn_tf.cutting.partition import Partition, partition
from edge_runtime.errors import InputError
from edge_runtime.evaluation.bundle import Bundle
from edge_runtime.task import Several
from export import export_bundle
from tests.models import randomized

MODELS = int(os.environ.get("DDNN_HEADS", "30"))
CHUNK = 10
#: Of as many models one also becomes a bundle.
EXPORTED = 10
#: Samples on which the original and the cut model are compared.
SAMPLES = 6
pytestmark = pytest.mark.filterwarnings("ignore:You are saving your model as an HDF5 file")

# -- what is drawn ---------------------------------------------------------------------------------

SIGMOIDS = ("sigmoid", "hard_sigmoid")
ACTIVATIONS = ("softmax", *SIGMOIDS, "linear", "tanh", "relu", "softplus", "unit_norm")
FOLLOWS = (
    "nothing", "flatten", "reshape", "linear", "dropout", "identity", "places", "average",
    "columns",
)  # fmt: skip
FORMS = ("argument", "layer", "operation", "nested")
BODIES = ("dense", "conv1d", "conv2d", "two inputs")
LOSSES: dict[str, Callable[[], Any]] = {
    "none": lambda: None,
    "mse": lambda: "mse",
    "mae": lambda: "mean_absolute_error",
    "huber": keras.losses.Huber,
    "bce": lambda: "binary_crossentropy",
    "bce object": keras.losses.BinaryCrossentropy,
    "bce logits": lambda: keras.losses.BinaryCrossentropy(from_logits=True),
    "scce": lambda: "sparse_categorical_crossentropy",
    "scce logits": lambda: keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    "cce": keras.losses.CategoricalCrossentropy,
    "cce logits": lambda: keras.losses.CategoricalCrossentropy(from_logits=True),
}
REGRESSIONS = ("mse", "mae", "huber")


@dataclass(frozen=True)
class Head:
    """How one output is made, and by what it is trained."""

    name: str
    count: int
    activation: str
    form: str
    follows: str
    loss: str

    @property
    def known(self) -> str | None:
        """What a user expects without a word: the kind of task; None where he must say it."""
        kind = self.loss.partition(" ")[0]
        if self.loss in REGRESSIONS:
            return None if self.activation in ("softmax", *SIGMOIDS) else "regression"
        if self.activation == "softmax":
            return "classification"
        if self.activation in SIGMOIDS:
            if kind in ("scce", "cce"):
                return None
            return "classification" if self.count == 1 else "multi-label"
        if not self.loss.endswith("logits") or (self.count == 1 and kind != "bce"):
            return None
        return "multi-label" if kind == "bce" and self.count > 1 else "classification"

    @property
    def are_logits(self) -> bool:
        """Whether its numbers are no probabilities yet."""
        return self.activation not in ("softmax", *SIGMOIDS)


@dataclass(frozen=True)
class Drawn:
    """A model, by what it is made of."""

    seed: int
    body: str
    heads: tuple[Head, ...]
    sequential: bool
    by_name: bool
    saved: str
    named: bool


def draw(seed: int) -> Drawn:
    """What the model of a seed is made of."""
    rng = np.random.default_rng([11, seed])

    def one(values: Any) -> Any:
        return values[int(rng.integers(len(values)))]

    def head(name: str) -> Head:
        activation = one(ACTIVATIONS)
        count = int(rng.integers(2 if activation == "softmax" else 1, 5))
        follows = one(FOLLOWS)
        if follows == "columns" and (count == 1 or activation in ("softmax", "unit_norm")):
            follows = "flatten"
        if activation in ("softmax", "unit_norm") and count == 1:
            count = 3
        # Half of the losses fit, so that half of the models need no word.
        fitting = [
            loss
            for loss in LOSSES
            if Head(name, count, activation, "", follows, loss).known is not None
        ]
        loss = one(fitting) if rng.random() < 0.6 else one(list(LOSSES))
        return Head(name, count, activation, one(FORMS), follows, loss)

    several = rng.random() < 0.25
    # Keras sorts what is in a mapping, which these names are not.
    names = ("main", "aux") if several else ("scores",)
    heads = tuple(head(name) for name in names)
    if several:  # outputs in a list are named after the layers that give them
        heads = tuple(
            replace(h, follows="identity") if h.follows == "nothing" else h for h in heads
        )
    saved = one(("", "", "keras", "h5"))
    if any(head.form == "operation" for head in heads):
        saved = saved and "keras"  # Keras reads no operation from HDF5
    return Drawn(
        seed,
        one(BODIES),
        heads,
        sequential=bool(rng.random() < 0.25),
        by_name=bool(rng.random() < 0.5),
        saved=saved,
        named=bool(rng.random() < 0.5),
    )


# -- the model -------------------------------------------------------------------------------------


def activated(activation: str, form: str, name: str) -> Any:
    """An activation in one of its forms, behind a layer that has none."""
    if activation == "unit_norm":
        return layers.UnitNormalization(name=name)
    if activation == "linear" and form == "operation":
        return lambda x: x
    if form == "operation":
        return getattr(ops, activation)
    dedicated = {"softmax": layers.Softmax, "relu": layers.ReLU}
    if form == "nested" and activation in dedicated:
        return dedicated[activation](name=name)
    return layers.Activation(activation, name=name)


def scores(head: Head, x: Any, name: str, count: int) -> Any:
    """A dense layer and its activation, in one of its forms, over the last axis."""
    if head.form == "argument" and head.activation != "unit_norm":
        return layers.Dense(count, activation=head.activation, name=name)(x)
    if head.form == "nested":
        inside = keras.Input(x.shape[1:])
        y = layers.Dense(count, name=f"{name}_dense")(inside)
        y = activated(head.activation, head.form, f"{name}_act")(y)
        return keras.Model(inside, y, name=name)(x)
    y = layers.Dense(count, name=name)(x)
    return activated(head.activation, head.form, f"{name}_act")(y)


def output(head: Head, x: Any) -> Any:
    """One output over the body."""
    own = f"{head.name}_own"
    if head.follows == "places":
        x = layers.Reshape((2, x.shape[-1] // 2), name=f"{own}_places")(x)
        y = scores(head, x, own, head.count)
        return layers.GlobalAveragePooling1D(name=head.name)(y)
    if head.follows in ("average", "columns"):
        both = head.follows == "average"
        parts = [
            scores(head, x, f"{own}_{i}", head.count if both else 1)
            for i in range(2 if both else head.count)
        ]
        merge = layers.Average if both else layers.Concatenate
        return merge(name=head.name)(parts)
    y = scores(head, x, own if head.follows != "nothing" else head.name, head.count)
    last: dict[str, Callable[[], Any]] = {
        "flatten": lambda: layers.Flatten(name=head.name),
        "reshape": lambda: layers.Reshape((head.count,), name=head.name),
        "linear": lambda: layers.Activation("linear", dtype="float32", name=head.name),
        "dropout": lambda: layers.Dropout(0.5, name=head.name),
        "identity": lambda: layers.Identity(name=head.name),
    }
    return y if head.follows == "nothing" else last[head.follows]()(y)


def made(drawn: Drawn) -> Any:
    """The model itself, random in all its weights, and compiled."""
    inputs, x = _body(drawn.body)
    outputs = [output(head, x) for head in drawn.heads]
    given = inputs if len(inputs) > 1 else inputs[0]
    if len(outputs) == 1:
        model = keras.Model(given, outputs[0], name="drawn")
        if drawn.sequential and len(inputs) == 1:
            shape = tuple(inputs[0].shape[1:])
            model = keras.Sequential([keras.Input(shape, name="in0"), model], name="drawn_too")
    else:
        names = [head.name for head in drawn.heads]
        by_name = dict(zip(names, outputs, strict=True))
        model = keras.Model(given, by_name if drawn.by_name else outputs, name="drawn")
    randomized(model, drawn.seed, scale=1.0)
    losses = [LOSSES[head.loss]() for head in drawn.heads]
    if any(losses):
        by_output = len(losses) > 1 and drawn.by_name
        known = {h.name: x for h, x in zip(drawn.heads, losses, strict=True) if x is not None}
        model.compile("sgd", known if by_output else losses if len(losses) > 1 else losses[0])
    return model


def _body(kind: str) -> tuple[list[Any], Any]:
    """Inputs and eight numbers."""
    bodies: dict[str, list[tuple[int, ...]]] = {
        "dense": [(5,)],
        "conv1d": [(8, 3)],
        "conv2d": [(6, 6, 2)],
        "two inputs": [(5,), (4, 4, 1)],
    }
    inputs = [keras.Input(shape, name=f"in{i}") for i, shape in enumerate(bodies[kind])]
    parts = []
    for i, x in enumerate(inputs):
        if len(x.shape) == 3:
            x = layers.MaxPooling1D(2, name=f"pool{i}")(layers.Conv1D(4, 3, name=f"look{i}")(x))
        elif len(x.shape) == 4:
            x = layers.Conv2D(4, 3, activation="relu", name=f"look{i}")(x)
            x = layers.AveragePooling2D(2, name=f"pool{i}")(x)
        if len(x.shape) > 2:
            x = layers.Flatten(name=f"flat{i}")(x)
        parts.append(layers.Dense(8, activation="tanh", name=f"middle{i}")(x))
    x = parts[0] if len(parts) == 1 else layers.Add(name="both")(parts)
    return inputs, x


# -- what a user expects ---------------------------------------------------------------------------


def converted(numbers: Any, kind: str, are_logits: bool) -> Any:
    """The answer that stands for what a model gives, by arithmetic of its own."""
    x = np.asarray(numbers, np.float64)
    if kind == "regression":
        return x
    if kind == "classification" and x.shape[1] > 1:
        if not are_logits:
            return x
        powers = np.exp(x - x.max(axis=1, keepdims=True))
        return powers / powers.sum(axis=1, keepdims=True)
    if are_logits:
        x = np.where(x < 0, np.exp(np.minimum(x, 0)), 1.0) / (1.0 + np.exp(-np.abs(x)))
    return np.concatenate([1.0 - x, x], axis=1) if kind == "classification" else x


def given(model: Any, seed: int) -> dict[str, Any]:
    """Inputs by name, as small as those that models are trained on."""
    rng = np.random.default_rng([12, seed])
    return {
        x._keras_history.operation.name: rng.normal(size=(SAMPLES, *x.shape[1:])).astype(np.float32)
        for x in model.inputs
    }


def outputs_of(model: Any, drawn: Drawn, inputs: Mapping[str, Any]) -> dict[str, Any]:
    """What the original gives, by output."""
    found = model(list(inputs.values()) if len(inputs) > 1 else next(iter(inputs.values())))
    if isinstance(found, Mapping):
        return {name: np.asarray(x) for name, x in found.items()}
    several = found if isinstance(found, (list, tuple)) else [found]
    return {h.name: np.asarray(x) for h, x in zip(drawn.heads, several, strict=True)}


def same(got: Any, expected: Any, what: str) -> None:
    """To 1e-4 of the largest value of each sample."""
    scale = np.abs(expected).max(axis=1, keepdims=True)
    assert got.shape == expected.shape, what
    error = float((np.abs(got - expected) / np.maximum(scale, 1e-30)).max())
    assert error <= 1e-4, f"{what}: relative error {error:.2g}"


def answers(cut: Partition, inputs: Mapping[str, Any]) -> Any:
    """Those of the cut model with nothing failed, of several outputs one after the other."""
    alive = np.ones(len(cut.model.topology.elements), bool)
    return cut.model.simulate(dict(inputs), alive)


# -- the property ----------------------------------------------------------------------------------


def check(seed: int, folder: Path) -> None:
    """One model: it is cut as it was meant, or refused by what the user may then say."""
    drawn = draw(seed)
    model = made(drawn)
    loss = None
    if drawn.saved:
        path = folder / f"model{seed}.{drawn.saved}"
        model.save(path)
        read = read_model(path)
        whole, loss = read.model, read.loss
    else:
        whole = model
    inputs = given(model, seed)
    raw = outputs_of(model, drawn, inputs)
    kinds, options = _asked(drawn, whole, loss)
    if drawn.named:
        names = {
            h.name: [
                f"n{k}" for k in range(max(2, h.count) if kind == "classification" else h.count)
            ]
            for h, kind in zip(drawn.heads, kinds, strict=True)
        }
        options["classes"] = names if len(names) > 1 else names[drawn.heads[0].name]
    cut = partition(whole, ["edge", "cloud"], loss=loss, **options)
    by_name = dict(zip((h.name for h in drawn.heads), kinds, strict=True))
    task = cut.model.task
    found = task.outputs if isinstance(task, Several) else {drawn.heads[0].name: task}
    assert {name: own.kind for name, own in found.items()} == by_name, drawn
    if drawn.named:
        assert all(own.names[0] == "n0" for own in found.values())
    expected = {h.name: converted(raw[h.name], by_name[h.name], h.are_logits) for h in drawn.heads}
    right = np.concatenate([expected[name] for name in found], axis=1)
    same(answers(cut, inputs), right, f"{drawn}")
    if seed % EXPORTED == 0:
        bundle = folder / f"bundle{seed}"
        export_bundle(cut.model, bundle, inputs)
        alive = np.ones((SAMPLES, len(cut.model.topology.elements)), bool)
        same(Bundle(bundle).answer(inputs, alive).values, right, f"bundle of {drawn}")


def _asked(drawn: Drawn, model: Any, loss: Any) -> tuple[list[str], dict[str, Any]]:
    """The kind of each output, and what has to be said: found by being refused without it."""
    rng = np.random.default_rng([13, drawn.seed])
    kinds: dict[str, str] = {}
    tasks: dict[str, str] = {}
    numbers: dict[str, str] = {}
    # The first that is open is asked for first; Keras sorts what is in a mapping.
    by_name = drawn.by_name and len(drawn.heads) > 1
    for head in sorted(drawn.heads, key=lambda h: h.name) if by_name else drawn.heads:
        if head.known is not None:
            kinds[head.name] = head.known
            continue
        fitting = {"softmax": ["classification"]}.get(
            head.activation, ["classification", "multi-label"]
        )
        if head.activation in SIGMOIDS and head.count > 1:
            fitting = ["multi-label"]
        kind = kinds[head.name] = [*fitting, "regression"][int(rng.integers(len(fitting) + 1))]
        _refused(drawn, model, loss, tasks, numbers, "--task")
        tasks[head.name] = kind
        linear = head.activation == "linear" and head.loss not in REGRESSIONS
        if kind != "regression" and head.are_logits and not linear:
            _refused(drawn, model, loss, tasks, numbers, "--head")
            numbers[head.name] = "logits"
    return [kinds[head.name] for head in drawn.heads], _said(drawn, tasks, numbers)


def _said(drawn: Drawn, tasks: dict[str, str], numbers: dict[str, str]) -> dict[str, Any]:
    if len(drawn.heads) > 1:
        return {"task": tasks or None, "head": numbers or None}
    name = drawn.heads[0].name
    return {"task": tasks.get(name), "head": numbers.get(name)}


def _refused(drawn: Drawn, model: Any, loss: Any, tasks: Any, numbers: Any, option: str) -> None:
    said = _said(drawn, tasks, numbers)
    # `check` adds which model it is, where this one is accepted.
    with pytest.raises(InputError, match=f"^[^\n]*{option}[^\n]*$"):
        partition(model, ["edge", "cloud"], loss=loss, **said)


@pytest.mark.parametrize("chunk", range(-(-MODELS // CHUNK)))
def test_outputs_mean_what_the_model_and_its_loss_say(chunk: int, tmp_path: Path) -> None:
    for seed in range(CHUNK * chunk, min(CHUNK * (chunk + 1), MODELS)):
        try:
            check(seed, tmp_path)
        except BaseException as error:
            error.add_note(f"model {seed}: {draw(seed)}")
            raise
        keras.backend.clear_session()


# -- models that look like what they are not -------------------------------------------------------


def behind(make: Callable[[Any], Any], *, bias: Any = None) -> Any:
    """A model that ends with what `make` makes; with `bias`, it gives the same whatever comes."""
    image = keras.Input((4,), name="image")
    x = layers.Dense(6, activation="tanh", name="middle")(image)
    model = randomized(keras.Model(image, make(x), name="odd"), scale=1.0)
    if bias is not None:
        *others, kernel, _ = model.get_weights()
        model.set_weights([*others, 0 * kernel, np.array(bias, np.float32)])
    return model


def dense(count: int, activation: Any = None) -> Any:
    return layers.Dense(count, activation=activation, name="scores")


def _divided(x: Any) -> Any:
    positive = ops.exp(dense(3)(x))
    return positive / ops.sum(positive, axis=-1, keepdims=True)


def _complement(x: Any) -> Any:
    p = dense(1, "sigmoid")(x)
    return layers.Concatenate()([1.0 - p, p])


def _own_sigmoid(x: Any) -> Any:
    return 1.0 / (1.0 + ops.exp(-dense(5)(x)))


def _per_place(axis: int) -> Any:
    return lambda x: layers.Flatten()(
        layers.Softmax(axis=axis)(layers.Reshape((3, 1))(dense(3)(x)))
    )


SCCE_LOGITS = LOSSES["scce logits"]


@pytest.mark.parametrize(
    ("model", "options", "kind", "are_logits"),
    [
        # Saturated, they sum up to 1; and are labels all the same.
        (lambda: behind(dense(3, "sigmoid"), bias=[30, -30, -30]), {}, "multi-label", False),
        (lambda: behind(dense(3, "sigmoid"), bias=[30, -30, -30]), {"loss": "binary_crossentropy"},
         "multi-label", False),
        # Constant, they sum up to 1; and are logits, or values, all the same.
        (lambda: behind(dense(3), bias=[1, 0, 0]), {"loss": SCCE_LOGITS()}, "classification", True),
        (lambda: behind(dense(3), bias=[1, 0, 0]), {"loss": "mse"}, "regression", False),
        (lambda: behind(dense(3, "relu"), bias=[1, 0, 0]), {"loss": "mse"}, "regression", False),
        (lambda: behind(_divided), {}, "classification", False),
        (lambda: behind(_divided), {"loss": "categorical_crossentropy"}, "classification", False),
        (lambda: behind(_complement), {}, "classification", False),
        (lambda: behind(lambda x: ops.softmax(dense(3)(x) / 2.5)), {}, "classification", False),
        (lambda: behind(_per_place(1)), {}, "classification", False),
        (lambda: behind(dense(2, "sigmoid")), {}, "multi-label", False),
        (lambda: behind(lambda x: ops.hard_sigmoid(dense(2)(x))), {}, "multi-label", False),
        (lambda: behind(_own_sigmoid), {"task": "multi-label", "head": "probabilities"},
         "multi-label", False),
        # A softmax over logarithms of probabilities gives these.
        (lambda: behind(dense(3, "log_softmax")), {"loss": SCCE_LOGITS()}, "classification", True),
        (lambda: behind(dense(3, "log_softmax")), {"task": "classification", "head": "logits"},
         "classification", True),
        (lambda: behind(dense(3, "log_softmax")), {"loss": "mse"}, "regression", False),
        (lambda: behind(dense(2)), {"loss": {"scores": "mse"}}, "regression", False),
        (lambda: behind(dense(2)), {"loss": ["mse"]}, "regression", False),
        (lambda: behind(lambda x: dense(3, "softmax")(ops.sqrt(x[:, :1]))), {},
         "classification", False),
        (lambda: behind(dense(1)), {"classes": ["no", "yes"]}, "classification", True),
    ],
)  # fmt: skip
def test_looks_do_not_deceive(
    model: Callable[[], Any], options: dict[str, Any], kind: str, are_logits: bool
) -> None:
    original = model()
    cut = partition(original, ["edge", "cloud"], at=["middle"], **options)
    assert cut.model.task.kind == kind
    inputs = given(original, 1)
    expected = converted(original(inputs["image"]), kind, are_logits)
    finite = np.isfinite(expected).all(axis=1)
    assert finite.any()
    same(answers(cut, inputs)[finite], expected[finite], kind)


@pytest.mark.parametrize(
    ("model", "options", "said"),
    [
        (lambda: behind(dense(3), bias=[1, 0, 0]), {}, "--task"),
        # Within 0 and 1 on what the check draws, and not elsewhere.
        (lambda: behind(dense(1), bias=[0.5]), {"loss": "binary_crossentropy"}, "--task"),
        (lambda: behind(dense(3, "relu"), bias=[1, 0, 0]), {"loss": "binary_crossentropy"},
         "--task"),
        (lambda: behind(lambda x: ops.abs(ops.tanh(dense(3)(x)))), {"loss": "binary_crossentropy"},
         "--task"),
        (lambda: behind(dense(1)), {"loss": SCCE_LOGITS()}, "--task"),
        (lambda: behind(dense(2, "sigmoid")), {"loss": "categorical_crossentropy"}, "--task"),
        (lambda: behind(dense(3, "softmax")), {"loss": "mse"}, "--task"),
        (lambda: behind(_per_place(-1)), {}, "--task"),
        (lambda: behind(dense(3, "log_softmax")), {}, "--task"),
        (lambda: behind(dense(3, "log_softmax")), {"task": "classification"}, "--head"),
        (lambda: behind(_own_sigmoid), {}, "--task"),
        (lambda: behind(_own_sigmoid), {"head": "probabilities"}, "--task"),
        (lambda: behind(_own_sigmoid), {"head": "probabilities", "task": "classification"},
         "do not sum up to 1; say --task multi-label, or --head logits"),
        # Names are as well those of labels, or of values.
        (lambda: behind(dense(2)), {"classes": ["latitude", "longitude"]}, "--task"),
        (lambda: behind(dense(2)), {"classes": ["car", "bus"], "head": "logits"}, "--task"),
        (lambda: behind(dense(2)), {"loss": "mse", "head": "logits"}, "--task"),
        (lambda: behind(dense(1, "softmax")), {}, "a softmax of one number"),
        (lambda: behind(lambda x: layers.Reshape((1, 1, 1))(dense(1)(x))), {}, "flatten or pool"),
        (lambda: behind(lambda x: ops.squeeze(dense(1)(x), -1)), {}, "flatten or pool"),
        (lambda: behind(lambda x: [dense(3, "softmax")(x), layers.Dense(2, name="aux")(x)]),
         {"loss": ["categorical_crossentropy", None]}, "output 'aux'.*--task"),
    ],
)  # fmt: skip
@pytest.mark.filterwarnings("ignore:You are using a softmax over axis -1")
def test_what_looks_deceive_about_is_asked(
    model: Callable[[], Any], options: dict[str, Any], said: str
) -> None:
    with pytest.raises(InputError, match=said) as caught:
        partition(model(), ["edge", "cloud"], at=["middle"], **options)
    assert "\n" not in str(caught.value)
