"""What the nodes of a deployment send and hand over, as an evaluation expects it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..failures.configurations import Configurations
from .answering import BoundRule


@dataclass(frozen=True)
class Traffic:
    """Tensors on the links, and answers to who collects them.

    `tensor_rates`: float64 (configurations, nodes in order), the share of the samples in which each
    node sends a tensor; `message_bytes`: of one, on one link. `answer_rates`: so, too, the share in
    which each hands over an answer if it is one that may.
    """

    rule: BoundRule
    configurations: Configurations
    tensor_rates: NDArray[np.float64]
    answer_rates: NDArray[np.float64]
    message_bytes: Mapping[str, int]

    def link_bytes(self, survivability: str) -> dict[str, float]:
        """Payload that each link between two nodes is expected to be given per inference, in bytes.

        As the sections give it, not encoded. A sender's message counts once for each of its links,
        whether or not somebody is there to receive it, as a running node counts it.
        """
        topology = self.rule.topology
        expected = self.configurations.probabilities(survivability) @ self.tensor_rates
        sent = dict(zip(topology.order, map(float, expected), strict=True))
        return {
            link.name: sent[link.source] * self.message_bytes.get(link.source, 0)
            for link in topology.links
            if link.source in sent
        }

    def payload_bytes(self, survivability: str) -> float:
        """Payload of all links together that an inference is expected to take, in bytes."""
        return sum(self.link_bytes(survivability).values())

    def answers(self, survivability: str) -> float:
        """Answers that all nodes together are expected to hand over per inference, no fallbacks.

        They go to who collects them, and are no payload of a link.
        """
        topology = self.rule.topology
        expected = self.configurations.probabilities(survivability) @ self.answer_rates
        places = [topology.order.index(node) for node in self.rule.nodes]
        return float(expected[places].sum())
