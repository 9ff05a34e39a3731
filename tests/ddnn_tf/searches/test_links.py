"""Importance of links, and the search over sets of them, against slow obvious ways."""

import itertools
from collections.abc import Mapping
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ddnn_tf.evaluation import expected_accuracy
from ddnn_tf.model import build
from ddnn_tf.searches.links import (
    SubsetScores,
    candidate_links,
    link_front,
    oriented,
    recommended,
    subset_bound,
    supernet_survival,
    with_links,
)
from edge_runtime.errors import InputError
from edge_runtime.evaluation.bounds import reachability_bound
from edge_runtime.failures.configurations import enumerate_configurations
from edge_runtime.topology import Group, Link, Topology
from tests.commands import CLASSES, small_samples
from tests.models import randomized
from tests.reference import chain_topology, small_topology
from tests.strategies import topologies

LOW = {"low": "low"}


def names(links: Any) -> list[str]:
    return [x.name for x in links]


def subsets(of: Any) -> list[frozenset[str]]:
    pool = sorted(of)
    return [frozenset(x) for k in range(len(pool) + 1) for x in itertools.combinations(pool, k)]


# -- which links could exist -----------------------------------------------------------------------


def test_candidates_go_up_or_across_and_never_back() -> None:
    found = names(candidate_links(chain_topology()))
    assert found == ["left->right", "left->top", "right->left", "right->top"]


def test_residual_links_are_candidates_with_their_survival() -> None:
    topology = small_topology()
    assert "cam0->top" in names(candidate_links(topology))
    chain = chain_topology()
    links = (*chain.links, Link("left", "top", "residual", 0.8))
    own = Topology(chain.name, chain.sensors, chain.nodes, links, chain.survivabilities)
    assert {x.name: x.survival for x in candidate_links(own)}["left->top"] == 0.8


def test_the_posters_topology_could_have_these() -> None:
    found = candidate_links(Topology.load("poster-residual"))
    together = oriented(Topology.load("poster-residual"), found)
    assert len(together) == 28
    assert {"fog2->fog4", "fog1->fog4", "fog3->cloud", "edge1->cloud"} <= set(names(together))
    assert len(with_links(Topology.load("poster-residual"), together).links) == 14 + 28


@given(topologies(max_nodes=6))
def test_oriented_candidates_fit_together(topology: Topology) -> None:
    found = oriented(topology, candidate_links(topology))
    whole = with_links(topology, found)  # refuses a cycle
    assert whole.output == topology.output
    pairs = {frozenset((x.source, x.target)) for x in candidate_links(topology)}
    assert {frozenset((x.source, x.target)) for x in found} == pairs


def test_worth_decides_the_direction() -> None:
    topology = chain_topology()
    possible = candidate_links(topology)
    assert "left->right" in names(oriented(topology, possible))
    chosen = oriented(topology, possible, lambda x: float(x.name == "right->left"))
    assert "right->left" in names(chosen)
    assert "left->right" not in names(chosen)


def test_with_links_keeps_what_presets_still_speak_of() -> None:
    topology = Topology.load("poster-residual")
    assert with_links(topology, []).links == topology.primary().links
    bare = small_topology(survivabilities={"low": {"cam0->top": 0.5, "left": 0.6}})
    assert with_links(bare, []).survivabilities == {"low": {"left": 0.6}}
    kinds = {x.name: x.kind for x in with_links(chain_topology(), candidates()).links}
    assert kinds["left->top"] == "residual"


def candidates() -> tuple[Link, ...]:
    topology = chain_topology()
    return oriented(topology, candidate_links(topology))


def test_with_links_keeps_the_groups_of_what_is_left() -> None:
    groups = (Group("all", ("left", "cam0->top"), 0.5), Group("wire", ("cam0->top",), 0.9))
    topology = msgspec.structs.replace(small_topology(), groups=groups)
    assert with_links(topology, []).groups == (Group("all", ("left",), 0.5),)
    own = [x for x in topology.links if x.kind == "residual"]
    assert with_links(topology, own).groups == groups
    chances = supernet_survival(topology, own, LOW)["low, links at 0.1"]
    assert isinstance(chances, Mapping)
    assert chances["wire"] == 0.9


def test_a_supernet_fails_as_asked_and_its_candidates_at_each_level() -> None:
    found = supernet_survival(chain_topology(), candidates(), LOW)
    assert len(found) == 3
    levels = set()
    for table in found.values():
        assert isinstance(table, dict)
        assert table["left"] == 0.6
        levels.add(table["left->top"])
    assert len(levels) == 3


# -- the score of a set, and importance ------------------------------------------------------------


@pytest.fixture(scope="module")
def supernet() -> Any:
    """The chain with every candidate link, random weights."""
    whole = with_links(chain_topology(), candidates())
    model = randomized(build(whole, "fc32", classes=CLASSES))
    model.prior = (0.2, 0.5, 0.3)
    return model


def brute_force(model: Any, data: Any, down: set[str], survival: Any) -> float:
    """Every configuration through the whole Keras model, the links in `down` off."""
    topology = model.topology
    configurations = enumerate_configurations(topology, {"it": survival})
    total = 0.0
    for mask, p in zip(configurations.masks, configurations.probabilities("it"), strict=True):
        cut = mask & ~np.isin(topology.elements, list(down))
        total += p * float((model.simulate(data.inputs, cut).argmax(1) == data.labels).mean())
    return total


