"""What it takes to reach an accuracy: which links to add, which machine to harden or to double.

Judged by what no model can beat: the accuracy of one that is right whenever a camera that sees
the object reaches the output node. That bound needs no training, only who sees what. It is linear
in the survival of each element, so what a machine must survive is solved for and not searched.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from itertools import combinations
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from edge_runtime.errors import InputError
from edge_runtime.evaluation.bounds import reachability_bound
from edge_runtime.topology import Link, Survival, Topology

from .links import candidate_links, oriented, with_links

#: All sets of a size are tried while there are at most this many of them.
MOST_SETS = 4000
#: Rounding in sums over configurations.
ROUNDING = 1e-9

Kind = Literal["link", "harden", "double"]


@dataclass(frozen=True)
class Step:
    """One change: a link added, an element that must survive more, or a node doubled.

    `bound`: after it and those before it. `bytes`: added to an inference, when nothing has
    failed. `survival`: what the element must survive, or two copies of the node together do.
    """

    kind: Kind
    what: str
    bound: float
    bytes: int = 0
    survival: float | None = None

    def __str__(self) -> str:
        if self.kind == "link":
            return f"add {self.what}"
        assert self.survival is not None
        percent = f"{100 * self.survival:.4g} %"
        if self.kind == "double":
            return f"double {self.what} (the pair survives {percent})"
        return f"harden {self.what} (must survive {percent})"


@dataclass(frozen=True)
class Option:
    """Steps that lead to the goal, or as far as steps of their kinds lead.

    `fewest`: no smaller set of such steps reaches the goal: all were tried. Otherwise the
    steps are those that gain most, one after the other.
    """

    steps: tuple[Step, ...]
    reaches: bool
    fewest: bool

    @property
    def bytes(self) -> int:
        """Added to an inference by all steps."""
        return sum(step.bytes for step in self.steps)


@dataclass(frozen=True)
class Plan:
    """What a goal takes.

    `bound`: of the topology as it is; `target`: the goal, and above it what a measured model
    stays below its bound; `ceiling`: the bound with every candidate link and nothing failing that
    can be hardened. `singles`: every single step, those that gain most first.
    """

    topology: str
    survivability: str
    split: str
    samples: int
    goal: float
    measured: float | None
    bound: float
    target: float
    ceiling: float
    singles: tuple[Step, ...]
    links: Option
    harden: Option
    double: Option
    mixed: Option

    @property
    def reachable(self) -> bool:
        """Whether the topology's bound, as it is, is at least the target."""
        return self.bound >= self.target - ROUNDING

    def to_dict(self) -> dict[str, Any]:
        """Plain values, as `ddnn plan --json` prints them."""
        ways = {
            name: {**asdict(option), "bytes": option.bytes}
            for name in ("links", "harden", "double", "mixed")
            for option in [getattr(self, name)]
        }
        return {**asdict(self), "reachable": self.reachable, **ways}

    def __str__(self) -> str:
        return "\n".join(self._lines())

    def _lines(self) -> Iterator[str]:
        yield (
            f"{self.topology} at {self.survivability}, {self.split} ({self.samples} samples): "
            f"goal {100 * self.goal:.2f} %"
        )
        if self.measured is not None:
            yield (
                f"the model reaches {100 * self.measured:.2f} %, "
                f"{100 * (self.bound - self.measured):.2f} points below its bound; so a bound of "
                f"{100 * self.target:.2f} % is aimed at"
            )
        if self.reachable:
            yield f"reachable as it is: the bound is {100 * self.bound:.2f} %"
            return
        yield f"not reachable, the bound is {100 * self.bound:.2f} %"
        if self.ceiling < self.target - ROUNDING:
            yield (
                "nor by any change: with every candidate link and nothing failing the bound is "
                f"{100 * self.ceiling:.2f} %"
            )
        for name, option in (
            ("links alone", self.links),
            ("hardening alone", self.harden),
            ("doubling alone", self.double),
            ("links and hardening", self.mixed),
        ):
            if name == "links and hardening" and (self.links.reaches or self.harden.reaches):
                continue
            yield from _option_lines(name, option)
        yield "first, what a single change gives:"
        best = {step.kind: step for step in reversed(self.singles)}
        for i, step in enumerate(self.singles):
            if i >= MOST_PRINTED and step is not best[step.kind]:
                continue
            added = f", +{step.bytes:,} bytes per inference" if step.bytes else ""
            gain = 100 * (step.bound - self.bound)
            yield f"  {100 * step.bound:.2f} % (+{gain:.2f})  {step}{added}"


MOST_PRINTED = 8


