"""Which machine computes which part of a chain of sections.

A model cut at every place where it may be cut is a chain of blocks. Each device on the way from the
sensor computes a run of them, possibly none, and sends what is left to do on to the next. Choosing
the runs is a shortest path with resource limits, solved as a mixed-integer program by HiGHS
(Huangfu and Hall, *Parallelizing the dual revised simplex method*, 2018) through scipy.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal, NamedTuple, get_args

import numpy as np
from numpy.typing import NDArray
from scipy import optimize, sparse

from edge_runtime.arrays import Vector
from edge_runtime.errors import InputError

#: What a placement is to have the least, or of accuracy the most, of.
Aim = Literal["latency", "bytes", "accuracy"]
AIMS: tuple[Aim, ...] = get_args(Aim)

#: By how much a number may differ from a whole one, for the solver's tolerances.
WHOLE = 1e-6
#: Relative slack of a limit, for the rounding of sums.
SLACK = 1e-9


class Block(NamedTuple):
    """A part of the model that is never cut: its message is `bytes` long, an inference."""

    name: str
    bytes: int


@dataclass(frozen=True)
class Device:
    """A machine that may compute blocks.

    `latency_ms`, `memory_mb` and `storage_mb` are per block, as measured on it; `most_memory_mb`
    and `most_storage_mb` are what its run of blocks may add up to. `survival`: the probability that
    it works.
    """

    name: str
    latency_ms: tuple[float, ...]
    memory_mb: tuple[float, ...]
    storage_mb: tuple[float, ...]
    most_memory_mb: float = math.inf
    most_storage_mb: float = math.inf
    survival: float = 1.0


class Wire(NamedTuple):
    """A connection between two devices: megabits a second, delay in ms, and its survival."""

    source: str
    target: str
    mbps: float
    delay_ms: float = 0.0
    survival: float = 1.0

    def ms(self, count: int) -> float:
        """How long so many bytes take."""
        return self.delay_ms + 8 * count / (1000 * self.mbps)


@dataclass(frozen=True)
class Network:
    """A chain of blocks, and the devices that may compute them.

    The first device has the sensor, which gives `input_bytes` an inference. The answer is given by
    `output`, or where the last block happens to be. `alive` and `fallback` are the accuracy while
    all devices and wires in use work, and once one does not.

    Raises `InputError` at construction.
    """

    blocks: tuple[Block, ...]
    input_bytes: int
    devices: tuple[Device, ...]
    wires: tuple[Wire, ...]
    output: str | None = None
    alive: float = 1.0
    fallback: float = 0.0

    def __post_init__(self) -> None:
        _check(self)

    def left(self, done: int) -> int:
        """Bytes of what is passed on once so many blocks are done."""
        return self.blocks[done - 1].bytes if done else self.input_bytes


@dataclass(frozen=True)
class Limits:
    """What a placement must keep to: at most so many ms and bytes, at least that accuracy."""

    latency: float | None = None
    bytes: float | None = None
    accuracy: float | None = None


@dataclass(frozen=True)
class Placement:
    """Which blocks each device on the way computes: half-open ranges of positions, in order."""

    runs: Mapping[str, tuple[int, int]]
    latency_ms: float
    bytes: int
    accuracy: float

    def value(self, aim: Aim) -> float:
        """What an aim is about; less is better but for accuracy."""
        return {"latency": self.latency_ms, "bytes": self.bytes, "accuracy": self.accuracy}[aim]


def place(network: Network, least: Aim = "latency", limits: Limits = Limits()) -> Placement:
    """The placement with the least latency or bytes, or the greatest accuracy, within limits.

    Raises `InputError` where there is none, with what can be reached.
    """
    if least not in AIMS:
        raise InputError(f"unknown aim {least!r}; expected one of {', '.join(AIMS)}")
    program = _Program(network)
    found = program.solve(least, limits)
    if found is None:
        raise InputError(_why_not(network, program, limits))
    return found


def front(
    network: Network,
    least: Aim = "latency",
    against: Aim = "bytes",
    limits: Limits = Limits(),
    *,
    most: int = 20,
) -> list[Placement]:
    """Placements of which none is better in both aims, from the best in `least` on.

    Exact: each next one is the best in `least` among those that are better in `against` than the
    one before. At most `most` of them.
    """
    first = place(network, least, limits)
    program = _Program(network)
    found: list[Placement] = []
    candidate: Placement | None = first
    while candidate is not None and len(found) < most:
        # Among equals in the one aim, the best in the other.
        equal = _limited(limits, least, candidate.value(least))
        best = program.solve(against, equal) or candidate
        found.append(best)
        candidate = program.solve(least, _beyond(limits, against, best.value(against)))
    return found


def binding(network: Network, least: Aim, limits: Limits) -> dict[str, float]:
    """Which limits hold the best placement back, and what could be reached without each.

    The keys are `latency`, `bytes`, `accuracy`, and `memory of DEVICE` or `storage of DEVICE`.
    """
    best = place(network, least, limits).value(least)
    without: dict[str, float] = {}

    def try_without(name: str, relaxed: Network, others: Limits) -> None:
        found = _Program(relaxed).solve(least, others)
        assert found is not None  # fewer limits than a placement was found with
        gain = (found.value(least) - best) * (1 if least == "accuracy" else -1)
        if gain > SLACK * max(1.0, abs(best)):
            without[name] = found.value(least)

    for aim in AIMS:
        if getattr(limits, aim) is not None:
            try_without(aim, network, replace(limits, **{aim: None}))
    for i, device in enumerate(network.devices):
        for resource, free in (
            ("memory", replace(device, most_memory_mb=math.inf)),
            ("storage", replace(device, most_storage_mb=math.inf)),
        ):
            if (_fitting(free) != _fitting(device)).any():
                devices = (*network.devices[:i], free, *network.devices[i + 1 :])
                roomy = replace(network, devices=devices)
                try_without(f"{resource} of {device.name}", roomy, limits)
    return without


class _Step(NamedTuple):
    """From `start` blocks done at a device to `end` done at the next, which computes the others.

    No source: from the sensor. No target: the answer.
    """

    source: int | None
    target: int | None
    start: int
    end: int


class _Program:
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
        fits = [_fitting(device) for device in network.devices]
        yield from (_Step(None, 0, 0, end) for end in range(count + 1) if fits[0][0, end])
        for wire in network.wires:
            source, target = self._places[wire.source], self._places[wire.target]
            if wire.survival and network.devices[target].survival:
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
        wire = self._wires[step.source, step.target]
        sent = network.left(step.start)
        failure = -math.log(device.survival) - math.log(wire.survival)
        return latency + wire.ms(sent), float(sent), failure

    @cached_property
    def _until(self) -> list[list[float]]:
        """Latency of the first so many blocks on each device."""
        return [[0.0, *itertools.accumulate(d.latency_ms)] for d in self.network.devices]

    @cached_property
    def _wires(self) -> Mapping[tuple[int, int], Wire]:
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


def _fitting(device: Device) -> NDArray[np.bool_]:
    """Whether a device has room for blocks start to end: bool (blocks + 1, blocks + 1)."""
    fits = np.triu(np.ones((len(device.latency_ms) + 1,) * 2, bool))
    for own, most in (
        (device.memory_mb, device.most_memory_mb),
        (device.storage_mb, device.most_storage_mb),
    ):
        total = np.concatenate([[0.0], np.cumsum(own)])
        fits &= total[None] - total[:, None] <= most * (1 + SLACK)
    return fits


def _limited(limits: Limits, aim: Aim, value: float) -> Limits:
    """As good in one aim as that, or better."""
    slack = SLACK * max(1.0, abs(value))
    return replace(limits, **{aim: value - slack if aim == "accuracy" else value + slack})


def _beyond(limits: Limits, aim: Aim, value: float) -> Limits:
    """Better in one aim than that, by more than a rounding."""
    if aim == "bytes":
        return replace(limits, bytes=value - 1)
    step = 1e-6 * max(1e-6, abs(value))
    return replace(limits, **{aim: value + step if aim == "accuracy" else value - step})


def _why_not(network: Network, program: _Program, limits: Limits) -> str:
    asked = {aim: getattr(limits, aim) for aim in AIMS if getattr(limits, aim) is not None}
    reached = {aim: program.solve(aim, Limits()) for aim in AIMS}
    if any(found is None for found in reached.values()):
        sizes = ", ".join(
            f"{d.name} (memory {d.most_memory_mb:g} MB, storage {d.most_storage_mb:g} MB)"
            for d in network.devices
        )
        return (
            f"no placement: the {len(network.blocks)} blocks do not fit into {sizes} in the order "
            "in which the wires join them; raise a limit, compress the model, or add a device"
        )
    best = ", ".join(_figure(aim, found.value(aim)) for aim, found in reached.items() if found)
    wanted = ", ".join(_figure(aim, value) for aim, value in asked.items())
    return (
        f"no placement keeps {wanted}; each by itself, what can be reached is {best}: "
        "loosen a limit"
    )


def _figure(aim: Aim, value: float) -> str:
    return f"{aim} {100 * value:g} %" if aim == "accuracy" else f"{aim} {value:g}"


def _check(network: Network) -> None:
    count = len(network.blocks)
    if not count or not network.devices:
        raise InputError("expected at least one block and one device, got none")
    names = [device.name for device in network.devices]
    for name in names:
        if names.count(name) > 1:
            raise InputError(f"device {name!r} stands twice; rename one of the two")
    for device in network.devices:
        for figure in ("latency_ms", "memory_mb", "storage_mb"):
            values = getattr(device, figure)
            if len(values) != count or not all(math.isfinite(v) and v >= 0 for v in values):
                raise InputError(
                    f"device {device.name!r}: expected {figure} of {count} blocks, each a number "
                    f"of at least 0, got {list(values)}"
                )
        for figure in ("most_memory_mb", "most_storage_mb"):
            if not getattr(device, figure) >= 0:
                raise InputError(
                    f"device {device.name!r}: expected {figure} of at least 0, got "
                    f"{getattr(device, figure)}"
                )
    if not network.devices[0].survival > 0:
        raise InputError(f"device {names[0]!r} has the sensor and never works; nothing can run")
    for thing, survival in [
        *((f"device {d.name!r}", d.survival) for d in network.devices),
        *((f"wire {w.source}->{w.target}", w.survival) for w in network.wires),
    ]:
        if not 0 <= survival <= 1:
            raise InputError(f"{thing}: expected a survival from 0 to 1, got {survival}")
    seen = set()
    for wire in network.wires:
        for end in (wire.source, wire.target):
            if end not in names:
                raise InputError(f"unknown device {end!r} on a wire; expected {', '.join(names)}")
        if names.index(wire.source) >= names.index(wire.target):
            raise InputError(
                f"wire {wire.source}->{wire.target} leads back; list the devices in the order "
                "from the sensor to the answer"
            )
        if (wire.source, wire.target) in seen:
            raise InputError(f"wire {wire.source}->{wire.target} stands twice; remove one")
        seen.add((wire.source, wire.target))
        if not (wire.mbps > 0 and wire.delay_ms >= 0):
            raise InputError(
                f"wire {wire.source}->{wire.target}: expected mbps above 0 and a delay of at least "
                f"0, got {wire.mbps} and {wire.delay_ms}"
            )
    if network.output is not None and network.output not in names:
        raise InputError(f"unknown output {network.output!r}; expected {', '.join(names)}")
    if not 0 <= network.fallback <= network.alive <= 1:
        raise InputError(
            f"expected 0 <= fallback <= alive <= 1, got {network.fallback} and {network.alive}"
        )
