from typing import Any

import keras
import numpy as np
import pytest
from keras import layers

from ddnn_tf.model import build
from edge_runtime.errors import InputError
from edge_runtime.failures.configurations import deliveries
from edge_runtime.topology import Sensor
from export.split import KerasRunner, split
from tests import reference
from tests.models import plain_model, randomized, two_outputs
from tests.reference import small_topology
from tests.strategies import samples

CLASSES = ("car", "person", "bus")


def test_sections_come_by_name_in_the_order_in_which_they_run(model: Any) -> None:
    sections = split(model, model.topology)
    assert list(sections) == list(model.topology.order)
    assert all(section.name == node for node, section in sections.items())
    assert all(section is model.get_layer(node) for node, section in sections.items())


# -- what cannot be cut ------------------------------------------------------------------------


def section(name: str, sizes: dict[str, int], *, outputs: Any = None, dtype: Any = None) -> Any:
    tensors = {n: keras.Input((size,), name=n, dtype=dtype) for n, size in sizes.items()}
    parts = [layers.Rescaling(1.0, dtype="float32")(x) for x in tensors.values()]
    x = layers.Dense(2)(layers.Concatenate()(parts) if len(parts) > 1 else parts[0])
    return keras.Model(tensors, outputs(x) if outputs else x, name=name)


class Parts(keras.Model):
    """A model that only holds its parts."""

    def __init__(self, *parts: Any) -> None:
        super().__init__(name="parts")
        self.parts = list(parts)


