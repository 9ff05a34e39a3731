import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from ai_edge_litert.interpreter import Interpreter
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from keras import layers

from ddnn_tf.model import ResilientModel, build
from ddnn_tf.sections import Site, unit_scale
from edge_runtime.arrays import Array
from edge_runtime.errors import InputError
from edge_runtime.failures.distribution import mask_without
from edge_runtime.topology import Link, Node, Sensor, Topology
from export.split import KerasRunner
from tests import reference
from tests.models import flagged, randomized, two_outputs
from tests.reference import small_topology
from tests.strategies import masks, samples, topologies

CLASSES = ("car", "person", "bus")


def loaded(model: ResilientModel, path: Path) -> Any:
    model.save(path / "model.keras")
    return keras.models.load_model(path / "model.keras")


def chain(model: Any, inputs: Mapping[str, Array], cases: Array, fallback: Array) -> Array:
    """Answers of the sections one after the other, each sample under its own failures."""
    runner = KerasRunner(model, model.topology)
    rows = []
    for i, mask in enumerate(cases):
        sample = {name: x[i : i + 1] for name, x in inputs.items()}
        up = reference.working(model.topology, mask)
        answer = reference.answer(model.topology, runner, sample, up)
        rows.append(fallback if answer is None else answer[0])
    return np.stack(rows)


# -- building ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def fc32() -> Any:
    return randomized(build(Topology.load("poster-residual"), classes=CLASSES, dropout=["low"]))


@pytest.fixture(scope="module")
def small() -> Any:
    return randomized(build(small_topology(), flagged, classes=CLASSES))


def test_sub_models_are_named_after_nodes_and_inputs_after_sensors(fc32: Any) -> None:
    topology = Topology.load("poster-residual")
    assert isinstance(fc32, keras.Model)
    assert fc32.topology == topology
    assert [x.name for x in fc32.inputs] == [f"cam{i}" for i in range(6)]
    assert all(x.dtype == "uint8" and x.shape == (None, 32, 32, 3) for x in fc32.inputs)
    assert fc32.output_shape == (None, 3)
    nested = {x.name: x for x in fc32.layers if isinstance(x, keras.Model)}
    assert set(nested) == set(topology.order)
    for node, section in nested.items():
        assert {x.name for x in section.inputs} == {x.source for x in topology.incoming(node)}
    assert fc32.class_names == CLASSES
    assert fc32.prior == pytest.approx([1 / 3] * 3)


def test_a_set_of_sections_may_be_a_function_or_one_for_each_node() -> None:
    seen = []

    def own(site: Site) -> Any:
        seen.append((site.node.name, tuple(site.inputs), site.classes))
        return flagged(site)

    dense = keras.Sequential([keras.Input((3,), name="cam1"), layers.Dense(3)], name="mine")
    x = {"cam0": keras.Input((3,), name="cam0"), "present": keras.Input((1,), name="present")}
    functional = keras.Model(x, layers.Dense(3)(layers.Concatenate()(list(x.values()))))
    model = build(
        small_topology(), {"left": functional, "right": dense, "top": own}, classes=CLASSES
    )
    assert seen == [("top", ("left", "right", "cam0"), 3)]
    assert [x.name for x in model.get_layer("left").inputs] == ["cam0", "present"]
    assert [x.name for x in model.get_layer("right").inputs] == ["cam1"]
    inputs = samples(small_topology(), 2)
    left = np.concatenate([inputs["cam0"], np.ones((2, 1))], axis=1)
    found = model.get_layer("left")({"cam0": inputs["cam0"], "present": np.ones((2, 1), "f4")})
    (kernel, _) = functional.get_weights()
    assert np.asarray(found) == pytest.approx(left @ kernel, abs=1e-5)
    assert dense.get_weights()[0] is not None
    assert np.asarray(model(inputs)).sum(axis=1) == pytest.approx([1, 1])


