from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_runtime.errors import InputError
from edge_runtime.failures.configurations import enumerate_configurations, output_states
from edge_runtime.failures.reachability import reach_probability
from edge_runtime.topology import Group, Link, Node, Sensor, Share, Survival, Topology
from tests.reference import small_topology
from tests.strategies import grouped, survivabilities, topologies


def enumerated(topology: Topology, survival: Survival) -> float:
    configurations = enumerate_configurations(topology, {"s": survival}, limit=1 << 16)
    reached = output_states(topology, configurations.masks).any(axis=1)
    return float(configurations.weights["s"] @ reached)


def network(pairs: list[tuple[str, str]], survival: float, links: float = 1.0) -> Topology:
    """A topology of these links, sensors being those that only send."""
    names = list(dict.fromkeys(name for pair in pairs for name in pair))
    targets = {target for _, target in pairs}
    return Topology(
        name="network",
        sensors=tuple(Sensor(n, (1,), survival=survival) for n in names if n not in targets),
        nodes=tuple(Node(n, "fog", survival) for n in names if n in targets),
        links=tuple(Link(*pair, survival=links) for pair in pairs),
    )


@settings(max_examples=60)
@given(data=st.data(), topology=st.one_of(topologies(), grouped()))
def test_it_is_what_enumeration_says(data: st.DataObject, topology: Topology) -> None:
    survival = data.draw(survivabilities(topology, most=9))
    assert reach_probability(topology, survival) == pytest.approx(
        enumerated(topology, survival), abs=1e-12
    )


@pytest.mark.parametrize("name", ["poster-baseline", "poster-residual", "poster-edge-skip"])
def test_the_posters_is_what_enumeration_says(name: str) -> None:
    topology = Topology.load(name)
    for preset in topology.survivabilities:
        assert reach_probability(topology, preset) == pytest.approx(
            enumerated(topology, preset), abs=1e-12
        )


def test_a_chain_of_200_nodes_is_a_product() -> None:
    names = [f"n{i}" for i in range(201)]
    found = reach_probability(network(list(pairwise(names)), 0.999, 0.998), None, limit=1 << 3)
    assert found == pytest.approx(0.999**201 * 0.998**200)


def test_a_chain_of_200_nodes_with_links_around_each_follows_its_recursion() -> None:
    names = [f"n{i}" for i in range(201)]
    around = [(a, c) for a, c in zip(names, names[2:], strict=False)]
    topology = network(list(pairwise(names)) + around, 0.9)
    # Lost where two neighbors fail: the chance that none did, and the last works or failed alone.
    works, failed = 0.9, 0.0
    for _ in names[1:]:
        works, failed = 0.9 * (works + failed), 0.1 * works
    assert reach_probability(topology, None, limit=1 << 5) == pytest.approx(works)


def test_a_tree_of_255_nodes_follows_its_recursion() -> None:
    pairs = [(f"n{2 * i + side}", f"n{i}") for i in range(1, 256) for side in (0, 1)]
    topology = network(pairs, 0.9, 0.8)
    assert len(topology.nodes) == 255
    sends = 0.9
    for _ in range(8):
        sends = 0.9 * (1 - (1 - 0.8 * sends) ** 2)
    assert reach_probability(topology, None, limit=1 << 12) == pytest.approx(sends)


def test_a_star_of_200_sensors_keeps_little_in_mind() -> None:
    topology = network([(f"s{i}", "top") for i in range(200)], 0.01)
    expected = 0.01 * (1 - (1 - 0.01) ** 200)
    assert reach_probability(topology, None, limit=1 << 3) == pytest.approx(expected)


def test_two_chains_of_a_hundred_with_links_across() -> None:
    pairs = [(f"{s}{i}", f"{t}{i + 1}") for i in range(100) for s in "ab" for t in "ab"]
    pairs += [("a100", "top"), ("b100", "top")]
    topology = network(pairs, 0.9999)
    expected = (1 - 1e-8) ** 101 * 0.9999
    assert reach_probability(topology, None) == pytest.approx(expected, rel=1e-12)


def test_groups_along_a_chain_are_kept_only_while_their_members_last() -> None:
    names = [f"n{i}" for i in range(201)]
    chain = network(list(pairwise(names)), 0.99)
    topology = Topology(
        name="racks",
        sensors=chain.sensors,
        nodes=chain.nodes,
        links=chain.links,
        groups=tuple(Group(f"rack{i}", tuple(names[i : i + 4]), 0.9) for i in range(1, 201, 4)),
    )
    found = reach_probability(topology, None, limit=1 << 4)
    assert found == pytest.approx(0.99**201 * 0.9**50)


def test_what_was_recorded_needs_no_independence() -> None:
    shares = [Share(("left", "cam0->top", "right"), 0.2), Share(("left",), 0.3), Share((), 0.5)]
    assert reach_probability(small_topology(), shares) == pytest.approx(0.8)


def test_what_is_too_entangled_says_so_and_what_to_do() -> None:
    layers = [[f"n{i}x{j}" for j in range(30)] for i in range(3)]
    pairs = [(a, b) for low, high in pairwise(layers) for a in low for b in high]
    pairs += [(name, "top") for name in layers[-1]]
    with pytest.raises(InputError, match=r"'network' are too entangled .* 2\^\d+ states.* sample"):
        reach_probability(network(pairs, 0.9), None)


def test_small_chances_of_failure_keep_their_digits() -> None:
    topology = network([("a", "x"), ("b", "y"), ("x", "top"), ("y", "top")], 1.0)
    rare: Survival = {"x": 1 - 1e-7, "y": 1 - 1e-7}
    assert 1 - reach_probability(topology, rare) == pytest.approx(1e-14, abs=3e-16)
    assert np.isclose(enumerated(topology, rare), reach_probability(topology, rare), rtol=1e-15)
