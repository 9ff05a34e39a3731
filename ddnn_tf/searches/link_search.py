"""The search over links from end to end: supernet, front, and the recommended sets retrained."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from edge_runtime.errors import InputError
from edge_runtime.files import sha256
from edge_runtime.topology import Link, Topology

from ..model import build
from ..training.spread import Spread
from .experiments import (
    FINAL,
    Experiment,
    ExperimentStore,
    Final,
    Measured,
    Progress,
    link_bytes,
    spread_of,
)
from .links import (
    Choice,
    SubsetScores,
    candidate_links,
    link_front,
    oriented,
    recommended,
    subset_bound,
    supernet_survival,
    with_links,
)

LinkNames = frozenset[str]

#: The supernet stands for very many networks: it trains this many times as long as one.
SUPERNET = 2

#: The names of a run's sets that no search found.
PRIMARY, GIVEN, ALL = "primary links", "the given links", "all candidates"


@dataclass(frozen=True)
class Retrained:
    """A set of links trained on its own: what it is called, costs, and gives over seeds."""

    name: str
    choice: Choice
    topology: Topology
    bytes: int
    measured: tuple[Measured, ...]

    def accuracy(self, split: str, survivability: str, *, balanced: bool = False) -> Spread:
        """Expected, or balanced, accuracy over the seeds."""
        return spread_of(m.accuracy(split, survivability, balanced=balanced) for m in self.measured)

    def bound(self, split: str, survivability: str) -> float:
        """What no model on these links can beat."""
        return self.measured[0].bounds[split][survivability]


@dataclass(frozen=True)
class LinkSearch:
    """What a search found.

    `front`: all its points, scored by the supernet on validation data; `retrained`: the
    recommended ones, and for comparison the primary links, the given residual links and all
    candidates. `base`: bytes of the primary links an inference.
    """

    topology: Topology
    candidates: tuple[Link, ...]
    survival: tuple[str, ...]
    base: int
    front: tuple[Choice, ...]
    retrained: tuple[Retrained, ...]
    validation: str
    test: str

    def to_dict(self) -> dict[str, Any]:
        """Plain values, as `ddnn links search --json` prints them."""
        return {
            "topology": self.topology.name,
            "candidates": [x.name for x in self.candidates],
            "base_bytes": self.base,
            "validation": self.validation,
            "test": self.test,
            "front": [
                {
                    "links": list(c.links),
                    "bytes": self.base + int(c.cost),
                    "score": c.score,
                    "bound": c.bound,
                }
                for c in self.front
            ],
            "retrained": [
                {
                    "name": r.name,
                    "links": list(r.choice.links),
                    "bytes": r.bytes,
                    "seeds": len(r.measured),
                    **{
                        s: {
                            "expected_accuracy": r.accuracy(self.test, s).mean,
                            "half_range": r.accuracy(self.test, s).half_range,
                            "balanced_accuracy": r.accuracy(self.test, s, balanced=True).mean,
                            "bound": r.bound(self.test, s),
                        }
                        for s in self.survival
                    },
                }
                for r in self.retrained
            ],
        }

    def curve(self) -> dict[str, list[tuple[float, float, float]]]:
        """By survivability: bytes, mean and half range of the front's retrained sets."""
        return {s: [self._point(r, s)[:3] for r in self._of_front(True)] for s in self.survival}

    def limits(self) -> dict[str, list[tuple[float, float]]]:
        """By survivability: bytes of the same sets, and what no model can beat."""
        return {
            s: [(r.bytes, r.bound(self.test, s)) for r in self._of_front(True)]
            for s in self.survival
        }

    def apart(self) -> dict[str, dict[str, tuple[float, float, float, float]]]:
        """Retrained for comparison, by name and survivability: their point and what limits it."""
        return {
            r.name: {s: self._point(r, s) for s in self.survival} for r in self._of_front(False)
        }

    def _of_front(self, wanted: bool) -> list[Retrained]:
        """Retrained sets that the search found, or the others, cheapest first."""
        found = {frozenset(c.links) for c in self.front}
        sets = [r for r in self.retrained if (frozenset(r.choice.links) in found) == wanted]
        return sorted(sets, key=lambda r: r.bytes)

    def _point(self, r: Retrained, survivability: str) -> tuple[float, float, float, float]:
        spread = r.accuracy(self.test, survivability)
        return r.bytes, spread.mean, spread.half_range, r.bound(self.test, survivability)

    def __str__(self) -> str:
        names = " / ".join(self.survival)
        lines = [
            f"{len(self.candidates)} candidate links beside {self.base} bytes of primary ones; "
            f"retrained, {self.test}, % at {names}, fallback prior",
            "",
            "| links | bytes | expected accuracy | balanced | no model can beat |",
            "|---|---|---|---|---|",
        ]
        for r in self.retrained:
            cells = [str(r.accuracy(self.test, s)) for s in self.survival]
            balanced = [
                f"{100 * r.accuracy(self.test, s, balanced=True).mean:.1f}" for s in self.survival
            ]
            bounds = [f"{100 * r.bound(self.test, s):.2f}" for s in self.survival]
            lines.append(
                f"| {r.name} | {r.bytes:,} | {' / '.join(cells)} | {' / '.join(balanced)} | "
                f"{' / '.join(bounds)} |"
            )
        lines += ["", "found on validation data by the supernet:", ""]
        for c in self.front:
            lines.append(
                f"  {self.base + int(c.cost):>6,} bytes  {100 * c.score:6.2f}  "
                f"(bound {100 * (c.bound or math.nan):.2f})  {', '.join(c.links) or '-'}"
            )
        return "\n".join(lines)

    def save_topologies(self, folder: Path) -> list[Path]:
        """Write the topology of each retrained set, to train or deploy; returns the files."""
        files = []
        for r in self.retrained:
            files.append(folder / f"{r.topology.name}.json")
            r.topology.save(files[-1])
        return files


