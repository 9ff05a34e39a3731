"""Which links matter: importance of those a model has, and a search over those it could have.

The search trains one *supernet* that has every candidate link, each failing at random beside the
nodes, and scores a set of links by the supernet's exact expected accuracy with all other
candidates down. What a node computes depends on its delivered-links state alone, so all sets
share their section evaluations. The sets that the search recommends are then trained on their own.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from edge_runtime.errors import InputError
from edge_runtime.evaluation.answering import state_keys
from edge_runtime.evaluation.bounds import reachability_bound
from edge_runtime.failures.configurations import enumerate_configurations, output_states
from edge_runtime.task import Fallback
from edge_runtime.topology import Link, Survival, Topology
from edge_runtime.topology.topology import TIERS, detour

from ..evaluation import expected_accuracy
from ..model import ResilientModel

#: Names of candidate links that a topology has beside its primary ones.
LinkSet = frozenset[str]

#: How probably a candidate link works while the supernet trains; each sample draws one. Small sets
#: of many candidates are rare at any single rate.
LEVELS = (0.1, 0.3, 0.6)
#: Sets are scored one and all up to this many, and by beam search above.
EXHAUSTIVE = 2048


def candidate_links(topology: Topology) -> tuple[Link, ...]:
    """Links between nodes that could exist beside the primary ones.

    From a node to any that is in the same tier or above and does not lead back to it by primary
    links; the topology's residual links are among them, with their own survival, those from
    sensors too. Of two nodes of a tier that do not lead to each other both directions are listed;
    see `oriented`.
    """
    primary = topology.primary()
    taken = {x.name for x in primary.links}
    own = {x.name: x for x in topology.links}
    tier = {n.name: TIERS.index(n.tier) for n in topology.nodes}
    above = {name: _reachable(primary, name) for name in primary.order}
    found = [x for x in topology.links if x.kind == "residual" and x.source not in tier]
    for source in primary.order:
        for target in primary.order:
            link = Link(source, target)
            possible = source != target and tier[source] <= tier[target]
            if possible and link.name not in taken and source not in above[target]:
                found.append(own.get(link.name, link))
    return tuple(found)


def oriented(
    topology: Topology,
    links: Sequence[Link],
    worth: Callable[[Link], float] = lambda link: 0.0,
) -> tuple[Link, ...]:
    """The links that fit into one acyclic graph together, those of greatest worth first to stay.

    In the order of `links`. Links that equal others in worth stay in that order, so that without
    `worth` the topology's order of nodes decides.
    """
    order = {name: place for place, name in enumerate(topology.primary().order)}
    # Forward ones first: they never close a cycle among themselves.
    ranked = sorted(links, key=lambda x: (-worth(x), order.get(x.source, -1) > order[x.target]))
    kept: list[Link] = []
    above = {name: _reachable(topology.primary(), name) for name in order}
    for link in ranked:
        if link.source in above[link.target]:
            continue
        kept.append(link)
        gained = {link.target} | above[link.target]
        for name in order:
            if name == link.source or link.source in above[name]:
                above[name] |= gained
    return tuple(x for x in links if x in kept)


def with_links(topology: Topology, links: Iterable[Link], *, name: str | None = None) -> Topology:
    """The topology with its primary links and these; its presets say nothing of other links.

    A link that runs beside a longer path is residual, any other primary.
    """
    primary = topology.primary()
    added = list(links)
    ends = {(x.source, x.target) for x in (*primary.links, *added)}
    kinds = [
        Link(x.source, x.target, "residual" if detour(ends, x) else "primary", x.survival)
        for x in added
    ]
    whole = (*primary.links, *kinds)
    known = {*primary.elements, *(x.name for x in whole)}
    left = {
        g: tuple(element for element in g.elements if element in known) for g in topology.groups
    }
    groups = [msgspec.structs.replace(g, elements=own) for g, own in left.items() if own]
    known |= {group.name for group in groups}
    return Topology(
        name=name or f"{topology.name}-{len(added)}-links",
        sensors=topology.sensors,
        nodes=topology.nodes,
        links=whole,
        groups=tuple(groups),
        survivabilities={
            preset: {k: v for k, v in table.items() if k in known}
            for preset, table in topology.survivabilities.items()
        },
    )


def supernet_survival(
    topology: Topology, candidates: Iterable[Link], survival: Mapping[str, Survival]
) -> dict[str, Survival]:
    """Survivabilities to train a supernet at: each of `survival` with every level of candidates."""
    names = [x.name for x in candidates]
    found: dict[str, Survival] = {}
    for label, value in survival.items():
        own = dict(zip(topology.components, topology.survival(value).tolist(), strict=True))
        for level in LEVELS:
            found[f"{label}, links at {level}"] = {**own, **dict.fromkeys(names, level)}
    return found


class SubsetScores:
    """Expected accuracy of every set of candidate links, from one supernet on one split.

    Call it with the names of the candidates that a topology has; the others are down, exactly as
    if they were not there: a link that never delivers and a link that does not exist give the
    same inputs. Returns expected accuracy by survivability.
    """

    def __init__(
        self,
        model: ResilientModel,
        data: Any,
        candidates: Iterable[Link],
        survival: Mapping[str, Survival],
        *,
        fallback: Fallback = "prior",
    ) -> None:
        topology = model.topology
        self._report = expected_accuracy(model, data, survival=survival, fallback=fallback)
        configurations = enumerate_configurations(topology, survival)
        self._topology = topology
        self._masks = configurations.masks
        self._weights = {s: configurations.probabilities(s) for s in survival}
        self._column = {x.name: topology.index[x.name] for x in candidates}

    def __call__(self, links: Collection[str]) -> dict[str, float]:
        """Expected accuracy by survivability with exactly these candidates."""
        accuracies = self.accuracies(links)
        return {s: float(p @ accuracies) for s, p in self._weights.items()}

    def accuracies(self, links: Collection[str]) -> NDArray[np.float64]:
        """Accuracy in each failure configuration, shape (configurations,)."""
        masks = self._masks.copy()
        masks[:, [column for name, column in self._column.items() if name not in links]] = False
        by_state = self._report.states(also=masks)
        states, inverse = state_keys(output_states(self._topology, masks))
        return np.array([by_state[s] for s in states])[inverse]


@dataclass(frozen=True)
class Choice:
    """A set of candidate links, what it costs and what it is worth.

    `cost`: of its links, in the search's unit; `score`: what the search maximized; `bound`: what
    no model on these links can exceed, where the search was given one.
    """

    links: tuple[str, ...]
    cost: float
    score: float
    bound: float | None = None


def link_front(
    score: Callable[[LinkSet], float],
    costs: Mapping[str, float],
    *,
    bound: Callable[[LinkSet], float] | None = None,
    budget: float = math.inf,
    most: int | None = None,
    beam: int = 4,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> list[Choice]:
    """The front of score against cost: sets that no cheaper or equally dear set equals.

    Every set is scored where there are at most `EXHAUSTIVE` of them within the budget; otherwise
    sets grow link by link and the best `beam` of each size go on.

    Args:
        score: of a set of candidates.
        costs: of every candidate, by name.
        bound: at least as great as `score` for every set. Sets whose bound is below what has
            to be beaten are not scored, which changes no result.
        budget: the most that a set may cost.
        most: the most links of a set.
        beam: sets of each size that go on.
        progress: called with how many links sets had when they were done, and will have.
    """
    names = sorted(costs)
    most = len(names) if most is None else min(most, len(names))
    if beam < 1 or most < 0:
        raise InputError(
            f"expected a beam of at least 1 and most of at least 0, got {beam}, {most}"
        )
    every = sum(math.comb(len(names), size) for size in range(most + 1)) <= EXHAUSTIVE
    width = EXHAUSTIVE if every else beam
    bound = cache(bound) if bound else None
    limit = bound or (lambda links: math.inf)
    found: list[Choice] = []
    level: list[Choice] = [_choice(frozenset(), score(frozenset()), costs, bound)]
    for size in range(1, most + 1):
        found += level
        wider = {x for x in _wider(level, names) if _cost(x, costs) <= budget}
        affordable = sorted(wider, key=lambda x: (-limit(x), sorted(x)))
        level = []
        for links in affordable:
            if len(level) >= width and limit(links) < level[-1].score:
                break  # and so are all that follow
            level.append(_choice(links, score(links), costs, bound))
            level = sorted(level, key=lambda c: (-c.score, c.cost, c.links))[:width]
        progress(size, most)
        if not level:
            break
    return list(_pareto([*found, *level]))


def _wider(level: Iterable[Choice], names: Sequence[str]) -> Iterator[LinkSet]:
    """Every set that has one link more than one of these."""
    for choice in level:
        for name in names:
            if name not in choice.links:
                yield frozenset({*choice.links, name})


def recommended(front: Sequence[Choice], *, tolerance: float = 0.001) -> list[Choice]:
    """Points of a front that are worth training: the first, each doubling of links, and the knee.

    The knee is the cheapest set within `tolerance` of the best score; nothing beyond it is kept.
    """
    if not front:
        raise InputError("expected a front of one set at least, got none")
    knee = next(c for c in front if c.score >= front[-1].score - tolerance)
    upto = [c for c in front if c.cost <= knee.cost]
    found: list[Choice] = []
    for choice in upto:
        before = len(found[-1].links) if found else -1
        if before < 1 or len(choice.links) >= 2 * before or choice is knee:
            found.append(choice)
    return found


def subset_bound(
    topology: Topology,
    candidates: Iterable[Link],
    visible: NDArray[np.bool_],
    labels: NDArray[np.int64],
    survival: Mapping[str, Survival],
) -> Callable[[Collection[str]], dict[str, float]]:
    """A function from a set of candidates to what no model on these links can beat."""
    known = {x.name: x for x in candidates}

    def bound(links: Collection[str]) -> dict[str, float]:
        chosen = with_links(topology, (x for name, x in known.items() if name in links))
        return reachability_bound(chosen, visible, labels, survival)

    return bound


def _choice(
    links: LinkSet,
    score: float,
    costs: Mapping[str, float],
    bound: Callable[[LinkSet], float] | None,
) -> Choice:
    return Choice(tuple(sorted(links)), _cost(links, costs), score, bound(links) if bound else None)


def _cost(links: Collection[str], costs: Mapping[str, float]) -> float:
    return sum(costs[name] for name in links)


def _pareto(choices: Iterable[Choice]) -> Iterator[Choice]:
    best = -math.inf
    for choice in sorted(choices, key=lambda c: (c.cost, -c.score, len(c.links), c.links)):
        if choice.score > best:
            best = choice.score
            yield choice


def _reachable(topology: Topology, name: str) -> set[str]:
    """Nodes to which paths lead from one, itself left out."""
    found: set[str] = set()
    frontier = [name]
    while frontier:
        for link in topology.outgoing(frontier.pop()):
            if link.target not in found:
                found.add(link.target)
                frontier.append(link.target)
    return found