def test_a_sets_score_is_the_whole_model_with_the_others_down(supernet: Any) -> None:
    data = small_samples(30)
    scores = SubsetScores(supernet, data, candidates(), LOW)
    pool = set(names(candidates()))
    for links in subsets(pool):
        expected = brute_force(supernet, data, pool - links, "low")
        assert scores(links)["low"] == pytest.approx(expected)


def test_a_link_that_is_down_is_as_good_as_absent(supernet: Any) -> None:
    data = small_samples(30)
    smaller = build(with_links(chain_topology(), []), "fc32", classes=CLASSES)
    smaller.set_weights(supernet.get_weights())  # merges that add have no weights
    smaller.prior = supernet.prior
    alone = expected_accuracy(smaller, data, survival=LOW).expected_accuracy("low")
    assert SubsetScores(supernet, data, candidates(), LOW)(set())["low"] == pytest.approx(alone)


def test_importance_of_a_link_is_the_difference_of_masked_evaluations(supernet: Any) -> None:
    data = small_samples(30)
    found = expected_accuracy(supernet, data, survival=LOW).importance("low")
    whole = brute_force(supernet, data, set(), "low")
    worth = {n: whole - brute_force(supernet, data, {n}, "low") for n in names(candidates())}
    assert {n: found[n] for n in worth} == pytest.approx(worth)
    assert any(abs(w) > 1e-3 for w in worth.values())


def test_importance_of_a_link_that_can_fail_is_conditional(supernet: Any) -> None:
    data = small_samples(30)
    survival = {"left": 0.6, "right": 0.7, "middle": 0.8, "left->top": 0.5}
    found = expected_accuracy(supernet, data, survival={"it": survival}).importance("it")[
        "left->top"
    ]
    works = {**survival, "left->top": 1.0}
    up = brute_force(supernet, data, set(), works)
    assert found == pytest.approx(up - brute_force(supernet, data, {"left->top"}, works))


# -- the front -------------------------------------------------------------------------------------


def brute_front(score: Any, costs: dict[str, float], budget: float) -> list[tuple[float, float]]:
    points: dict[float, float] = {}
    for links in subsets(costs):
        cost = sum(costs[x] for x in links)
        if cost <= budget:
            points[cost] = max(points.get(cost, -1.0), score(links))
    front: list[tuple[float, float]] = []
    for cost, value in sorted(points.items()):
        if not front or value > front[-1][1]:
            front.append((cost, value))
    return front


@given(st.integers(0, 2**32 - 1), st.integers(1, 6), st.sampled_from([3.0, 8.0, 99.0]))
def test_the_front_is_that_of_all_sets(seed: int, count: int, budget: float) -> None:
    rng = np.random.default_rng(seed)
    costs = {f"link{i}": float(rng.integers(1, 5)) for i in range(count)}
    values = {links: float(rng.random()) for links in subsets(costs)}
    slack = {links: float(rng.random()) for links in values}
    found = link_front(
        values.__getitem__, costs, bound=lambda x: values[x] + slack[x], budget=budget
    )
    assert [(c.cost, c.score) for c in found] == brute_front(values.__getitem__, costs, budget)
    for choice in found:
        assert values[frozenset(choice.links)] == choice.score


def additive(count: int) -> tuple[dict[str, float], Any]:
    worth = {f"link{i:02}": 0.5**i for i in range(count)}
    return worth, lambda links: sum(worth[x] for x in links)


def test_beyond_the_limit_a_beam_finds_what_is_additive() -> None:
    worth, score = additive(14)
    found = link_front(score, dict.fromkeys(worth, 1.0), most=5)
    assert [set(c.links) for c in found] == [set(list(worth)[:k]) for k in range(6)]


def test_a_bound_saves_scores_and_changes_nothing() -> None:
    worth, score = additive(14)
    costs = dict.fromkeys(worth, 1.0)
    scored = {"without": 0, "with": 0}

    def counted(which: str) -> Any:
        def count(links: Any) -> float:
            scored[which] += 1
            return float(score(links))

        return count

    plain = link_front(counted("without"), costs, most=6, beam=2)
    bounded = link_front(
        counted("with"), costs, most=6, beam=2, bound=lambda links: score(links) + 1e-6
    )
    assert [c.links for c in plain] == [c.links for c in bounded]
    assert scored["with"] < scored["without"] / 3


def test_recommended_are_the_first_each_doubling_and_the_knee() -> None:
    worth, score = additive(10)
    front = link_front(score, dict.fromkeys(worth, 128.0))
    assert [len(c.links) for c in recommended(front, tolerance=0.01)] == [0, 1, 2, 4, 8]
    assert [len(c.links) for c in recommended(front, tolerance=0.6)] == [0, 1, 2]
    assert [len(c.links) for c in recommended(front[:1])] == [0]


def test_a_search_without_room_is_refused() -> None:
    with pytest.raises(InputError, match="expected a beam of at least 1"):
        link_front(lambda links: 0.0, {"a": 1.0}, beam=0)


def test_the_bound_of_a_set_is_that_of_its_topology() -> None:
    rng = np.random.default_rng(0)
    visible, labels = rng.random((40, 2)) < 0.7, rng.integers(0, 3, 40)
    bound = subset_bound(chain_topology(), candidates(), visible, labels, LOW)
    for links in subsets(names(candidates())):
        topology = with_links(chain_topology(), [x for x in candidates() if x.name in links])
        assert bound(links) == reachability_bound(topology, visible, labels, LOW)
