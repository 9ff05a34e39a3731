"""What can fail, how probable each case is, and what then still gets through."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError
from ..topology import Survival, Topology
from .distribution import FailureModel, Mask, working

#: 2^20 configurations take about 100 MB; above that, sampling is the better way.
MOST_CONFIGURATIONS = 1 << 20


@dataclass(frozen=True)
class Configurations:
    """Failure configurations and how probable each is under every survivability asked for.

    `components`: bool (configurations, components), what works by itself; the first row is the one
    without failures. `fallible`: the columns that vary. `weights`: per survivability, float64
    (configurations,). `models`: what each survivability came to.
    """

    topology: Topology
    components: Mask
    fallible: tuple[int, ...]
    weights: Mapping[str, NDArray[np.float64]]
    models: Mapping[str, FailureModel]

    def __len__(self) -> int:
        return len(self.components)

    @cached_property
    def masks(self) -> Mask:
        """Which elements then work, bool (configurations, elements)."""
        return working(self.topology, self.components)

    @property
    def method(self) -> str:
        """How the weights came about."""
        return "exact"

    def interval(self, survivability: str, values: NDArray[np.float64]) -> tuple[float, float]:
        """Where the expectation of `values`, of each configuration, lies: here at a point."""
        value = float(self.weights[survivability] @ values)
        return value, value

    def probabilities(self, survivability: str) -> NDArray[np.float64]:
        """Probability of each configuration, shape (configurations,)."""
        return self.weights[survivability]

    def occurring(self, survivability: str) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
        """Rows of the configurations that can occur, and how probable each is."""
        rows = np.flatnonzero(self.weights[survivability])
        return rows, self.weights[survivability][rows]

    @property
    def failures(self) -> NDArray[np.int64]:
        """How many components have failed in each configuration, shape (configurations,)."""
        return np.asarray((~self.components[:, list(self.fallible)]).sum(axis=1))


def enumerate_configurations(
    topology: Topology,
    survivabilities: Mapping[str, Survival],
    *,
    also: Iterable[str] = (),
    limit: int = MOST_CONFIGURATIONS,
) -> Configurations:
    """All 2^n failure configurations, the one without failures first; then those recorded.

    n counts the components whose survival is below 1 in one of the survivabilities, and those named
    in `also`. What was recorded adds only the masks that occurred and are not among these. Raises
    `InputError` above `limit` configurations.
    """
    models = failure_models(topology, survivabilities)
    varies = uncertain_components(models)
    varies[[topology.index[name] for name in also]] = True
    n = int(varies.sum())
    if 1 << n > limit:
        raise InputError(
            f"{n} elements of {topology.name!r} can fail, which makes 2^{n} = {1 << n:,} "
            f"configurations, more than the limit of {limit:,}; raise the limit, or set the "
            "survival of elements that hardly ever fail to 1"
        )
    places = np.flatnonzero(varies)
    grid = np.ones((1 << n, len(varies)), bool)
    grid[:, places] = (np.arange(1 << n)[:, None] >> np.arange(n)) & 1 == 0

    rows_of: dict[bytes, int] = {}  # the recorded ones that are not in the grid
    weights = {}
    most = len(grid) + sum(len(m.shares) for m in models.values() if m.recorded)
    for name, model in models.items():
        weights[name] = np.zeros(most)
        if not model.recorded:
            weights[name][: len(grid)] = _products(model.survival[0, places])
            continue
        for share, works in zip(model.shares, model.survival == 1, strict=True):
            if works[~varies].all():
                row = int((~works[places]).astype(np.int64) @ (1 << np.arange(n)))
            else:
                row = len(grid) + rows_of.setdefault(works.tobytes(), len(rows_of))
            weights[name][row] += share
    components = np.concatenate([grid, *(np.frombuffer(row, bool)[None] for row in rows_of)])
    return Configurations(
        topology=topology,
        components=components,
        fallible=tuple(int(i) for i in np.flatnonzero(~components.all(axis=0))),
        weights={name: weight[: len(components)] for name, weight in weights.items()},
        models=models,
    )


def failure_models(
    topology: Topology, survivabilities: Mapping[str, Survival]
) -> dict[str, FailureModel]:
    """How the failures of each survivability are distributed; `InputError` without any."""
    if not survivabilities:
        raise InputError("expected at least one survivability, got none; name a preset")
    return {name: FailureModel.of(topology, s) for name, s in survivabilities.items()}


def uncertain_components(models: Mapping[str, FailureModel]) -> Mask:
    """The components that an enumeration multiplies out, bool (components,): none recorded."""
    survivals = [m.survival[0] < 1 for m in models.values() if not m.recorded]
    components = len(next(iter(models.values())).topology.components)
    return np.asarray(np.any([np.zeros(components, bool), *survivals], axis=0))


def _products(survival: NDArray[np.float64]) -> NDArray[np.float64]:
    """Probability of each of 2^n cases; bit i of a case's number says that i has failed."""
    found = np.ones(1)
    for p in survival:
        found = np.concatenate([found * p, found * (1.0 - p)])
    return found


def draw(topology: Topology, survivability: Survival, count: int, rng: np.random.Generator) -> Mask:
    """Draw `count` masks; bool (count, elements)."""
    return FailureModel.of(topology, survivability).draw(count, rng)


def deliveries(topology: Topology, masks: Mask) -> Mask:
    """Which links deliver: up, and the sender alive and not silent. Shape (cases, links)."""
    masks = np.asarray(masks, bool)
    delivers = np.zeros((len(masks), len(topology.links)), bool)

    def send(name: str, sends: Mask) -> None:
        for link in topology.outgoing(name):
            delivers[:, topology.bits[link.name]] = sends & masks[:, topology.index[link.name]]

    for sensor in topology.sensors:
        send(sensor.name, masks[:, topology.index[sensor.name]])
    for name in topology.order:
        received = delivers[:, [topology.bits[x.name] for x in topology.incoming(name)]].any(axis=1)
        send(name, received & masks[:, topology.index[name]])
    return delivers


def output_states(topology: Topology, masks: Mask, node: str | None = None) -> Mask:
    """The delivered-links state of the output node in each case, shape (cases, links).

    Or of another `node`, of which it says what an answer of its exit would be computed from. All
    false where the node is dead or silent: it has no answer.
    """
    top = topology.output if node is None else node
    delivers = deliveries(topology, masks)
    wanted = np.zeros_like(delivers)
    # From the top down: a link belongs to the state if it delivers to a node that is needed.
    needed = {top: np.asarray(masks, bool)[:, topology.index[top]]}
    for name in reversed(topology.order):
        for link in topology.incoming(name) if name in needed else ():
            column = topology.bits[link.name]
            wanted[:, column] = delivers[:, column] & needed[name]
            needed[link.source] = needed.get(link.source, False) | wanted[:, column]
    return wanted
