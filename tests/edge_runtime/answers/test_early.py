from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from edge_runtime.answers.policies import ANSWER_MODES, AnswerMode, highest_first
from edge_runtime.answers.rule import AnswerRule
from edge_runtime.arrays import Array
from edge_runtime.errors import InputError
from edge_runtime.task import Classification
from edge_runtime.topology import Topology
from tests import reference
from tests.reference import DenseSections, chain_topology, small_topology
from tests.strategies import survivabilities, topologies


class Sure(DenseSections):
    """Answers are probabilities: of some samples almost sure, of others not at all."""

    def run(self, node: str, inputs: Mapping[str, Array]) -> Any:
        found = super().run(node, inputs)
        if isinstance(found, tuple):
            return (*found[:-1], softmax(found[-1]))
        return softmax(found) if node == self.topology.output else found

    def message_bytes(self, node: str) -> int:
        """Of one sample: three float64."""
        return 24


def softmax(x: Array) -> Array:
    powers = np.exp(x / 4 - (x / 4).max(axis=1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=1, keepdims=True))


measured = partial(reference.measured, Sure)


def brute_force(
    topology: Topology,
    runner: Sure,
    inputs: Mapping[str, Array],
    labels: Array,
    survival: Mapping[str, float],
    thresholds: Mapping[str, float],
    answer: AnswerMode,
) -> tuple[float, dict[str, float], dict[str, float], float]:
    """Expected accuracy, shares by node of answers and of tensors sent, answers; by the sample."""
    accuracy, said, count = 0.0, 0.0, len(labels)
    speak = {topology.output, *(topology.exits if answer == "any" else ()), *thresholds}
    shares: dict[str, float] = {}
    sends = dict.fromkeys(topology.order, 0.0)
    fallible = [n for n, p in survival.items() if p < 1]
    for up in reference.all_masks(topology, fallible):
        p = reference.probability(up, {n: survival[n] for n in fallible}) / count
        for i, label in enumerate(labels):
            one = {name: x[i : i + 1] for name, x in inputs.items()}
            early, passes = reference.sure(topology, runner, one, up, thresholds)
            for node in topology.order:
                if reference.sends(topology, up, node) and node not in early | passes:
                    sends[node] += p
                if reference.sends(topology, up, node) and node in speak - passes:
                    said += p
            who = taken(topology, runner, one, up, early, answer)
            if who is None:
                accuracy += p * (label == 0)
            else:
                own = reference.answer(topology, runner, one, up, who)
                assert own is not None
                accuracy += p * (own.argmax() == label)
                shares[who] = shares.get(who, 0.0) + p
    return accuracy, shares, sends, said


def taken(
    topology: Topology,
    runner: Sure,
    one: Mapping[str, Array],
    up: set[str],
    early: set[str],
    answer: AnswerMode,
) -> str | None:
    everybody = reference.exit_states(topology, up)
    # Of equals, the first.
    states = {n: everybody[n] for n in highest_first(topology) if n in everybody}

    def confidence(node: str) -> float:
        own = reference.answer(topology, runner, one, up, node)
        assert own is not None
        return round(float(own.max()), 6)

    if early:
        least = min(topology.depths[node] for node in early)
        first = [n for n in highest_first(topology) if n in early and topology.depths[n] == least]
        return max(first, key=confidence)
    if answer == "output":
        return topology.output if topology.output in states else None
    return reference.taken(topology, states, {n: confidence(n) for n in states}) if states else None


