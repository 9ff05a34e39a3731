"""The way of each link of a drawn topology, clear of the machines that it skips."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import product

import numpy as np

from edge_runtime.arrays import Vector
from edge_runtime.topology import Link, Topology

from .topology_layout import BOX

Places = Mapping[str, tuple[float, float]]


def route(t: Topology, places: Places, box: float) -> dict[str, Vector]:
    """Four Bezier points a link.

    Primary links go straight from top to bottom where nothing is in the way; residual links leave
    and enter at the sides and keep clear of what they skip.
    """
    sent = {n: _ports(t.outgoing(n), "target", places, box) for n in places}
    received = {n: _ports(t.incoming(n), "source", places, box) for n in t.order}
    curves: dict[str, Vector] = {}
    taken: list[Vector] = []
    for link in sorted(t.links, key=lambda x: x.kind == "residual"):
        below, above = np.array(places[link.source]), np.array(places[link.target])
        others = [p for n, p in places.items() if n not in (link.source, link.target)]
        blocked = np.array(others).reshape(-1, 2)
        start = below + np.array([sent[link.source].get(link.name, 0.0), BOX / 2])
        end = above - np.array([-received[link.target].get(link.name, 0.0), BOX / 2])
        curve = np.linspace(start, end, 4)
        if link.kind == "residual" or _covered(_sampled(curve), blocked, box, margin=0.07):
            choices = list(_around(below, above, box))
            own = np.stack([below, above])
            costs = [_cost(_sampled(c), blocked, own, taken, box) for c in choices]
            curve = choices[int(np.argmin(costs))]
        curves[link.name] = curve
        taken.append(_sampled(curve))
    return curves


def _ports(links: Sequence[Link], end: str, places: Places, box: float) -> dict[str, float]:
    """Where on a box's top or bottom each primary link ends, in the order of its other ends."""
    own = sorted((x for x in links if x.kind == "primary"), key=lambda x: places[getattr(x, end)])
    room = min(0.6 * box, 0.2 * max(len(own) - 1, 0))
    offsets = np.linspace(-room / 2, room / 2, len(own)) if room else np.zeros(len(own))
    return {x.name: float(offset) for x, offset in zip(own, offsets, strict=True)}


def _around(below: Vector, above: Vector, box: float) -> Iterator[Vector]:
    """Curves from either side of one box to either side of the other, nearer ones first."""
    rise = float(above[1] - below[1])
    for reach, height, leaves, enters in product(
        np.arange(1, 9) * box / 2.5, (-0.11, 0.0, 0.11), (1, -1), (1, -1)
    ):
        start = below + np.array([leaves * box / 2, 0.11])
        end = above + np.array([enters * box / 2, height])
        first = start + np.array([leaves * reach, 0.25 * rise])
        second = end + np.array([enters * reach, -0.15 * rise])
        yield np.stack([start, first, second, end])


def _sampled(curve: Vector) -> Vector:
    u = np.linspace(0, 1, 25)[:, None]
    a, b, c, d = curve
    return np.asarray(
        (1 - u) ** 3 * a + 3 * u * (1 - u) ** 2 * b + 3 * u**2 * (1 - u) * c + u**3 * d
    )


def _covered(points: Vector, boxes: Vector, box: float, margin: float) -> int:
    """How many of the points lie on a box, or nearer to it than `margin`."""
    half = np.array([box / 2, BOX / 2]) + margin
    return int((np.abs(points[:, None] - boxes) < half).all(axis=2).sum())


def _cost(
    points: Vector, others: Vector, own: Vector, taken: Sequence[Vector], box: float
) -> float:
    """A curve's length, and more for each point over a box, which is worst, or on another link."""
    over = _covered(points, others, box, margin=0.08) + _covered(points[1:-1], own, box, margin=0)
    other = np.concatenate([points[:0], *taken])
    near = (np.linalg.norm(points[:, None] - other, axis=2) < 0.1).any(axis=1).sum()
    length = np.linalg.norm(np.diff(points, axis=0), axis=1).sum()
    return float(length + 10 * over + 0.2 * near)
