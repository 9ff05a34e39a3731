"""Which exit's answer to a frame is taken, and when: pure logic, no I/O, no clock of its own.

The rules are those of docs/explanation/runtime.md, "Answers from any exit" and "Early exits"; which
of several answers that are not early is taken is `policies.candidates`'.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Literal

import msgspec

from ..errors import InputError
from .policies import Policy, candidates
from .records import PATIENCE, Answer

#: Of the deadline: when a frame's answer is taken although an exit that was waited for did not
#: come. The output node's own budget is 0.9.
WAIT = 0.95

#: Why an answer was not considered.
Refused = Literal["duplicate", "expired", "late", "foreign", "stale_model", "malformed"]


class _Open:
    __slots__ = ("answers", "captured")

    def __init__(self, captured: int) -> None:
        self.captured = captured
        self.answers: dict[str, Answer] = {}


class AnswerSelector:
    """Collects the answers of a frame's exits, and gives one of them, once.

    Not thread-safe; all times are integer nanoseconds of one monotonic clock, handed in. An exit
    is waited for from its first answer in time on, until its process goes or it misses two frames
    in a row. An exit that received nothing says so by an answer marked as fallback; that is no
    answer, but it is not waited for any more. Once `most_open` frames are open, the oldest is not
    waited for any longer: its answer is taken with what has come, so that none is lost.

    `ranking`: all nodes that can answer, preferred ones first, see `policies.candidates`; without
    it, whoever answers is taken for an exit, in the order of names, which will do for the policies
    that compare states and confidence alone. `early_depths`: depth of the nodes that may answer
    early, the higher ones first; they are listened to even where `ranking` does not hold them. At
    most `most_open` frames are held, and `most_closed` ids remembered: ask `ready` after every
    `take`, or the oldest is closed without an answer. `model`: the only one whose answers are
    considered, by what `Answer.model` says of it; without it, any.

    Raises `InputError` for a policy that needs a ranking and has none.
    """

    def __init__(
        self,
        policy: Policy = "maximal",
        ranking: Sequence[str] | None = None,
        *,
        deadline_ns: int,
        early_depths: Mapping[str, int] | None = None,
        most_open: int = 64,
        most_closed: int = 1024,
        model: str | None = None,
    ) -> None:
        if ranking is None and policy in ("highest", "priority"):
            raise InputError(
                f"the policy {policy} needs to know the nodes; give the bundle, or choose maximal "
                "or confident"
            )
        self._policy, self._ranking, self._model = policy, ranking, model
        self._early = dict(early_depths or {})
        self._deadline, self._wait = deadline_ns, int(WAIT * deadline_ns)
        self._most_open, self._most_closed = most_open, most_closed
        self._open: dict[int, _Open] = {}
        self._closed: OrderedDict[int, set[str]] = OrderedDict()
        self._misses: dict[str, int] = {}

    @property
    def expected(self) -> frozenset[str]:
        """The exits that are waited for."""
        return frozenset(self._misses)

    def gone(self, node: str) -> None:
        """A node's process went: it is not waited for, until it answers again."""
        self._misses.pop(node, None)

    def take(self, answer: Answer, now: int) -> Refused | None:
        """Consider an answer that has come; returns why it was not, None if it was."""
        if self._ranking is not None and answer.node not in {*self._ranking, *self._early}:
            return "foreign"
        if self._model not in (None, answer.model):
            return "stale_model"
        compared = self._early or self._policy in ("maximal", "confident")
        if _state(answer) is None or (compared and answer.confidence is None):
            return "malformed"
        age = max(0.0, answer.age_ms) * 1e6
        if age > self._deadline:
            return "expired"
        captured = now - int(age)
        closed = self._closed.get(answer.frame)
        if closed is not None:
            if answer.node in closed:
                return "duplicate"
            closed.add(answer.node)
            self._misses[answer.node] = 0
            return "late"
        found = self._open.get(answer.frame)
        if found is None:
            if len(self._open) >= self._most_open:
                oldest = min(self._open, key=lambda frame: self._open[frame].captured)
                self._close(oldest)
            found = self._open[answer.frame] = _Open(captured)
        elif answer.node in found.answers:
            return "duplicate"
        found.answers[answer.node] = answer
        found.captured = min(found.captured, captured)
        self._misses[answer.node] = 0
        return None

    def next_wakeup(self) -> int | None:
        """When to call `ready` if nothing is taken before: a time that may have passed."""
        return min(map(self._due, self._open.values()), default=None)

    def ready(self, now: int) -> Answer | None:
        """The answer to a frame that is complete, or due; ask again until it is None.

        A frame may be closed without one: where only exits spoke whose answers are not taken.

        Its age is that at this moment; `waited` says whether an exit that was waited for did not
        come, here or where it was computed.
        """
        for frame, found in sorted(self._open.items(), key=lambda item: item[1].captured):
            due = now >= self._due(found)
            if due or len(self._open) >= self._most_open:
                self._close(frame)
                missing = self._missing(found)
                if due:  # else they had no chance
                    self._miss(missing)
                answer = self._choose(found.answers)
                if answer is not None:
                    return msgspec.structs.replace(
                        answer,
                        age_ms=max(0, now - found.captured) / 1e6,
                        waited=answer.waited or bool(missing),
                    )
        return None

    @property
    def open_frames(self) -> int:
        """How many frames are being collected."""
        return len(self._open)

    @property
    def closed_frames(self) -> int:
        """How many ids are remembered."""
        return len(self._closed)

    def _due(self, found: _Open) -> int:
        complete = not self._missing(found) and self._choose(found.answers) is not None
        return found.captured if complete else found.captured + self._wait

    def _miss(self, nodes: set[str]) -> None:
        for node in nodes:
            self._misses[node] += 1
            if self._misses[node] >= PATIENCE:
                self.gone(node)

    def _missing(self, found: _Open) -> set[str]:
        """Who is waited for and has not spoken; of a frame answered early, those who could better.

        That are the nodes no deeper than the one that answered, if they may answer early.
        """
        missing = self._misses.keys() - found.answers.keys()
        sure = self._sure(found.answers)
        if not sure:
            return set(missing)
        least = self._early[sure[0]]
        return {node for node in missing if self._early.get(node, least + 1) <= least}

    def _sure(self, answers: Mapping[str, Answer]) -> list[str]:
        """The nodes of least depth of those that answered early, the higher ones first."""
        early = [node for node in self._early if node in answers and answers[node].early]
        least = min((self._early[node] for node in early), default=0)
        return [node for node in early if self._early[node] == least]

    def _choose(self, answers: dict[str, Answer]) -> Answer | None:
        ranking = sorted(answers) if self._ranking is None else self._ranking
        chosen: Sequence[str] = self._sure(answers)
        if not chosen:
            states = {name: _state(answers[name]) or 0 for name in ranking if name in answers}
            chosen = candidates(self._policy, states, ranking)
        if not chosen:  # all are fallbacks, and alike
            return next((answers[name] for name in ranking if name in answers), None)
        return answers[max(chosen, key=lambda name: answers[name].confidence or 0.0)]

    def _close(self, frame: int) -> None:
        self._closed[frame] = set(self._open.pop(frame).answers)
        if len(self._closed) > self._most_closed:
            self._closed.popitem(last=False)


def _state(answer: Answer) -> int | None:
    """An answer's delivered-links state, 0 for a fallback; None for what is none."""
    try:
        state = int(answer.state, 16)
    except ValueError:
        return None
    return None if state < 0 else 0 if answer.fallback else state
