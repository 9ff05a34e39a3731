"""The probability that information reaches the output node, without enumerating configurations.

Elements are taken one by one. The *frontier state* holds only what later ones depend on: which
nodes have received something that others still wait for, and which groups with later members work.
Exact for any graph, in time proportional to the elements times 2 to the power of the frontier's
size: small in chains, in trees, and between layers of few machines. It is elimination of variables;
Hardy, Lucet and Limnios, *K-Terminal Network Reliability Measures With Binary Decision Diagrams*,
2007, go through a network's edges in the same way.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError
from ..topology import Link, Survival, Topology
from .configurations import output_states
from .distribution import FailureModel

#: Frontier states; 2^20 of them take 8 MB, and some milliseconds an element.
MOST_STATES = 1 << 20


def reach_probability(
    topology: Topology, survivability: Survival, *, limit: int = MOST_STATES
) -> float:
    """Probability that information reaches the output node, and that this works; exact.

    Raises `InputError` where more than `limit` states would have to be kept.
    """
    model = FailureModel.of(topology, survivability)
    if model.recorded:
        reached = output_states(topology, model.survival[:, : len(topology.elements)] == 1)
        return float(model.shares @ reached.any(axis=1))
    survival = dict(zip(topology.components, model.survival[0].tolist(), strict=True))
    plans = [_steps(topology, survival, order) for order in _orders(topology)]
    plan = min(plans, key=_width)
    if 1 << _width(plan) > limit:
        raise InputError(
            f"the links of {topology.name!r} are too entangled for an exact probability: 2^"
            f"{_width(plan)} states would have to be kept, more than {limit:,}; sample "
            "failures instead, or raise the limit"
        )
    return _eliminate(topology, survival, plan)


# -- in which order ------------------------------------------------------------------------------


def _orders(topology: Topology) -> Iterator[list[str]]:
    """Elements, each after those it depends on, in some ways of which one is often narrow."""
    depth = topology.depths
    keys: list[Callable[[Link], int]] = [
        lambda link: topology.bits[link.name],
        lambda link: -depth.get(link.source, 0),
        lambda link: depth.get(link.source, 0),
    ]
    for key in keys:
        yield list(_branch_by_branch(topology, key))
    yield list(_layer_by_layer(topology))


def _layer_by_layer(topology: Topology) -> Iterator[str]:
    for sensor in topology.sensors:
        yield sensor.name
    for node in topology.order:
        yield from (link.name for link in topology.incoming(node))
        yield node


def _branch_by_branch(topology: Topology, key: Callable[[Link], int]) -> Iterator[str]:
    """A walk down from the output node: a sender is finished, and then the next begun."""
    finished: set[str] = set()

    def links(node: str) -> Iterator[Link]:
        return iter(sorted(topology.incoming(node), key=key))

    walk: list[tuple[str, Iterator[Link]]] = [(topology.output, links(topology.output))]
    open_links: list[Link | None] = [None]  # the link of each step of the walk that is waited for
    while walk:
        node, left = walk[-1]
        if (link := open_links[-1]) is not None:
            yield link.name
        open_links[-1] = link = next(left, None)
        if link is None:
            yield node
            finished.add(node)
            walk.pop()
            open_links.pop()
        elif link.source in topology.sensor_names - finished:
            yield link.source
            finished.add(link.source)
        elif link.source not in finished:
            walk.append((link.source, links(link.source)))
            open_links.append(None)


# -- the frontier --------------------------------------------------------------------------------


class Step(NamedTuple):
    """One element's turn.

    `target`: the receiver of a link, or the node or sensor itself; `source`: the sender of a link,
    unless it surely sends; `groups`: of the element, those that may fail.
    """

    element: str
    target: str
    source: tuple[str, ...]
    groups: tuple[str, ...]

    @property
    def needs(self) -> tuple[str, ...]:
        """The part of the frontier that this step needs."""
        return (self.target, *self.source, *self.groups)


def _steps(topology: Topology, survival: Mapping[str, float], order: Sequence[str]) -> list[Step]:
    groups: dict[str, tuple[str, ...]] = dict.fromkeys(topology.elements, ())
    for group in topology.groups:
        if survival[group.name] < 1:
            groups |= {name: (*groups[name], group.name) for name in group.elements}
    sure = {s for s in topology.sensor_names if survival[s] == 1 and not groups[s]}
    links = {link.name: link for link in topology.links}
    steps = []
    for name in order:
        if name in links:
            sender = links[name].source
            source = () if sender in sure else (sender,)
            steps.append(Step(name, links[name].target, source, groups[name]))
        elif name not in sure:
            steps.append(Step(name, name, (), groups[name]))
    return steps


def _last_needed(steps: Sequence[Step]) -> dict[str, int]:
    return {name: place for place, step in enumerate(steps) for name in step.needs}


def _width(steps: Sequence[Step]) -> int:
    """The largest number of names in the frontier at once."""
    last = _last_needed(steps)
    frontier: set[str] = set()
    widest = 0
    for place, step in enumerate(steps):
        frontier.update(step.needs)
        widest = max(widest, len(frontier))
        frontier -= {name for name in step.needs if last[name] == place}
    return widest


# -- step by step --------------------------------------------------------------------------------


def _eliminate(topology: Topology, survival: Mapping[str, float], steps: Sequence[Step]) -> float:
    """Probability that the output node has received something and works.

    `p` has an axis of length 2, no and yes, for each name in the frontier: that a node has received
    something, and after its turn works, too; that a sensor works; that a group does.
    """
    last = _last_needed(steps)
    before = dict.fromkeys(topology.sensor_names, 1.0)
    before |= {group.name: survival[group.name] for group in topology.groups}
    frontier: list[str] = []
    p: NDArray[np.float64] = np.ones(())
    for place, (step, chance) in enumerate((s, survival[s.element]) for s in steps):
        for name in step.needs:
            if name not in frontier:
                yes = before.get(name, 0.0)
                p = np.stack([p * (1.0 - yes), p * yes], axis=-1)
                frontier.append(name)
        works = dict.fromkeys((*step.groups, *step.source), 1)
        if step.element != step.target:  # a link: it lets its target hear
            silent, received = (p[_where(frontier, {**works, step.target: x})] for x in (0, 1))
            received += silent * chance
            silent *= 1.0 - chance
        else:  # a node or sensor: with one of its groups, it fails whatever its own chance
            down, up = (p[_where(frontier, {step.target: x})] for x in (0, 1))
            spared = _where([name for name in frontier if name != step.target], works)
            kept = np.zeros_like(up)
            kept[spared] = up[spared] * chance
            up[spared] *= 1.0 - chance
            down += up
            up[...] = kept
        for name in step.needs:
            if last[name] == place and name != topology.output:
                p = p.sum(axis=frontier.index(name))
                frontier.remove(name)
    return float(p[1])


def _where(frontier: Sequence[str], known: Mapping[str, int]) -> tuple[Any, ...]:
    """The place in `p` at which what is known holds; a view even where that is a single number."""
    return (*(known.get(name, slice(None)) for name in frontier), ...)
