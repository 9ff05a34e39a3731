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
            raise InputError(f"expected frames per second above 0 and below a million, got {fps}")
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


_UNITS = {"ms": Fraction(1, 1000), "s": Fraction(1), "min": Fraction(60), "h": Fraction(3600)}
_TIME = re.compile(rf"(\d{{1,7}}(?:\.\d{{1,9}})?)({'|'.join(_UNITS)}|)")
#: The longest time, in seconds; in nanoseconds it still is a 64-bit integer.
_LONGEST = 1_000_000_000


def parse_seconds(option: str, text: str, bare: str = "s") -> float:
    """Seconds of `50ms`, `1.5s`, `2min` or `3h`; `InputError`, which names `option`, for all else.

    A number without a unit is refused, too; `bare` is the unit that the message proposes.
    """
    match = _TIME.fullmatch(text)
    if match is not None and not match[2]:
        raise InputError(
            f"{option}: expected a time with its unit, got {text!r}; write {text}{bare}"
        )
    seconds = Fraction(match[1]) * _UNITS[match[2]] if match is not None else None
    if seconds is None or seconds > _LONGEST:
        raise InputError(f"{option}: expected a time such as 50ms, 5s, 2min or 3h, got {text!r}")
    return float(seconds)


def time_text(nanoseconds: int) -> str:
    """A time as `parse_seconds` reads it, to the nanosecond."""
    return f"{nanoseconds // SECOND}.{nanoseconds % SECOND:09d}s"