def search_links(
    store: ExperimentStore,
    template: Experiment,
    *,
    final: Final = FINAL,
    budget: float = math.inf,
    most: int | None = None,
    beam: int = 4,
    retrain: bool = True,
    progress: Progress = lambda what, done, total: None,
) -> LinkSearch:
    """Search the links that a topology could have, and retrain what is recommended.

    Args:
        store: where trainings are kept.
        template: the topology with its primary and given links, the split to train the supernet
            on, survivabilities, sections and recipe. Its first split to report is chosen on, its
            last reported.
        final: split and seeds of the retrained models; the supernet has the template's.
        budget: the most bytes per inference of all links together. What is retrained for comparison
            may cost more.
        most: the most candidate links of a set.
        beam: see `link_front`.
        retrain: whether to; without, only the supernet is trained.
        progress: told what is being done, how much of it is done, and of how much.
    """
    search = _Search.of(store, template, budget)
    front = search.front(budget, most, beam, progress)
    jobs = search.jobs(front) if retrain else []
    measured = search.measure(jobs, final, progress)
    return LinkSearch(
        topology=template.topology,
        candidates=search.candidates,
        survival=tuple(template.survival),
        base=search.base,
        front=tuple(front),
        retrained=tuple(search.retrained(jobs, measured)),
        validation=template.report[0],
        test=template.report[-1],
    )


class _Job(NamedTuple):
    """A set of links to train on its own: what it is called, and its topology."""

    links: LinkNames
    name: str
    topology: Topology


