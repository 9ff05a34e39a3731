"""One running node: its section, its links and its hosted sensors, in one loop.

What is decided when is `assembler.py`'s; this only carries it out.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import get_args

import msgspec

from ..answers.records import Answer, Condition, Dropped, Metrics, Smoothed, output_answers
from ..answers.rule import AnswerRule, check_confidence
from ..answers.smoothing import Smoother, smoothed_task
from ..arrays import Array
from ..bundle.manifest import NodeManifest
from ..bundle.tensors import Section, answer_in, complete
from ..clock import SECOND, FrameClock
from ..errors import InputError
from ..process.memory import resident_mb
from ..task import Classification, MultiLabel, Task
from ..transport.base import ANSWERS, METRICS, PeerDown, PeerUp, Received, Transport
from ..transport.wire import Message, encode, short_fingerprint
from .assembler import FrameAssembler, ReadyFrame
from .settings import METRICS_EVERY, Clocks, LiveSettings
from .sources import Source
from .status import Notice

#: Taken in before it is seen whether a frame is ready, so that no flood keeps a node from that.
MOST_EVENTS = 256


class Node:
    """A node of a deployment.

    Args:
        manifest: its `node.json`.
        section: what it computes.
        transport: its way to the others, not yet claimed.
        sources: of every sensor that it hosts, by name.
        frames: which frame an instant belongs to; needed where there are sources.
        settings: the deployment's. Where any exit may answer, one on this node says what it
            answers; so does one that has a threshold and may answer early.
        clocks: where it reads the time.
        notice: called with what a person should hear of, and the name of the peer or sensor.

    Raises `InputError` for links, inputs or sources that do not fit, when made.
    """

    def __init__(
        self,
        manifest: NodeManifest,
        section: Section,
        transport: Transport,
        sources: Mapping[str, Source],
        frames: FrameClock | None,
        settings: LiveSettings,
        *,
        clocks: Clocks = Clocks(),
        notice: Callable[[Notice, str], None] = lambda what, name: None,
    ) -> None:
        _check(manifest, sources, frames)
        self.manifest = manifest
        self._section = section
        self._transport = transport
        self._sources = dict(sources)
        self._frames = frames
        self._encoding = settings.encoding
        self._threshold = settings.rule.early.get(manifest.node, 0.0)
        self._smoother = None
        if settings.smooth_ns is not None and not manifest.outgoing:
            own = smoothed_task(manifest.task)
            self._smoother, self._smoothed = Smoother(own.prior, settings.smooth_ns), own
        self._exits = manifest.exit and (settings.rule.mode == "any" or self._threshold > 0)
        self._clock, self._wall = clocks
        self._notice = notice
        self._fingerprint = short_fingerprint(manifest.fingerprint)
        self._linked = {*manifest.senders, *manifest.outgoing}
        self._peers = tuple(link.source for link in manifest.incoming if not link.sensor)
        self._conditions: dict[str, Condition] = {}
        self._ended, self._refused = set[str](), set[str]()
        self._stopped = self._named = False
        self._pause, self._settle = 7 * settings.lease_ns // 10, 2 * settings.settle_ns
        self._muted_until = 0
        self._sensed = -1
        self._reported = 0
        self._payload = self._header = self._busy = 0
        self._answers = self._fallbacks = self._early = self._ages = 0
        self.assembler = FrameAssembler(
            manifest.node,
            manifest.incoming,
            section.inputs,
            budget_ns=int(manifest.budget * settings.deadline_ns),
            deadline_ns=settings.deadline_ns,
            fingerprint=self._fingerprint,
            start_ns=self._clock(),
        )
        for link in manifest.incoming:
            if link.sensor and link.source not in self._sources:
                self.assembler.sensor_down(link.source)

    def run(self) -> None:
        """Take part until `stop`; raises `NameTakenError` if another process has this name."""
        try:
            if not self._stopped:
                self.start()
            while not self._stopped:
                self.step()
            self._tell(last=True)
        finally:
            for source in self._sources.values():
                source.close()

    def start(self) -> None:
        """Take the name; `step` follows."""
        self._transport.claim()
        self._named = True
        self._notice("named", self.manifest.node)

    def stop(self) -> None:
        """Let `run` return soon; safe in a signal handler and from any thread."""
        self._stopped = True
        self._transport.wake()

    def metrics(self) -> Metrics:
        """What it tells of itself, as it is now; for any thread.

        It takes no lock, and nothing waits for it: a frame that is computed meanwhile may be in
        some of the sums and not yet in others.
        """
        counters = self.assembler.counters
        return Metrics(
            node=self.manifest.node,
            incarnation=self._transport.incarnation or 0,
            frames=counters.frames_complete
            + counters.frames_at_deadline
            + counters.frames_answered,
            at_deadline=counters.frames_at_deadline,
            silent=counters.frames_silent,
            skipped=counters.frames_skipped,
            answers=self._answers,
            fallbacks=self._fallbacks,
            answers_ns=self._ages,
            received=counters.received,
            dropped={r: n for r in get_args(Dropped) if (n := getattr(counters, r))},
            unread=self._transport.counters.overflow,
            payload_bytes=self._payload,
            header_bytes=self._header,
            compute_ns=self._busy,
            peers=self._waited_for(),
            resident_mb=resident_mb(),
            answered=counters.frames_answered,
            early=self._early,
        )

    def step(self) -> None:
        """Wait for what comes next, take in what is there, and compute one frame that is ready."""
        asked = self._clock()
        event = self._transport.receive(self._patience(asked) / SECOND)
        now = self._clock()
        if now - asked > self._pause:
            # Stopped and let go on, perhaps: another may have the name, and the news of it is yet
            # to come.
            self._muted_until = now + self._settle
        taken = 0
        while event is not None:
            self._take(event)
            taken += 1
            event = self._transport.receive(0) if taken < MOST_EVENTS else None
        self._sense()
        ready = self.assembler.ready(self._clock())
        if ready is not None:
            self._compute(ready)
        self._tell()

    def _patience(self, now: int) -> int:
        """Nanoseconds until something is due by itself; so few that a pause stands out."""
        due = [now + self._pause // 3]
        if self._may_speak(now):
            due.append(self._reported + METRICS_EVERY)
        wakeup = self.assembler.next_wakeup()
        if wakeup is not None:
            due.append(wakeup)
        if self._frames is not None and self._sources:
            due.append(self._frames.begins(self._sensed + 1))
        return max(0, min(due) - now)

    def _take(self, event: Received | PeerUp | PeerDown) -> None:
        if isinstance(event, Received):
            now = self._clock()
            dropped = self.assembler.hear(event.sender, event.header, event.payload, now)
            if dropped == "stale_model":
                self._name_refused()
        elif event.node == self.manifest.node:
            # Others may have lost sight of this process, and another may have its name by now:
            # until that is settled nobody hears it, and must not answer.
            self._named = isinstance(event, PeerUp)
            self._notice("named" if self._named else "unnamed", event.node)
        else:
            up = isinstance(event, PeerUp)
            change = self.assembler.peer_up if up else self.assembler.peer_down
            change(event.node, event.incarnation)
            if not up:
                self._refused.discard(event.node)
            if event.node in self._linked:
                self._notice("up" if up else "down", event.node)

    def _name_refused(self) -> None:
        # Once, until it goes: a peer that only claims the name may come between its messages.
        for name in self.assembler.refused.keys() - self._refused:
            self._notice("refused", name)
            self._refused.add(name)

    def _sense(self) -> None:
        """Take each hosted sensor's view of the present frame, once."""
        if self._frames is None or not self._sources:
            return
        now = self._clock()
        frame = self._frames.frame(now)
        if frame <= self._sensed:
            return
        self._sensed = frame
        # All views of an instant count as captured when its frame begins, so that every node's
        # deadline for it is the same instant.
        begins, wall = self._frames.begins(frame), self._wall()
        for name, source in self._sources.items():
            if source.ended != (name in self._ended):
                self._ended ^= {name}
                change = self.assembler.sensor_down if source.ended else self.assembler.sensor_up
                change(name)
                self._notice("ended" if name in self._ended else "returned", name)
            if name not in self._ended:
                view = source.read(frame)
                self.assembler.sense(name, frame, view, now, captured_ns=begins, wall_ns=wall)

    def _compute(self, ready: ReadyFrame) -> None:
        if ready.answered:
            self._send(ready, (), answered=True)
            return
        start = self._clock()
        outputs: tuple[Array, ...] = ()
        if not ready.silent:
            full = complete(ready.inputs, self._section.inputs, self.manifest.senders)
            outputs = self._section.with_exit(full)
        self._busy += self._clock() - start
        sure = bool(outputs and self._threshold) and self._entropy(outputs) < self._threshold
        # The answer first: whoever hears the marks no longer gives one.
        if sure and self._answer(ready, outputs, early=True):
            self._send(ready, (), answered=True)
            return
        self._send(ready, outputs[:-1] if self.manifest.exit else outputs)
        if not self.manifest.outgoing or self._exits:
            self._answer(ready, outputs)

    def _send(
        self, ready: ReadyFrame, outputs: tuple[Array, ...], *, answered: bool = False
    ) -> None:
        incarnation = self._transport.incarnation
        now = self._clock()
        if incarnation is None or not self.manifest.outgoing or not self._may_speak(now):
            return
        header, payload = encode(
            Message(
                frame=ready.frame,
                sender=self.manifest.node,
                incarnation=incarnation,
                fingerprint=self._fingerprint,
                state=ready.state if outputs else 0,
                age_ns=ready.age(now),
                sent_ns=now,
                wall_ns=ready.wall_ns,
                tensors=tuple(x[0] for x in outputs),
                answered=answered,
            ),
            self._encoding,
        )
        for target in self.manifest.outgoing:
            self._transport.send(target, header, payload)
            self._header += len(header)
            self._payload += len(payload)

    def _answer(
        self, ready: ReadyFrame, outputs: tuple[Array, ...], *, early: bool = False
    ) -> bool:
        """Hand over an answer; whether that could be done."""
        now = self._clock()
        if not self._may_speak(now):
            return False
        manifest, task = self.manifest, self._task
        if ready.silent:
            values: Array = task.fallback()
        else:
            values = answer_in(outputs, exit=manifest.exit)[0]
        state = f"{ready.state:x}"
        said = output_answers(task, values, self._worth(state))
        main = next(iter(said))
        own = said.pop(main)
        smoothed = None
        if self._smoother is not None:
            # From what is reported, so that whoever has the answers can find it again.
            belief = None if ready.silent else own.probabilities
            smoothed = self._smoother.add(belief, ready.captured_ns)
        answer = Answer(
            frame=ready.frame,
            answer=own.answer,
            probabilities=own.probabilities,
            confidence=own.confidence,
            score=own.score,
            score_name=own.score_name,
            units=own.units,
            others=said,
            node=manifest.node,
            state=state,
            nodes=self._nodes_in(ready.state),
            age_ms=ready.age(now) / 1e6,
            fallback=ready.silent,
            waited=not ready.complete,
            exit=manifest.exit,
            model=self._fingerprint.hex(),
            early=early,
            smoothed=None if smoothed is None else Smoothed.of(smoothed, task.names),
        )
        self._transport.send(ANSWERS, b"", msgspec.json.encode(answer))
        self._answers += 1
        self._fallbacks += ready.silent
        self._early += early
        self._ages += ready.age(now)
        return True

    @property
    def _task(self) -> Task:
        """What its answers mean."""
        task = self.manifest.task
        assert task is not None  # by `_check`, of a node that answers
        return task

    def _entropy(self, outputs: tuple[Array, ...]) -> float:
        task = self._task
        assert isinstance(task, (Classification, MultiLabel))  # by `_check`, of one with an exit
        return float(task.entropy(outputs[-1][0]))

    def _worth(self, state: str) -> dict[str, float | None]:
        """What the tables say of a state, by output."""
        table = self.manifest.reliability
        if table is None:
            return {}
        found = {name: own.states.get(state) for name, own in table.outputs.items()}
        return found or {"": table.states.get(state)}

    def _may_speak(self, now: int) -> bool:
        """Whether this process has its name, as far as it can know."""
        return self._named and now >= self._muted_until

    def _nodes_in(self, state: int) -> tuple[str, ...]:
        """Senders and receivers of the links in a state, in topology order of the links."""
        links = self.manifest.links or ()
        within = [name.split("->") for i, name in enumerate(links) if state >> i & 1]
        return tuple(dict.fromkeys(name for ends in within for name in ends))

    def _tell(self, *, last: bool = False) -> None:
        now = self._clock()
        incarnation = self._transport.incarnation
        conditions = self._waited_for()
        due = last or conditions != self._conditions or now >= self._reported + METRICS_EVERY
        if incarnation is None or not due or not self._may_speak(now):
            return
        self._reported, self._conditions = now, conditions
        self._transport.send(METRICS, b"", msgspec.json.encode(self.metrics()))

    def _waited_for(self) -> dict[str, Condition]:
        return {name: self.assembler.condition(name) for name in self._peers}


def _check(
    manifest: NodeManifest, sources: Mapping[str, Source], frames: FrameClock | None
) -> None:
    hosted = {link.source for link in manifest.incoming if link.sensor}
    if unknown := sources.keys() - hosted:
        raise InputError(
            f"node {manifest.node!r} hosts {', '.join(sorted(hosted)) or 'no sensor'}, not "
            f"{', '.join(sorted(unknown))}; give the source to the node that reads it"
        )
    if sources and frames is None:
        raise InputError(f"node {manifest.node!r} has sources and needs a frame clock")
    answers = not manifest.outgoing or manifest.exit
    if manifest.early is not None and not manifest.exit:
        raise InputError(
            f"node {manifest.node!r} has no exit, and a threshold for one in its node.json (at "
            "$.early); choose the thresholds again with `ddnn-edge exits`"
        )
    if answers and not (manifest.task and manifest.links):
        raise InputError(
            f"node {manifest.node!r} answers, and its node.json has no task or links (at $.task); "
            "export the bundle again"
        )
    if manifest.exit and manifest.task:
        check_confidence(manifest.task, AnswerRule(early={manifest.node: 0.0}))
