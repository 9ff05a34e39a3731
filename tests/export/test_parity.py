from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from keras import layers

from edge_runtime.arrays import Array
from edge_runtime.failures.configurations import enumerate_configurations
from edge_runtime.task import Classification
from export.parity import ParityError, check_chain, relative_error, whole
from export.split import KerasRunner
from tests.models import plain_model
from tests.reference import small_topology
from tests.strategies import samples


@pytest.mark.parametrize(
    ("got", "reference", "error"),
    [
        ([1.0, 2.0], [1.0, 2.0], 0.0),
        ([0.1, 0.3], [0.1, 0.2], 0.1),  # small values: the error as it is
        ([10.0, 300.0], [10.0, 200.0], 0.5),  # large ones: over the largest
        ([10.0, -300.0], [10.0, -200.0], 0.5),
        ([1.0, np.nan], [1.0, 2.0], np.inf),
        ([1.0, np.inf], [1.0, np.inf], np.inf),
        ([1.0], [1.0, 2.0], np.inf),
        ([], [], 0.0),
    ],
)
def test_errors_are_relative_to_the_largest_reference_or_one(
    got: list[float], reference: list[float], error: float
) -> None:
    assert relative_error(np.array(got), np.array(reference)) == pytest.approx(error)


# -- the chain against the whole model ---------------------------------------------------------


def check(model: Any) -> None:
    topology = small_topology()
    task = Classification(("a", "b"))
    check_chain(model, KerasRunner(model, topology), samples(topology, 4), task)


@pytest.mark.parametrize("inputs", ["dict", "list"])
def test_a_model_of_nothing_but_sections_passes(inputs: str) -> None:
    check(plain_model(inputs=inputs))


@pytest.mark.parametrize(
    "identity", [layers.Dropout(0.5), layers.Identity(), layers.GaussianNoise(1.0)]
)
def test_what_is_the_identity_at_inference_may_lie_between(identity: Any) -> None:
    check(plain_model(between=identity))


@pytest.mark.parametrize(
    "layer", [layers.Rescaling(1.001), layers.Activation("tanh"), layers.LayerNormalization()]
)
def test_anything_else_between_sections_is_refused_with_the_first_node_behind_it(
    layer: Any,
) -> None:
    with pytest.raises(ParityError, match=r"'plain'.*differ .* first at node 'top'.*identity"):
        check(plain_model(between=layer))


@pytest.mark.parametrize("layer", [layers.Rescaling(2.0), layers.Softmax()])
def test_anything_above_the_output_node_is_refused(layer: Any) -> None:
    with pytest.raises(ParityError, match="output of 'plain' is not that of its output node 'top'"):
        check(plain_model(after=layer))


# -- a bundle against its reference ------------------------------------------------------------


class Changed:
    """A runner in whose outputs one node's are changed."""

    def __init__(self, runner: KerasRunner, node: str, change: Any) -> None:
        self.runner, self.node, self.change = runner, node, change

    def run(self, node: str, inputs: Mapping[str, Array]) -> Any:
        outputs = self.runner.run(node, inputs)
        return self.change(outputs) if node == self.node else outputs


def compare(model: Any, runner: Any, count: int = 6) -> Any:
    topology = model.topology
    configurations = enumerate_configurations(topology, {"s": {"left": 0.5, "top": 0.5}})
    x = samples(topology, count)
    return whole(topology, runner, model.simulate, x, configurations, model.task)


def test_every_configuration_that_answers_is_compared(model: Any) -> None:
    found = compare(model, KerasRunner(model, model.topology))
    assert found.configurations == 2, "of four, two have no output node"
    assert found.max_error <= 1e-5
    assert found.label_agreement == {"s": 1.0}


def test_a_deviation_under_a_single_configuration_is_found(model: Any) -> None:
    runner = Changed(KerasRunner(model, model.topology), "left", lambda x: x + 0.01)
    assert 1e-5 < compare(model, runner).max_error < 0.1


def test_agreement_is_how_probably_the_labels_are_equal(model: Any) -> None:
    """Half of the time the output node is dead, and both give the fallback."""
    runner = Changed(KerasRunner(model, model.topology), "top", lambda x: -x)
    assert compare(model, runner, 20).label_agreement == {"s": 0.5}


def test_where_nothing_answers_there_is_nothing_to_disagree_about(model: Any) -> None:
    topology = model.topology
    both = enumerate_configurations(topology, {"s": {"top": 0.0}})
    dead = replace(both, components=both.components[1:], weights={"s": np.ones(1)})
    runner = KerasRunner(model, topology)
    found = whole(topology, runner, model.simulate, samples(topology, 2), dead, model.task)
    assert (found.configurations, found.max_error, found.label_agreement) == (0, 0.0, {"s": 1.0})