def _option_lines(name: str, option: Option) -> Iterator[str]:
    if not option.steps:
        yield f"{name}: nothing to be had"
        return
    last = option.steps[-1].bound
    how = ", the fewest there are" if option.fewest and len(option.steps) > 1 else ""
    verdict = f"{100 * last:.2f} %"
    verdict = f"reaches {verdict}{how}" if option.reaches else f"not enough, leads to {verdict}"
    cost = f", +{option.bytes:,} bytes per inference" if option.bytes else ""
    yield f"{name}: {verdict}{cost}"
    for step in option.steps if option.reaches else ():
        yield f"  {100 * step.bound:.2f} %  {step}"


@dataclass(frozen=True)
class Sightings:
    """Which camera sees which object.

    `visible`: bool (samples, sensors), in the topology's order of sensors; `labels`: int
    (samples,); `split`: their name, for people.
    """

    visible: NDArray[np.bool_]
    labels: NDArray[np.int64]
    split: str = "data"


def make_plan(
    topology: Topology,
    sightings: Sightings,
    survival: Survival,
    goal: float,
    *,
    sizes: Mapping[str, int],
    name: str = "survival",
    measured: float | None = None,
) -> Plan:
    """Find what it takes to reach an expected accuracy.

    Args:
        topology: as it is.
        sightings: which camera sees which object.
        survival: at which the goal is to be reached.
        goal: expected accuracy, 0 to 1.
        sizes: bytes of one message of each node, and of one picture of each sensor: a node's second
            machine hosts no camera, so that pictures cross the network to it.
        name: of the survivability, for people.
        measured: expected accuracy of a model on these data. How far it stays below its bound is
            then added to the bound that is looked for.

    Raises:
        InputError: for a goal outside 0 to 1, and for data that do not fit.
    """
    if not 0 < goal <= 1:
        raise InputError(f"expected a goal above 0 and at most 1, such as 0.95, got {goal:g}")
    visible, labels = sightings.visible, sightings.labels
    if visible.shape != (len(labels), len(topology.sensors)) or not len(labels):
        raise InputError(
            f"expected visibility of shape ({len(labels)}, {len(topology.sensors)}) and one sample "
            f"at least, got {visible.shape}"
        )
    planner = _Planner(topology, sightings, survival, sizes)
    bound = planner.bound()
    target = goal if measured is None else goal + max(0.0, bound - measured)
    return Plan(
        topology=topology.name,
        survivability=name,
        split=sightings.split,
        samples=len(labels),
        goal=goal,
        measured=measured,
        bound=bound,
        target=target,
        ceiling=planner.ceiling(),
        singles=planner.singles(),
        links=planner.fewest_links(target),
        harden=planner.greedy(target, ("harden",)),
        double=planner.greedy(target, ("double",)),
        mixed=planner.greedy(target, ("link", "harden")),
    )


