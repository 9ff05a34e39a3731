"""A cut model is the original: whatever the graph, wherever the cut."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from keras import layers

import ddnn_tf
from ddnn_tf.cli import main
from ddnn_tf.cutting.graph import read_graph
from ddnn_tf.cutting.partition import Partition, partition
from ddnn_tf.cutting.places import named_cuts
from edge_runtime.errors import InputError
from edge_runtime.evaluation.bundle import Bundle
from edge_runtime.failures.distribution import mask_without
from edge_runtime.samples import Samples
from edge_runtime.topology import Link, Node, Sensor, Topology
from export import export_bundle
from tests.commands import CLASSES, done, refused
from tests.models import lively, randomized, residual_net, scenes

NODES = ("edge", "fog", "cloud")


def answers(cut: Partition, images: Any) -> Any:
    (sensor,) = (s.name for s in cut.model.topology.sensors)
    return np.asarray(cut.model({sensor: images}, training=False))


def pictures(count: int = 16, shape: tuple[int, ...] = (8, 8, 3)) -> Any:
    return np.random.default_rng(3).normal(size=(count, *shape)).astype(np.float32)


# -- any graph, cut anywhere ---------------------------------------------------------------------


def random_model(draw: Callable[[Any], Any]) -> Any:
    """A functional model with branches, merges, shared, nested and stateless layers.

    Not a strategy, as Keras uses Python's random numbers when it makes a layer.
    """
    inputs = [keras.Input((4,), name=f"cam{i}") for i in range(draw(st.integers(1, 2)))]
    tensors: list[Any] = list(inputs)
    shared = layers.Dense(4, name="shared")
    negate = layers.Rescaling(-1.0, name="negate")
    inner = keras.Input((4,), name="inner")
    middle = layers.Dense(4, activation="tanh", name="within")(inner)
    nested = keras.Model(inner, layers.Add(name="around")([inner, middle]), name="nested")

    def one() -> Any:
        return draw(st.sampled_from(tensors[-4:]))

    for i in range(draw(st.integers(3, 8))):
        some = [one(), one(), one()]
        kind = draw(st.sampled_from(["dense", "add", "shared", "negate", "nested", "op", "norm"]))
        if kind == "dense":
            tensors.append(layers.Dense(4, activation="relu", name=f"dense_{i}")(some[0]))
        elif kind == "norm":
            tensors.append(layers.BatchNormalization(name=f"norm_{i}")(some[0]))
        elif kind == "add":
            tensors.append(layers.Add(name=f"sum_{i}")(some))
        elif kind == "nested":
            tensors.append(nested(some[0], training=False))
        elif kind == "op":
            tensors.append(some[0] * 0.5 + keras.ops.tanh(some[1]))
        else:
            tensors.append({"shared": shared, "negate": negate}[kind](some[0]))
    # All that nothing has taken yet comes together at the end.
    loose = layers.Concatenate(name="together")([*inputs, *tensors[len(inputs) :]])
    scores = layers.Dense(3, name="scores")(loose)
    return randomized(keras.Model(inputs, scores, name="random"), seed=draw(st.integers(0, 99)))


@settings(
    max_examples=15,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
)
@given(data=st.data())
def test_any_graph_cut_anywhere_is_the_original(data: st.DataObject) -> None:
    """`partition` itself compares, but on its own terms; this is the whole against the whole."""
    model = random_model(data.draw)
    graph = read_graph(model)
    nodes = NODES[: data.draw(st.integers(2, 3))]
    names = [c.name for c in graph.calls]
    at = [data.draw(st.sampled_from(names)) for _ in nodes[1:]]
    if data.draw(st.booleans()):
        at[0] += "+" + data.draw(st.sampled_from(names))
    residual = [("edge", "cloud")] if len(nodes) == 3 and data.draw(st.booleans()) else []
    try:
        cut = partition(model, nodes, at=at, residual=residual, task="classification")
    except InputError as error:
        # Only for a cut that is none, and it says which.
        if re.search("would compute nothing|is shared: it is called on", str(error)):
            return
        raise
    inputs = {x.name: pictures(8, (4,)) + i for i, x in enumerate(model.inputs)}
    expected = keras.ops.softmax(model(list(inputs.values()), training=False))
    got = cut.model(inputs, training=False)
    assert np.ptp(np.asarray(expected), axis=0).max() > 1e-2
    np.testing.assert_allclose(np.asarray(got), np.asarray(expected), atol=1e-6)
    assert cut.max_relative_error <= 1e-6
    # What it says it cut makes the same cuts again.
    again = partition(model, nodes, at=cut.cuts, residual=residual, task="classification")
    assert (again.cuts, again.link_bytes, again.shares) == (cut.cuts, cut.link_bytes, cut.shares)


@pytest.mark.parametrize("at", ["stem", "relu_0", "conv_1a", "conv_1b", "shortcut_1", "pool"])
def test_a_cut_within_a_block_sends_several_tensors(at: str) -> None:
    model = residual_net()
    cut = partition(model, ["edge", "cloud"], at=[at])
    tensors = {"stem": 1, "relu_0": 2, "conv_1a": 2, "conv_1b": 2, "shortcut_1": 2, "pool": 1}
    edge = cut.model.get_layer("edge")
    assert len(edge.outputs) == tensors[at]
    # conv_1b needs not the shortcut, and the shortcut not conv_1b: each is then above the cut.
    assert cut.cuts == (at,)
    x = pictures()
    np.testing.assert_allclose(answers(cut, x), np.asarray(model(x)), atol=1e-6)
    sizes = [int(np.prod(t.shape[1:])) * 4 for t in edge.outputs]
    assert cut.link_bytes == {"edge->cloud": sum(sizes)}


def test_a_tensor_goes_through_nodes_that_do_not_need_it() -> None:
    model = residual_net()
    cut = partition(model, NODES, at=["conv_1a", "relu_1"])
    assert [len(cut.model.get_layer(n).outputs) for n in ("edge", "fog")] == [2, 2]
    x = pictures()
    np.testing.assert_allclose(answers(cut, x), np.asarray(model(x)), atol=1e-6)


def test_the_original_is_left_as_it_was() -> None:
    model = residual_net()
    before = [w.copy() for w in model.get_weights()]
    config = model.get_config()
    cut = partition(model, ["edge", "cloud"], at=["relu_0"])
    cut.model.set_weights([0 * w for w in cut.model.get_weights()])
    assert all(np.array_equal(a, b) for a, b in zip(before, model.get_weights(), strict=True))
    assert model.get_config() == config


def test_a_cut_model_is_saved_and_read_as_any_other(tmp_path: Path) -> None:
    cut = partition(residual_net(), NODES, at=["conv_0a", "relu_1"], residual=[("edge", "cloud")])
    cut.model.save(tmp_path / "cut.keras")
    loaded = keras.models.load_model(tmp_path / "cut.keras")
    assert loaded.topology == cut.model.topology
    x = {"image": pictures()}
    np.testing.assert_array_equal(np.asarray(loaded(x)), np.asarray(cut.model(x)))


# -- where least crosses -------------------------------------------------------------------------


def test_cuts_of_least_traffic_are_the_least_of_all() -> None:
    model = residual_net()
    graph = read_graph(model)
    names = [c.name for c in graph.calls]
    cut = partition(model, ["edge", "cloud"], balance=0.3)
    (image,) = graph.inputs
    all_cuts = [
        named_cuts(graph, cut.model.topology, {"edge": [name]}, {image: "image"})
        for name in names[:-1]
    ]
    least = min(sum(c.link_bytes.values()) for c in all_cuts if min(c.shares.values()) >= 0.15)
    assert sum(cut.link_bytes.values()) == least
    assert min(cut.shares.values()) >= 0.15
    assert sum(cut.shares.values()) == pytest.approx(1)


def test_cuts_leave_batch_norm_and_activation_with_their_convolution() -> None:
    cut = partition(residual_net(), ["edge", "cloud"], balance=0.9)
    assert not cut.cuts[0].startswith(("conv_0a", "norm", "conv_1a"))


def test_a_balance_that_cannot_be_had_names_the_heaviest_layer() -> None:
    with pytest.raises(
        InputError, match=r"for each of edge, fog, cloud.*heaviest layer, 'conv_0a'"
    ):
        partition(residual_net(), NODES, balance=1.0)


# -- per sensor, per branch ----------------------------------------------------------------------


def two_cameras() -> Any:
    inputs = [keras.Input((8, 8, 3), name=f"cam{i}") for i in range(2)]
    tops = []
    for i, x in enumerate(inputs):
        x = layers.Conv2D(4, 3, strides=2, activation="relu", name=f"look_{i}")(x)
        tops.append(
            layers.Dense(5, activation="relu", name=f"say_{i}")(layers.Flatten(name=f"flat_{i}")(x))
        )
    x = layers.Concatenate(name="both")(tops)
    x = layers.Dense(6, activation="relu", name="think")(x)
    return randomized(keras.Model(inputs, layers.Dense(3, name="scores")(x), name="two"))


def two_edges(**changes: Any) -> Topology:
    fields: dict[str, Any] = {
        "name": "two-edges",
        "sensors": (Sensor("cam0", (8, 8, 3), "float32"), Sensor("cam1", (8, 8, 3), "float32")),
        "nodes": (
            Node("edge1", "edge", 0.9),
            Node("edge2", "edge", 0.8),
            Node("fog", "fog", 0.95),
            Node("cloud", "cloud"),
        ),
        "links": (
            Link("cam0", "edge1"),
            Link("cam1", "edge2"),
            Link("edge1", "fog"),
            Link("edge2", "fog"),
            Link("fog", "cloud"),
            Link("edge1", "cloud", "residual"),
        ),
    }
    return Topology(**{**fields, **changes})


@pytest.mark.parametrize("at", [None, {"edge1": "look_0", "edge2": "say_1", "fog": "both"}])
def test_each_sensor_has_a_section_of_its_own(at: Any) -> None:
    model = two_cameras()
    cut = partition(model, two_edges(), at=at, task="classification")
    assert cut.cuts == (("say_0", "say_1", "think") if at is None else ("look_0", "say_1", "both"))
    x = {f"cam{i}": pictures() * (i + 1) for i in range(2)}
    expected = keras.ops.softmax(model(list(x.values())))
    np.testing.assert_allclose(np.asarray(cut.model(x)), np.asarray(expected), atol=1e-6)
    # An edge that failed changes the answer; with both of them there is none.
    topology = cut.model.topology
    one = cut.model.simulate(x, mask_without(topology, ["edge1"]))
    assert np.abs(one - np.asarray(expected)).max() > 1e-3
    none = cut.model.simulate(x, mask_without(topology, ["edge1", "edge2"]))
    assert np.array_equal(none, np.tile(none[:1], (len(none), 1)))


def test_branches_of_one_sensor_may_be_on_nodes_of_their_own() -> None:
    x = image = keras.Input((8, 8, 3), name="image")
    branches = [
        layers.GlobalMaxPooling2D(name=f"most_{i}")(layers.Conv2D(4, 3, name=f"look_{i}")(x))
        for i in range(2)
    ]
    scores = layers.Dense(3, activation="softmax")(layers.Concatenate()(branches))
    model = randomized(keras.Model(image, scores))
    topology = Topology(
        name="branches",
        sensors=(Sensor("image", (8, 8, 3), "float32"),),
        nodes=(Node("edge1", "edge"), Node("edge2", "edge"), Node("cloud", "cloud")),
        links=(
            Link("image", "edge1"),
            Link("image", "edge2"),
            Link("edge1", "cloud"),
            Link("edge2", "cloud"),
        ),
    )
    cut = partition(model, topology, at={"edge1": "most_0", "edge2": "most_1"})
    np.testing.assert_allclose(answers(cut, pictures()), np.asarray(model(pictures())), atol=1e-6)
    with pytest.raises(InputError, match="neither a chain nor readers of sensors of their own"):
        partition(model, topology)


# -- residual links over the cuts ----------------------------------------------------------------


@pytest.mark.parametrize("at", [["stem", "add_1"], ["conv_0a", "relu_1"], ["add_0", "pool"]])
def test_residual_links_change_no_answer_until_they_are_trained(at: list[str]) -> None:
    model = residual_net()
    cut = partition(model, NODES, at=at, residual=[("edge", "cloud"), ("image", "fog")])
    x = pictures()
    np.testing.assert_array_equal(answers(cut, x), answers(partition(model, NODES, at=at), x))
    added = [w for w in cut.model.trainable_weights if "skip" in w.path]
    assert added
    assert not any(np.asarray(w).any() for w in added)
    # With the fog gone the cloud hears the edge, and what it learns of it then counts.
    without = mask_without(cut.model.topology, ["fog"])
    before = cut.model.simulate({"image": x}, without)
    for w in added:
        w.assign(np.random.default_rng(0).normal(0, 1, w.shape))
    assert np.abs(cut.model.simulate({"image": x}, without) - before).max() > 1e-3


@pytest.mark.parametrize("at", [["stem", "add_1"], ["conv_0a", "relu_1"], ["conv_1a", "norm_1"]])
def test_a_multiplexer_hears_the_skip_only_in_place_of_the_primary(at: list[str]) -> None:
    model = residual_net()
    cut = partition(model, NODES, at=at, residual=[("edge", "cloud")], merge="multiplexer")
    x = pictures()
    np.testing.assert_allclose(answers(cut, x), np.asarray(model(x)), atol=1e-6)
    topology = cut.model.topology
    alive = cut.model.simulate({"image": x}, mask_without(topology, []))
    no_skip = cut.model.simulate({"image": x}, mask_without(topology, ["edge->cloud"]))
    np.testing.assert_array_equal(alive, no_skip)
    no_fog = cut.model.simulate({"image": x}, mask_without(topology, ["fog"]))
    assert np.ptp(no_fog, axis=0).max() > 1e-3  # the cloud answers from what the edge says


def test_fine_tuning_with_failures_recovers_what_a_dead_node_costs() -> None:
    """From a model that knows its task to one that also answers without the fog."""
    keras.utils.set_random_seed(0)
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, 240)
    x = rng.normal(0, 0.4, (240, 4, 4, 3)).astype(np.float32)
    x += np.eye(3, dtype=np.float32)[labels][:, None, None]
    image = keras.Input((4, 4, 3), name="image")
    y = layers.Conv2D(8, 3, padding="same", activation="relu", name="a")(image)
    y = layers.Conv2D(8, 3, padding="same", activation="relu", name="b")(y)
    y = layers.GlobalAveragePooling2D(name="c")(y)
    model = keras.Model(image, layers.Dense(3, activation="softmax", name="d")(y))
    model.compile(keras.optimizers.Adam(0.02), "sparse_categorical_crossentropy")
    model.fit(x, labels, epochs=8, verbose=0)
    topology = {"edge": 1.0, "fog": 0.5, "cloud": 1.0}
    cut = partition(
        model, topology, at=["a", "b"], residual=[("edge", "cloud")], dropout=[{"fog": 0.5}]
    ).model

    def accuracy(*failed: str) -> float:
        given = cut.simulate({"image": x}, mask_without(cut.topology, list(failed)))
        return float((given.argmax(axis=1) == labels).mean())

    whole = float((np.asarray(model(x)).argmax(axis=1) == labels).mean())
    assert accuracy() == whole > 0.95
    assert accuracy("fog") < 0.6
    cut.compile(keras.optimizers.Adam(0.02), "sparse_categorical_crossentropy")
    cut.fit({"image": x}, labels, epochs=8, verbose=0)
    assert accuracy("fog") > 0.9
    assert accuracy() > 0.9


# -- what the scores are -------------------------------------------------------------------------


def test_scores_are_made_probabilities_in_the_output_section() -> None:
    softmax, logits = residual_net(), residual_net(activation=None)
    logits.set_weights(softmax.get_weights())
    x = pictures()
    for model in (softmax, logits):
        cut = partition(model, ["edge", "cloud"], at=["add_0"], task="classification")
        np.testing.assert_allclose(answers(cut, x), np.asarray(softmax(x)), atol=1e-6)


@pytest.mark.parametrize("activation", ["sigmoid", None])
def test_a_single_score_is_the_second_class(activation: str | None) -> None:
    model = residual_net(classes=1, activation=activation)
    cut = partition(model, ["edge", "cloud"], at=["add_0"], classes=["no", "yes"], prior=[0.8, 0.2])
    x = pictures()
    yes = np.asarray(model(x) if activation else keras.ops.sigmoid(model(x)))[:, 0]
    np.testing.assert_allclose(answers(cut, x), np.stack([1 - yes, yes], axis=1), atol=1e-6)
    assert cut.model.class_names == ("no", "yes")
    assert cut.model.prior == (0.8, 0.2)


def test_sensors_of_bytes_are_scaled_where_they_are_read() -> None:
    model = residual_net()
    cut = partition(model, ["edge", "cloud"], at=["relu_0"], byte_range=(-1, 1))
    assert cut.model.topology.sensors == (Sensor("image", (8, 8, 3), "uint8"),)
    x = np.random.default_rng(0).integers(0, 256, (8, 8, 8, 3), dtype=np.uint8)
    expected = model(x.astype(np.float32) * np.float32(2 / 255) - 1)
    np.testing.assert_allclose(answers(cut, x), np.asarray(expected), atol=1e-5)


def test_layers_that_act_in_training_alone_are_named() -> None:
    assert partition(residual_net(), ["edge", "cloud"], at=["add_0"]).training_only == ("dropout",)
    image = keras.Input((8, 8, 3), name="image")
    varied = layers.RandomContrast(0.5, name="contrast")(layers.RandomFlip(name="flip")(image))
    scores = layers.Dense(3, name="scores")(layers.Flatten()(varied))
    model = keras.Model(image, scores)
    cut = partition(model, ["edge", "cloud"], at=["flip"], task="classification")
    assert cut.training_only == ("flip", "contrast")


def test_what_is_sent_keeps_its_type() -> None:
    x = image = keras.Input((8,), name="image")
    x = short = keras.ops.cast(20.0 * layers.Dense(4, activation="tanh")(x), "int8")
    scores = layers.Dense(3, name="scores")(keras.ops.cast(x, "float32") / 20.0)
    model = randomized(keras.Model(image, scores))
    at = [short._keras_history.operation.name]
    cut = partition(model, ["edge", "cloud"], at=at, task="classification")
    assert cut.link_bytes == {"edge->cloud": 4 * 1}
    x = pictures(8, (8,))
    np.testing.assert_allclose(answers(cut, x), np.asarray(keras.ops.softmax(model(x))), atol=1e-6)


# -- what is refused -----------------------------------------------------------------------------


def _bad(build: Callable[[Any], Any], shape: tuple[int | None, ...] = (8,)) -> Any:
    image = keras.Input(shape, name="image")
    x = layers.Dense(8, name="first")(image)
    x = build(x)
    return keras.Model(image, layers.Dense(3, name="scores")(x), name="bad")


def _shared(x: Any) -> Any:
    layer = layers.Dense(8, name="twice")
    return layer(layers.ReLU(name="between")(layer(x)))


class Unregistered(keras.layers.Layer):
    """Which a saved model names, and nobody can make again."""

    def __init__(self, factor: float, **options: Any) -> None:
        super().__init__(**options)
        self.factor = factor

    def call(self, x: Any) -> Any:
        return x * self.factor


@keras.saving.register_keras_serializable("tests")
class Noisy(keras.layers.Layer):
    """Draws at inference as well."""

    def call(self, x: Any) -> Any:
        return x + keras.random.normal(keras.ops.shape(x))


@keras.saving.register_keras_serializable("tests")
class Untaught(keras.layers.Layer):
    """Can only be trained."""

    def call(self, x: Any, training: bool | None = None) -> Any:
        if training is False:
            raise RuntimeError("nothing learned")
        return x


class Subclassed(keras.Model):
    """Shows no graph."""

    def call(self, x: Any) -> Any:
        return x


def _recurrent(x: Any) -> Any:
    x = layers.Reshape((8, 1), name="series")(x)
    return layers.LSTM(3, name="memory")(layers.Masking(0.0, name="masking")(x))


@pytest.mark.parametrize(
    ("model", "at", "said"),
    [
        (lambda: _bad(_shared), "between", "layer 'twice' is shared: .* 'edge' and on 'cloud'"),
        (lambda: _bad(Unregistered(2.0, name="mystery")), "first",
         "layer 'mystery' .*cannot be saved and loaded"),
        (lambda: _bad(layers.Lambda(lambda x: x, name="own")), "first", "layer 'own' .*Lambda"),
        (lambda: _bad(Noisy(name="noisy")), "first", "layer 'noisy' .*another output"),
        (lambda: _bad(lambda x: layers.Dropout(0.5, name="mc")(x, training=True)), "first",
         "layer 'mc' .*training=True"),
        (lambda: _bad(Untaught(name="untaught")), "first",
         r"layer 'untaught' \(Untaught\) fails at inference: .*nothing learned"),
        (lambda: _bad(_recurrent), "masking", "after layer 'masking'.*Keras mask"),
        (lambda: _bad(lambda x: x, shape=(None, 8)), "first", "input 'image' .*dynamic shape"),
        (lambda: Subclassed(name="s"), "first", "expected a functional or built Sequential"),
        (lambda: keras.Sequential([layers.Dense(2)]), "first", "begin it with keras.Input"),
        (lambda: _bad(lambda x: x), "frist", "no layer 'frist'; did you mean first"),
        (lambda: _bad(lambda x: x), "scores", "node 'cloud' would compute nothing"),
    ],
)  # fmt: skip
def test_what_cannot_be_cut_is_named(model: Callable[[], Any], at: str, said: str) -> None:
    with pytest.raises(InputError, match=said):
        partition(model(), ["edge", "cloud"], at=[at], task="classification")


def test_samples_that_mix_are_refused() -> None:
    image = keras.Input((8,), name="image")
    x = keras.ops.softmax(layers.Dense(3, name="first")(image), axis=0)
    model = keras.Model(image, layers.Identity(name="mixed")(x))
    with pytest.raises(InputError, match="another for a sample alone than for the same one among"):
        partition(model, ["edge", "cloud"], at=["first"], task="regression")


def test_scores_of_no_class_are_refused() -> None:
    image = keras.Input((8, 8, 3), name="image")
    boxes = keras.Model(image, layers.Conv2D(4, 3, name="boxes")(image), name="detector")
    with pytest.raises(InputError, match="layer 'boxes', is float32"):
        partition(boxes, ["edge", "cloud"])
    with pytest.raises(InputError, match="gives 4 sigmoids"):
        partition(residual_net(activation="sigmoid"), ["edge", "cloud"], task="classification")


def test_nested_models_are_opened_up_and_a_subclass_is_kept_whole() -> None:
    inner = keras.Sequential(
        [keras.Input((8,)), layers.Dense(8, name="first"), layers.Dense(8, name="second")],
        name="inner",
    )
    model = randomized(_bad(inner))
    with pytest.raises(InputError, match=r"no layer 'inner/third'; did you mean"):
        partition(model, ["edge", "cloud"], at=["inner/third"], task="classification")
    for at, cut_at in (
        ("inner/first", "inner/first"),
        ("second", "inner/second"),
        ("inner", "inner/second"),
    ):
        cut = partition(model, ["edge", "cloud"], at=[at], task="classification")
        assert cut.cuts == (cut_at,)
        x = pictures(8, (8,))
        np.testing.assert_allclose(
            answers(cut, x), np.asarray(keras.ops.softmax(model(x))), atol=1e-6
        )


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"nodes": "edge,cloud"}, "expected a list of nodes"),
        ({"nodes": ["cloud"]}, "expected two nodes or more"),
        ({"at": ["stem", "pool"]}, "expected 1 cuts, where the sections of edge end"),
        ({"at": {"fog": "stem"}}, "missing or unknown: edge, fog"),
        ({"classes": ["a", "b"]}, "gives 4 numbers, of 4 classes; got 2 names"),
        ({"prior": [1.0]}, "expected a prior for each of 4 names"),
        ({"merge": "mean"}, "unknown merge 'mean'"),
        ({"byte_range": (1, 0)}, "byte range from low to high"),
        ({"residual": [("edge", "sky")]}, "unknown node 'sky'"),
        ({"nodes": two_edges()}, "expected a sensor for each input"),
    ],
)
def test_options_that_do_not_fit_are_refused(options: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said):
        partition(residual_net(), **{"nodes": ["edge", "cloud"], **options})


# -- to the devices ------------------------------------------------------------------------------


@pytest.mark.parametrize("merge", ["add", "multiplexer"])
def test_a_bundle_of_a_cut_model_passes_parity(merge: Any, tmp_path: Path) -> None:
    cut = partition(
        residual_net(),
        {"edge": 0.9, "fog": 0.8, "cloud": 1.0},
        at=["conv_0a", "relu_1"],
        residual=[("edge", "cloud")],
        merge=merge,
    )
    for w in cut.model.trainable_weights:
        if "skip" in w.path:
            w.assign(np.random.default_rng(0).normal(0, 0.3, w.shape))
    cut.model.original = None
    x = pictures()
    report = export_bundle(cut.model, tmp_path / "bundle", {"image": x})
    assert report.parity.max_error <= 1e-5
    assert report.parity.configurations == 2  # with the fog and without
    bundle = Bundle(tmp_path / "bundle")
    alive = np.ones((len(x), len(cut.model.topology.elements)), bool)
    got = bundle.answer({"image": x}, alive).values
    np.testing.assert_allclose(got, answers(cut, x), atol=1e-5)


def test_the_commands_take_a_cut_model_as_any_other(tmp_path: Path) -> None:
    model = residual_net(classes=3)
    model.save(tmp_path / "model.keras")
    labels = np.arange(60, dtype=np.int64) % 3
    x = pictures(60) + labels[:, None, None, None].astype(np.float32)
    Samples({"image": x}, labels, CLASSES).save_npz(tmp_path / "data.npz")
    whole, cut, tuned = (tmp_path / f"{n}.keras" for n in ("model", "cut", "tuned"))
    given = ("--nodes", "edge:0.9,fog:0.5,cloud", "--classes", ",".join(CLASSES))
    said = done(
        main, "partition", whole, *given, "--at", "conv_0a,relu_1", "--residual", "edge-cloud",
        "--out", cut, "--json",
    ).json  # fmt: skip
    assert said["cuts"] == ["conv_0a", "relu_1"]
    sent = 2 * 8 * 8 * 6 * 4
    assert said["link_bytes"] == {"edge->fog": sent, "fog->cloud": 2048, "edge->cloud": sent}
    assert said["max_relative_error"] <= 1e-6
    data = ("--data", tmp_path / "data.npz")
    done(main, "train", "--start", cut, *data, "--epochs", "1", "--out", tuned)
    assert keras.models.load_model(tuned).get_layer("ddnn__failures").survival == [None]
    found = done(main, "evaluate", tuned, *data, "--json").json
    assert set(found["expected_accuracy"]) == {"own"}
    done(main, "export", tuned, *data, "--out", tmp_path / "bundle")
    assert (tmp_path / "bundle" / "manifest.json").is_file()


def test_the_command_refuses_what_it_cannot_read(tmp_path: Path) -> None:
    residual_net().save(tmp_path / "model.keras")
    _bad(layers.Lambda(lambda x: x, name="own")).save(tmp_path / "lambda.keras")
    _bad(Unregistered(2.0, name="mystery")).save(tmp_path / "mystery.keras")

    def said(name: str, *options: str) -> str:
        out = ("--out", tmp_path / "cut.keras")
        return refused(main, "partition", tmp_path / f"{name}.keras", *out, *options)

    nodes = ("--nodes", "edge,cloud")
    assert "layer 'own' of class Lambda" in said("lambda", *nodes)
    assert "layer 'mystery' of class Unregistered" in said("mystery", *nodes)
    assert "one of the two" in said("model")
    assert "'edge' is there twice" in said("model", "--nodes", "edge,edge")
    assert "expected NODE=LAYER" in said("model", *nodes, "--at", "stem,edge=pool")
    assert "expected links such as edge-cloud" in said("model", *nodes, "--residual", "edge")
    assert "expected LOW:HIGH" in said("model", *nodes, "--byte-range", "1")
    assert "--prior: expected numbers" in said("model", *nodes, "--prior", "much")
    assert "no layer 'stemm'; did you mean stem" in said("model", *nodes, "--at", "stemm")
    assert not (tmp_path / "cut.keras").exists()


def test_the_function_of_the_package_is_this_one() -> None:
    cut = ddnn_tf.partition(residual_net(), ["edge", "cloud"], at=["add_0"])
    assert isinstance(cut, Partition)


def test_mobilenet_cut_within_its_blocks_is_the_original() -> None:
    """One of the five of `python -m benchmarks partition`, whose weights show what is wrong."""
    model = lively(
        keras.applications.MobileNetV2(
            (32, 32, 3), alpha=0.35, weights=None, classes=10, classifier_activation=None
        )
    )
    at = ["block_3_project", "block_12_depthwise_relu"]
    cut = partition(model, NODES, at=at, task="classification")
    x = scenes((32, 32, 3), 6, seed=9)
    expected = np.asarray(model(x, training=False))
    assert np.ptp(expected, axis=0).max() > 1e-2 * np.abs(expected).max()
    (sensor,) = (s.name for s in cut.model.topology.sensors)
    got = np.log(np.asarray(cut.model({sensor: x}, training=False)))
    shifted = expected - expected.mean(axis=1, keepdims=True)
    error = np.abs(got - got.mean(axis=1, keepdims=True) - shifted).max()
    assert error <= 1e-4 * np.abs(shifted).max()