@settings(max_examples=40)
@given(
    data=st.data(),
    topology=topologies(exits=True),
    answer=st.sampled_from(ANSWER_MODES),
    seed=st.integers(0, 1000),
)
def test_any_topology_equals_brute_force(
    data: st.DataObject, topology: Topology, answer: AnswerMode, seed: int
) -> None:
    assume(topology.exits)
    survival = data.draw(survivabilities(topology, most=4))
    chosen = data.draw(st.sets(st.sampled_from(topology.exits), min_size=1))
    thresholds = {node: data.draw(st.floats(0.001, 1)) for node in sorted(chosen)}
    found, runner, inputs, labels = measured(
        topology, survival, 6, seed, rule=AnswerRule(answer, early=thresholds)
    )
    assert found.section_evaluations == len(runner.calls)
    accuracy, shares, sends, said = brute_force(
        topology, runner, inputs, labels, survival, thresholds, answer
    )
    assert found.expected_accuracy("s") == pytest.approx(accuracy, abs=1e-9)
    exits = found.exits("s")
    assert exits == pytest.approx({n: shares.get(n, 0.0) for n in exits}, abs=1e-9)
    assert shares.keys() <= exits.keys()
    sent = found.traffic.link_bytes("s")
    for link in topology.links:
        if link.source in sends:
            size = runner.message_bytes(link.source)
            assert sent[link.name] == pytest.approx(sends[link.source] * size, abs=1e-9)
        else:
            assert link.name not in sent
    assert found.traffic.answers("s") == pytest.approx(said, abs=1e-9)
    assert found.traffic.payload_bytes("s") == pytest.approx(sum(sent.values()))


def test_only_what_is_below_the_threshold_is_early() -> None:
    topology = chain_topology().with_exits()
    survival = {"left": 0.6, "right": 0.7, "middle": 0.8}
    plain, *_ = measured(topology, survival, 20, 1)
    never, *_ = measured(
        topology, survival, 20, 1, rule=AnswerRule(early=dict.fromkeys(topology.exits, 0.0))
    )
    assert never.to_dict() | {"early": {}, "exits": plain.to_dict()["exits"]} == plain.to_dict()
    assert plain.traffic.payload_bytes("s") == pytest.approx(
        24 * (0.6 + 0.7 + (1 - 0.4 * 0.3) * 0.8)
    )
    always, *_ = measured(
        topology, survival, 20, 1, rule=AnswerRule(early=dict.fromkeys(topology.exits, 1.0))
    )
    assert always.traffic.payload_bytes("s") == 0
    assert always.exits("s")["middle"] == always.exits("s")["top"] == 0
    some, *_ = measured(topology, survival, 20, 1, rule=AnswerRule(early={"middle": 1.0}))
    assert some.traffic.payload_bytes("s") == pytest.approx(24 * (0.6 + 0.7))
    assert some.exits("s")["middle"] == pytest.approx((1 - 0.4 * 0.3) * 0.8)


def test_early_answers_need_no_further_section_evaluations() -> None:
    topology = Topology.load("poster-residual").with_exits()
    early = dict.fromkeys(topology.exits, 0.5)
    found, runner, _, _ = measured(topology, "low", 3, 0, rule=AnswerRule(early=early))
    assert found.section_evaluations == len(runner.calls) == 102
    assert 0 < found.exits("s")["cloud"] < 1
    bounds = found.bounds()["s"]
    assert bounds is None or found.expected_accuracy("s") <= bounds


def test_entropy_is_from_0_to_1() -> None:
    rows = np.array([[1.0, 0.0, 0.0], [1 / 3, 1 / 3, 1 / 3], [0.5, 0.5, 0.0]], np.float32)
    task = Classification(("a", "b", "c"))
    assert task.entropy(rows) == pytest.approx([0.0, 1.0, np.log(2) / np.log(3)])


def test_a_threshold_that_no_exit_has_is_refused() -> None:
    with pytest.raises(InputError, match=r"of nodes with an exit \(left, right\), got one of 'top"):
        measured(small_topology().with_exits(), None, 3, 0, rule=AnswerRule(early={"top": 0.5}))
    with pytest.raises(InputError, match="from 0 to 1 for 'left', got"):
        measured(small_topology().with_exits(), None, 3, 0, rule=AnswerRule(early={"left": 1.5}))
