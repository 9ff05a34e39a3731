"""Frame ids from time: all cameras of one instant give their pictures one id.

All times are integer nanoseconds.
"""

from __future__ import annotations

import re
from fractions import Fraction

import msgspec

from .errors import InputError

SECOND = 1_000_000_000


class FrameClock(msgspec.Struct, frozen=True):
    """Frame `i` begins at `epoch_ns + i / fps` of this process's monotonic clock.

    `fps` is kept as the fraction `numerator / denominator`, so that ids are exact for years.
    """

    epoch_ns: int
    numerator: int
    denominator: int

    @classmethod
    def at(cls, fps: float, *, wall_ns: int, monotonic_ns: int, epoch_ns: int = 0) -> FrameClock:
        """The clock of a deployment that counts frames from `epoch_ns` of the wall clock.

        `wall_ns` and `monotonic_ns` are read at the same moment, once; a wall clock that jumps
        later changes nothing. One that is wrong *now* numbers this node's frames apart from all
        others'. Raises `InputError` for a rate that is not positive, or an epoch in the future.
        """
        if not 0 < fps < 1e6:
            raise InputError(f"expected frames a second above 0 and below a million, got {fps}")
        if wall_ns < epoch_ns:
            raise InputError(
                f"expected an epoch in the past, got one {(epoch_ns - wall_ns) / SECOND:.1f} s "
                "ahead; set this machine's clock, or correct the deployment's epoch"
            )
        rate = Fraction(fps).limit_denominator(1_000_000)
        return cls(monotonic_ns - (wall_ns - epoch_ns), rate.numerator, rate.denominator)

    def frame(self, now: int) -> int:
        """Id of the frame that `now` falls in."""
        return (now - self.epoch_ns) * self.numerator // (self.denominator * SECOND)

    def begins(self, frame: int) -> int:
        """The first nanosecond of a frame."""
        return self.epoch_ns - (-frame * self.denominator * SECOND // self.numerator)


_TIME = re.compile(r"(\d{1,7}(?:\.\d{1,6})?)(ms|s|)")


def parse_seconds(option: str, text: str) -> float:
    """Seconds of `1.5s`, `500ms` or `2`; `InputError`, which names `option`, for anything else."""
    match = _TIME.fullmatch(text)
    if match is None:
        raise InputError(f"{option}: expected a time such as 5s or 500ms, got {text!r}")
    return float(match[1]) / (1000 if match[2] == "ms" else 1)
