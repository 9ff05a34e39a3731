from typing import Any

import keras
import numpy as np
import pytest

from ddnn_tf.model import build
from ddnn_tf.sections import (
    SECTIONS,
    VIEW,
    Convolutional,
    bypassed,
    concatenate,
    standardized,
    survival_weights,
    weighted_add,
)
from edge_runtime.bundle.litert import LiteRTSection
from edge_runtime.errors import InputError
from edge_runtime.failures.distribution import mask_without
from edge_runtime.topology import Link, Node, Sensor, Topology
from export.litert import convert
from tests.models import randomized
from tests.reference import small_topology
from tests.strategies import samples

CLASSES = ("car", "person", "bus")


def value(tensor: Any) -> Any:
    return np.asarray(tensor)


# -- merges ------------------------------------------------------------------------------------


def test_adding_weighs_each_sender_and_one_by_default() -> None:
    tensors = {"a": np.array([[1.0, 2.0]]), "b": np.array([[10.0, 20.0]])}
    symbols = {name: keras.Input((2,), name=name) for name in tensors}
    for weights, expected in (({}, [11, 22]), ({"b": 0.5}, [6, 12]), ({"a": 2, "b": 0}, [2, 4])):
        model = keras.Model(symbols, weighted_add(symbols, weights))
        assert value(model(tensors)).tolist() == [expected]


def test_a_single_sender_is_added_to_nothing() -> None:
    x = keras.Input((2,))
    assert weighted_add({"a": x}, {}) is x


def test_adding_unequal_shapes_is_refused_with_both() -> None:
    with pytest.raises(InputError, match=r"one shape, got \{'a': \(2,\), 'b': \(3,\)\}"):
        weighted_add({"a": keras.Input((2,)), "b": keras.Input((3,))}, {})


@pytest.mark.parametrize("shape", [(3,), (5, 3), (4, 5, 3)])
def test_flags_are_constant_channels_beside_what_is_concatenated(shape: tuple[int, ...]) -> None:
    symbols = {n: keras.Input(shape, name=n) for n in ("a", "b")}
    present = keras.Input((2,), name="present")
    model = keras.Model({**symbols, "present": present}, concatenate(symbols, present))
    a = np.random.default_rng(0).normal(size=(2, *shape)).astype(np.float32)
    flags = np.array([[1, 0], [0, 1]], np.float32)
    merged = value(model({"a": a, "b": -a, "present": flags}))
    assert merged.shape == (2, *shape[:-1], 8)
    assert (merged[..., :3] == a).all()
    assert (merged[..., 3:6] == -a).all()
    for sample in range(2):
        assert (merged[sample, ..., 6:] == flags[sample]).all()


def test_flags_beside_higher_tensors_are_refused() -> None:
    x, present = keras.Input((2, 2, 2, 2)), keras.Input((1,))
    with pytest.raises(InputError, match=r"not tensors of shape \(2, 2, 2, 2\)"):
        concatenate({"a": x}, present)


# -- weights -----------------------------------------------------------------------------------


def test_weights_are_the_senders_survival_normalized_over_the_nodes_links() -> None:
    weights = survival_weights(Topology.load("poster-residual"), "low")
    assert weights["fog2->fog3"] == pytest.approx(0.75 / (0.75 + 0.70))
    assert weights["fog1->fog3"] == pytest.approx(0.70 / (0.75 + 0.70))
    assert weights["fog3->cloud"] == pytest.approx(0.8 / (0.8 + 0.8))
    assert weights["edge1->fog2"] == 1
    total = sum(weights[f"{s}->fog4"] for s in ("fog3", "fog2", "fog1"))
    assert total == pytest.approx(1)
    assert not [name for name in weights if name.startswith("cam")], "sensor links weigh 1"


def test_weights_without_normalizing_are_the_survival_of_sender_and_link() -> None:
    links = (*small_topology().links[:2], Link("left", "top", survival=0.5), Link("right", "top"))
    topology = small_topology(links=links)
    assert survival_weights(topology, "low", normalize=False) == pytest.approx(
        {"left->top": 0.3, "right->top": 0.7}
    )


def test_weights_of_senders_that_never_work_are_zero_not_nan() -> None:
    weights = survival_weights(small_topology(), {"left": 0.0, "right": 0.0})
    assert weights == {"left->top": 0.0, "right->top": 0.0}


# -- ready-made sets ---------------------------------------------------------------------------


