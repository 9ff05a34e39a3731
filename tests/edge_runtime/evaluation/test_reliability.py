import json
from collections.abc import Mapping
from functools import partial
from itertools import pairwise
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from edge_runtime.answers.policies import POLICIES, Policy, highest_first
from edge_runtime.answers.rule import AnswerRule
from edge_runtime.arrays import Array, LabeledArrays
from edge_runtime.errors import InputError
from edge_runtime.evaluation.bounds import reachability_bound
from edge_runtime.evaluation.reliability import Reliability, evaluate
from edge_runtime.task import Classification, Fallback
from edge_runtime.topology import Group, Share, Topology
from tests import reference
from tests.reference import CLASSES, PRIOR, DenseSections, small_topology
from tests.strategies import grouped, samples, survivabilities, topologies


class Poster32:
    """The poster's FC-32 sections in numpy; counts what it is asked."""

    def __init__(self, topology: Topology, seed: int = 0) -> None:
        rng = np.random.default_rng(seed)
        depths = {"fog1": 2, "fog3": 2, "fog4": 2, "cloud": 3}
        self.topology = topology
        self.runs = 0
        self.layers: dict[str, list[tuple[Array, Array]]] = {}
        for node in topology.order:
            sensors = [x for x in topology.incoming(node) if x.source in topology.sensor_names]
            sizes = [3072 if sensors else 32, *[32] * depths.get(node, 1)]
            sizes += [3] if node == topology.output else []
            self.layers[node] = [
                (rng.normal(0, (2 / a) ** 0.5, (a, b)), rng.normal(0, 0.3, b))
                for a, b in pairwise(sizes)
            ]

    def run(self, node: str, inputs: Mapping[str, Array]) -> Array:
        self.runs += 1
        x = np.sum([t.reshape(len(t), -1) / (255 if t.ndim > 2 else 1) for t in inputs.values()], 0)
        *hidden, (weights, bias) = self.layers[node]
        for w, b in hidden:
            x = np.maximum(x @ w + b, 0)
        x = x @ weights + bias
        return np.asarray(x if node == self.topology.output else np.maximum(x, 0))


def brute_force(
    topology: Topology,
    runner: Any,
    inputs: Mapping[str, Array],
    labels: Array,
    survival: Mapping[str, float],
    fallback: Fallback = "prior",
    *,
    exits: dict[str, float] | None = None,
) -> tuple[float, Array]:
    """Expected accuracy and recalls, one configuration after the other, the slow way.

    With `exits`, any node that has one answers; it is given the share of answers of each.
    """
    accuracy, recalls = 0.0, np.zeros(len(CLASSES))
    answer = {
        "prior": np.array([1.0, 0.0, 0.0]),
        "prior-random": np.array(PRIOR),
        "uniform": np.full(3, 1 / 3),
    }[fallback]
    for up in reference.all_masks(topology, [n for n, p in survival.items() if p < 1]):
        p = reference.probability(up, {n: s for n, s in survival.items() if s < 1})
        works = reference.with_groups(topology, up)
        if exits is None:
            probabilities = reference.answer(topology, runner, inputs, works)
        else:
            probabilities = any_answer(topology, runner, inputs, works, p, exits)
        if probabilities is None:
            right = answer[labels]
        else:
            right = (probabilities.argmax(axis=1) == labels).astype(float)
        accuracy += p * right.mean()
        for k in range(len(CLASSES)):
            if (labels == k).any():
                recalls[k] += p * right[labels == k].mean()
    return accuracy, recalls


def any_answer(
    topology: Topology,
    runner: Any,
    inputs: Mapping[str, Array],
    up: set[str],
    p: float,
    shares: dict[str, float],
) -> Array | None:
    """The answer taken of all exits, sample by sample; adds up who gave it."""
    states = reference.exit_states(topology, up)
    if not states:
        return None
    answers: Any = {n: reference.answer(topology, runner, inputs, up, n) for n in states}
    rows = []
    for i in range(len(next(iter(inputs.values())))):
        node = reference.taken(topology, states, {n: a[i].max() for n, a in answers.items()})
        rows.append(answers[node][i])
        shares[node] = shares.get(node, 0.0) + p / len(next(iter(inputs.values())))
    return np.stack(rows)


