"""What a running node says: its answers, and its metrics."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import msgspec
import numpy as np

from ..arrays import Array
from .probabilities import rounded_probabilities

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


class Smoothed(msgspec.Struct, frozen=True):
    """What a node's answers up to a frame's say together, see `Smoother`."""

    answer: str
    probabilities: tuple[float, ...]

    @classmethod
    def of(cls, probabilities: Array, class_names: Sequence[str]) -> Smoothed:
        """As an answer tells it; `probabilities`: (classes,)."""
        return cls(class_names[int(np.argmax(probabilities))], rounded_probabilities(probabilities))


class Answer(msgspec.Struct, frozen=True):
    """What a node that answers makes of a frame; `ddnn-edge watch` prints it as a line of JSON.

    `state`: delivered-links state, a bit mask in hexadecimal; `nodes`: the nodes in it. `age_ms`:
    since capture. `accuracy`: what the bundle's reliability table says of exactly this state, null
    where it says nothing. `fallback`: nothing reached the node. `waited`: whether a sender that was
    waited for did not come in time. `exit`: whether it is that of an exit, below the output node.
    `model`: the first digits of its fingerprint, hexadecimal.
    `early`: whether it is sure, so that the nodes above were told not to compute the frame.
    `smoothed`: where the node smooths its answers, what they say together up to this one; all else
    is of this frame alone. Null for a frame captured before one that was answered already.
    """

    frame: int
    answer: str
    probabilities: tuple[float, ...]
    node: str
    state: str
    nodes: tuple[str, ...]
    age_ms: float
    accuracy: float | None
    fallback: bool
    waited: bool
    exit: bool = False
    model: str = ""
    early: bool = False
    smoothed: Smoothed | None = None


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
