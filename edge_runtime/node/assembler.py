"""What a node does with what has reached it: pure logic, no I/O, no threads, no clock of its own.

`FrameAssembler` decides, message by message, when a frame is computed and from what; its rules are
those of docs/explanation/runtime.md.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import count, takewhile
from typing import Any, Protocol, get_args

import msgspec
import numpy as np

from ..answers.records import PATIENCE, Condition, Dropped
from ..arrays import Array, TensorSpec
from ..errors import InputError
from ..transport.wire import Limits, Message, Sealed, WireError, read_header

#: Tokens of one name that are remembered; a rightful name has one, and two for a moment.
TOKENS = 8


#: Messages and nanoseconds over which the quickest way from a sender is sought, whichever takes
#: longer: more than one lease's worth at any rate, so that what a dead link or a paused process
#: held back shows, and short enough to forget a clock that stood still.
WINDOW, WINDOW_NS = 64, 2_000_000_000


class Incoming(Protocol):
    """A link that ends at the node, as in `node.json`; `bit` is its place in a state."""

    @property
    def source(self) -> str:
        """The sensor or node that sends."""

    @property
    def bit(self) -> int:
        """The link's place in the topology."""

    @property
    def sensor(self) -> bool:
        """Whether the source is a sensor that this node hosts."""


class Described(Protocol):
    """A tensor, or what a header says of one."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Without a batch axis."""

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of its values."""


class Counters(msgspec.Struct):
    """Every message received is `used`, dropped for one reason, or in a frame that is open.

    The frames: computed with all that was expected, computed at the deadline, of either kind
    those that found nothing to compute from, not computed because they were answered early, and
    skipped.
    """

    received: int = 0
    used: int = 0
    duplicate: int = 0
    expired: int = 0
    foreign: int = 0
    late: int = 0
    malformed: int = 0
    overflow: int = 0
    stale_incarnation: int = 0
    stale_model: int = 0
    frames_complete: int = 0
    frames_at_deadline: int = 0
    frames_silent: int = 0
    frames_answered: int = 0
    frames_skipped: int = 0

    @property
    def dropped(self) -> int:
        """Messages that were received in vain."""
        return sum(getattr(self, reason) for reason in get_args(Dropped))


class ReadyFrame(msgspec.Struct, frozen=True, eq=False):
    """A frame to compute now, once; or, where it is `answered`, to pass on.

    `inputs`: what was delivered, by input name, with a batch axis of 1, for `complete`; nothing
    for a silent frame. `state`: the delivered-links state of whatever is computed from them.
    `captured_ns`: when the oldest of them was captured, on this node's monotonic clock. `complete`:
    whether all awaited senders were received; else `missing` names those that were not. `answered`:
    a node below has answered it early; there is nothing to compute and nobody to miss.
    """

    frame: int
    inputs: dict[str, Array]
    state: int
    captured_ns: int
    wall_ns: int
    complete: bool
    missing: tuple[str, ...]
    answered: bool = False

    @property
    def silent(self) -> bool:
        """Whether there is nothing to compute from: send *silent*, or answer with the fallback."""
        return not (self.inputs or self.answered)

    def age(self, now: int) -> int:
        """Nanoseconds since capture; what a message says of itself when it is sent."""
        return max(0, now - self.captured_ns)


class _Sender:
    """One incoming link. `place` and `bit` are masks: in this node's links, and in a state."""

    __slots__ = (
        "_before", "_clock", "_count", "_quickest", "_since",
        "bit", "gone", "holder", "inputs", "misses", "name", "place", "sensor", "tokens",
    )  # fmt: skip

    def __init__(self, link: Incoming, place: int, specs: Mapping[str, TensorSpec]) -> None:
        self.name, self.sensor = link.source, link.sensor
        self.place, self.bit = place, 1 << link.bit
        several = takewhile(specs.__contains__, (f"{link.source}__{k}" for k in count()))
        names = [link.source] if link.source in specs else list(several)
        if not names:
            raise InputError(
                f"no input is named after the sender {link.source!r}; expected it, or "
                f"{link.source}__0, among {', '.join(specs)}: export the bundle again"
            )
        self.inputs = [(name, specs[name].shape, np.dtype(specs[name].dtype)) for name in names]
        self.misses = 0
        self.tokens: list[int] = []
        self.holder: int | None = None
        self.gone = -1
        self._clock = -1
        self._quickest = self._before = self._count = self._since = 0

    def fits(self, tensors: Sequence[Described]) -> bool:
        """Whether these are the tensors that the section expects from this sender."""
        return len(tensors) == len(self.inputs) and all(
            tensor.shape == shape and tensor.dtype == dtype
            for tensor, (_, shape, dtype) in zip(tensors, self.inputs, strict=True)
        )

    def admits(self, incarnation: int) -> bool:
        """Whether a message of this incarnation may be used."""
        if self.holder is not None:
            return incarnation == self.holder
        # Data may overtake the news of a token, and outlast it.
        return incarnation >= self.gone

    def waited(self, message: Message | Sealed, now: int) -> int:
        """How much longer than the quickest lately a message was on its way, or in a buffer.

        The two clocks need not agree: their difference is in the quickest one as well.
        """
        if not message.sent_ns:
            return 0
        way = now - message.sent_ns
        if message.incarnation != self._clock:
            self._clock, self._count, self._since = message.incarnation, 0, now
            self._quickest = self._before = way
        elif self._count >= WINDOW and now - self._since >= WINDOW_NS:
            self._before, self._quickest = self._quickest, way
            self._count, self._since = 0, now
        elif way < self._quickest:
            self._quickest = way
        self._count += 1
        return way - min(self._quickest, self._before)

    def nbytes(self) -> int:
        return sum(int(np.prod(shape)) * dtype.itemsize for _, shape, dtype in self.inputs)


