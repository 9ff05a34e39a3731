"""A transport inside one process: no threads, no clock, and faults on demand."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from dataclasses import dataclass

from ..process.closing import Closing
from .base import (
    Counters,
    Event,
    NameTakenError,
    PeerDown,
    PeerUp,
    Received,
    check_names,
    check_target,
)
from .mailbox import Mailbox


@dataclass(frozen=True, slots=True)
class InFlight:
    """A message that was sent and has not been delivered yet."""

    deployment: str
    message: Received


class MemoryNetwork:
    """What `MemoryTransport`s are connected by, and where their faults are made.

    Everything happens within the call that causes it. `waits=False`: `receive` never waits, so
    that a simulation with a clock of its own can step many nodes in one thread.

    Messages are delivered as they are sent, unless `holding` is set: then they stay in `in_flight`
    until they are delivered (in any order, also twice) or discarded.
    """

    def __init__(self, *, waits: bool = True) -> None:
        self.waits = waits
        self.holding = False
        self.in_flight: list[InFlight] = []
        self._transports: list[MemoryTransport] = []
        self._incarnations = 0
        self._blocked: set[tuple[str, str]] = set()
        self._cut: set[frozenset[str]] = set()
        # The transports may be used from several threads, as those over a real network.
        self._lock = threading.RLock()

    def open(
        self,
        node: str | None = None,
        *,
        topics: Iterable[str] = (),
        deployment: str = "default",
        ring_messages: int = 256,
        ring_bytes: int = 16 << 20,
    ) -> MemoryTransport:
        """A transport for a node, or for an observer without a name."""
        topics = tuple(topics)
        check_names(node, topics, deployment)
        with self._lock:
            transport = MemoryTransport(
                self, node, topics, deployment, Mailbox(ring_messages, ring_bytes)
            )
            self._transports.append(transport)
            self._refresh()
        return transport

    # -- messages in flight --------------------------------------------------------------------

    def deliver(self, index: int = 0, *, keep: bool = False) -> None:
        """Deliver one message in flight; `keep` leaves a duplicate behind."""
        with self._lock:
            flight = self.in_flight[index] if keep else self.in_flight.pop(index)
            self._deliver(flight)

    def deliver_all(self) -> None:
        """Deliver what is in flight, in the order in which it was sent."""
        while self.in_flight:
            self.deliver()

    def discard(self, index: int = 0) -> None:
        """Lose one message in flight."""
        del self.in_flight[index]

    # -- faults ----------------------------------------------------------------------------------

    def block(self, source: str, target: str) -> None:
        """Lose all messages from one node to another; presence is not touched."""
        self._blocked.add((source, target))

    def unblock(self, source: str, target: str) -> None:
        """End what `block` began."""
        self._blocked.discard((source, target))

    def cut(self, first: str, second: str) -> None:
        """Lose the link between two nodes: no messages, and neither sees the other."""
        with self._lock:
            self._cut.add(frozenset((first, second)))
            self._refresh()

    def mend(self, first: str, second: str) -> None:
        """End what `cut` began."""
        with self._lock:
            self._cut.discard(frozenset((first, second)))
            self._refresh()

    def pause(self, node: str) -> None:
        """What SIGSTOP does, after a lease: the node's token goes, and nothing reaches it."""
        with self._lock:
            self._holder(node)._paused = True
            self._refresh()

    def resume(self, node: str) -> None:
        """What SIGCONT does: the node rejoins with a new incarnation, or has lost its name."""
        with self._lock:
            for transport in self._transports:
                if transport.node == node and transport._paused:
                    transport._paused = False
                    transport._rejoin()
            self._refresh()

    def kill(self, node: str) -> None:
        """What SIGKILL does, as the others see it."""
        self._holder(node).close()

    # -- for the transports ----------------------------------------------------------------------

    def _holder(self, node: str) -> MemoryTransport:
        for transport in self._transports:
            if transport.node == node and transport._present:
                return transport
        raise LookupError(f"no live transport holds the name {node!r}")

    def _rival(self, transport: MemoryTransport) -> MemoryTransport | None:
        return next(
            (
                other
                for other in self._transports
                if other is not transport
                and other._present
                and (other.node, other._deployment) == (transport.node, transport._deployment)
            ),
            None,
        )

    def _draw(self) -> int:
        self._incarnations += 1
        return self._incarnations

    def _send(self, flight: InFlight) -> None:
        with self._lock:
            if self.holding:
                self.in_flight.append(flight)
            else:
                self._deliver(flight)

    def _deliver(self, flight: InFlight) -> None:
        message = flight.message
        for transport in self._transports:
            name = transport.node
            if (
                transport._deployment == flight.deployment
                and not transport._paused
                and name != message.sender
                and transport._listens_to(message.target)
                and (message.sender, name) not in self._blocked
                and frozenset((message.sender, name)) not in self._cut
            ):
                transport._mailbox.message(message)

    def _refresh(self) -> None:
        """Tell each transport who came and went from where it is."""
        for transport in self._transports:
            now = {
                other.node: other.incarnation
                for other in self._transports
                if other.node is not None and other.incarnation is not None
                if self._sees(transport, other)
            }
            transport._show(now)

    def _sees(self, one: MemoryTransport, other: MemoryTransport) -> bool:
        return (
            one.node != other.node
            and one._deployment == other._deployment
            and not one._paused
            and other._present
            and frozenset((one.node, other.node)) not in self._cut
        )

    def _leave(self, transport: MemoryTransport) -> None:
        with self._lock:
            if transport in self._transports:
                self._transports.remove(transport)
                self._refresh()