class _Planner:
    """Bounds of a topology under changes."""

    def __init__(
        self,
        topology: Topology,
        sightings: Sightings,
        survival: Survival,
        sizes: Mapping[str, int],
    ) -> None:
        self.topology = topology
        self.sightings = sightings
        self.sizes = sizes
        self.own = {x.name: x for x in topology.links if x.kind == "residual"}
        self.works = dict(
            zip(topology.components, topology.survival(survival).tolist(), strict=True)
        )
        self.bound_of = cache(self._bound)
        possible = [x for x in candidate_links(topology) if x.name not in self.own]
        # Given links stay; of the others those that gain most alone decide how a tier is crossed.
        candidates = oriented(
            topology,
            [*self.own.values(), *possible],
            lambda x: 2.0 if x.name in self.own else self.bound(links=(x.name,), known=(x,)),
        )
        self.links = {x.name: x for x in candidates if x.name not in self.own}
        self.fallible = [name for name, p in self.works.items() if p < 1]
        self.nodes = [n.name for n in topology.nodes]

    def bound(
        self,
        links: Iterable[str] = (),
        works: Mapping[str, float] | None = None,
        known: Iterable[Link] = (),
    ) -> float:
        """The bound with these links beside the topology's own, and these survivals."""
        pool = {**{x.name: x for x in known}, **getattr(self, "links", {})}
        added = tuple(sorted((pool[name] for name in set(links)), key=lambda x: x.name))
        return self.bound_of(added, tuple(sorted((works or {}).items())))

    def _bound(self, added: tuple[Link, ...], works: tuple[tuple[str, float], ...]) -> float:
        topology = with_links(self.topology, [*self.own.values(), *added])
        table = {**self.works, **dict(works)}
        survival = {"it": {k: v for k, v in table.items() if k in topology.index}}
        return reachability_bound(
            topology, self.sightings.visible, self.sightings.labels, survival
        )["it"]

    def ceiling(self) -> float:
        """With every candidate link, and nothing failing."""
        return self.bound(self.links, dict.fromkeys(self.fallible, 1.0))

    def singles(self) -> tuple[Step, ...]:
        """Every change alone, those that gain most first."""
        steps = [*self._steps("link", (), {}), *self._steps("harden", (), {})]
        steps += self._steps("double", (), {})
        start = self.bound()
        gains = [x for x in steps if x.bound > start + ROUNDING]
        return tuple(sorted(gains, key=lambda x: (-x.bound, x.bytes, x.what)))

    def fewest_links(self, target: float) -> Option:
        """The smallest set of links that reaches a bound, the one of fewest bytes among equals.

        Where sets of a size are too many to look through, links that gain most one by one.
        """
        if self.bound() >= target - ROUNDING:
            return Option((), True, True)
        # Adding a link never lowers the bound, so all together say whether any set will do.
        if self.bound(self.links) < target - ROUNDING:
            return self.greedy(target, ("link",))
        for size in range(1, len(self.links) + 1):
            if math.comb(len(self.links), size) > MOST_SETS:
                option = self.greedy(target, ("link",))
                # All smaller sets were tried.
                return Option(
                    option.steps, option.reaches, option.reaches and len(option.steps) == size
                )
            reaching = [
                names
                for names in combinations(self.links, size)
                if self.bound(names) >= target - ROUNDING
            ]
            if reaching:
                best = min(reaching, key=lambda x: (self._bytes(x), -self.bound(x), x))
                return Option(self._in_order(best), True, True)
        raise AssertionError("all links together reach the target")  # pragma: no cover

    def greedy(self, target: float, kinds: Sequence[Kind]) -> Option:
        """Steps of these kinds that gain most, one after the other, until the target."""
        links: list[str] = []
        works: dict[str, float] = {}
        steps: list[Step] = []
        now = self.bound()
        while now < target - ROUNDING:
            possible = [step for kind in kinds for step in self._steps(kind, links, works)]
            possible = [step for step in possible if step.bound > now + ROUNDING]
            if not possible:
                return Option(tuple(steps), False, False)
            # What reaches the target cheapest, else what leads farthest.
            enough = [x for x in possible if x.bound >= target - ROUNDING]
            if enough:
                best = min(enough, key=lambda x: (x.bytes, -x.bound, x.what))
            else:
                best = min(possible, key=lambda x: (-x.bound, x.bytes, x.what))
            if best.kind == "link":
                links.append(best.what)
            else:
                works[best.what] = best.survival or 1.0
            if best.kind == "harden" and best.bound >= target - ROUNDING:
                best = self._just_enough(best, links, works, now, target)
            steps.append(best)
            now = best.bound
        # A single step that reaches it has no smaller set but none.
        return Option(tuple(steps), True, len(steps) <= 1)

    def _steps(
        self, kind: Kind, links: Sequence[str], works: Mapping[str, float]
    ) -> Iterator[Step]:
        """Every step of a kind after those taken."""
        if kind == "link":
            for name, link in self.links.items():
                if name not in links:
                    after = self.bound([*links, name], works)
                    yield Step("link", name, after, self.sizes[link.source])
            return
        for name in self.fallible:
            if name in works or (kind == "double" and name not in self.nodes):
                continue
            survives = 1.0 if kind == "harden" else 1 - (1 - self.works[name]) ** 2
            after = self.bound(links, {**works, name: survives})
            size = self._doubled(name, links) if kind == "double" else 0
            yield Step(kind, name, after, size, survives)

    def _just_enough(
        self,
        step: Step,
        links: Sequence[str],
        works: dict[str, float],
        before: float,
        target: float,
    ) -> Step:
        """The last element need not survive for sure: the bound is linear in its survival."""
        p = self.works[step.what]
        share = (target - before) / (step.bound - before)
        survival = p + (1 - p) * share
        works[step.what] = survival
        return Step(step.kind, step.what, self.bound(links, works), step.bytes, survival)

    def _doubled(self, node: str, links: Sequence[str]) -> int:
        """Bytes of what a second copy of a node hears and sends."""
        added = [self.links[name] for name in links]
        ends = [x for x in (*self.topology.links, *added) if node in (x.source, x.target)]
        return sum(self.sizes[x.source] for x in ends)

    def _bytes(self, names: Iterable[str]) -> int:
        return sum(self.sizes[self.links[name].source] for name in names)

    def _in_order(self, names: Sequence[str]) -> tuple[Step, ...]:
        """A set of links as steps, those that gain most first."""
        steps: list[Step] = []
        while len(steps) < len(names):
            taken = [step.what for step in steps]
            rest = [name for name in names if name not in taken]
            name = max(rest, key=lambda x: self.bound([*taken, x]))
            size = self.sizes[self.links[name].source]
            steps.append(Step("link", name, self.bound([*taken, name]), size))
        return tuple(steps)