measured = partial(reference.measured, DenseSections)


# -- exact evaluation --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "evaluations"),
    [("poster-baseline", 57), ("poster-residual", 102), ("poster-edge-skip", 218)],
)
def test_fc32_equals_brute_force_with_the_fewest_section_evaluations(
    name: str, evaluations: int
) -> None:
    topology, runner = Topology.load(name), Poster32(Topology.load(name))
    inputs = samples(topology, 8)
    labels = np.random.default_rng(1).integers(0, 3, 8)
    presets = topology.survivabilities
    found = evaluate(
        topology,
        runner,
        LabeledArrays(inputs, labels),
        Classification(CLASSES, PRIOR),
        {preset: preset for preset in presets},
    )
    assert len(found.configurations) == 256
    assert found.section_evaluations == runner.runs == evaluations
    assert len(set(found.scores)) > 3, "the configurations should not all be worth the same"
    for preset in presets:
        survival = dict(zip(topology.components, topology.survival(preset), strict=True))
        accuracy, recalls = brute_force(topology, runner, inputs, labels, survival)
        assert found.expected_accuracy(preset) == pytest.approx(accuracy, abs=1e-6)
        assert list(found.class_recalls(preset).values()) == pytest.approx(recalls, abs=1e-6)


@settings(max_examples=40)
@given(
    data=st.data(),
    topology=st.one_of(topologies(), grouped()),
    fallback=st.sampled_from(Classification.fallbacks),
    seed=st.integers(0, 1000),
)
def test_any_topology_with_failing_nodes_and_links_equals_brute_force(
    data: st.DataObject, topology: Topology, fallback: Fallback, seed: int
) -> None:
    survival = data.draw(survivabilities(topology))
    found, runner, inputs, labels = measured(topology, survival, seed=seed, fallback=fallback)
    assert found.section_evaluations == len(runner.calls)
    accuracy, recalls = brute_force(topology, runner, inputs, labels, survival, fallback)
    assert found.expected_accuracy("s") == pytest.approx(accuracy, abs=1e-9)
    present = [r for k, r in enumerate(recalls) if (labels == k).any()]
    assert list(found.class_recalls("s").values()) == pytest.approx(present, abs=1e-9)
    assert found.balanced_accuracy("s") == pytest.approx(np.mean(present), abs=1e-9)


@settings(max_examples=40)
@given(data=st.data(), topology=topologies(exits=True), seed=st.integers(0, 1000))
def test_with_exits_any_topology_equals_brute_force(
    data: st.DataObject, topology: Topology, seed: int
) -> None:
    survival = data.draw(survivabilities(topology))
    assume(topology.exits)
    found, runner, inputs, labels = measured(topology, survival, seed=seed, rule=AnswerRule("any"))
    assert found.section_evaluations == len(runner.calls)
    shares: dict[str, float] = {}
    accuracy, recalls = brute_force(topology, runner, inputs, labels, survival, exits=shares)
    assert found.expected_accuracy("s") == pytest.approx(accuracy, abs=1e-9)
    present = [r for k, r in enumerate(recalls) if (labels == k).any()]
    assert list(found.class_recalls("s").values()) == pytest.approx(present, abs=1e-9)
    exits = found.exits("s")
    assert list(exits) == list(highest_first(topology))
    assert exits == pytest.approx({n: shares.get(n, 0.0) for n in exits}, abs=1e-9)
    assert sum(exits.values()) == pytest.approx(found.reach_probability("s"))
    # The output node's own answers are worth what they were.
    alone, _, _, _ = measured(topology, survival, seed=seed)
    accuracy, _ = brute_force(topology, runner, inputs, labels, survival)
    assert alone.expected_accuracy("s") == pytest.approx(accuracy, abs=1e-9)
    assert alone.exits("s") == {topology.output: pytest.approx(alone.reach_probability("s"))}


