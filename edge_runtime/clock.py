"""Frame ids from time: all cameras of one instant give their pictures one id.

All times are integer nanoseconds.
"""

from __future__ import annotations

from fractions import Fraction

import msgspec

from .errors import InputError

__all__ = ["FrameClock"]

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