def test_fc32_has_the_posters_layers() -> None:
    model = build(Topology.load("poster-residual"), "fc32", classes=CLASSES)
    depths = {
        node: [layer.units for layer in model.get_layer(node).layers if hasattr(layer, "units")]
        for node in model.topology.order
    }
    assert depths == {
        **{f"edge{i}": [32] for i in (1, 2, 3, 4)},
        "fog2": [32],
        **{f"fog{i}": [32, 32] for i in (1, 3, 4)},
        "cloud": [32, 32, 32, 3],
    }


def test_fc32_adds_views_and_scales_their_bytes() -> None:
    model = build(Topology.load("poster-baseline"), "fc32", classes=CLASSES)
    edge = model.get_layer("edge1")
    rng = np.random.default_rng(0)
    views = {n: rng.integers(0, 256, (2, 32, 32, 3)).astype(np.uint8) for n in ("cam0", "cam1")}
    (dense,) = (layer for layer in edge.layers if hasattr(layer, "units"))
    pixels = np.sum([v.astype(np.float64) / 255 for v in views.values()], axis=0)
    expected = pixels.reshape(2, -1) @ value(dense.kernel) + value(dense.bias)
    assert value(edge(views)) == pytest.approx(np.maximum(expected, 0), abs=1e-4)


def test_fc32_takes_messages_beside_views() -> None:
    model = build(small_topology(), "fc32", classes=CLASSES)
    assert {x.name for x in model.get_layer("top").inputs} == {"left", "right", "cam0"}
    assert model.output_shape == (None, 3)


@pytest.fixture(scope="module")
def conv() -> Any:
    topology = Topology(
        "conv",
        (Sensor("cam0", (16, 16, 3)), Sensor("cam1", (16, 16, 3), "float32")),
        (Node("edge", "edge"), Node("top", "cloud")),
        (Link("cam0", "edge"), Link("cam1", "edge"), Link("edge", "top")),
    )
    return randomized(build(topology, "conv", classes=CLASSES))


def test_conv_asks_for_flags_where_links_meet(conv: Any) -> None:
    assert {x.name for x in conv.get_layer("edge").inputs} == {"cam0", "cam1", "present"}
    assert {x.name for x in conv.get_layer("top").inputs} == {"edge"}


def test_conv_ignores_a_blank_view_but_for_its_visible_bit(conv: Any) -> None:
    """Nothing that a blank view goes through (biases, batch norm) reaches the merge."""
    edge = conv.get_layer("edge")
    (merge,) = (
        x for x in edge.layers if isinstance(x, keras.layers.Concatenate) and len(x.input) == 3
    )
    merged = keras.Model(edge.inputs, merge.output)
    views: dict[str, Any] = {
        "cam0": np.zeros((3, 16, 16, 3), np.uint8),
        "cam1": np.zeros((3, 16, 16, 3), np.float32),
        "present": np.ones((3, 2), np.float32),
    }
    views["cam0"][1, 3, 4, 0] = 1
    views["cam1"][2, 5, 6, 1] = 0.01
    out = value(merged([views[x.name] for x in edge.inputs]))
    message = out.shape[1] // 2 - 1
    one, two, flags = out[:, :message], out[:, message : 2 * message], out[:, 2 * message :]
    assert one[:, -1].tolist() == [0, 1, 0]
    assert two[:, -1].tolist() == [0, 0, 1]
    assert not one[[0, 2]].any()
    assert not two[[0, 1]].any()
    assert one[1, :-1].any()
    assert two[2, :-1].any()
    assert (flags == 1).all()


def test_conv_refuses_what_has_too_many_axes() -> None:
    topology = Topology(
        "cube",
        (Sensor("cube", (2, 2, 2, 2)),),
        (Node("top", "cloud"),),
        (Link("cube", "top"),),
    )
    with pytest.raises(InputError, match=r"sensor 'cube'.*images .*series .*vectors, got shape"):
        build(topology, "conv", classes=CLASSES)


@pytest.fixture(scope="module")
def mixed() -> Topology:
    return Topology(
        "mixed",
        (
            Sensor("camera", (8, 8, 3)),
            Sensor("motion", (12, 6), "float32"),
            Sensor("weather", (4,), "float32"),
        ),
        (Node("edge", "edge"), Node("top", "cloud")),
        (
            Link("camera", "edge"),
            Link("motion", "edge"),
            Link("edge", "top"),
            Link("weather", "top"),
        ),
    )


def mixed_inputs(samples: int) -> dict[str, Any]:
    rng = np.random.default_rng(0)
    return {
        "camera": rng.integers(0, 256, (samples, 8, 8, 3)).astype(np.uint8),
        "motion": rng.normal(-400, 50, (samples, 12, 6)).astype(np.float32),
        "weather": rng.normal(1e-3, 1e-4, (samples, 4)).astype(np.float32),
    }