@pytest.mark.parametrize("answer", ["output", "any"])
def test_exits_need_no_further_section_evaluations(answer: Any) -> None:
    topology = Topology.load("poster-residual").with_exits()
    runner = DenseSections(topology, 0)
    found = evaluate(
        topology,
        runner,
        LabeledArrays(samples(topology, 3), np.array([0, 1, 2])),
        Classification(CLASSES, PRIOR),
        {"low": "low"},
        rule=AnswerRule(mode=answer),
    )
    assert found.section_evaluations == len(runner.calls) == 102


@pytest.mark.parametrize("policy", POLICIES)
def test_each_policy_takes_its_own_answer(policy: Policy) -> None:
    topology = small_topology().with_exits()
    priority = ("right", "top", "left")
    survival = {"left": 0.6, "right": 0.7, "top": 0.5, "left->top": 0.5}
    found, runner, inputs, labels = measured(
        topology, survival, count=40, rule=AnswerRule("any", policy, priority)
    )
    expected = 0.0
    for up in reference.all_masks(topology, list(survival)):
        states = reference.exit_states(topology, up)
        answers: Any = {n: reference.answer(topology, runner, inputs, up, n) for n in states}
        for i, label in enumerate(labels):
            confidence = {n: answers[n][i].max() for n in states}
            if policy == "maximal":
                node = reference.taken(topology, states, confidence) if states else None
            elif policy == "confident":
                node = max(confidence, key=lambda n: confidence[n], default=None)
            else:
                order = priority if policy == "priority" else ("top", "right", "left")
                node = next((n for n in order if n in states), None)
            right = label == 0 if node is None else answers[node][i].argmax() == label
            expected += reference.probability(up, survival) * right / len(labels)
    assert found.expected_accuracy("s") == pytest.approx(expected)


def test_the_priority_is_by_the_accuracy_of_each_exits_own_answers() -> None:
    topology = small_topology().with_exits()
    survival = {"left": 0.6, "right": 0.7, "cam0": 0.5, "top": 0.5}
    found, runner, inputs, labels = measured(topology, survival, count=40)
    worth = {}
    for node in topology.answering:
        total = right = 0.0
        for up in reference.all_masks(topology, list(survival)):
            answer = reference.answer(topology, runner, inputs, up, node)
            if answer is not None:
                p = reference.probability(up, survival)
                total += p
                right += p * (answer.argmax(axis=1) == labels).mean()
        worth[node] = right / total
        assert found.exit_score(node, "s") == pytest.approx(worth[node])
    assert found.priority() == tuple(sorted(worth, key=lambda n: -worth[n]))
    with pytest.raises(InputError, match="needs an order of left, right, top, chosen on valid"):
        measured(topology, survival, rule=AnswerRule("any", "priority"))
    with pytest.raises(InputError, match="no node of 'small' has an exit"):
        measured(small_topology(), survival, rule=AnswerRule("any"))


@settings(max_examples=30)
@given(data=st.data(), topology=st.one_of(topologies(), grouped()))
def test_no_section_is_evaluated_twice_on_the_same_delivered_links(
    data: st.DataObject, topology: Topology
) -> None:
    survival = data.draw(survivabilities(topology))
    found, runner, _, _ = measured(topology, survival)
    # A node's states, as far as the output node hears it: counted by the definition.
    distinct = set()
    for mask in found.configurations.masks:
        up = reference.working(topology, mask)
        state = reference.output_state(topology, up)
        for node in topology.order:
            sent = {x.name for x in topology.links if x.source == node}
            if state and (node == topology.output or sent & state):
                distinct.add((node, frozenset(reference.heard(topology, up, node))))
    assert found.section_evaluations == len(runner.calls) == len(distinct)


