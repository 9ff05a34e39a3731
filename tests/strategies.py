"""Random topologies and failures, for properties."""

from typing import Any, Literal

import msgspec
import numpy as np
from hypothesis import strategies as st
from numpy.typing import NDArray

from edge_runtime.topology import Group, Link, Node, Sensor, Topology
from edge_runtime.topology.topology import TIERS, Tier

Dtype = Literal["uint8", "float32"]

probabilities = st.one_of(
    st.sampled_from([0.0, 0.5, 1.0]), st.floats(0.0, 1.0, allow_subnormal=False)
)


@st.composite
def topologies(
    draw: st.DrawFn, *, max_sensors: int = 3, max_nodes: int = 5, exits: bool = False
) -> Topology:
    """A valid topology: any acyclic graph, listed in any order, with survivals of its own.

    With `exits`, some nodes have one.
    """
    sensors = [f"cam{i}" for i in range(draw(st.integers(1, max_sensors)))]
    nodes = [f"node{i}" for i in range(draw(st.integers(1, max_nodes)))]
    pairs: set[tuple[str, str]] = set()
    for i, node in enumerate(nodes):
        below = [*sensors, *nodes[:i]]
        sources = draw(st.sets(st.sampled_from(below), min_size=1, max_size=4))
        pairs |= {(source, node) for source in sources}
    for i, name in enumerate([*sensors, *nodes[:-1]]):
        if not any(source == name for source, _ in pairs):
            later = nodes[max(0, i + 1 - len(sensors)) :]
            pairs.add((name, draw(st.sampled_from(later))))
    links = [
        Link(
            source,
            target,
            draw(st.sampled_from(["primary", "residual"]))
            if _detour(pairs, source, target)
            else "primary",
            draw(probabilities),
        )
        for source, target in draw(st.permutations(sorted(pairs)))
    ]
    tiers = sorted(
        draw(st.lists(st.sampled_from(TIERS), min_size=len(nodes), max_size=len(nodes))),
        key=TIERS.index,
    )
    tier: dict[str, Tier] = dict(zip(nodes, tiers, strict=True))
    dtypes: st.SearchStrategy[Dtype] = st.sampled_from(["uint8", "float32"])
    has_exit = {n: exits and draw(st.booleans()) for n in nodes}
    return Topology(
        name="random",
        sensors=tuple(Sensor(s, (2,), draw(dtypes), draw(probabilities)) for s in sensors),
        nodes=tuple(
            Node(n, tier[n], draw(probabilities), has_exit[n]) for n in draw(st.permutations(nodes))
        ),
        links=tuple(links),
    )


def _detour(pairs: set[tuple[str, str]], source: str, target: str) -> bool:
    """Whether a residual link from source to target would skip something."""
    nexts = [t for s, t in pairs if s == source and t != target]
    return any(t == target or (t, target) in pairs or _detour(pairs, t, target) for t in nexts)


@st.composite
def grouped(draw: st.DrawFn, *, most: int = 2, max_nodes: int = 5) -> Topology:
    """A topology some of whose elements fail together; groups may overlap."""
    topology = draw(topologies(max_nodes=max_nodes))
    members = st.lists(st.sampled_from(topology.elements), min_size=1, max_size=4, unique=True)
    groups = [
        Group(f"group{i}", tuple(draw(members)), draw(probabilities))
        for i in range(draw(st.integers(1, most)))
    ]
    return msgspec.structs.replace(topology, groups=tuple(groups))


@st.composite
def survivabilities(draw: st.DrawFn, topology: Topology, *, most: int = 6) -> dict[str, float]:
    """Survival of every element and group: at most `most` of them can fail."""
    fallible = draw(st.sets(st.sampled_from(topology.components), max_size=most))
    survival = dict.fromkeys(topology.components, 1.0)
    return survival | {name: draw(probabilities) for name in sorted(fallible)}


@st.composite
def masks(draw: st.DrawFn, topology: Topology, *, cases: int = 8) -> NDArray[np.bool_]:
    """Which elements work, bool (cases, elements)."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    return rng.random((cases, len(topology.elements))) < draw(st.sampled_from([0.5, 0.8, 0.95]))


def samples(topology: Topology, count: int, seed: int = 0) -> dict[str, NDArray[Any]]:
    """Random inputs of every sensor."""
    rng = np.random.default_rng(seed)
    return {
        s.name: rng.integers(0, 256, (count, *s.shape)).astype(np.uint8)
        if s.dtype == "uint8"
        else rng.normal(size=(count, *s.shape)).astype(np.float32)
        for s in topology.sensors
    }