def test_conv_mixes_images_series_and_vectors(mixed: Topology) -> None:
    model = build(mixed, "conv", classes=CLASSES)
    assert np.asarray(model(mixed_inputs(5))).shape == (5, 3)


@pytest.mark.parametrize("sensor", ["camera", "motion", "weather"])
def test_a_blank_view_of_any_kind_is_not_visible(mixed: Topology, sensor: str) -> None:
    section = build(mixed, "conv", classes=CLASSES).get_layer(
        "edge" if sensor != "weather" else "top"
    )
    view = next(x for x in section.inputs if x.name == sensor)
    bits = [
        layer.output
        for layer in section.layers
        if isinstance(layer, keras.layers.ReLU) and layer.max_value == 1.0
    ]
    seen = keras.Model(section.inputs, bits)
    feed = {x.name: np.zeros((2, *x.shape[1:]), x.dtype) for x in section.inputs}
    feed[sensor][1].flat[1] = 1 if view.dtype == "uint8" else -1e-4
    found = [
        value(bit)[:, 0] for bit in keras.tree.flatten(seen([feed[x.name] for x in section.inputs]))
    ]
    assert [0, 1] in [bit.tolist() for bit in found]
    assert sum(bit.sum() for bit in found) == 1


def test_a_small_view_is_visible_in_an_int8_artifact_too() -> None:
    encoder = Convolutional().encoder((2,), "float32")
    visible = keras.Model(encoder.inputs, encoder.layers[-1].output[:, -1:], name="seen")
    sizes = np.array([[0, 0], [0.03, -0.05], [0.8, 0.6]], np.float32)
    artifact = convert(visible, "int8", representative={VIEW: sizes})
    [found] = LiteRTSection(artifact)({VIEW: sizes})
    np.testing.assert_allclose(found[:, 0], [0, 1, 1], atol=0.01)


def test_floats_in_any_unit_are_brought_to_one_scale() -> None:
    x = keras.Input((6,))
    model = keras.Model(x, standardized(x))
    data = np.random.default_rng(0).normal([0, 5, -300, 1e4, 2, 3], [1, 2, 30, 9, 8, 7], (512, 6))
    for _ in range(120):
        model(data.astype(np.float32), training=True)
    scaled = value(model(data.astype(np.float32)))
    assert scaled.mean(axis=0) == pytest.approx(0, abs=0.05)
    assert scaled.std(axis=0) == pytest.approx(1, abs=0.05)
    assert not model.trainable_weights


@pytest.mark.parametrize("name", SECTIONS)
def test_sections_are_of_keras_own_layers_so_that_every_converter_knows_them(name: str) -> None:
    model = build(Topology.load("poster-residual"), name, classes=CLASSES)  # type: ignore[arg-type]
    for node in model.topology.order:
        for layer in model.get_layer(node).layers:
            assert type(layer).__module__.startswith("keras."), layer


def test_bytes_are_scaled_and_float_images_are_not() -> None:
    for dtype, expected in (("uint8", 1.0), ("float32", 255.0)):
        x = keras.Input((1, 1, 1), dtype=dtype)
        scaled = keras.Model(x, standardized(x))(np.full((1, 1, 1, 1), 255, dtype))
        assert value(scaled).tolist() == [[[[expected]]]]
        assert value(scaled).dtype == np.float32


# -- residual links in place of primary ones -----------------------------------------------------


def test_a_multiplexer_hears_a_residual_link_only_without_its_primary() -> None:
    model = randomized(build(small_topology(), "fc32", classes="abc", multiplex=True))
    topology = model.topology
    inputs = samples(topology, 16)

    def answers(*failed: str) -> Any:
        return model.simulate(inputs, mask_without(topology, list(failed)))

    skip = "cam0->top"
    # It goes round left, so while left is heard it says nothing, whoever else is missing.
    for failed in ([], ["right"], ["cam1"]):
        np.testing.assert_allclose(answers(*failed), answers(*failed, skip), atol=1e-6)
    for failed in (["left"], ["left->top"], ["left", "right"]):
        assert np.abs(answers(*failed) - answers(*failed, skip)).max() > 1e-3
    assert "present" in {x.name for x in model.get_layer("top").inputs}


def test_a_residual_link_goes_round_the_senders_that_its_source_reaches() -> None:
    topology = Topology.load("poster-edge-skip")
    found = {x.name: bypassed(topology, x) for x in topology.links if x.kind == "residual"}
    assert found["edge1->fog3"] == ("fog2",)
    assert found["edge2->fog3"] == ("fog1",)
    assert found["fog3->cloud"] == ("fog4",)
    assert found["fog1->fog4"] == found["fog2->fog4"] == ("fog3",)