def test_groups_need_no_further_section_evaluations() -> None:
    poster = Topology.load("poster-residual")
    groups = (Group("switch", ("edge1", "edge2", "edge1->fog2")), Group("power", ("fog1", "fog3")))
    topology = msgspec.structs.replace(poster, groups=groups)
    runner = Poster32(topology)
    survival = poster.survivabilities["low"] | {"switch": 0.9, "power": 0.8}
    found = evaluate(
        topology,
        runner,
        LabeledArrays(samples(topology, 2), np.array([0, 1])),
        Classification(CLASSES, PRIOR),
        {"s": survival},
    )
    assert len(found.configurations) == 1024
    assert found.section_evaluations == runner.runs == 102


def test_a_group_is_one_failure_with_a_name() -> None:
    topology = small_topology(groups=(Group("switch", ("left", "right"), 0.9),))
    found, runner, inputs, labels = measured(topology, None, seed=5, count=40)
    assert [found.failed(case) for case in range(2)] == [(), ("switch",)]
    assert [row["failures"] for row in found.by_failures("s")] == [0, 1]
    down, accuracy = found.worst(1)
    assert down == ("switch",)
    up = set(topology.elements) - {"left", "right"}
    answers = reference.answer(topology, runner, inputs, up)
    assert answers is not None
    assert accuracy == pytest.approx((answers.argmax(axis=1) == labels).mean())


# -- what was recorded -------------------------------------------------------------------------


@settings(max_examples=25)
@given(data=st.data(), topology=st.one_of(topologies(max_nodes=4), grouped(max_nodes=4)))
def test_what_was_recorded_counts_as_often_as_it_occurred(
    data: st.DataObject, topology: Topology
) -> None:
    survival = data.draw(survivabilities(topology, most=3))
    seen = data.draw(
        st.lists(
            st.tuples(st.sets(st.sampled_from(topology.elements)), st.integers(1, 9)), min_size=1
        )
    )
    total = sum(times for _, times in seen)
    shares = [Share(tuple(sorted(down)), times / total) for down, times in seen]
    runner, inputs = DenseSections(topology, 1), samples(topology, 12)
    labels = np.random.default_rng(1).integers(0, 3, 12)
    found = evaluate(
        topology,
        runner,
        LabeledArrays(inputs, labels),
        Classification(CLASSES, PRIOR),
        {"drawn": survival, "recorded": shares},
    )

    def accuracy(up: set[str]) -> float:
        answers = reference.answer(topology, runner, inputs, reference.with_groups(topology, up))
        right = labels == 0 if answers is None else answers.argmax(axis=1) == labels
        return float(right.mean())

    everything = set(topology.components)
    expected = sum(times / total * accuracy(everything - down) for down, times in seen)
    assert found.expected_accuracy("recorded") == pytest.approx(expected)
    assert found.expected_accuracy("drawn") == pytest.approx(
        brute_force(topology, runner, inputs, labels, survival)[0]
    )
    # The configurations are those that can fail independently, and what else occurred.
    n = sum(p < 1 for p in survival.values())
    assert 1 << n <= len(found.configurations) <= (1 << n) + len({frozenset(d) for d, _ in seen})
    for name, value in found.importance("recorded").items():
        gain = sum(
            times
            / total
            * (accuracy(everything - down | {name}) - accuracy(everything - down - {name}))
            for down, times in seen
        )
        assert value == pytest.approx(gain, abs=1e-9), name


def test_many_recorded_failures_are_not_multiplied_out() -> None:
    topology = Topology.load("poster-edge-skip")
    down = topology.elements[10:40]
    found = evaluate(
        topology,
        Poster32(topology),
        LabeledArrays(samples(topology, 2), np.array([0, 1])),
        Classification(CLASSES, PRIOR),
        {"all at once": [Share(down, 0.25), Share((), 0.75)]},
    )
    assert len(found.configurations) == 2
    assert found.configurations.probabilities("all at once").tolist() == [0.75, 0.25]


