"""Where each machine of a topology stands: rows by depth, columns near what is linked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from edge_runtime.topology import Link, Node, Sensor, Topology
from edge_runtime.topology.topology import TIERS, Tier

#: Sizes in inches: a box's height, from row to row, and the room between two boxes.
BOX, ROW, GAP = 0.44, 0.92, 0.26


def rows_of(t: Topology) -> dict[str, int]:
    """Row of each sensor and node, the sensors' at the bottom, every link upward.

    Longest-path depth; where no link leads to a lower tier, each tier also begins above the last.
    """
    tiers = {name: TIERS.index(tier) for name, tier in tiers_of(t).items()}
    if any(tiers[x.source] > tiers[x.target] for x in t.links):
        tiers = dict.fromkeys(tiers, 0)
    rows = {s.name: 0 for s in t.sensors}
    for tier in range(len(TIERS)):
        base = 1 + max(rows.values())
        for name in t.order:
            if tiers[name] == tier:
                below = max(rows[x.source] for x in t.incoming(name)) + 1
                rows[name] = max(base, below) if tier else below
    return rows


def tiers_of(t: Topology) -> dict[str, Tier]:
    """The tier of each sensor and node."""
    members: tuple[Sensor | Node, ...] = (*t.sensors, *t.nodes)
    return {x.name: x.tier for x in members}


def columns_of(t: Topology, rows: Mapping[str, int]) -> dict[str, float]:
    """Horizontal place of each sensor and node: near what it is linked to, at least 1 apart."""
    by_row = [[n for n in rows if rows[n] == row] for row in range(max(rows.values()) + 1)]
    places = {n: i - (len(names) - 1) / 2 for names in by_row for i, n in enumerate(names)}
    senders = {n: _near(t.incoming(n), "source") if n in t.order else [] for n in rows}
    receivers = {n: _near(t.outgoing(n), "target") for n in rows}
    # Up and down a few times, as in Sugiyama's method; up last, so that each sits over its inputs.
    for near, order in [(senders, by_row), (receivers, by_row[::-1])] * 3 + [(senders, by_row)]:
        for names in order:
            wish = {n: float(np.mean([places[m] for m in near[n] or [n]])) for n in names}
            ordered = sorted(names, key=lambda n: (wish[n], places[n]))
            spaced = _apart([wish[n] for n in ordered])
            places.update(zip(ordered, spaced, strict=True))
    return places


def _near(links: Sequence[Link], end: str) -> list[str]:
    """What these links lead to; the primary ones alone where there are any."""
    primary = [x for x in links if x.kind == "primary"]
    return [getattr(x, end) for x in primary or links]


def _apart(wishes: Sequence[float]) -> list[float]:
    """Places at least 1 apart and nearest to ascending wishes: least squares, by pooling."""
    pools: list[list[float]] = []
    for i, wish in enumerate(wishes):
        pools.append([wish - i])
        while len(pools) > 1 and np.mean(pools[-2]) > np.mean(pools[-1]):
            last = pools.pop()
            pools[-1] += last
    flat = [float(np.mean(pool)) for pool in pools for _ in pool]
    return [value + i for i, value in enumerate(flat)]