class MemoryTransport(Closing):
    """A `Transport` on a `MemoryNetwork`, which opens it."""

    def __init__(
        self,
        network: MemoryNetwork,
        node: str | None,
        topics: tuple[str, ...],
        deployment: str,
        mailbox: Mailbox,
    ) -> None:
        self._network, self._node, self._topics = network, node, topics
        self._deployment, self._mailbox = deployment, mailbox
        self._incarnation: int | None = None
        self._claimed = self._paused = False
        self._seen: dict[str, int] = {}
        self._sent = 0

    @property
    def node(self) -> str | None:
        """As in `Transport`."""
        return self._node

    @property
    def incarnation(self) -> int | None:
        """As in `Transport`."""
        return self._incarnation

    @property
    def counters(self) -> Counters:
        """As in `Transport`."""
        return Counters(self._sent, self._mailbox.received, self._mailbox.overflow)

    def claim(self) -> int:
        """As in `Transport`."""
        network = self._network
        with network._lock:
            if self._node is None or self._claimed:
                raise RuntimeError("a node claims its name once; an observer has none")
            if rival := network._rival(self):
                raise NameTakenError(self._node, rival._incarnation or 0, self._deployment)
            self._claimed = True
            self._incarnation = network._draw()
            network._refresh()
            return self._incarnation

    def send(self, target: str, header: bytes, payload: bytes) -> None:
        """As in `Transport`."""
        if self._node is None:
            raise RuntimeError("an observer sends nothing")
        check_target(target)
        if not (self._mailbox.closed or self._paused):
            self._sent += 1
            message = Received(self._node, target, header, payload)
            self._network._send(InFlight(self._deployment, message))

    def receive(self, timeout_s: float | None) -> Event | None:
        """As in `Transport`; where the network does not wait, None if there is nothing now."""
        return self._mailbox.receive(timeout_s if self._network.waits else 0.0)

    def wake(self) -> None:
        """As in `Transport`."""
        self._mailbox.wake()

    def close(self) -> None:
        """As in `Transport`."""
        self._mailbox.close()
        self._network._leave(self)

    @property
    def _present(self) -> bool:
        return self._claimed and not self._paused

    def _listens_to(self, target: str) -> bool:
        return target in self._topics or (self._claimed and target == self._node)

    def _rejoin(self) -> None:
        assert self._node is not None
        assert self._incarnation is not None
        self._mailbox.presence(PeerDown(self._node, self._incarnation))
        if rival := self._network._rival(self):
            self._claimed, self._incarnation = False, None
            self._mailbox.fail(
                NameTakenError(self._node, rival._incarnation or 0, self._deployment)
            )
        else:
            self._incarnation = self._network._draw()
            self._mailbox.presence(PeerUp(self._node, self._incarnation))

    def _show(self, now: dict[str, int]) -> None:
        for node, incarnation in self._seen.items():
            if now.get(node) != incarnation:
                self._mailbox.presence(PeerDown(node, incarnation))
        for node, incarnation in now.items():
            if self._seen.get(node) != incarnation:
                self._mailbox.presence(PeerUp(node, incarnation))
        self._seen = now