LEFT, RIGHT = {"cam0": 3}, {"cam1": 3}
TOP = {"left": 2, "right": 2, "cam0": 3}


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        (lambda: [section("left", LEFT)], "'parts' has no sub-model for node 'right'; name a nest"),
        (
            lambda: [layers.Dense(2, name="left"), section("right", RIGHT), section("top", TOP)],
            "no sub-model for node 'left'",
        ),
        (
            lambda: [section("left", RIGHT), section("right", RIGHT), section("top", TOP)],
            r"sub-model 'left': expected inputs named after its senders \(cam0\), got cam1",
        ),
        (
            lambda: [
                section("left", LEFT),
                section("right", RIGHT),
                section("top", {"left": 2, "right": 2}),
            ],
            r"sub-model 'top': expected .* \(left, right, cam0\), got left, right",
        ),
        (
            lambda: [
                section("left", LEFT, outputs=lambda x: [x, x]),
                section("right", RIGHT),
                section("top", {**TOP}),
            ],
            r"sub-model 'top': expected .* \(left__0, left__1, right, cam0\), got",
        ),
        (
            lambda: [
                section("left", LEFT, outputs=lambda x: {"x": x}),
                section("right", RIGHT),
                section("top", TOP),
            ],
            "sub-model 'left': expected a tensor or a list .* a mapping with x",
        ),
        (
            lambda: [
                section("left", LEFT),
                section("right", RIGHT),
                section("top", {**TOP, "left": 5}),
            ],
            r"sub-model 'top': its input 'left' is float32 \[5\], but float32 \[2\] is sent",
        ),
        (
            lambda: [section("left", LEFT, dtype="uint8"), section("right", RIGHT)],
            r"sub-model 'left': its input 'cam0' is uint8 \[3\], but float32 \[3\] is sent",
        ),
    ],
)
def test_what_cannot_be_cut_is_refused_with_the_node(parts: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        split(Parts(*parts()), small_topology())


# -- running -----------------------------------------------------------------------------------


def test_a_section_runs_on_what_was_delivered_and_zeros(model: Any) -> None:
    runner = KerasRunner(model, model.topology)
    left = np.random.default_rng(0).normal(size=(4, 3)).astype(np.float32)
    zeros = np.zeros_like(left)
    found = np.asarray(runner.run("top", {"left": left}))
    full = {"left": left, "right": zeros, "cam0": zeros, "present": np.tile([1.0, 0, 0], (4, 1))}
    assert found == pytest.approx(np.asarray(model.get_layer("top")(full)), abs=1e-6)
    blank = runner.run("top", {"left": left, "right": zeros})
    assert np.abs(found - blank).max() > 1e-3, "a delivered zero is not a missing input"


def test_what_was_not_asked_for_is_refused(model: Any) -> None:
    runner = KerasRunner(model, model.topology)
    with pytest.raises(InputError, match="unknown input 'right'"):
        runner.run("left", {"right": np.zeros((1, 3), np.float32)})


@pytest.mark.parametrize("inputs", ["dict", "list"])
def test_any_keras_model_runs_whatever_the_structure_of_its_inputs(inputs: str) -> None:
    model, topology = plain_model(inputs=inputs), small_topology()
    runner = KerasRunner(model, topology)
    x: Any = samples(topology, 5)
    found = reference.answer(topology, runner, x, set(topology.elements))
    assert found == pytest.approx(np.asarray(model([x["cam0"], x["cam1"]])), abs=1e-6)


# -- tracing -----------------------------------------------------------------------------------


def test_a_trace_is_what_the_model_computes_under_each_samples_failures(model: Any) -> None:
    topology = model.topology
    x: Any = samples(topology, 64)
    masks = np.random.default_rng(0).random((64, len(topology.elements))) < 0.75
    traces = KerasRunner(model, topology).trace(x, masks)
    delivers = deliveries(topology, masks)
    for node, trace in traces.items():
        links = topology.incoming(node)
        flags = delivers[:, [topology.links.index(link) for link in links]]
        assert (trace.silent == ~flags.any(axis=1)).all()
        assert (trace.inputs["present"] == flags).all()
        for link, up in zip(links, flags.T, strict=True):
            assert not trace.inputs[link.source][~up].any()
            source = x.get(link.source)
            sent = traces[link.source].outputs[0] if source is None else source
            assert (trace.inputs[link.source][up] == sent[up]).all()
    answered = ~traces["top"].silent & masks[:, topology.index["top"]]
    assert 10 < answered.sum() < 64
    found = model.simulate(x, masks)
    assert traces["top"].outputs[0][answered] == pytest.approx(found[answered], abs=1e-6)


def test_a_dead_senders_nan_does_not_get_into_a_trace(model: Any) -> None:
    topology = model.topology
    x: Any = samples(topology, 2)
    x["cam0"][0] = np.nan
    masks = np.ones((2, len(topology.elements)), bool)
    masks[0, topology.index["cam0"]] = False
    traces = KerasRunner(model, topology).trace(x, masks)
    assert all(np.isfinite(t.outputs[0]).all() for t in traces.values())


def test_a_trace_knows_links_of_several_tensors() -> None:
    topology = small_topology()
    model = randomized(build(topology, two_outputs, classes=CLASSES))
    x: Any = samples(topology, 16)
    masks = np.random.default_rng(1).random((16, len(topology.elements))) < 0.7
    trace = KerasRunner(model, topology).trace(x, masks)["top"]
    assert set(trace.inputs) == {"left__0", "left__1", "right__0", "right__1", "cam0", "present"}
    left = trace.inputs["present"][:, 0] == 1
    assert not trace.inputs["left__1"][~left].any()
    answered = ~trace.silent & masks[:, topology.index["top"]]
    expected = model.simulate(x, masks)[answered]
    assert trace.outputs[0][answered] == pytest.approx(expected, abs=1e-6)


def test_a_sensors_bytes_stay_bytes() -> None:
    sensors = (Sensor("cam0", (3,)), Sensor("cam1", (3,)))
    topology = small_topology(sensors=sensors)
    model = randomized(build(topology, "fc32", classes=CLASSES))
    x: Any = samples(topology, 3)
    traces = KerasRunner(model, topology).trace(x, np.ones((3, len(topology.elements)), bool))
    assert traces["left"].inputs["cam0"].dtype == np.uint8
