"""An answer rule: who answers a frame, and whose answer is taken of several."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from ..errors import InputError
from ..task import Classification, MultiLabel, Task
from .policies import AnswerMode, Policy


class AnswerRule(msgspec.Struct, frozen=True):
    """Who answers a frame, by which policy, early or not; made once and handed on.

    `mode`: the output node alone, or any node that has an exit. `policy`: whose answer is taken of
    several, see `policies`; `priority`: the nodes in the order of the policy of that name, the
    preferred one first. `early`: thresholds of normalized entropy, 0 to 1, by node, below which an
    exit's answer is given before the nodes above compute the frame; a node without one never
    answers early.

    A topology refuses what does not fit it where the rule is bound to it, see
    `evaluation.answering.BoundRule`.
    """

    mode: AnswerMode = "output"
    policy: Policy = "maximal"
    priority: tuple[str, ...] | None = None
    early: Mapping[str, float] = {}

    @property
    def only_output(self) -> bool:
        """Whether no other than the output node ever answers."""
        return self.mode == "output" and not self.early


def check_confidence(task: Task, rule: AnswerRule) -> None:
    """`InputError` where answers are compared by a confidence that they do not have."""
    if isinstance(task, (Classification, MultiLabel)):
        return
    if rule.early or (rule.mode == "any" and rule.policy in ("maximal", "confident")):
        raise InputError(
            f"answers of a {task.kind} do not say how sure they are, so nodes can neither answer "
            f"early nor be chosen by the policy {rule.policy}; ask for the policy priority or "
            "highest, or for the output node's answers alone"
        )
