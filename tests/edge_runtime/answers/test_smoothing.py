"""Answers of one object put together: exact values, and what holds of any series."""

import math
from collections.abc import Sequence

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from edge_runtime.answers.policies import AnswerMode
from edge_runtime.answers.records import Answer
from edge_runtime.answers.smoothing import Smoother
from edge_runtime.errors import InputError
from tests.edge_runtime.network_of_nodes import MS, Nodes
from tests.reference import chain_topology

PRIOR = (0.5, 0.3, 0.2)

chances = st.lists(st.floats(0.01, 1.0), min_size=3, max_size=3).map(
    lambda x: tuple(v / sum(x) for v in x)
)
answers = st.lists(
    st.tuples(st.one_of(st.none(), chances), st.integers(0, 5)), min_size=1, max_size=12
)


def add(smoother: Smoother, told: Sequence[float] | None, time: float) -> NDArray[np.float64]:
    found = smoother.add(told, time)
    assert found is not None
    return found


def test_a_half_life_ago_counts_half() -> None:
    smoother = Smoother(PRIOR, 10)
    first, second = (0.2, 0.7, 0.1), (0.6, 0.3, 0.1)
    smoother.add(first, 0)
    found = add(smoother, second, 10)
    # By hand: prior * (second / prior) * (first / prior) ** 0.5, normalized.
    weights = [s * math.sqrt(f / p) for p, f, s in zip(PRIOR, first, second, strict=True)]
    np.testing.assert_allclose(found, np.array(weights) / sum(weights), rtol=1e-12)


def test_what_a_fallback_leaves_fades_to_the_prior() -> None:
    smoother = Smoother(PRIOR, 1)
    smoother.add((0.001, 0.001, 0.998), 0)
    greatest = []
    for time in range(1, 40):
        found = add(smoother, None, time)
        greatest.append(int(found.argmax()))
    assert greatest[0] == 2
    assert greatest[-1] == 0
    assert greatest == sorted(greatest, reverse=True)
    np.testing.assert_allclose(found, PRIOR, atol=1e-9)


@given(answers)
def test_any_series_is_what_the_sum_over_all_its_answers_says(
    series: list[tuple[tuple[float, ...] | None, int]],
) -> None:
    smoother = Smoother(PRIOR, 3)
    now, seen = 0, []
    for told, gap in series:
        now += gap
        seen.append((told, now))
        found = add(smoother, told, now)
        odds = np.log(PRIOR)
        for earlier, time in seen:
            if earlier is not None:
                odds = odds + 2 ** ((time - now) / 3) * (np.log(earlier) - np.log(PRIOR))
        expected = np.exp(odds - odds.max())
        np.testing.assert_allclose(found, expected / expected.sum(), rtol=1e-9)


@given(chances, st.integers(0, 10**12))
def test_a_first_answer_is_passed_on(told: tuple[float, ...], time: int) -> None:
    np.testing.assert_allclose(add(Smoother(PRIOR, 7), told, time), told, rtol=1e-12)
    np.testing.assert_allclose(add(Smoother(PRIOR, 7), None, time), PRIOR, rtol=1e-12)


@given(answers, chances)
def test_a_frame_captured_before_the_newest_changes_nothing(
    series: list[tuple[tuple[float, ...] | None, int]], late: tuple[float, ...]
) -> None:
    one, other = Smoother(PRIOR, 3), Smoother(PRIOR, 3)
    now = 1
    for told, gap in series:
        now += gap
        np.testing.assert_array_equal(add(one, told, now), add(other, told, now))
        assert other.add(late, now - 1) is None


def test_a_gap_of_many_half_lives_forgets_all() -> None:
    smoother, told = Smoother(PRIOR, 1), (0.1, 0.8, 0.1)
    smoother.add((0.0, 0.0, 1.0), 0)
    np.testing.assert_allclose(add(smoother, told, 10**6), told, rtol=1e-12)


def test_no_frame_outvotes_all_others_for_good() -> None:
    smoother = Smoother(PRIOR, 5)
    smoother.add((0.0, 0.0, 1.0), 0)
    for time in range(1, 12):
        found = add(smoother, (0.9, 0.05, 0.05), time)
    assert found.argmax() == 0


@pytest.mark.parametrize("half_life", [0, -1, math.inf, math.nan])
def test_a_half_life_is_above_zero(half_life: float) -> None:
    with pytest.raises(InputError, match="expected a half-life above 0"):
        Smoother(PRIOR, half_life)


def said_by(nodes: Nodes) -> list[Answer]:
    """A run in which one camera, then both, and then one again are blind for some frames."""
    for frame in range(1, 15):
        nodes.views["cam0"].blind = 5 <= frame < 9
        nodes.views["cam1"].blind = 3 <= frame < 12
        nodes.frame(frame)
    return nodes.answers


def test_the_output_node_smooths_beside_its_own_answers_which_stay_as_they_are() -> None:
    said = said_by(Nodes(chain_topology(), smooth_ns=300 * MS))
    plain = said_by(Nodes(chain_topology()))
    assert [msgspec.structs.replace(x, smoothed=None) for x in said] == plain
    assert {x.smoothed for x in plain} == {None}
    assert {x.fallback for x in said} == {False, True}
    smoother = Smoother((0.1, 0.6), 300 * MS)
    for answer in said:
        told = None if answer.fallback else answer.probabilities
        # A frame every 100 ms.
        expected = add(smoother, told, answer.frame * 100 * MS)
        assert answer.smoothed is not None
        np.testing.assert_allclose(answer.smoothed.probabilities, expected, atol=1e-6)
        assert answer.smoothed.answer == ("like cam0", "like cam1")[int(expected.argmax())]
    # For some frames memory says other than the frame alone does.
    assert any(x.smoothed.answer != x.answer for x in said if x.smoothed)


@pytest.mark.parametrize(("answer", "early"), [("any", {}), ("output", {"left": 0.5})])
def test_answers_of_several_nodes_are_not_smoothed(
    answer: AnswerMode, early: dict[str, float]
) -> None:
    with pytest.raises(InputError, match="only the output node's answers are smoothed"):
        Nodes(chain_topology().with_exits(), answer=answer, early=early, smooth_ns=MS)
