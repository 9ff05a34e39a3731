from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from edge_runtime.answers.policies import ANSWER_MODES, AnswerMode
from edge_runtime.answers.rule import AnswerRule
from edge_runtime.arrays import LabeledArrays
from edge_runtime.errors import InputError
from edge_runtime.evaluation.reliability import evaluate
from edge_runtime.evaluation.thresholds import Goal, Point, Thresholds, find_thresholds, lines
from edge_runtime.task import Classification
from edge_runtime.topology import Topology
from tests.edge_runtime.answers.test_early import Sure
from tests.reference import CLASSES, PRIOR, chain_topology
from tests.strategies import samples, survivabilities, topologies

CHAIN = chain_topology().with_exits()


def searched(topology: Topology, survival: Any, seed: int = 0, **options: Any) -> Any:
    runner, inputs = Sure(topology, seed), samples(topology, 12, seed)
    labels = np.random.default_rng(seed).integers(0, len(CLASSES), 12)
    asked = AnswerRule(**options)
    found = find_thresholds(
        topology,
        runner,
        LabeledArrays(inputs, labels),
        Classification(CLASSES, PRIOR),
        survival,
        rule=asked,
    )

    def again(point: Point) -> Any:
        return evaluate(
            topology,
            runner,
            LabeledArrays(inputs, labels),
            Classification(CLASSES, PRIOR),
            survival,
            rule=msgspec.structs.replace(asked, early=point.thresholds),
        )

    return found, again


@settings(max_examples=8)
@given(
    data=st.data(),
    topology=topologies(exits=True, max_nodes=4),
    answer=st.sampled_from(ANSWER_MODES),
    seed=st.integers(0, 1000),
)
def test_a_search_counts_as_an_evaluation_does(
    data: st.DataObject, topology: Topology, answer: AnswerMode, seed: int
) -> None:
    assume(topology.exits)
    survival = {"a": data.draw(survivabilities(topology, most=4)), "b": None}
    found, again = searched(topology, survival, seed, mode=answer)
    for point in [found.without, *found.tried[:: max(1, len(found.tried) // 8)]]:
        by = again(point)
        for name in survival:
            assert point.accuracy[name] == pytest.approx(by.expected_accuracy(name), abs=1e-9)
            assert point.bytes[name] == pytest.approx(by.traffic.payload_bytes(name), abs=1e-9)


def test_the_best_reaches_its_goal_and_nothing_tried_betters_it() -> None:
    survival = {"low": "low", "high": "high"}
    found, _ = searched(CHAIN, survival, 3)
    assert found.without.thresholds == {}
    for share in (0.0, 0.2, 0.5, 0.9, 1.0):
        best = found.best(Goal("bytes", share))
        assert max(found.share(best).values()) <= share + 1e-9
        others = [p for p in found.tried if max(found.share(p).values()) <= share + 1e-9]
        assert sum(best.accuracy.values()) == max(sum(p.accuracy.values()) for p in others)
    for change in (-0.1, -0.01, 0.0):
        best = found.best(Goal("accuracy", change))
        assert min(found.change(best).values()) >= change - 1e-9
        assert sum(found.share(best).values()) <= 2.0
    front = found.front()
    assert len(front) > 1
    values = [(sum(found.share(p).values()), sum(p.accuracy.values())) for p in front]
    assert values == sorted(values)
    assert len(lines(found, front)) == len(front) + 1


def test_a_goal_that_cannot_be_reached_is_refused() -> None:
    without = Point({}, {"low": 0.9}, {"low": 100.0})
    some = Point({"left": 0.5}, {"low": 0.7}, {"low": 60.0})
    found = Thresholds(without, (without, some))
    with pytest.raises(InputError, match="at most 50 % of the bytes in every survivability: the l"):
        found.best(Goal("bytes", 0.5))
    with pytest.raises(InputError, match=r"by \+5 points or better in every .* found is \+0.00; "):
        found.best(Goal("accuracy", 0.05))
    assert found.best(Goal("bytes", 0.6)) is some
    assert found.best(Goal("accuracy", -0.1)) is without
    with pytest.raises(InputError, match="no node of 'chain' has an exit, so none can answer earl"):
        searched(chain_topology(), {"low": "low"})