def test_a_link_may_carry_several_tensors(tmp_path: Path) -> None:
    model = randomized(build(small_topology(), two_outputs, classes=CLASSES))
    names = [x.name for x in model.get_layer("top").inputs]
    assert sorted(names) == ["cam0", "left__0", "left__1", "present", "right__0", "right__1"]
    inputs = samples(small_topology(), 16)
    cases = np.random.default_rng(0).random((16, 10)) < 0.7
    cases[:, model.topology.index["top"]] = True
    found = model.simulate(inputs, cases)
    runner = KerasRunner(model, model.topology)
    for i, mask in enumerate(cases):
        delivers = reference.heard(model.topology, reference.working(model.topology, mask), "top")
        if not delivers:
            continue
        sample = {name: x[i : i + 1] for name, x in inputs.items()}
        delivered = {"cam0": sample["cam0"]} if "cam0->top" in delivers else {}
        for node, cam in (("left", "cam0"), ("right", "cam1")):
            if f"{node}->top" in delivers:
                outputs = runner.run(node, {cam: sample[cam]})
                delivered |= {f"{node}__{k}": x for k, x in enumerate(outputs)}
        assert found[i] == pytest.approx(runner.run("top", delivered)[0], abs=1e-6)


@pytest.mark.parametrize("name", ["answer", "failures", "deliveries", "model", "input", "ddnn"])
def test_no_name_of_a_node_or_sensor_is_in_our_way(name: str) -> None:
    topology = Topology(
        "a/b c",
        (Sensor("cam", (2,)), Sensor(f"{name}_1", (2,))),
        (Node(name, "edge"), Node("top", "cloud")),
        (Link("cam", name), Link(f"{name}_1", name), Link(name, "top")),
    )
    model = build(topology, classes=CLASSES)
    assert np.asarray(model(samples(topology, 2))).shape == (2, 3)
    assert model.topology == topology


def test_merge_weights_reach_the_sections_that_add() -> None:
    weights = {"left->top": 0.25, "right->top": 0.75}
    seen = {}

    def own(site: Site) -> Any:
        seen[site.node.name] = dict(site.weights)
        return flagged(site)

    build(small_topology(), own, classes=CLASSES, merge_weights=weights)
    assert seen == {
        "left": {"cam0": 1.0},
        "right": {"cam1": 1.0},
        "top": {"left": 0.25, "right": 0.75, "cam0": 1.0},
    }


def _mapping(site: Site) -> Any:
    return {"x": flagged(site)}


def _logits(site: Site) -> Any:
    return layers.Dense(2)(next(iter(site.inputs.values())))


def _pair(site: Site) -> Any:
    return [flagged(site), flagged(site)]


def _namesake(site: Site) -> Any:
    return layers.Dense(3, name=next(iter(site.inputs)))(flagged(site))


def _stranger(site: Site) -> Any:
    return layers.Dense(3)(keras.Input((3,)))


def _takes(name: str) -> keras.Model:
    return keras.Sequential([keras.Input((3,), name=name), layers.Dense(3)])


