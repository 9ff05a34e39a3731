"""What a goal takes, against enumeration."""

import itertools
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ddnn_tf.searches.links import candidate_links, with_links
from ddnn_tf.searches.plan import Plan, Sightings, make_plan
from edge_runtime.errors import InputError
from edge_runtime.evaluation.bounds import reachability_bound
from edge_runtime.topology import Group, Link, Node, Topology
from tests.reference import chain_topology

KINDS = ("link", "harden", "double")
SIZES = {"left": 8, "right": 16, "middle": 4, "cam0": 12, "cam1": 12}


def data(seed: int = 0, seen: float = 0.7) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    return {"visible": rng.random((40, 2)) < seen, "labels": rng.integers(0, 3, 40)}


def planned(goal: float, seed: int = 0, **changes: Any) -> Plan:
    return make_plan(
        chain_topology(), Sightings(**data(seed)), survival="low", goal=goal, sizes=SIZES, **changes
    )


def bound(topology: Topology, survival: Any = "low", seed: int = 0) -> float:
    return reachability_bound(topology, **data(seed), survivabilities={"it": survival})["it"]


def acyclic_sets(topology: Topology) -> list[tuple[Link, ...]]:
    """Every set of candidates that one graph can hold."""
    found = []
    pool = candidate_links(topology)
    for size in range(len(pool) + 1):
        for links in itertools.combinations(pool, size):
            pairs = [frozenset((x.source, x.target)) for x in links]
            if len(set(pairs)) == len(pairs):
                found.append(links)
    return found


def test_a_goal_below_the_bound_is_reachable_as_it_is() -> None:
    now = bound(chain_topology())
    found = planned(now - 1e-6)
    assert found.reachable
    assert found.bound == pytest.approx(now)
    assert (found.links.steps, found.harden.steps, found.double.steps) == ((), (), ())
    assert "reachable as it is" in str(found)
    assert not planned(now + 1e-6).reachable


@settings(max_examples=20)
@given(st.integers(0, 1000), st.floats(0.3, 1.0))
def test_the_verdict_on_links_is_that_of_enumeration(seed: int, goal: float) -> None:
    topology = chain_topology()
    sets = [x for x in acyclic_sets(topology) if bound(with_links(topology, x), seed=seed) >= goal]
    found = planned(goal, seed)
    assert found.links.reaches == bool(sets)
    if sets:
        assert found.links.fewest
        assert len(found.links.steps) == min(map(len, sets))
        chosen = {step.what for step in found.links.steps}
        [links] = [x for x in sets if {link.name for link in x} == chosen]
        after = bound(with_links(topology, links), seed=seed)
        assert after >= goal
        if links:
            assert found.links.steps[-1].bound == pytest.approx(after)
        assert found.links.bytes == sum(SIZES[x.source] for x in links)


@settings(max_examples=20)
@given(st.integers(0, 1000), st.floats(0.3, 1.0))
def test_hardening_is_just_enough(seed: int, goal: float) -> None:
    found = planned(goal, seed)
    works = dict(chain_topology().survivabilities["low"])
    sure = bound(chain_topology(), dict.fromkeys(works, 1.0), seed)
    assert found.harden.reaches == (sure >= goal)
    for step in found.harden.steps:
        assert step.survival is not None
        works[step.what] = step.survival
        assert bound(chain_topology(), works, seed) == pytest.approx(step.bound)
    if found.harden.reaches and found.harden.steps:
        assert found.harden.steps[-1].bound == pytest.approx(goal)


def test_the_first_to_harden_is_the_best_alone() -> None:
    found = planned(0.99)
    works = chain_topology().survivabilities["low"]
    alone = {name: bound(chain_topology(), {**works, name: 1.0}) for name in works}
    assert found.harden.steps[0].what == max(alone, key=lambda name: alone[name])
    hardened = {s.what: s.bound for s in found.singles if s.kind == "harden"}
    assert hardened == pytest.approx(alone)


def test_doubling_is_a_second_machine_with_the_same_links() -> None:
    topology = chain_topology()
    found = {s.what: s for s in planned(0.99).singles if s.kind == "double"}
    for name in ("left", "middle"):
        twins = {name: f"{name}2"}
        copies = [
            Link(twins.get(x.source, x.source), twins.get(x.target, x.target))
            for x in topology.links
            if name in (x.source, x.target)
        ]
        works = {**topology.survivabilities["low"]}
        doubled = chain_topology(
            nodes=(
                *topology.nodes[:3],
                Node(f"{name}2", topology.node(name).tier),
                Node("top", "cloud"),
            ),
            links=(*topology.links, *copies),
            survivabilities={"low": {**works, f"{name}2": works[name]}},
        )
        assert found[name].bound == pytest.approx(bound(doubled))
    assert found["left"].bytes == 12 + 8  # a camera's picture to it, and its message
    assert found["middle"].bytes == 8 + 16 + 4


def test_what_fails_together_is_planned_with() -> None:
    switch = Group("switch", ("left", "right"), 0.6)
    topology = chain_topology(groups=(switch,))
    found = make_plan(topology, Sightings(**data()), survival="low", goal=0.999, sizes=SIZES)
    assert found.bound == pytest.approx(bound(topology))
    assert found.bound < bound(chain_topology()) - 0.01
    hardened = {s.what: s.bound for s in found.singles if s.kind == "harden"}
    assert hardened["switch"] == pytest.approx(bound(chain_topology()))


def test_the_best_of_every_kind_is_printed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ddnn_tf.searches.plan.MOST_PRINTED", 1)
    found = planned(0.999)
    told = str(found).partition("first, what a single change gives:\n")[2].splitlines()
    best = {kind: next(s for s in found.singles if s.kind == kind) for kind in KINDS}
    assert len(told) == len(KINDS)
    assert all(any(str(step) in line for line in told) for step in best.values())


def test_no_change_helps_where_no_camera_sees() -> None:
    nothing: dict[str, Any] = {"visible": np.zeros((10, 2), bool), "labels": np.arange(10) % 2}
    found = make_plan(chain_topology(), Sightings(**nothing), survival="low", goal=0.9, sizes=SIZES)
    assert found.ceiling == found.bound == 0.5
    assert found.singles == ()
    assert [w.reaches for w in (found.links, found.harden, found.double)] == [False] * 3
    assert "nor by any change" in str(found)


def test_what_a_model_stays_below_its_bound_is_added() -> None:
    now = bound(chain_topology())
    found = planned(now - 0.01, measured=now - 0.05)
    assert found.target == pytest.approx(now + 0.04)
    assert not found.reachable
    assert planned(now, measured=now).target == pytest.approx(now)


def test_the_poster_at_medium(camera_data: Any) -> None:
    from ddnn_tf import datasets

    test = datasets.load(camera_data / "mvmc").split("test_dir")
    topology = Topology.load("poster-residual")
    sizes = {x.source: 128 for x in topology.links}
    found = make_plan(topology, Sightings(test.visible, test.labels), "medium", 0.95, sizes=sizes)
    assert "not reachable, the bound is 93.44 %" in str(found)
    assert [step.what for step in found.links.steps] == ["edge3->cloud"]


@pytest.mark.parametrize("goal", [0.0, 1.5, -1.0, float("nan")])
def test_a_goal_is_a_fraction(goal: float) -> None:
    with pytest.raises(InputError, match="expected a goal above 0"):
        planned(goal)
