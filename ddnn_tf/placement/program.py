"""The mixed-integer program that finds a placement."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import optimize, sparse

from edge_runtime.arrays import Vector

from .network import Device, DeviceLink, Network
from .placement import AIMS, SLACK, Aim, Limits, Placement

#: By how much a number may differ from a whole one, for the solver's tolerances.
WHOLE = 1e-6


class _Step(NamedTuple):
    """From `start` blocks done at a device to `end` done at the next, which computes the others.

    No source: from the sensor. No target: the answer.
    """

    source: int | None
    target: int | None
    start: int
    end: int


class Program:
    """The mixed-integer program: a flow of one from the sensor to the answer.

    Its nodes are (device, blocks done), its arcs steps; a placement is a path.
    """

    def __init__(self, network: Network) -> None:
        self.network = network
        self._places = {device.name: i for i, device in enumerate(network.devices)}
        self._steps = list(self._possible())
        self._costs = np.array([self._cost(step) for step in self._steps]).reshape(-1, 3)
        self._flow, self._supply = self._balance()

    def solve(self, least: Aim, limits: Limits) -> Placement | None:
        """The best path, or None where no path keeps the limits."""
        accuracy = None if limits.accuracy is None else self._most_failure(limits.accuracy)
        bounds = [limits.latency, limits.bytes, accuracy]
        if any(bound is not None and bound < 0 for bound in bounds):
            return None
        constraints = [optimize.LinearConstraint(self._flow, self._supply, self._supply)]
        for costs, bound in zip(self._costs.T, bounds, strict=True):
            if bound is not None and math.isfinite(bound):
                # In units of the limit, since the solver's tolerance is an absolute one.
                scale = bound or max(costs.max(), 1.0)
                constraints.append(
                    optimize.LinearConstraint(costs[None] / scale, -np.inf, bound / scale + SLACK)
                )
        aim = self._costs[:, AIMS.index(least)]
        # Without a limit that binds the relaxed program is a shortest path, whose corners are
        # whole: a tenth of a second, where the search for whole solutions has taken thirteen.
        for whole in (0, 1):
            found = optimize.milp(
                aim / max(aim.max(), 1e-12),
                constraints=constraints,
                bounds=optimize.Bounds(0, 1),
                integrality=np.full(len(aim), whole),
                options={"mip_rel_gap": 0.0},
            )
            if found.x is None:
                return None
            if np.abs(found.x - np.rint(found.x)).max() < WHOLE:
                break
        return self._placement(np.flatnonzero(found.x > 0.5))

    def _possible(self) -> Iterator[_Step]:
        """Every step that the devices' memory and storage allow."""
        network, count = self.network, len(self.network.blocks)
        fits = [fitting(device) for device in network.devices]
        yield from (_Step(None, 0, 0, end) for end in range(count + 1) if fits[0][0, end])
        for link in network.wires:
            source, target = self._places[link.source], self._places[link.target]
            if link.survival and network.devices[target].survival:
                for start in range(count + 1):
                    for end in range(start, count + 1):
                        if fits[target][start, end]:
                            yield _Step(source, target, start, end)
        for place, device in enumerate(network.devices):
            if network.output in (None, device.name):
                yield _Step(place, None, count, count)

    def _cost(self, step: _Step) -> tuple[float, float, float]:
        """Latency, bytes, and minus the logarithm of the probability that it works."""
        if step.target is None:
            return 0.0, 0.0, 0.0
        network, device = self.network, self.network.devices[step.target]
        until = self._until[step.target]
        latency = until[step.end] - until[step.start]
        if step.source is None:
            return latency, 0.0, -math.log(device.survival)
        link = self._links[step.source, step.target]
        sent = network.left(step.start)
        failure = -math.log(device.survival) - math.log(link.survival)
        return latency + link.ms(sent), float(sent), failure

    @cached_property
    def _until(self) -> list[list[float]]:
        """Latency of the first k blocks on each device, by k."""
        return [[0.0, *itertools.accumulate(d.latency_ms)] for d in self.network.devices]

    @cached_property
    def _links(self) -> Mapping[tuple[int, int], DeviceLink]:
        return {(self._places[w.source], self._places[w.target]): w for w in self.network.wires}

    def _balance(self) -> tuple[sparse.csr_array, Vector]:
        """What flows into each (device, blocks done) flows out; one leaves the sensor and ends."""
        width = len(self.network.blocks) + 1
        sensor, answer = len(self.network.devices) * width, len(self.network.devices) * width + 1
        rows, columns, signs = [], [], []
        for column, step in enumerate(self._steps):
            into = answer if step.target is None else step.target * width + step.end
            out = sensor if step.source is None else step.source * width + step.start
            rows += [into, out]
            columns += [column, column]
            signs += [1.0, -1.0]
        shape = (answer + 1, len(self._steps))
        supply = np.zeros(answer + 1)
        supply[[sensor, answer]] = -1.0, 1.0
        return sparse.csr_array((signs, (rows, columns)), shape=shape), supply

    def _most_failure(self, accuracy: float) -> float:
        """The greatest minus-logarithm at which an accuracy is still reached; negative: never."""
        network = self.network
        if network.alive == network.fallback:
            return math.inf if accuracy <= network.alive * (1 + SLACK) else -1.0
        works = (accuracy - network.fallback) / (network.alive - network.fallback)
        if works <= 0:
            return math.inf
        return -math.log(works) if works < 1 else 0.0 if works <= 1 + SLACK else -1.0

    def _placement(self, chosen: NDArray[np.intp]) -> Placement:
        network = self.network
        latency, sent, failure = self._costs[chosen].sum(axis=0)
        by_source = {self._steps[i].source: self._steps[i] for i in chosen}
        runs: dict[str, tuple[int, int]] = {}
        step = by_source[None]
        while step.target is not None:
            runs[network.devices[step.target].name] = (step.start, step.end)
            step = by_source[step.target]
        accuracy = network.fallback + (network.alive - network.fallback) * math.exp(-failure)
        return Placement(runs, float(latency), round(sent), accuracy)


def fitting(device: Device) -> NDArray[np.bool_]:
    """Whether a device has room for blocks start to end: bool (blocks + 1, blocks + 1)."""
    fits = np.triu(np.ones((len(device.latency_ms) + 1,) * 2, bool))
    for own, most in (
        (device.memory_mb, device.most_memory_mb),
        (device.storage_mb, device.most_storage_mb),
    ):
        total = np.concatenate([[0.0], np.cumsum(own)])
        fits &= total[None] - total[:, None] <= most * (1 + SLACK)
    return fits