@pytest.mark.parametrize(
    ("arguments", "fragment"),
    [
        ({"classes": ["car"]}, r"two or more class names, got \['car'\]"),
        ({"classes": ["car", "car"]}, "class names must differ; 'car' repeats"),
        ({"sections": "fc64"}, "unknown sections 'fc64'; expected conv, fc32, or your own"),
        ({"sections": {"left": flagged}}, "one section for each node .*unknown: right, top"),
        (
            {"sections": {"left": flagged, "right": flagged, "top": flagged, "lost": flagged}},
            "missing or unknown: lost",
        ),
        (
            {"sections": _mapping},
            "section of 'left': expected a tensor or a list .* mapping with x",
        ),
        ({"sections": _logits}, r"output node 'top': expected .*\(batch, 3\), got \(None, 2\)"),
        ({"sections": _pair}, r"output node 'top': expected probabilities of shape \(batch, 3\)"),
        (
            {"sections": {"left": _takes("lost"), "right": flagged, "top": flagged}},
            r"section of 'left': expected inputs named after its senders \(cam0; present if "
            "wanted\\), got lost",
        ),
        (
            {"sections": {"left": keras.Sequential(), "right": flagged, "top": flagged}},
            "section of 'left': expected a Keras model with named inputs, got Sequential",
        ),
        (
            {"sections": _namesake},
            "section of 'left' makes no Keras model: The name \"cam0\" is used 2 times.*otherwise",
        ),
        (
            {"sections": _stranger},
            "section of 'left' makes no Keras model: .*the site's inputs only",
        ),
        ({"merge_weights": {"left": 0.5}}, "merge weights for unknown links: left"),
        ({"dropout": "low"}, "expected a list of survivabilities or None, got 'low'"),
        ({"dropout": ["lowest"]}, "unknown survivability 'lowest'"),
    ],
)
def test_what_does_not_fit_is_refused(arguments: dict[str, Any], fragment: str) -> None:
    with pytest.raises(InputError, match=fragment):
        build(small_topology(), **{"sections": flagged, "classes": CLASSES, **arguments})


# -- an ordinary model -------------------------------------------------------------------------


def test_it_learns_is_saved_and_comes_back_with_all_that_it_knows(
    tmp_path: Path, seeded: None
) -> None:
    topology = small_topology()
    model = build(topology, "fc32", classes=CLASSES, dropout=["low", "high", None], seed=3)
    inputs = samples(topology, 256)
    labels = (inputs["cam0"][:, 0] > 0).astype(np.int64) + (inputs["cam0"][:, 1] > 1)
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    before = model.evaluate(inputs, labels, verbose=0, return_dict=True)
    model.fit(inputs, labels, validation_data=(inputs, labels), epochs=15, verbose=0)
    after = model.evaluate(inputs, labels, verbose=0, return_dict=True)
    assert after["loss"] < before["loss"]
    assert after["accuracy"] > 0.6
    assert model.prior == pytest.approx(np.bincount(labels, minlength=3) / 256)

    again = loaded(model, tmp_path)
    assert isinstance(again, ResilientModel)
    assert again.evaluate(inputs, labels, verbose=0, return_dict=True) == pytest.approx(after)
    assert again.topology == topology
    assert again.class_names == CLASSES
    assert again.prior == model.prior
    cases = np.random.default_rng(0).random((256, len(topology.elements))) < 0.7
    assert again.simulate(inputs, cases) == pytest.approx(model.simulate(inputs, cases), abs=1e-6)
    again.fit(inputs, labels, epochs=1, verbose=0)


def test_a_saved_model_is_read_by_who_has_used_nothing_of_ours_yet(tmp_path: Path) -> None:
    """Keras alone would not find our classes: ddnn_tf loads them when first used."""
    build(small_topology(), flagged, classes=CLASSES).save(tmp_path / "model.keras")
    code = "import ddnn_tf, sys; print(*ddnn_tf.load_model(sys.argv[1]).class_names)"
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "model.keras")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout == f"{' '.join(CLASSES)}\n", done.stderr


def test_failures_are_drawn_in_training_and_only_there() -> None:
    topology = small_topology()
    model = randomized(build(topology, flagged, classes=CLASSES, dropout=[{"top": 1, "left": 0.5}]))
    inputs = {n: np.repeat(x, 200, axis=0) for n, x in samples(topology, 1).items()}
    assert len(np.unique(np.asarray(model(inputs)), axis=0)) == 1
    trained = np.asarray(model(inputs, training=True))
    alive = model.simulate(inputs, mask_without(topology, []))[0]
    dead = model.simulate(inputs, mask_without(topology, ["left"]))[0]
    assert np.abs(alive - dead).max() > 1e-3
    is_alive = np.abs(trained - alive).max(axis=1) < 1e-5
    is_dead = np.abs(trained - dead).max(axis=1) < 1e-5
    assert (is_alive ^ is_dead).all(), "training sees what the devices will see"
    assert 60 < is_alive.sum() < 140


