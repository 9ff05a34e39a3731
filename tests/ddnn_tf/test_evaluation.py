from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from ddnn_tf.evaluation import expected_accuracy, named_survivabilities
from ddnn_tf.model import build
from edge_runtime.errors import InputError
from edge_runtime.failures.configurations import enumerate_configurations
from edge_runtime.topology import Topology
from tests.models import flagged, randomized
from tests.reference import small_topology
from tests.strategies import samples

CLASSES = ("car", "person", "bus")


def data_of(topology: Topology, count: int) -> Any:
    labels = np.random.default_rng(0).integers(0, 3, count)
    return SimpleNamespace(inputs=samples(topology, count), labels=labels)


@pytest.mark.parametrize(
    ("name", "evaluations"),
    [("poster-baseline", 57), ("poster-residual", 102), ("poster-edge-skip", 218)],
)
def test_fc32_in_keras_equals_simulating_all_256_configurations(
    name: str, evaluations: int
) -> None:
    topology = Topology.load(name)
    model = randomized(build(topology, "fc32", classes=CLASSES))
    model.prior = (0.2, 0.5, 0.3)
    data = data_of(topology, 6)
    found = expected_accuracy(model, data)
    assert found.section_evaluations == evaluations
    assert found.survivabilities == ("high", "medium", "low")

    presets: Any = {s: s for s in found.survivabilities}
    configurations = enumerate_configurations(topology, presets)
    assert len(configurations) == 256
    cases = np.repeat(configurations.masks, 6, axis=0)
    inputs = {n: np.tile(x, (256, *[1] * (x.ndim - 1))) for n, x in data.inputs.items()}
    answers = model.simulate(inputs, cases).argmax(axis=1).reshape(256, 6)
    accuracies = (answers == data.labels).mean(axis=1)
    for preset in presets:
        expected = configurations.probabilities(preset) @ accuracies
        assert found.expected_accuracy(preset) == pytest.approx(expected, abs=1e-6)
    assert len(set(accuracies)) > 2


def test_survivabilities_of_ones_own_the_fallback_and_the_limit_are_passed_on() -> None:
    model = randomized(build(small_topology(), flagged, classes=CLASSES))
    data = data_of(small_topology(), 5)
    found = expected_accuracy(
        model, data, survival={"mine": {"top": 0.0}, "own": None}, fallback="uniform"
    )
    assert found.expected_accuracy("mine") == pytest.approx(1 / 3)
    assert found.expected_accuracy("own") == pytest.approx(found.all_alive)
    assert (
        expected_accuracy(model, data, survival=["low"], limit=1).configurations.method
        == "stratified"
    )
    sampled = expected_accuracy(model, data, survival=["low"], configurations=50)
    assert sampled.configurations.method == "stratified"
    with pytest.raises(InputError, match="unknown survivability 'medium'"):
        expected_accuracy(model, data, survival="medium")


def test_presets_stand_for_themselves_and_none_for_all() -> None:
    topology = small_topology()
    assert named_survivabilities("low", topology) == {"low": "low"}
    assert named_survivabilities(["low", "own"], topology) == {"low": "low", "own": None}
    assert named_survivabilities({"mine": {"left": 0.5}}, topology) == {"mine": {"left": 0.5}}
    assert named_survivabilities(None, topology) == {"low": "low", "high": "high"}
    bare = small_topology(survivabilities={})
    assert named_survivabilities(None, bare) == named_survivabilities("own", bare) == {"own": None}
    with pytest.raises(
        InputError, match=r"'low'.*no presets.*\(own\).*--nodes edge:0\.99/0\.9/0\.8"
    ):
        named_survivabilities("low", bare)


@pytest.mark.parametrize("presets", [{"bad": {"left": 0.5}, "good": {}}, {}])
def test_all_survivabilities_of_the_topology_are_evaluated_unless_told(presets: Any) -> None:
    topology = small_topology(survivabilities=presets)
    model = randomized(build(topology, flagged, classes=CLASSES))
    found = expected_accuracy(model, data_of(topology, 5))
    assert found.survivabilities == (tuple(presets) or ("own",))


def test_arrays_batches_and_a_split_are_the_same_data() -> None:
    topology = small_topology(survivabilities={"mine": {"left": 0.5, "right": 0.4}})
    model = randomized(build(topology, flagged, classes=CLASSES))
    data = data_of(topology, 11)
    x, y = data.inputs, data.labels
    expected = expected_accuracy(model, data).to_dict()
    batches = tf.data.Dataset.from_tensor_slices((x, y)).batch(4)
    for given in [(x, y), ((x["cam0"], x["cam1"]), np.eye(3)[y]), (batches,)]:
        assert expected_accuracy(model, *given).to_dict() == expected
    with pytest.raises(
        InputError, match=r"no labels beside .* list; .*all else by name, as in sur"
    ):
        expected_accuracy(model, data, ["mine"])
