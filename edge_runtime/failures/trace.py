"""What had failed at each frame of a run, recorded or drawn."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np

from ..errors import InputError
from ..files import new_file
from ..topology import Share, Survival, Topology, Uptime
from .distribution import Mask, mask_without, working


class Change(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """From `frame` on, exactly the elements, and the elements of the groups, in `down` are down."""

    frame: int
    down: tuple[str, ...]


class Span(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The frames, the last one included, that a trace is about."""

    first: int
    last: int


@dataclass(frozen=True)
class FailureTrace:
    """What had failed at each frame of a run: the changes, in order of frames.

    In a file, one JSON object a line. The first may say which frames the trace is about, as in
    `{"first": 0, "last": 199}`; without it nobody knows how long the last state lasted. Then the
    changes, as in `{"frame": 120, "down": ["fog4", "edge1->fog2"]}`; before the first of them
    nothing has failed.
    """

    topology: Topology
    changes: tuple[Change, ...]
    span: Span | None = None

    @classmethod
    def of(cls, topology: Topology, masks: Mask, *, first: int = 0) -> FailureTrace:
        """The trace of one mask a frame, bool (frames, elements), the first that of `first`."""
        changes: list[Change] = []
        before: tuple[str, ...] = ()
        for frame, mask in enumerate(masks, first):
            down = tuple(n for n, up in zip(topology.elements, mask, strict=True) if not up)
            if down != before:
                changes.append(Change(frame, down))
            before = down
        span = Span(first, first + len(masks) - 1) if len(masks) else None
        return cls(topology, tuple(changes), span)

    @classmethod
    def drawn(
        cls,
        topology: Topology,
        uptimes: Mapping[str, Uptime],
        frames: int,
        rng: np.random.Generator,
        *,
        rate: float = 1.0,
    ) -> FailureTrace:
        """Draw a trace in which components fail and are repaired after exponential times.

        `uptimes`: by element or group; what is not named never fails. `rate`: frames in a unit of
        their time. Whether something works is as at the beginning of each frame, and at the first
        one as after a long time; its share of the frames is then its survival.
        """
        if not (math.isfinite(rate) and rate > 0):
            raise InputError(f"expected a rate above 0, got {rate}; give frames a unit of time")
        components = np.ones((frames, len(topology.components)), bool)
        places = np.arange(frames)
        for name, uptime in uptimes.items():
            if not uptime.mttr:
                continue  # repaired at once
            # Seen a frame apart, alternating exponential times are a chain that with this
            # probability is drawn again from its stationary distribution, and else does not change.
            again = -math.expm1(-(1 / uptime.mtbf + 1 / uptime.mttr) / rate)
            latest = np.maximum.accumulate(np.where(rng.random(frames) < again, places, 0))
            works = rng.random(frames) < uptime.survival
            components[:, topology.index[name]] = works[latest]
        return cls.of(topology, working(topology, components))

    @classmethod
    def load(cls, path: str | Path, topology: Topology) -> FailureTrace:
        """Read a trace; `InputError` names the line of a fault."""
        try:
            lines = Path(path).read_bytes().splitlines()
        except OSError as error:
            raise InputError(f"cannot read the trace {path}: {error.strerror}") from error
        changes: list[Change] = []
        span = _span(lines[0], f"{path}, line 1") if lines else None
        for number, line in enumerate(lines, 1):
            if span and number == 1:
                continue
            where = f"{path}, line {number}"
            try:
                change = msgspec.json.decode(line, type=Change)
                mask_without(topology, change.down)
            except (msgspec.DecodeError, InputError) as error:
                raise InputError(f"{where}: {error}") from error
            if change.frame < 0 or (changes and change.frame <= changes[-1].frame):
                raise InputError(f"{where}: expected frames in rising order, got {change.frame}")
            changes.append(change)
        return cls(topology, tuple(changes), span)

    def save(self, path: str | Path) -> None:
        """Write the span and one change a line."""
        with new_file(path) as temporary:
            lines = [self.span, *self.changes] if self.span else self.changes
            temporary.write_bytes(b"".join(msgspec.json.encode(line) + b"\n" for line in lines))

    def masks(self, frames: int) -> Mask:
        """One mask a frame, from frame 0 on, bool (frames, elements)."""
        masks = np.ones((frames, len(self.topology.elements)), bool)
        for change in self.changes:
            masks[change.frame :] = mask_without(self.topology, change.down)
        return masks

    def shares(self) -> tuple[Share, ...]:
        """For which share of the frames exactly what had failed: the trace as a survivability.

        Raises `InputError` where the trace does not say which frames it is about.
        """
        if self.span is None:
            raise InputError(
                "the trace does not say which frames it is about, so nobody knows how long its "
                'last state lasted; add them as its first line, as in {"first": 0, "last": 199}'
            )
        frames: dict[tuple[str, ...], int] = {}
        changes = [Change(0, ()), *self.changes]
        ends = [change.frame for change in self.changes] + [self.span.last + 1]
        for change, end in zip(changes, ends, strict=True):
            lasted = min(end, self.span.last + 1) - max(change.frame, self.span.first)
            if lasted > 0:
                frames[change.down] = frames.get(change.down, 0) + lasted
        total = sum(frames.values())
        return tuple(Share(down, lasted / total) for down, lasted in frames.items())


def complete_uptimes(
    topology: Topology, survival: Survival, *, mtbf: float | None = None, mttr: float | None = None
) -> dict[str, Uptime]:
    """Mean times of all that can fail under a survivability.

    Those that it gives itself; for others, the one of `mtbf` and `mttr` that is not given follows
    from the other and the probability. Raises `InputError` where that leaves something open.
    """
    given = topology.uptimes(survival)
    if mtbf is not None and mttr is not None:
        raise InputError("expected one mean time beside a survivability, which gives the other")
    found = {}
    for name, p in zip(topology.components, topology.survival(survival).tolist(), strict=True):
        if name in given:
            found[name] = given[name]
        elif p < 1:
            if not p:
                raise InputError(f"{name!r} never works, which no mean times say; give it others")
            if mtbf is None and mttr is None:
                raise InputError(
                    f"{name!r} has a survival but no mean times; give it some in the "
                    "survivability, or one for all that have none (--mtbf or --mttr)"
                )
            odds = p / (1 - p)
            found[name] = Uptime(
                mtbf=mttr * odds if mtbf is None else mtbf,
                mttr=mtbf / odds if mttr is None else mttr,
            )
    return found


def _span(line: bytes, where: str) -> Span | None:
    """What the first line of a trace says, unless it is a change."""
    try:
        span = msgspec.json.decode(line, type=Span)
    except msgspec.DecodeError:
        return None
    if not 0 <= span.first <= span.last:
        raise InputError(
            f"{where}: expected a first frame from 0 and a last one not before it, got "
            f"{span.first} and {span.last}"
        )
    return span