@pytest.mark.parametrize(
    "labels",
    [
        [0, 0, 0, 1],
        [[0], [0], [0], [1]],
        [0.0, 0.0, 0.0, 1.0],
        np.eye(3)[[0, 0, 0, 1]],
    ],
)
def test_the_prior_is_what_was_trained_on(labels: Any) -> None:
    model = build(small_topology(), flagged, classes=CLASSES)
    one_hot = np.ndim(labels) == 2 and np.shape(labels)[1] == 3
    model.compile(
        "sgd", "categorical_crossentropy" if one_hot else "sparse_categorical_crossentropy"
    )
    model.fit(samples(small_topology(), 4), np.array(labels), 4, 1, 0)
    assert model.prior == (0.75, 0.25, 0.0)


def test_a_label_without_a_class_is_refused_before_training() -> None:
    model = build(small_topology(), flagged, classes=CLASSES)
    model.compile("sgd", "sparse_categorical_crossentropy")
    with pytest.raises(InputError, match="label 3 of sample 1 is out of range: expected 0 to 2"):
        model.fit(samples(small_topology(), 2), np.array([0, 3]), verbose=0)


# -- under failures ----------------------------------------------------------------------------


# Not shrunk: that takes minutes when each example builds a model, and they are small.
@settings(
    max_examples=8,
    phases=(Phase.explicit, Phase.reuse, Phase.generate),
    suppress_health_check=[HealthCheck.too_slow],
)
@given(data=st.data(), topology=topologies(max_nodes=4), seed=st.integers(0, 1000))
def test_the_whole_model_equals_the_chain_under_any_failures(
    data: st.DataObject, topology: Topology, seed: int
) -> None:
    model = randomized(build(topology, flagged, classes=CLASSES), seed)
    cases = data.draw(masks(topology, cases=12))
    inputs: Any = samples(topology, len(cases), seed)
    expected = chain(model, inputs, cases, model.task.fallback())
    assert model.simulate(inputs, cases) == pytest.approx(expected, abs=1e-5)


def test_the_posters_model_equals_the_chain_under_its_failures(fc32: Any) -> None:
    rng = np.random.default_rng(0)
    cases = rng.random((24, len(fc32.topology.elements))) < 0.8
    inputs: Any = samples(fc32.topology, 24)
    found = fc32.simulate(inputs, cases)
    expected = chain(fc32, inputs, cases, fc32.task.fallback())
    assert found == pytest.approx(expected, abs=1e-5)
    assert np.ptp(found, axis=0).min() > 0.1, "answers that hardly differ would prove little"


def test_a_node_that_hears_nothing_leaks_none_of_its_biases(small: Any) -> None:
    """cam0 dead: left is alive and silent, which must be the same as left dead."""
    inputs: Any = samples(small.topology, 8)
    silent = small.simulate(inputs, mask_without(small.topology, ["cam0"]))
    dead = small.simulate(inputs, mask_without(small.topology, ["cam0", "left"]))
    assert (silent == dead).all()
    blank = small.simulate(
        {**inputs, "cam0": np.zeros_like(inputs["cam0"])}, mask_without(small.topology, [])
    )
    assert np.abs(silent - blank).max() > 1e-3, "a blank view is delivered data, and differs"


def test_a_live_node_whose_output_is_all_zero_is_present() -> None:
    topology = small_topology()
    model = randomized(build(topology, flagged, classes=CLASSES))
    (dense,) = (x for x in model.get_layer("left").layers if hasattr(x, "units"))
    dense.set_weights([np.zeros_like(dense.kernel), -np.ones(3)])  # below zero: ReLU gives 0
    inputs: Any = samples(topology, 4)
    runner = KerasRunner(model, topology)
    assert not np.any(runner.run("left", {"cam0": inputs["cam0"]}))
    alive = model.simulate(inputs, mask_without(topology, []))
    dead = model.simulate(inputs, mask_without(topology, ["left"]))
    assert np.abs(alive - dead).max() > 1e-3