class _Open:
    """A frame that is being collected; `received` is a mask of places."""

    __slots__ = ("answered", "captured", "inputs", "received", "state", "wall")

    def __init__(self, captured: int, wall: int) -> None:
        self.captured, self.wall = captured, wall
        self.answered = False
        self.received = self.state = 0
        self.inputs: dict[str, Array] = {}


def _captured(item: tuple[int, _Open]) -> int:
    """Newer means captured later: an id is no better than the clock that it came from."""
    return item[1].captured


class _Closed:
    """What is remembered of a frame that was computed or skipped."""

    __slots__ = ("deadline", "received")

    def __init__(self, deadline: int, received: int) -> None:
        self.deadline, self.received = deadline, received


class FrameAssembler:
    """Collects the inputs of one node's frames and says when to compute which.

    Not thread-safe: one loop feeds it and asks it. All times are integer nanoseconds of one
    monotonic clock, handed in.

    `incoming` and `inputs` are `node.json`'s: the links that end here, and every input of the
    section. `budget_ns`: a frame is computed when it is that old, whatever is missing;
    `deadline_ns`: one that is older than this is of no use to anyone. `fingerprint`: the model's
    short form. `start_ns`: this process's start; frames captured before it belong to its
    predecessor. At most `most_open` frames are held, and `most_closed` ids remembered.

    Raises `InputError` for links and inputs that do not fit each other.
    """

    def __init__(
        self,
        node: str,
        incoming: Iterable[Incoming],
        inputs: Mapping[str, TensorSpec],
        *,
        budget_ns: int,
        deadline_ns: int,
        fingerprint: bytes,
        start_ns: int,
        most_open: int = 64,
        most_closed: int = 1024,
    ) -> None:
        if not 0 < budget_ns <= deadline_ns:
            raise InputError(
                f"node {node!r}: expected a budget above 0 and at most the deadline of "
                f"{deadline_ns} ns, got {budget_ns} ns"
            )
        self.node = node
        self.counters = Counters()
        #: Fingerprints of the peers that run another model at present, by name.
        self.refused: dict[str, bytes] = {}
        self._budget, self._deadline = budget_ns, deadline_ns
        self._fingerprint, self._start = fingerprint, start_ns
        self._most_open, self._most_closed = most_open, most_closed
        self._senders = {
            link.source: _Sender(link, 1 << i, inputs) for i, link in enumerate(incoming)
        }
        peers = [s for s in self._senders.values() if not s.sensor]
        self._limits = Limits(payload_bytes=max((s.nbytes() for s in peers), default=0))
        self._open: dict[int, _Open] = {}
        self._closed: OrderedDict[int, _Closed] = OrderedDict()
        #: Places of the senders that are waited for.
        self._awaited = sum(s.place for s in self._senders.values() if s.sensor)

    # -- presence --------------------------------------------------------------------------------

    def peer_up(self, sender: str, incarnation: int) -> None:
        """A presence token appeared. The first one seen of a name holds it until it goes."""
        peer = self._peer(sender)
        if peer is None or incarnation in peer.tokens:
            return
        peer.tokens.append(incarnation)
        if len(peer.tokens) > TOKENS:
            peer.tokens.remove(next(t for t in peer.tokens if t != peer.holder))
        if peer.holder is None:
            self._hand_over(peer, incarnation)

    def peer_down(self, sender: str, incarnation: int) -> None:
        """A presence token went: its holder is not waited for, from now on."""
        peer = self._peer(sender)
        if peer is None or incarnation not in peer.tokens:
            return
        peer.tokens.remove(incarnation)
        if incarnation == peer.holder:
            peer.gone = incarnation
            self._hand_over(peer, min(peer.tokens, default=None))

    def sensor_up(self, sensor: str) -> None:
        """A hosted sensor's source runs, as all do at the start: its views are waited for."""
        self._awaited |= self._sensor(sensor).place

    def sensor_down(self, sensor: str) -> None:
        """A hosted sensor's source has ended, or there is none."""
        self._awaited &= ~self._sensor(sensor).place

    def condition(self, sender: str) -> Condition:
        """Whether a sender is waited for, and if not, why."""
        peer = self._senders[sender]
        if self._awaited & peer.place:
            return "expected"
        return "absent" if peer.holder is None else "unproven"

    # -- inputs ----------------------------------------------------------------------------------

    def hear(self, sender: str, header: bytes, payload: bytes, now: int) -> Dropped | None:
        """Take a message as it came; returns why it was dropped, None if it was not.

        `sender`: from whom it came, as the transport says. Where access rules tie names to
        certificates they hold for that one, so a header must not name another.
        """
        try:
            message = read_header(header, payload, self._limits)
        except WireError:
            self.counters.received += 1
            return self._drop("malformed")
        if message.sender != sender:
            self.counters.received += 1
            return self._drop("foreign")
        return self.receive(message, now)

    def receive(self, message: Message | Sealed, now: int) -> Dropped | None:
        """Take a message; returns why it was dropped, None if it was not.

        The payload of a sealed one is touched last, and only if the message is of use.
        """
        self.counters.received += 1
        peer = self._peer(message.sender)
        if peer is None or message.target not in ("", self.node):
            return self._drop("foreign")
        if message.fingerprint != self._fingerprint:
            self.refused[message.sender] = message.fingerprint
            return self._drop("stale_model")
        if self.refused:
            self.refused.pop(message.sender, None)
        if not peer.admits(message.incarnation):
            return self._drop("stale_incarnation")
        if message.tensors and not peer.fits(message.tensors):
            return self._drop("malformed")
        captured = now - message.age_ns - peer.waited(message, now)
        if now - captured > self._deadline:
            return self._drop("expired")
        return self._take(
            peer,
            message.frame,
            message.unpack if message.tensors else None,
            message.state,
            captured,
            message.wall_ns,
            now,
            message.answered,
        )

    def sense(
        self,
        sensor: str,
        frame: int,
        view: Array | None,
        now: int,
        *,
        captured_ns: int | None = None,
        wall_ns: int = 0,
    ) -> Dropped | None:
        """Take a hosted sensor's view of a frame, without a batch axis, captured now or earlier.

        None instead of a view says that the sensor has nothing for this frame, as a silent node
        does. Returns why it was dropped, None if it was not. Raises `InputError` for a view of
        another shape or dtype than the section's.
        """
        peer = self._sensor(sensor)
        views = () if view is None else (view,)
        if view is not None and not peer.fits(views):
            _, shape, dtype = peer.inputs[0]
            raise InputError(
                f"sensor {sensor!r}: expected {dtype} {list(shape)}, got {view.dtype} "
                f"{list(view.shape)}; crop, resize or convert its source"
            )
        self.counters.received += 1
        captured = now if captured_ns is None else min(captured_ns, now)
        if now - captured > self._deadline:
            return self._drop("expired")
        unpack = (lambda: views) if views else None
        return self._take(peer, frame, unpack, 0, captured, wall_ns, now)

    # -- frames ----------------------------------------------------------------------------------

    def next_wakeup(self) -> int | None:
        """When to call `ready` if nothing is received before: a time that may have passed.

        None while no frame is open.
        """
        expected = self._awaited
        times = [
            f.captured
            if f.answered or f.received & expected == expected
            else f.captured + self._budget
            for f in self._open.values()
        ]
        return min(times, default=None)

    def ready(self, now: int) -> ReadyFrame | None:
        """The newest frame that is to be computed now; it is closed with this call.

        Ask again after each computation, when everything received meanwhile has been handed in:
        a newer frame goes first, an older one follows unless it has grown older than the whole
        deadline.
        """
        for frame, found in sorted(self._open.items(), key=_captured, reverse=True):
            if now - found.captured > self._deadline:
                self._skip(frame, "expired")
                continue
            # Of a frame that is answered nobody is missing: no sender is waited for.
            missing = 0 if found.answered else self._awaited & ~found.received
            if not missing or now >= found.captured + self._budget:
                self._close(frame)
                return self._result(frame, found, missing)
        return None

    @property
    def open_frames(self) -> dict[int, int]:
        """The frames that are being collected: messages held, by id."""
        return {frame: found.received.bit_count() for frame, found in self._open.items()}

    @property
    def closed_frames(self) -> tuple[int, ...]:
        """Ids that are remembered as computed or skipped, in that order."""
        return tuple(self._closed)

    # -- inside ----------------------------------------------------------------------------------

    def _peer(self, name: str) -> _Sender | None:
        sender = self._senders.get(name)
        return None if sender is None or sender.sensor else sender

    def _sensor(self, name: str) -> _Sender:
        sender = self._senders.get(name)
        if sender is None or not sender.sensor:
            hosted = [s.name for s in self._senders.values() if s.sensor]
            raise InputError(
                f"node {self.node!r} hosts no sensor {name!r}; it hosts "
                f"{', '.join(hosted) or 'none'}"
            )
        return sender

    def _hand_over(self, peer: _Sender, holder: int | None) -> None:
        peer.holder, peer.misses = holder, 0
        self._awaited &= ~peer.place

    def _drop(self, reason: Dropped, messages: int = 1) -> Dropped:
        setattr(self.counters, reason, getattr(self.counters, reason) + messages)
        return reason

    def _take(
        self,
        peer: _Sender,
        frame: int,
        unpack: Callable[[], tuple[Array, ...]] | None,
        state: int,
        captured: int,
        wall: int,
        now: int,
        answered: bool = False,
    ) -> Dropped | None:
        found = self._open.get(frame)
        if found is None:
            closed = self._closed.get(frame)
            if closed is not None:
                if closed.received & peer.place:
                    return self._drop("duplicate")
                closed.received |= peer.place
                if now <= closed.deadline:
                    self._prove(peer)
                return self._drop("late")
            if captured < self._start:
                if now <= captured + self._budget:
                    self._prove(peer)
                return self._drop("late")
            found = _Open(captured, wall)
            if not self._admit(frame, found):
                return self._drop("overflow")
        elif found.received & peer.place:
            return self._drop("duplicate")
        self._prove(peer)
        found.received |= peer.place
        # The oldest arrival sets the age, so that the order of arrival does not matter.
        found.captured = min(found.captured, captured)
        found.answered |= answered
        if unpack is not None:
            found.state |= peer.bit | state
            for tensor, (name, _, _) in zip(unpack(), peer.inputs, strict=True):
                found.inputs[name] = tensor[None]
        return None

    def _prove(self, peer: _Sender) -> None:
        if peer.holder is not None:
            peer.misses = 0
            self._awaited |= peer.place

    def _admit(self, frame: int, found: _Open) -> bool:
        if len(self._open) >= self._most_open:
            oldest, its = min(self._open.items(), key=_captured)
            if found.captured < its.captured:
                self._remember(frame, found)
                return False
            self._skip(oldest, "overflow")
        self._open[frame] = found
        return True

    def _skip(self, frame: int, reason: Dropped) -> None:
        self._drop(reason, self._open[frame].received.bit_count())
        self.counters.frames_skipped += 1
        self._close(frame)

    def _close(self, frame: int) -> None:
        self._remember(frame, self._open.pop(frame))

    def _remember(self, frame: int, found: _Open) -> None:
        self._closed[frame] = _Closed(found.captured + self._budget, found.received)
        if len(self._closed) > self._most_closed:
            self._closed.popitem(last=False)

    def _result(self, frame: int, found: _Open, missing: int) -> ReadyFrame:
        absent = [s for s in self._senders.values() if s.place & missing]
        for sender in absent:
            sender.misses += 1
            if sender.misses >= PATIENCE and not sender.sensor:
                self._awaited &= ~sender.place
        counters = self.counters
        counters.used += found.received.bit_count()
        if found.answered:
            counters.frames_answered += 1
            return ReadyFrame(frame, {}, 0, found.captured, found.wall, True, (), answered=True)
        counters.frames_complete += not missing
        counters.frames_at_deadline += bool(missing)
        counters.frames_silent += not found.inputs
        return ReadyFrame(
            frame,
            found.inputs,
            found.state,
            found.captured,
            found.wall,
            not missing,
            tuple(s.name for s in absent),
        )
