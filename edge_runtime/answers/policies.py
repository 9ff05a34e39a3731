"""Which of several answers to one frame is taken: the policies, by name.

An exit answers from its own delivered-links state (Teerapittayanon et al., *Distributed Deep Neural
Networks over the Cloud, the Edge and End Devices*, ICDCS 2017, section III, call this a local
exit). Where several exits have an answer, a policy names the candidates, and the most confident
candidate is taken: the one whose greatest class probability is greatest.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, get_args

from ..topology import Topology
from ..topology.topology import TIERS

#: `maximal`: those whose delivered-links state is not contained in another available one's.
#: `confident`: all. `highest`: the node nearest to the output. `priority`: the first of a fixed
#: order, chosen on validation data.
Policy = Literal["maximal", "confident", "highest", "priority"]
POLICIES: tuple[Policy, ...] = get_args(Policy)


#: Who answers: the output node alone, or any node that has an exit.
AnswerMode = Literal["output", "any"]
ANSWER_MODES: tuple[AnswerMode, ...] = get_args(AnswerMode)


def highest_first(topology: Topology) -> tuple[str, ...]:
    """The nodes that can answer, by tier and then by place, the output node first."""

    def height(name: str) -> tuple[int, int, int]:
        tier = TIERS.index(topology.node(name).tier)
        return tier, topology.depths[name], topology.order.index(name)

    exits = sorted(topology.exits, key=height, reverse=True)
    return (topology.output, *exits)


def candidates(
    policy: Policy, states: Mapping[str, int], ranking: Sequence[str]
) -> tuple[str, ...]:
    """The nodes among which the most confident one is taken; of equals, the first.

    `states`: delivered-links state by node; 0, or none, where the node has no answer. `ranking`:
    all nodes that can answer, preferred ones first: for `priority` the fixed order, else
    `highest_first`.
    """
    available = [name for name in ranking if states.get(name)]
    if policy in ("highest", "priority"):
        available = available[:1]
    elif policy == "maximal":
        held = [states[name] for name in available]
        available = [
            name
            for name, own in zip(available, held, strict=True)
            if not any(own != other and own & other == own for other in held)
        ]
    return tuple(available)