def test_a_silent_output_node_answers_with_the_fallback(small: Any) -> None:
    inputs: Any = samples(small.topology, 3)
    small.prior = (0.2, 0.5, 0.3)
    cases = np.stack([mask_without(small.topology, d) for d in ([], ["top"], ["cam0", "cam1"])])
    try:
        for fallback, expected in (
            ("prior", [0, 1, 0]),
            ("prior-random", [0.2, 0.5, 0.3]),
            ("uniform", [1 / 3] * 3),
        ):
            found = small.simulate(inputs, cases, fallback=fallback)
            assert found[0] == pytest.approx(np.asarray(small(inputs))[0], abs=1e-6)
            assert found[1] == pytest.approx(expected)
            assert found[2] == pytest.approx(expected)
    finally:
        small.prior = (1 / 3, 1 / 3, 1 / 3)


def test_simulating_takes_one_mask_for_all_in_any_number_of_samples(small: Any) -> None:
    inputs: Any = samples(small.topology, 600)
    mask = mask_without(small.topology, ["right"])
    together = small.simulate(inputs, mask)
    assert together.shape == (600, 3)
    few = {name: x[595:] for name, x in inputs.items()}
    assert small.simulate(few, mask) == pytest.approx(together[595:], abs=1e-6)
    assert np.asarray(small(few)) != pytest.approx(together[595:], abs=1e-3), "and is then undone"
    with pytest.raises(InputError, match=r"mask of shape \(10,\) or \(600, 10\), got \(9,\)"):
        small.simulate(inputs, np.ones(9, bool))


# -- Keras' own export ---------------------------------------------------------------------------


def bytes_in(site: Site) -> Any:
    """As `flagged`, but every link carries bytes: LiteRT knows few operations on them."""
    flat = [layers.Flatten()(unit_scale(x)) for x in site.inputs.values()]
    merged = layers.Concatenate()([*flat, site.present])
    if site.classes is not None:
        return layers.Dense(site.classes, activation="softmax")(merged)
    return keras.ops.cast(layers.Dense(3, activation="sigmoid")(merged) * 255.0, "uint8")


def exported(model: Any, file: Path, inputs: Mapping[str, Array]) -> Array:
    """What the artifact that Keras' own `export` writes answers."""
    if file.suffix == ".tflite":
        model.export(file, format="litert", verbose=False)
        runner = Interpreter(str(file)).get_signature_runner()
        count = len(next(iter(inputs.values())))
        found = [runner(**{n: x[i : i + 1] for n, x in inputs.items()}) for i in range(count)]
        return np.concatenate([next(iter(answer.values())) for answer in found])
    model.export(file, verbose=False)
    artifact = tf.saved_model.load(str(file))  # whose variables live as long as it does
    return np.asarray(artifact.serve(dict(inputs)))


@pytest.mark.parametrize("file", ["saved", "whole.tflite"])
@pytest.mark.parametrize("make", [flagged, bytes_in])
def test_keras_exports_the_whole_model(make: Any, file: str, tmp_path: Path) -> None:
    sensors = tuple(Sensor(name, (3,), "uint8") for name in ("cam0", "cam1"))
    topology = small_topology(sensors=sensors).with_exits()
    model: Any = randomized(build(topology, make, classes=CLASSES, dropout=["low"]))
    inputs: Any = samples(topology, 4)
    answers = np.asarray(model(inputs))
    assert np.ptp(answers, axis=0).max() > 0.1
    assert exported(model, tmp_path / file, inputs) == pytest.approx(answers, abs=1e-5)
    mask = mask_without(topology, ["right"])
    assert model.simulate(inputs, mask) != pytest.approx(answers, abs=1e-3), "links fail after it"
