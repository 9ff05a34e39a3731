"""What can be seen of a deployment from outside: who is there, and what is answered."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import msgspec

from ..node import Answer, Metrics
from ..topology import Topology
from ..transport.base import ANSWERS, METRICS, Event, PeerUp, Received

__all__ = ["Observer"]

#: What is told under each topic.
KINDS: Mapping[str, type[Answer | Metrics]] = {ANSWERS: Answer, METRICS: Metrics}


class Observer:
    """Takes an observing transport's events, and says what they come to.

    `presence`: the incarnation of every node that is there. `metrics`: the newest of each node.
    `answers`: by frame, the first one, in the order in which they came, but for those that were
    given away; `answered`: how many there were in all. `duplicates`: how many more came for a
    frame; `late`: how many for frames that had been given away. `malformed`:
    messages that could not be read; `foreign`: those that are not of the node that they name, or of
    one that the topology does not. `sums`: payload and header bytes that each node sent, and the
    frames that it computed, since `restart_counts`.
    """

    def __init__(self, topology: Topology) -> None:
        self._topology = topology
        self.presence: dict[str, int] = {}
        self.metrics: dict[str, Metrics] = {}
        self.answers: dict[int, Answer] = {}
        self.answered = self.duplicates = self.late = self.malformed = self.foreign = 0
        self.sums: dict[str, Sums] = {}
        self._given_away = 0

    def take(self, event: Event) -> Answer | Metrics | None:
        """Take an event; returns the answer or the metrics that it was."""
        if isinstance(event, Received):
            return self._message(event)
        if isinstance(event, PeerUp):
            self.presence[event.node] = event.incarnation
        elif self.presence.get(event.node) == event.incarnation:
            del self.presence[event.node]
        return None

    def restart_counts(self) -> None:
        """Count bytes and frames from now on."""
        self.sums = {}

    def give_away(self, before: int, after: int) -> dict[int, Answer]:
        """Answers to the frames before one, which are forgotten; so are those to frames after one.

        The latter are not expected yet: a node whose clock was wrong at its start numbers them.
        """
        taken = {f: a for f, a in self.answers.items() if f < before}
        self.answers = {f: a for f, a in self.answers.items() if before <= f <= after}
        self._given_away = before
        return taken

    def unsettled(self, down: Collection[str]) -> str | None:
        """What is not yet as it will be once exactly these have failed; None if all is.

        `down`: nodes, and links between two nodes.

        It is when those nodes are gone, the others are there, and every node waits for those
        senders that are to be heard and for no others. A sender that no frame can reach is never
        heard of.
        """
        informed: set[str] = set()
        for node in self._topology.order:
            if node in down:
                if node in self.presence:
                    return f"{node} is still seen"
                continue
            metrics = self.metrics.get(node)
            if node not in self.presence:
                return f"{node} is not there"
            if metrics is None or metrics.incarnation != self.presence[node]:
                return f"{node} has not told of itself"
            for link in self._topology.incoming(node):
                sender = link.source
                if sender in self._topology.sensor_names:
                    informed.add(node)
                elif sender in down or link.name in down:
                    if metrics.peers.get(sender) != "absent":
                        return f"{node} still sees {sender}"
                elif sender in informed:
                    informed.add(node)
                    if metrics.peers.get(sender) != "expected":
                        return f"{node} does not wait for {sender}"
        return None

    def _message(self, message: Received) -> Answer | Metrics | None:
        kind = KINDS.get(message.target)
        if kind is None:
            return None
        try:
            found = msgspec.json.decode(message.payload, type=kind)
        except (msgspec.DecodeError, UnicodeDecodeError):
            self.malformed += 1
            return None
        if found.node != message.sender or found.node not in self._topology.order:
            self.foreign += 1
            return None
        if isinstance(found, Answer):
            if found.frame < self._given_away:
                self.late += 1
            elif self.answers.setdefault(found.frame, found) is not found:
                self.duplicates += 1
            else:
                self.answered += 1
        else:
            self._count(found)
            self.metrics[found.node] = found
        return found

    def _count(self, new: Metrics) -> None:
        # A process that was restarted counts from 0; one that rejoined under a new incarnation
        # goes on.
        old = self.metrics.get(new.node)
        since = old if old is not None and old.frames <= new.frames else None
        sums = self.sums.setdefault(new.node, Sums())
        sums.frames += new.frames - (since.frames if since else 0)
        sums.payload_bytes += new.payload_bytes - (since.payload_bytes if since else 0)
        sums.header_bytes += new.header_bytes - (since.header_bytes if since else 0)


class Sums(msgspec.Struct):
    """What one node has sent, and the frames that it computed."""

    frames: int = 0
    payload_bytes: int = 0
    header_bytes: int = 0
