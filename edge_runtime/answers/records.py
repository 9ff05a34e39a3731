"""What a running node says: its answers, and its metrics."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, Protocol

import msgspec
import numpy as np

from ..arrays import Array, Vector
from ..task import DIGITS, Classification, MultiLabel, Several, Single, Task, Told

#: Frames in a row that pass their deadline without a sender before it is no longer waited for.
PATIENCE = 2

#: Why a message was not used; each is the name of a counter.
Dropped = Literal[
    "duplicate",
    "expired",
    "foreign",
    "late",
    "malformed",
    "overflow",
    "stale_incarnation",
    "stale_model",
]

#: Of an incoming link's sender: only an expected one is waited for.
Condition = Literal["absent", "unproven", "expected"]


def rounded(probabilities: Array) -> tuple[float, ...]:
    """Probabilities of shape (classes,) as an answer tells them."""
    return tuple(round(float(p), DIGITS) for p in probabilities)


class OutputAnswer(msgspec.Struct, frozen=True):
    """What one output says of a frame, and what that is worth.

    `answer`: the class, the labels, or the values by name; `units`: of these, where they have any.
    `probabilities`: of each class or label, in the task's order; none of values. `confidence`: how
    sure it is by these, 0 to 1; null of values. `score`: what the bundle's reliability table says
    of exactly this state, null where it says nothing; `score_name`: what it is, such as `accuracy`.
    """

    answer: Told
    probabilities: tuple[float, ...]
    confidence: float | None
    score: float | None
    score_name: str
    units: dict[str, str] = {}

    @classmethod
    def of(cls, task: Single, values: Array, score: float | None) -> OutputAnswer:
        """What the numbers of an answer, (width,), say."""
        told, name = task.told(values), task.score.name
        if isinstance(task, (Classification, MultiLabel)):
            sure = float(task.confidence(values))
            return cls(told, rounded(values), sure, score, name)
        units = getattr(task, "units", ())
        named = {n: unit for n, unit in zip(task.names, units, strict=False) if unit}
        return cls(told, (), None, score, name, named)


def output_answers(
    task: Task, values: Array, scores: Mapping[str, float | None]
) -> dict[str, OutputAnswer]:
    """What each output says, by name, the main one first; a single one is called "".

    `values`: (width,), the numbers of an answer; `scores`: by output, what they are worth.
    """
    if not isinstance(task, Several):
        return {"": OutputAnswer.of(task, values, scores.get(""))}
    return {
        name: OutputAnswer.of(own, values[task.answer_of(name)], scores.get(name))
        for name, own in task.outputs.items()
    }


class Smoothed(msgspec.Struct, frozen=True):
    """What a node's answers up to a frame's say together, see `Smoother`."""

    answer: str
    probabilities: tuple[float, ...]

    @classmethod
    def of(cls, probabilities: Array, class_names: Sequence[str]) -> Smoothed:
        """As an answer tells it; `probabilities`: (classes,)."""
        return cls(class_names[int(np.argmax(probabilities))], rounded(probabilities))


class Answer(msgspec.Struct, frozen=True):
    """What a node that answers makes of a frame; `ddnn-edge watch` prints it as a line of JSON.

    `answer`, `probabilities`, `confidence`, `score`, `score_name`, `units`: see `OutputAnswer`;
    where a task has several outputs, those of the first, and `others` what the others say, by name.
    `state`: delivered-links state, a bit mask in hexadecimal; `nodes`: the nodes in it. `age_ms`:
    since capture. `fallback`: nothing reached the node. `waited`: whether a sender that was
    waited for did not come in time. `exit`: whether it is that of an exit, below the output node.
    `model`: the first digits of its fingerprint, hexadecimal.
    `early`: whether it is sure, so that the nodes above were told not to compute the frame.
    `smoothed`: where the node smooths its answers, what they say together up to this one; all else
    is of this frame alone. Null for a frame captured before one that was answered already.
    """

    frame: int
    answer: Told
    probabilities: tuple[float, ...]
    confidence: float | None
    score: float | None
    score_name: str
    node: str
    state: str
    nodes: tuple[str, ...]
    age_ms: float
    fallback: bool
    waited: bool
    exit: bool = False
    model: str = ""
    early: bool = False
    smoothed: Smoothed | None = None
    units: dict[str, str] = {}
    others: dict[str, OutputAnswer] = {}


class AnswerLike(Protocol):
    """An answer, live or recorded."""

    @property
    def answer(self) -> Told:
        """See `OutputAnswer`."""

    @property
    def probabilities(self) -> tuple[float, ...]:
        """See `OutputAnswer`."""

    @property
    def others(self) -> dict[str, OutputAnswer]:
        """See `Answer`."""


def values_of(task: Task, answer: AnswerLike) -> Vector:
    """The numbers of an answer, (width,); the fallback's where the task has no such answer."""
    try:
        return told_values(task, answer.answer, answer.probabilities, answer.others)
    except ValueError:
        return task.fallback()


def told_values(
    task: Task, answer: Told, probabilities: Sequence[float], others: Mapping[str, OutputAnswer]
) -> Vector:
    """The numbers of an answer, (width,), from what was told of it; see `Single.read`.

    Of classes 1 for the one that was told. Raises `ValueError` where the task has no such answer.
    """
    if not isinstance(task, Several):
        return task.read(answer, probabilities)
    found = []
    for name, own in task.outputs.items():
        if own is task.main:
            found.append(own.read(answer, probabilities))
        elif name in others:
            found.append(own.read(others[name].answer, others[name].probabilities))
        else:
            raise ValueError(f"expected an answer of the output {name!r}, got none")
    return np.concatenate(found)


class Metrics(msgspec.Struct, frozen=True):
    """What a node tells of itself, about once a second and when `peers` changes.

    Sums since its start, but for `peers`: whether each sender is waited for (sensors are not among
    them), `incarnation`: 0 while it does not hold its name, and `resident_mb`. `frames`: computed
    or passed on, those `at_deadline`, `silent` and `answered` (early, by a node below) among them.
    `answers`: by the output node, and by an exit that answers, those of the `fallbacks` and the
    `early` ones among them; `answers_ns`: their ages. `received`: messages and hosted sensors'
    views; `dropped`: of those, by reason; `unread`: messages that newer ones pushed out before the
    node fetched them.
    """

    node: str
    incarnation: int
    frames: int
    at_deadline: int
    silent: int
    skipped: int
    answers: int
    fallbacks: int
    answers_ns: int
    received: int
    dropped: dict[str, int]
    unread: int
    payload_bytes: int
    header_bytes: int
    compute_ns: int
    peers: dict[str, Condition]
    resident_mb: float
    answered: int = 0
    early: int = 0

    @property
    def compute_ms(self) -> float:
        """Milliseconds that a frame's computation took, on average."""
        computed = self.frames - self.answered
        return self.compute_ns / 1e6 / computed if computed else 0.0
