"""Early exits: a node that is sure of its answer gives it, and spares the bytes above it.

The rule is that of Teerapittayanon et al., *Distributed Deep Neural Networks over the Cloud, the
Edge and End Devices*, ICDCS 2017, section III-D; docs/explanation/runtime.md says what follows.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from ..arrays import Array
from ..errors import InputError
from ..failures.configurations import deliveries
from ..failures.distribution import Mask
from ..topology import Topology


def check_thresholds(topology: Topology, thresholds: Mapping[str, float] | None) -> None:
    """`InputError` for a threshold of a node that has no exit, and for one outside 0 to 1."""
    for node, threshold in (thresholds or {}).items():
        if node not in topology.exits:
            raise InputError(
                f"expected thresholds of nodes with an exit ({', '.join(topology.exits) or 'none'})"
                f", got one of {node!r}; choose them again with `ddnn-edge exits`"
            )
        if not 0 <= threshold <= 1:
            raise InputError(
                f"expected a threshold of normalized entropy from 0 to 1 for {node!r}, got "
                f"{threshold}"
            )


class Cascade(NamedTuple):
    """What nodes do with a frame, each bool, by node: broadcast of cases and samples.

    `early`: it answers itself. `passes`: it passes on the mark of another that did.
    """

    early: dict[str, Mask]
    passes: dict[str, Mask]


def cascade(topology: Topology, delivers: Mapping[str, Array], sure: Mapping[str, Mask]) -> Cascade:
    """Which nodes answer early, and which pass that on.

    `delivers`: whether each link between two nodes does, by name. `sure`: of the nodes that have a
    threshold, whether the answer that each has is below it; False where it has none.
    """
    early: dict[str, Mask] = {}
    passes: dict[str, Mask] = {}
    nobody = np.zeros((), bool)
    for node in topology.order:
        passed = nobody
        for link in topology.incoming(node):
            if link.source not in topology.sensor_names:
                ended = early[link.source] | passes[link.source]
                passed = passed | (delivers[link.name] & ended)
        passes[node] = passed
        early[node] = sure.get(node, nobody) & ~passed
    return Cascade(early, passes)


def senders(topology: Topology, masks: Mask) -> Mask:
    """Which nodes have something to send, alive and not silent; bool (cases, nodes), in order."""
    delivers = deliveries(topology, masks)
    found = np.zeros((len(masks), len(topology.order)), bool)
    for i, node in enumerate(topology.order):
        received = delivers[:, [topology.bits[x.name] for x in topology.incoming(node)]].any(axis=1)
        found[:, i] = received & np.asarray(masks, bool)[:, topology.index[node]]
    return found
