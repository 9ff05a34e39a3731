"""What a transport does for a node: messages to a name, and who is there.

A transport knows nothing of tensors, frames or models. It carries `(header, payload)` from a node
to a name, and says which nodes come and go. A name is a node's, or a topic's: topics start with
`@`, and any number of observers may follow one.
"""

from __future__ import annotations

import re
import secrets
import time
from collections.abc import Iterable
from dataclasses import dataclass
from types import TracebackType
from typing import Protocol, Self

from ..errors import InputError
from ..topology.topology import NAME

#: Topics: what the output node answers, and what nodes tell of themselves.
ANSWERS, METRICS = "@answers", "@metrics"

_TOPIC = re.compile("@[a-z][a-z0-9_]*")
DEPLOYMENT_NAME = "[A-Za-z0-9][A-Za-z0-9_.-]{0,63}"


@dataclass(frozen=True, slots=True)
class Received:
    """A message from the node `sender`, addressed to `target`: this node, or a topic."""

    sender: str
    target: str
    header: bytes
    payload: bytes


@dataclass(frozen=True, slots=True)
class PeerUp:
    """A process that holds the name `node` can be reached; messages may follow a little later.

    With the receiver's own name: it holds its name again, under a new incarnation.
    """

    node: str
    incarnation: int


@dataclass(frozen=True, slots=True)
class PeerDown:
    """The process behind `node` ended, hangs, or cannot be reached any more.

    With the receiver's own name: the others have lost sight of it (it was paused, or cut off from
    all of them). It holds its name no more until the `PeerUp` that follows, or until `receive`
    raises `NameTakenError`.
    """

    node: str
    incarnation: int


Event = Received | PeerUp | PeerDown


@dataclass(frozen=True, slots=True)
class Counters:
    """What a transport has counted since it was opened.

    `sent`, `received`: messages handed over by, and to, this node. `overflow`: received messages
    pushed out by newer ones because nobody called `receive` in time. `foreign`: messages that are
    not of this protocol.
    """

    sent: int = 0
    received: int = 0
    overflow: int = 0
    foreign: int = 0


class NameTakenError(InputError):
    """Another live process holds this node's name; `incarnation` is its."""

    def __init__(self, node: str, incarnation: int, deployment: str) -> None:
        super().__init__(
            f"node {node!r} of deployment {deployment!r} is already running (incarnation "
            f"{incarnation}); stop that process, or start this one as another node"
        )
        self.node, self.incarnation = node, incarnation


class Transport(Protocol):
    """One node's, or one observer's, way to the others; the implementations' shared promise.

    An observer has no name: it sends nothing, holds no name, and sees everybody's presence and
    the topics that it follows. A node that it sees may not know of it for a moment more, and what
    the node sends in that moment passes it by.

    `send` and `wake` may be called from any thread, `receive` from one at a time. Close it, or use
    it in a `with` block: an interpreter with an open Zenoh session does not end.
    """

    @property
    def node(self) -> str | None:
        """The node's name; None for an observer."""

    @property
    def incarnation(self) -> int | None:
        """The number under which the name is held; None before `claim`, and while it is not held.

        Another one when a process that was paused or cut off gets its name back.
        """

    @property
    def counters(self) -> Counters:
        """Counts so far."""

    def claim(self) -> int:
        """Take the node's name, so that the others see it; returns its incarnation.

        Messages addressed to the node arrive from then on. Raises `NameTakenError` if a live
        process holds the name (of two that start at once, the loser may learn it from `receive`),
        and `RuntimeError` for an observer, and for a second call.
        """

    def send(self, target: str, header: bytes, payload: bytes) -> None:
        """Send to a node or a topic; never waits for a receiver, and may drop under congestion.

        Messages of one sender to one target arrive in order, if they arrive. A target that nobody
        holds is no error, and a transport never receives what it sent itself. Raises `ValueError`
        for a name that no node can have; `RuntimeError` for an observer.
        """

    def receive(self, timeout_s: float | None) -> Event | None:
        """The next event; presence before messages, messages in the order of their arrival.

        None after `timeout_s` seconds (None: no limit), after `wake`, and at once after `close`.
        Of messages that nobody fetches only the newest are kept; presence is never dropped.
        Raises `NameTakenError` when another process has got the name of this one.
        """

    def wake(self) -> None:
        """Let the running or the next `receive` return None; safe in a signal handler."""

    def close(self) -> None:
        """Give the name up and end; what is sent afterwards is dropped. May be called again."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None: ...


def new_incarnation() -> int:
    """A number that rises with every start, and that no two processes draw alike.

    Milliseconds of the wall clock, and 20 random bits below them; fits 63 bits. A wall clock that
    is set back makes a later number smaller, so it is the presence of a token, not the largest
    number ever seen, that says which incarnation of a node is the present one.
    """
    return time.time_ns() // 1_000_000 << 20 | secrets.randbits(20)


def check_names(node: str | None, topics: Iterable[str], deployment: str) -> None:
    """Raise `InputError` for names that cannot be part of an address."""
    if node is not None and not NAME.fullmatch(node):
        raise InputError(f"expected a node's name such as edge1, got {node!r}")
    for topic in topics:
        if not _TOPIC.fullmatch(topic):
            raise InputError(f"expected a topic such as {ANSWERS}, got {topic!r}")
    if not re.fullmatch(DEPLOYMENT_NAME, deployment):
        raise InputError(
            f"expected a deployment's name of up to 64 letters, digits, '_', '-' and '.', got "
            f"{deployment!r}"
        )


def check_target(target: str) -> None:
    """Raise `ValueError` for what is neither a node's name nor a topic."""
    if not (NAME.fullmatch(target) or _TOPIC.fullmatch(target)):
        raise ValueError(f"expected a node's name or a topic such as {ANSWERS}, got {target!r}")
