"""What all nodes of a deployment run by, as one value."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import NamedTuple

import msgspec

from ..answers.rule import AnswerRule
from ..answers.smoothing import check_smoothing
from ..bundle.compute import Compute
from ..clock import SECOND
from ..transport.wire import Encoding

#: How often a node tells of itself, in nanoseconds.
METRICS_EVERY = SECOND


class LiveSettings(msgspec.Struct, frozen=True, kw_only=True):
    """How a deployment runs; the nodes of one agree on all but `compute`.

    `fps`: frames per second. `deadline_ns`: from capture to answer. `encoding`: of float32
    messages. `rule`: who answers. `smooth_ns`: half-life by which the output node smooths its
    answers beside giving them as they are, see `Smoother`; None for not at all. `lease_ns`: after
    how long without a sign of life the others take a process for dead; `settle_ns`: how long the
    transport may take to see that they did. `compute`: by what the section is computed.

    Raises `InputError` where answers are to be smoothed that are not the output node's alone.
    """

    fps: float = 30.0
    deadline_ns: int = SECOND // 10
    encoding: Encoding = "raw"
    rule: AnswerRule = AnswerRule()
    smooth_ns: int | None = None
    lease_ns: int = SECOND // 2
    settle_ns: int = SECOND // 10
    compute: Compute = Compute()

    def __post_init__(self) -> None:
        check_smoothing(self.smooth_ns, only_output=self.rule.only_output)


class Clocks(NamedTuple):
    """Where a node reads the time: `monotonic` and `wall` clock, in nanoseconds.

    The wall clock's is for people only.
    """

    monotonic: Callable[[], int] = time.monotonic_ns
    wall: Callable[[], int] = time.time_ns