# -- fallbacks ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fallback", "expected"),
    [("prior", [1, 0, 0]), ("prior-random", [0.5, 0.3, 0.2]), ("uniform", [1 / 3] * 3)],
)
def test_a_fallback_is_a_distribution_over_classes(
    fallback: Fallback, expected: list[float]
) -> None:
    assert Classification(CLASSES, PRIOR).fallback(fallback) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("fallback", "expected"),
    # Shares of the classes times their training frequencies: an expectation, never a draw.
    [("prior", 0.5), ("prior-random", 0.5 * 0.5 + 0.2 * 0.3 + 0.3 * 0.2), ("uniform", 1 / 3)],
)
def test_where_nothing_arrives_accuracy_is_the_fallbacks_expectation(
    fallback: Fallback, expected: float
) -> None:
    topology = small_topology()
    labels = np.repeat([0, 1, 2], [5, 2, 3])
    found, _, _, _ = measured(topology, {"top": 0.0}, labels=labels, count=10, fallback=fallback)
    assert found.expected_accuracy("s") == pytest.approx(expected)
    assert found.states()[0] == pytest.approx(expected)
    assert found.reach_probability("s") == 0
    assert found.fallback == fallback


def test_an_unknown_fallback_names_the_known_ones() -> None:
    with pytest.raises(InputError, match="prior or prior-random or uniform; got 'best'"):
        Classification(CLASSES, PRIOR).fallback("best")  # type: ignore[arg-type]


# -- classes -----------------------------------------------------------------------------------


def test_balanced_accuracy_is_the_mean_over_the_classes_present() -> None:
    labels = np.array([0, 0, 0, 2])
    found, runner, inputs, _ = measured(small_topology(), "low", labels=labels, count=4)
    survival = {"left": 0.6, "right": 0.7}
    _, recalls = brute_force(found.topology, runner, inputs, labels, survival)
    assert found.absent_classes == ("person",)
    assert list(found.class_recalls("s")) == ["car", "bus"]
    assert found.balanced_accuracy("s") == pytest.approx((recalls[0] + recalls[2]) / 2)
    assert found.balanced_accuracy("s") != pytest.approx(found.expected_accuracy("s"))


# -- what the report tells ---------------------------------------------------------------------


@pytest.fixture(scope="module")
def small() -> tuple[Reliability, DenseSections, dict[str, Array], Array]:
    survival = {"left": 0.6, "right": 0.7, "top": 0.9, "cam0->left": 0.5, "cam0": 0.95}
    return measured(small_topology(), survival, seed=5, count=40)


def test_accuracy_by_failures_adds_up_to_the_expected_accuracy(small: Any) -> None:
    found = small[0]
    rows = found.by_failures("s")
    assert [row["failures"] for row in rows] == [0, 1, 2, 3, 4, 5]
    assert sum(row["probability"] for row in rows) == pytest.approx(1)
    assert sum(row["probability"] * row["score"] for row in rows) == pytest.approx(
        found.expected_accuracy("s")
    )
    assert rows[0]["score"] == pytest.approx(found.all_alive)
    assert rows[0]["probability"] == pytest.approx(0.6 * 0.7 * 0.9 * 0.5 * 0.95)


def test_a_number_of_failures_that_cannot_occur_has_probability_zero() -> None:
    found, _, _, _ = measured(small_topology(), {"left": 0.0, "right": 0.5})
    rows = found.by_failures("s")
    assert [row["probability"] for row in rows] == pytest.approx([0, 0.5, 0.5])
    assert all(0 <= row["score"] <= 1 for row in rows)


def test_the_worst_failures_leave_the_least_accuracy(small: Any) -> None:
    found = small[0]
    sets = [found.failed(case) for case in range(len(found.configurations))]
    for count in range(6):
        elements, accuracy = found.worst(count)
        assert len(elements) == count
        assert accuracy == min(
            a for s, a in zip(sets, found.scores, strict=True) if len(s) == count
        )
        assert accuracy == found.scores[sets.index(elements)]
    with pytest.raises(InputError, match="expected 0 to 5 failures, got 6"):
        found.worst(6)


