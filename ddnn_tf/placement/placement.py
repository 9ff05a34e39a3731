"""Which device computes which blocks, and the limits to keep."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, get_args

#: What a placement is to have the least, or of accuracy the most, of.
Aim = Literal["latency", "bytes", "accuracy"]
AIMS: tuple[Aim, ...] = get_args(Aim)
#: Relative slack of a limit, for the rounding of sums.
SLACK = 1e-9


@dataclass(frozen=True)
class Limits:
    """What a placement must keep to: the most ms and bytes, the least accuracy."""

    latency: float | None = None
    bytes: float | None = None
    accuracy: float | None = None


@dataclass(frozen=True)
class Placement:
    """Which blocks each device on the way computes: half-open ranges of positions, in order."""

    runs: Mapping[str, tuple[int, int]]
    latency_ms: float
    bytes: int
    accuracy: float

    def value(self, aim: Aim) -> float:
        """What an aim is about; less is better but for accuracy."""
        return {"latency": self.latency_ms, "bytes": self.bytes, "accuracy": self.accuracy}[aim]
