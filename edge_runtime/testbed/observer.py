"""What can be seen of a deployment from outside: who is there, and what is answered."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import msgspec

from ..answers.records import Answer, Metrics
from ..answers.selector import AnswerSelector
from ..topology import Topology
from ..transport.base import ANSWERS, METRICS, Event, PeerUp, Received

#: What is reported under each topic.
KINDS: Mapping[str, type[Answer | Metrics]] = {ANSWERS: Answer, METRICS: Metrics}


class Observer:
    """Takes an observing transport's events, and says what they come to.

    `presence`: the incarnation of every node that is there. `metrics`: the newest of each node.
    `answers`: by frame, the one taken, in the order in which they came, but for those that were
    drained; `answered`: how many there were in all. `received`: every node's, by frame and node,
    but for the same. `duplicates`: how many more came of a node for a frame; `late`: how many for
    frames that had been drained. `malformed`: messages that could not be read; `foreign`: those
    that are not of the node that they name, or of one that the topology does not. `sums`: payload
    and header bytes that each node sent, and the frames that it computed, since `restart_counts`.

    `selector`: takes one of the exits' answers to a frame; without it, the output node's is taken.
    `choose` asks it.
    """

    def __init__(self, topology: Topology, selector: AnswerSelector | None = None) -> None:
        self._topology = topology
        self.selector = selector
        self.received: dict[tuple[int, str], Answer] = {}
        self.presence: dict[str, int] = {}
        self.metrics: dict[str, Metrics] = {}
        self.answers: dict[int, Answer] = {}
        self.answered = self.duplicates = self.late = self.malformed = self.foreign = 0
        self.sums: dict[str, Sums] = {}
        self._given_away = 0

    def take(self, event: Event, now: int = 0) -> Answer | Metrics | None:
        """Take an event; returns the answer or the metrics that it was.

        `now`: monotonic nanoseconds, for the selector.
        """
        if isinstance(event, Received):
            return self._message(event, now)
        if isinstance(event, PeerUp):
            self.presence[event.node] = event.incarnation
        elif self.presence.get(event.node) == event.incarnation:
            del self.presence[event.node]
            if self.selector is not None:
                self.selector.gone(event.node)
        return None

    def choose(self, now: int) -> None:
        """Take the answers of all frames that are complete, or due."""
        while self.selector is not None and (answer := self.selector.ready(now)) is not None:
            self._keep(answer)

    def restart_counts(self) -> None:
        """Count bytes and frames from now on."""
        self.sums = {}

    def drain(self, before: int, after: int) -> tuple[dict[int, Answer], list[Answer]]:
        """Answers to the frames before one, which are forgotten; so are those to frames after one.

        Returns the ones taken, by frame, and every node's. Those after are not expected yet: a node
        whose clock was wrong at its start numbers them.
        """
        taken = {f: a for f, a in self.answers.items() if f < before}
        received = [a for a in self.received.values() if a.frame < before]
        self.answers = {f: a for f, a in self.answers.items() if before <= f <= after}
        self.received = {key: a for key, a in self.received.items() if before <= a.frame <= after}
        self._given_away = before
        return taken, received

    def not_converged(self, down: Collection[str]) -> str | None:
        """What is not yet as it will be once exactly these have failed; None if all is.

        `down`: nodes, and links between two nodes.

        It is when those nodes are gone, the others are there, and every node waits for those
        senders whose messages can arrive and for no others. A sender that no frame can reach never
        sends.
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
                return f"{node} has not reported"
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

    def _message(self, message: Received, now: int) -> Answer | Metrics | None:
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
            self._hear(found, now)
        else:
            self._count(found)
            self.metrics[found.node] = found
        return found

    def _hear(self, answer: Answer, now: int) -> None:
        if answer.frame < self._given_away:
            self.late += 1
        elif self.received.setdefault((answer.frame, answer.node), answer) is not answer:
            self.duplicates += 1
        elif self.selector is not None:
            self.selector.take(answer, now)
        elif not answer.exit:
            self._keep(answer)

    def _keep(self, answer: Answer) -> None:
        """Keep the one taken; its frame may have been drained while it was collected."""
        if answer.frame < self._given_away:
            self.late += 1
        elif self.answers.setdefault(answer.frame, answer) is not answer:
            self.duplicates += 1
        else:
            self.answered += 1

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