def test_importance_is_sure_minus_failed_for_every_element(small: Any) -> None:
    found, runner, inputs, labels = small
    survival = {"left": 0.6, "right": 0.7, "top": 0.9, "cam0->left": 0.5, "cam0": 0.95}
    before = found.section_evaluations
    importance = found.importance("s")
    assert list(importance) == list(found.topology.elements)
    for name, value in importance.items():
        sure, failed = (
            brute_force(found.topology, runner, inputs, labels, survival | {name: p})[0]
            for p in (1.0, 0.0)
        )
        assert value == pytest.approx(sure - failed, abs=1e-9), name
    assert any(importance[n] for n in ("cam1", "right->top")), "they never fail, and still matter"
    assert found.section_evaluations == before


@settings(max_examples=20)
@given(
    data=st.data(),
    topology=st.one_of(topologies(max_nodes=4), grouped(max_nodes=4)),
    seed=st.integers(0, 100),
)
def test_importance_of_any_topology_is_sure_minus_failed(
    data: st.DataObject, topology: Topology, seed: int
) -> None:
    survival = data.draw(survivabilities(topology, most=3))
    found, runner, inputs, labels = measured(topology, survival, seed=seed)
    importance = found.importance("s")
    assert list(importance) == list(topology.components)
    for name, value in importance.items():
        sure, failed = (
            brute_force(topology, runner, inputs, labels, survival | {name: p})[0]
            for p in (1.0, 0.0)
        )
        assert value == pytest.approx(sure - failed, abs=1e-9), name


@given(data=st.data(), topology=topologies())
def test_reach_probability_is_the_share_in_which_the_output_hears_something(
    data: st.DataObject, topology: Topology
) -> None:
    survival = data.draw(survivabilities(topology))
    found, _, _, _ = measured(topology, survival, count=1)
    fallible = {n: p for n, p in survival.items() if p < 1}
    expected = sum(
        reference.probability(up, fallible)
        for up in reference.all_masks(topology, list(fallible))
        if reference.output_state(topology, up)
    )
    assert found.reach_probability("s") == pytest.approx(expected, abs=1e-12)


def test_the_table_of_states_tells_what_each_configuration_is_worth(small: Any) -> None:
    found = small[0]
    states = found.states()
    bit = {x.name: 1 << i for i, x in enumerate(found.topology.links)}
    for mask, accuracy in zip(found.configurations.masks, found.scores, strict=True):
        up = reference.working(found.topology, mask)
        state = sum(bit[name] for name in reference.output_state(found.topology, up))
        assert states[state] == pytest.approx(accuracy)
    assert states[0] == pytest.approx((small[3] == 0).mean())


@pytest.mark.parametrize(
    ("name", "states"),
    [("poster-baseline", 16), ("poster-residual", 46), ("poster-edge-skip", 104)],
)
def test_the_posters_tables_have_as_many_states_as_the_output_can_be_in(
    name: str, states: int
) -> None:
    topology = Topology.load(name)
    found = evaluate(
        topology,
        Poster32(topology),
        LabeledArrays(samples(topology, 2), np.array([0, 1])),
        Classification(CLASSES, PRIOR),
        {"low": "low"},
    )
    assert len(found.states()) == states


def test_the_table_has_the_fallback_even_where_it_never_answers() -> None:
    found, _, _, labels = measured(small_topology(), None)
    assert sorted(found.states()) == [0, 0b11111]
    assert found.states()[0] == pytest.approx((labels == 0).mean())


def test_the_printed_object_has_the_agreed_keys_and_is_plain_json(small: Any) -> None:
    found = small[0]
    plain = found.to_dict()
    assert json.loads(json.dumps(plain)) == plain
    assert plain["samples"] == 40
    assert plain["configurations"] == 32
    assert plain["section_evaluations"] == found.section_evaluations
    assert plain["all_alive"] == found.all_alive
    assert plain["expected_accuracy"] == {"s": found.expected_accuracy("s")}
    assert plain["balanced_accuracy"] == {"s": found.balanced_accuracy("s")}
    assert plain["fallback"] == "prior"
    assert plain["answer"] == "output"
    assert plain["bound"] == {"s": None}, "no view is blank, so nothing tells who sees"
    assert plain["exits"] == {"s": {"top": found.reach_probability("s")}}


