"""Graceful shutdown on SIGTERM and SIGINT."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType


class Interruption:
    """What SIGTERM and SIGINT do: a call, once that is set; the exit code is kept.

    They raise nothing: an exception out of nowhere, in the midst of a native library that is being
    loaded, ends in its words and not in ours. Loading takes less than a second.
    """

    def __init__(self) -> None:
        self.code: int | None = None
        self._call: Callable[[], None] | None = None

    def calls(self, call: Callable[[], None]) -> None:
        """From now on let `call` end it; `call` must be safe in a signal handler."""
        self._call = call
        if self.code is not None:
            call()

    def __call__(self, number: int, frame: FrameType | None) -> None:
        """Take a signal."""
        self.code = 130 if number == signal.SIGINT else 0
        if self._call is not None:
            self._call()


@contextmanager
def interruptible() -> Iterator[Interruption]:
    """Handle SIGTERM (exit code 0) and SIGINT (130) within the block."""
    interruption = Interruption()
    before = {n: signal.signal(n, interruption) for n in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield interruption
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