@dataclass(frozen=True)
class _Search:
    """What a search is made of before anything is trained.

    `possible`: every link that could exist; `candidates`: those of them that fit together;
    `sizes`: bytes per inference of every link, `base`: of the primary ones together; `bound`: what
    no model on a set of links can beat, by survivability.
    """

    store: ExperimentStore
    template: Experiment
    possible: tuple[Link, ...]
    candidates: tuple[Link, ...]
    sizes: Mapping[str, int]
    base: int
    bound: Callable[[Collection[str]], dict[str, float]]

    @classmethod
    def of(cls, store: ExperimentStore, template: Experiment, budget: float) -> _Search:
        """Find the candidates, and what each costs; `InputError` for too small a budget."""
        topology = template.topology
        part = store.split(template.report[0])
        columns = [store.data.sensors.index(s.name) for s in topology.sensors]
        visible = part.visible[:, columns]
        possible = candidate_links(topology)
        bound = subset_bound(topology, possible, visible, part.labels, template.survival)
        single = {x.name: _mean(bound({x.name})) for x in possible}
        candidates = oriented(topology, possible, lambda x: single[x.name])
        whole = _supernet(topology, candidates)
        sizes = link_bytes(build(whole, template.sections, classes=store.data.class_names))
        names = {x.name for x in candidates}
        base = sum(size for name, size in sizes.items() if name not in names)
        if base > budget:
            raise InputError(
                f"expected a budget of at least the {base:,} bytes that the primary links take, "
                f"got {budget:,.0f}; allow more, or give a topology or sections with smaller "
                "messages"
            )
        return cls(store, template, possible, candidates, sizes, base, bound)

    @property
    def names(self) -> LinkNames:
        """Of all candidates."""
        return frozenset(x.name for x in self.candidates)

    @property
    def supernet(self) -> Experiment:
        """The training of the supernet."""
        template = self.template
        return replace(
            template,
            topology=_supernet(template.topology, self.candidates),
            survival=supernet_survival(template.topology, self.candidates, template.survival),
            measure=dict(template.survival),
            method="dropout",
            recipe=replace(template.recipe, epochs=SUPERNET * template.recipe.epochs),
        )

    @cached_property
    def scores(self) -> SubsetScores:
        """What a set of candidates is worth, by the supernet, which is trained for it."""
        part = self.store.split(self.template.report[0])
        model = self.store.model(self.supernet)
        return SubsetScores(model, part, self.candidates, dict(self.template.survival))

    def front(self, budget: float, most: int | None, beam: int, progress: Progress) -> list[Choice]:
        """The front of score against cost, on validation data; kept in the store."""
        progress("supernet", 0, 1)
        scores = self.scores
        progress("supernet", 1, 1)

        def search() -> dict[str, Any]:
            front = link_front(
                lambda links: _mean(scores(links)),
                {name: self.sizes[name] for name in self.names},
                bound=lambda links: _mean(self.bound(links)),
                budget=budget - self.base,
                most=most,
                beam=beam,
                progress=lambda done, total: progress("search", done, total),
            )
            return {"front": [asdict(choice) for choice in front]}

        options = sha256(repr((budget, most, beam)).encode())[:6]
        path = self.store.path(self.supernet, f"-front-{options}.json")
        kept = self.store.kept(path, search)
        return [Choice(**{**x, "links": tuple(x["links"])}) for x in kept["front"]]

    def jobs(self, front: Sequence[Choice]) -> list[_Job]:
        """What is worth training: the recommended sets, and those to compare them with."""
        topology = self.template.topology
        own = frozenset(x.name for x in topology.links if x.kind == "residual")
        wanted: dict[LinkNames, str] = {}
        for choice in recommended(front):
            wanted.setdefault(frozenset(choice.links), f"found: {len(choice.links)}")
        wanted[frozenset()] = PRIMARY
        if own:
            wanted[own] = f"{GIVEN}: {len(own)}"
        wanted[self.names] = f"{ALL}: {len(self.names)}"
        known = {x.name: x for x in self.possible}
        return [
            _Job(
                links,
                name,
                with_links(
                    topology,
                    (known[x] for x in sorted(links)),
                    name=f"{topology.name}-{_slug(name)}",
                ),
            )
            for links, name in sorted(wanted.items(), key=lambda item: (len(item[0]), item[1]))
        ]

    def measure(
        self, jobs: Sequence[_Job], final: Final, progress: Progress
    ) -> dict[LinkNames, list[Measured]]:
        """Train every set from every seed, and measure it on the split that is reported."""
        measured: dict[LinkNames, list[Measured]] = {job.links: [] for job in jobs}
        total = len(jobs) * len(final.seeds)
        # All sets with the first seed come first: an interrupted search has something to show.
        for seed in final.seeds:
            for job in jobs:
                progress("retrain", sum(map(len, measured.values())), total)
                run = replace(
                    self.template,
                    topology=job.topology,
                    train=final.split or self.template.train,
                    report=(self.template.report[-1],),
                    seed=seed,
                )
                measured[job.links].append(self.store.measured(run))
        progress("retrain", total, total)
        return measured

    def retrained(
        self, jobs: Iterable[_Job], measured: Mapping[LinkNames, Sequence[Measured]]
    ) -> Iterator[Retrained]:
        """Each set with what it costs, and what was measured of it."""
        for links, name, topology in jobs:
            inside = links & self.names
            choice = Choice(
                tuple(sorted(links)),
                sum(self.sizes[x] for x in inside),
                _mean(self.scores(inside)),
                _mean(self.bound(inside)),
            )
            found = tuple(measured[links])
            yield Retrained(name, choice, topology, found[0].bytes, found)


def _supernet(topology: Topology, candidates: Sequence[Link]) -> Topology:
    return with_links(topology, candidates, name=f"{topology.name}-supernet")


def _slug(name: str) -> str:
    return name.replace(": ", "-").replace(" ", "-")


def _mean(values: Mapping[str, float] | Collection[float]) -> float:
    return float(np.mean(list(values.values() if isinstance(values, Mapping) else values)))