# -- bad input ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "fragment"),
    [
        ({"labels": np.array([0, 1])}, "as there are labels (2)"),
        ({"labels": np.array([], int), "inputs": {}}, "no data for sensor cam0, cam1"),
        ({"labels": np.array([0, 1, 3])}, "label 3 of sample 2 is out of range: expected 0 to 2"),
        ({"labels": np.array([0, 1, -1])}, "label -1 of sample 2 is out of range"),
        ({"prior": (0.5, 0.5)}, "a prior for each of 3 names, got 2"),
    ],
)
def test_data_that_do_not_fit_are_refused(change: dict[str, Any], fragment: str) -> None:
    topology = small_topology()
    arguments: dict[str, Any] = {
        "inputs": samples(topology, 3),
        "labels": np.array([0, 1, 2]),
        "prior": PRIOR,
        **change,
    }
    with pytest.raises(InputError) as caught:
        evaluate(
            topology,
            DenseSections(topology, 0),
            LabeledArrays(arguments["inputs"], arguments["labels"]),
            Classification(CLASSES, arguments["prior"]),
            {"low": "low"},
            fallback=arguments.get("fallback", "prior"),
        )
    assert fragment in str(caught.value)


# -- the bound ---------------------------------------------------------------------------------


@pytest.mark.parametrize("answer", ["output", "any"])
def test_the_bound_equals_enumeration(answer: Any) -> None:
    topology = small_topology().with_exits(["right"])
    visible = np.array([[1, 0], [1, 1], [0, 1], [0, 0], [0, 1]], bool)
    labels = np.array([0, 1, 1, 0, 2])
    survival = {"cam0": 0.9, "left": 0.6, "right": 0.7, "top": 0.8, "cam0->top": 0.5}
    expected = 0.0
    for up in reference.all_masks(topology, list(survival)):
        state = reference.output_state(topology, up)
        if answer == "any":
            state = set[str]().union(*reference.exit_states(topology, up).values())
        reached = [
            any(f"{cam}->{n.name}" in state for n in topology.nodes) for cam in ("cam0", "cam1")
        ]
        seen = [any(v and r for v, r in zip(row, reached, strict=True)) for row in visible]
        best_constant = max(
            sum(s or label == k for s, label in zip(seen, labels, strict=True)) for k in range(3)
        )
        expected += reference.probability(up, survival) * best_constant / 5
    found = reachability_bound(topology, visible, labels, {"s": survival}, answer=answer)
    assert found["s"] == pytest.approx(expected)
    inputs = {
        s.name: visible[:, i, None] * np.ones(3, np.float32) for i, s in enumerate(topology.sensors)
    }
    tool = evaluate(
        topology,
        DenseSections(topology, 0),
        LabeledArrays(inputs, labels),
        Classification(CLASSES, PRIOR),
        {"s": survival},
        rule=AnswerRule(mode=answer),
    )
    assert tool.bounds() == pytest.approx(found)


@settings(max_examples=30)
@given(data=st.data(), topology=topologies(max_nodes=4, exits=True), seed=st.integers(0, 1000))
def test_no_measured_accuracy_is_above_the_bound(
    data: st.DataObject, topology: Topology, seed: int
) -> None:
    answer: Any = "any" if topology.exits else "output"
    survival = data.draw(survivabilities(topology, most=5))
    rng = np.random.default_rng(seed)
    visible = rng.random((20, len(topology.sensors))) < 0.6
    labels = rng.integers(0, 2, 20)
    # What is not seen is blank; what is seen gives the class away.
    inputs = {
        s.name: (np.eye(2)[labels] * visible[:, i, None]).astype(s.dtype)
        for i, s in enumerate(topology.sensors)
    }
    found = evaluate(
        topology,
        DenseSections(topology, seed, classes=2),
        LabeledArrays(inputs, labels),
        Classification(("a", "b"), (0.5, 0.5)),
        {"s": survival},
        rule=AnswerRule(mode=answer),
    )
    bound = reachability_bound(topology, visible, labels, {"s": survival}, answer=answer)["s"]
    assert found.expected_accuracy("s") <= bound + 1e-9
