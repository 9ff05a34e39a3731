"""A run of a local deployment: its frames, the faults injected, and what was answered."""

from __future__ import annotations

import time
from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol, TypeVar

import numpy as np

from ..answers.records import Answer
from ..clock import SECOND, FrameClock
from ..errors import InputError
from ..failures.configurations import draw
from ..failures.distribution import FailureModel, Mask, mask_without
from ..failures.trace import FailureTrace
from ..node.settings import METRICS_EVERY
from ..topology import Survival, Topology
from ..transport.base import Transport
from .faults import Injection
from .observer import Observer
from .processes import LocalDeployment

#: Seconds within which a deployment must have converged after a change; it takes a few.
CONVERGE_S = 60.0
#: Seconds that an answer may take to get from its node to here.
GRACE_S = 0.5
#: And what a node tells of itself, which it does every `METRICS_EVERY`.
REPORT_S = METRICS_EVERY / SECOND + GRACE_S
#: Frames of a part of a record, at least.
PART = 32
#: Seconds between two looks at the processes.
LOOK_S = 0.1

T = TypeVar("T")


@dataclass(frozen=True)
class Phase:
    """From `start_ns` on, to the next phase: the nodes in `down` have failed, or may have.

    Settled: exactly these have failed, and every node knows of it as far as it needs to.
    """

    start_ns: int
    down: frozenset[str]
    converged: bool


class Configuration(NamedTuple):
    """Nodes that have failed: `down` all of them, `hung` those that hang instead of being dead."""

    down: frozenset[str]
    hung: frozenset[str] = frozenset()


@dataclass(frozen=True)
class RandomSchedule:
    """Configurations drawn, each held for `hold_s` seconds once it has converged.

    Of those that have failed each is killed or hangs, at random.
    """

    survival: Survival
    seed: int = 0
    hold_s: float = 1.0

    def configurations(self, topology: Topology) -> Iterator[Configuration]:
        """Without end; the same for the same seed."""
        rng = np.random.default_rng(self.seed)
        while True:
            (mask,) = draw(topology, self.survival, 1, rng)
            hangs = rng.random(len(topology.order)) < 0.5
            down = [node for node in topology.order if not mask[topology.index[node]]]
            hung = [node for node, h in zip(topology.order, hangs, strict=True) if h]
            yield Configuration(frozenset(down), frozenset(down) & frozenset(hung))


@dataclass(frozen=True)
class FixedSchedule:
    """Configurations one after the other, each held for `hold_s` seconds once it has converged."""

    listed: tuple[Configuration, ...]
    hold_s: float = 1.0

    def configurations(self, topology: Topology) -> Iterator[Configuration]:
        """Those listed."""
        return iter(self.listed)


@dataclass
class Record:
    """What a run came to, or a part of it.

    `first`, `last`: ids of the first and last frame of all; `counted`: the ids that count, the
    others are of transitions. `holds`: where configurations were held, the frames of each.
    `phases`: those that matter for any of the frames; of them the ones in `own` are counted with no
    other part. `answers`: by frame, transitions included; `received`: those of every node that
    answered.
    """

    topology: Topology
    frames: FrameClock
    deadline_ns: int
    first: int
    last: int = -1
    counted: list[int] = field(default_factory=list)
    holds: list[list[int]] = field(default_factory=list)
    phases: list[Phase] = field(default_factory=list)
    own: slice = field(default_factory=lambda: slice(None))
    answers: dict[int, Answer] = field(default_factory=dict)
    received: list[Answer] = field(default_factory=list)
    duplicates: int = 0
    crashes: list[str] = field(default_factory=list)
    payload_bytes: float = 0.0
    header_bytes: float = 0.0

    @property
    def convergences(self) -> int:
        """How often it converged."""
        return sum(phase.converged for phase in self.phases[self.own])

    def split(self, at: int) -> Record:
        """Take out what is over: the frames before `at`, whose deadlines have passed.

        They come back as a part of its own; this one goes on from `at`.
        """
        begins, over = self.frames.begins(at), self.frames.begins(at - 1) + self.deadline_ns
        starts = [phase.start_ns for phase in self.phases]
        oldest = max(0, bisect_right(starts, begins) - 1)
        counted, self.counted = _cut(self.counted, at, lambda frame: frame)
        holds, self.holds = _cut(self.holds, at, lambda hold: hold[-1])
        answers, later = _cut(self.answers.items(), at, lambda item: item[0])
        received, self.received = _cut(self.received, at, lambda answer: answer.frame)
        part = Record(
            self.topology,
            self.frames,
            self.deadline_ns,
            first=self.first,
            last=at - 1,
            counted=counted,
            holds=holds,
            phases=self.phases[: max(oldest + 1, bisect_left(starts, over))],
            own=slice(self.own.start, oldest + 1),
            answers=dict(answers),
            received=received,
        )
        self.first, self.own = at, slice(1, None)
        self.phases, self.answers = self.phases[oldest:], dict(later)
        return part

    def fill(self, answers: Mapping[int, Answer], received: Iterable[Answer]) -> None:
        """Of these answers, take those to its frames."""
        ours = range(self.first, self.last + 1)
        self.answers = {frame: answers[frame] for frame in sorted(answers) if frame in ours}
        self.received = [answer for answer in received if answer.frame in ours]

    def masks(self) -> Mask:
        """What worked during each frame, from `first` to `last`; bool (frames, elements).

        A node that was down, or not yet converged again, at any time from a frame's capture to its
        deadline counts as failed in it.
        """
        return np.stack([mask_without(self.topology, sorted(down)) for down, _ in self._during()])

    def converged(self) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
        """Whether nothing changed during each frame, from `first` to `last`; bool (frames,)."""
        return np.array([converged for _, converged in self._during()], bool)

    def trace(self) -> FailureTrace:
        """The failures of every frame, as `simulate --trace` replays them."""
        masks = self.masks() if self.last >= self.first else np.ones((0, 0), bool)
        return FailureTrace.of(self.topology, masks, first=self.first)

    def _during(self) -> list[tuple[frozenset[str], bool]]:
        ends = [phase.start_ns for phase in self.phases[1:]] + [2**63]
        found = []
        oldest = 0
        for frame in range(self.first, self.last + 1):
            begins = self.frames.begins(frame)
            while ends[oldest] <= begins:
                oldest += 1
            newest = oldest + 1
            while newest < len(ends) and self.phases[newest].start_ns < begins + self.deadline_ns:
                newest += 1
            over = self.phases[oldest:newest]
            down = frozenset[str]().union(*(phase.down for phase in over))
            found.append((down, len(over) == 1 and over[0].converged))
        return found


def _cut(items: Iterable[T], at: int, frame_of: Callable[[T], int]) -> tuple[list[T], list[T]]:
    """Those of frames before `at`, and the others, each in their order."""
    before: list[T] = []
    others: list[T] = []
    for item in items:
        (before if frame_of(item) < at else others).append(item)
    return before, others


class Monitor(Protocol):
    """Shows a person how a run goes."""

    def show(self, run: LiveRun, now: int) -> None:
        """Called about every second; `now` in monotonic nanoseconds."""

    def say(self, text: str) -> None:
        """Called with what has just been done."""

    def close(self) -> None:
        """Called when the run is over."""


Plan = Sequence[Injection] | RandomSchedule | FixedSchedule


class RunPlan(NamedTuple):
    """What is done to a deployment, and for how long.

    `events`: faults by the time, or configurations to hold. `frames`: how many shall count; None
    for as many as there are until the run is stopped.
    """

    events: Plan = ()
    frames: int | None = None


class Parts(NamedTuple):
    """Who takes a run's record piece by piece, so that a run without an end does not grow.

    `take` is given what is over for longer than `keep_s`, in seconds: after that no answer to a
    frame is expected any more.
    """

    take: Callable[[Record], None]
    keep_s: float = 60.0


class LiveRun:
    """Runs a deployment that has been started, and injects faults into it.

    Args:
        deployment: whose processes have been started.
        transport: an observer's, which follows `ANSWERS` and `METRICS`.
        clock: the frame clock of the deployment.
        plan: what is done to it, and for how long.
        monitor: shows it to a person.
        observer: one that has taken the transport's events before.
        now: monotonic nanoseconds.
        parts: who takes every part of the record but the last, which `run` returns; without it
            there is but one.
    """

    def __init__(
        self,
        deployment: LocalDeployment,
        transport: Transport,
        clock: FrameClock,
        plan: RunPlan = RunPlan(),
        *,
        monitor: Monitor | None = None,
        observer: Observer | None = None,
        now: Callable[[], int] = time.monotonic_ns,
        parts: Parts | None = None,
    ) -> None:
        self.deployment = deployment
        self.topology = topology = deployment.topology
        deadline_ns = deployment.settings.deadline_ns
        self.observer = observer or Observer(topology)
        self.record = Record(topology, clock, deadline_ns, first=0)
        self._transport, self._clock, self._deadline = transport, clock, deadline_ns
        (self._plan, self._wanted), self._monitor, self._now = plan, monitor, now
        self._down: set[str] = set()
        self._stopped = False
        self._looked = self._shown = 0
        self._parts = parts
        self._keep = 0 if parts is None else int(parts.keep_s * SECOND)
        self._begun = 0
        self._down_ns: Counter[str] = Counter()

    def stop(self) -> None:
        """End the run soon, as if it had come to its last frame; safe in a signal handler."""
        self._stopped = True
        self._transport.wake()

    def run(self) -> Record:
        """Run; raises `InputError` where the deployment does not come up, or does not converge."""
        self._change(set())
        self._notice_convergence()
        self._converge()
        self.observer.restart_counts()
        self.record.first = self._next_frame()
        self._begun = self._clock.begins(self.record.first)
        try:
            if isinstance(self._plan, RandomSchedule | FixedSchedule):
                self._hold(self._plan)
            else:
                self._run_schedule(self._plan)
        finally:
            self._finish()
        return self.record

    # -- plans -------------------------------------------------------------------------------------

    def _run_schedule(self, injections: Sequence[Injection]) -> None:
        first, start = self.record.first, self._begun
        last = None if self._wanted is None else first + self._wanted - 1
        due = sorted(injections, key=lambda injection: injection.at_s)
        while not self._stopped:
            now = self._now()
            while due and start + due[0].at_s * SECOND <= now:
                self._inject(due.pop(0))
            if last is not None and now >= self._clock.begins(last) + self._deadline:
                break
            until = min([*(start + int(i.at_s * SECOND) for i in due[:1]), now + SECOND])
            if last is not None:
                until = min(until, self._clock.begins(last) + self._deadline)
            self._watch(until)
            if self._parts is not None:
                at = self._clock.frame(self._now() - self._keep)
                self.record.counted = list(range(self.record.first, at))
                self._split(at)
        ended = self._now() - self._deadline
        last = self._clock.frame(ended) if last is None or self._stopped else last
        self.record.last = max(self.record.first - 1, last)
        self.record.counted = list(range(self.record.first, self.record.last + 1))

    def _hold(self, plan: RandomSchedule | FixedSchedule) -> None:
        frame_ns = self._clock.begins(1) - self._clock.begins(0)
        length = max(1, round(plan.hold_s * SECOND / frame_ns))
        left = self._wanted
        for configuration in plan.configurations(self.topology):
            self._make(configuration)
            self._converge()
            first = self._next_frame()
            hold = list(range(first, first + (length if left is None else min(length, left))))
            end = self._clock.begins(hold[-1]) + self._deadline
            while not self._stopped and self._now() < end:
                self._watch(min(end, self._now() + SECOND))
            if self._stopped:
                return
            self.record.holds.append(hold)
            self.record.last = hold[-1]
            self.record.counted += hold
            left = None if left is None else left - len(hold)
            if left == 0:
                return
            over = self._clock.frame(self._now() - self._keep)
            ends = [held[-1] + 1 for held in self.record.holds if held[-1] < over]
            self._split(max(ends, default=0))

    def _split(self, at: int) -> None:
        """Give what is before a frame away, if it is enough to be worth it."""
        record = self.record
        if self._parts is None or at < record.first + PART:
            return
        answers, received = self.observer.drain(at, self._next_frame())
        phases = record.phases
        part = record.split(at)
        self._down_ns += time_down(
            phases[: len(phases) - len(record.phases)], self._begun, record.phases[0].start_ns
        )
        part.fill(answers, received)
        self._parts.take(part)

    # -- faults ------------------------------------------------------------------------------------

    def _inject(self, injection: Injection) -> None:
        node, down = injection.node, set(self._down)
        if injection.fault == "restore":
            down.discard(node)
        else:
            down.add(node)
        # Noted before a process is touched: from now on nothing is certain.
        self._change(down)
        act = {
            "fail": self.deployment.kill,
            "hang": self.deployment.hang,
            "restore": self.deployment.restore,
        }
        act[injection.fault](node)
        self._say(f"{injection.fault} {node}")

    def _make(self, configuration: Configuration) -> None:
        """Bring a configuration about; nodes that are down already stay as they are."""
        before, down = self._down, set(configuration.down)
        self._change(down)
        for node in sorted(down - before):
            (self.deployment.hang if node in configuration.hung else self.deployment.kill)(node)
        for node in sorted(before - down):
            self.deployment.restore(node)
        self._say(f"down: {', '.join(sorted(down)) or 'nothing'}")

    def _change(self, down: set[str]) -> None:
        """From now on the deployment is on its way to this."""
        self._down = down
        phases = self.record.phases
        both = frozenset(down) | (phases[-1].down if phases else frozenset())
        phases.append(Phase(self._now(), both, converged=False))

    def _converge(self) -> None:
        """Wait until what was changed is so."""
        end = self._now() + int(CONVERGE_S * SECOND)
        while not self._stopped and not self.record.phases[-1].converged:
            if self._now() >= end:
                reason = self.observer.not_converged(self._down)
                raise InputError(
                    f"the deployment did not converge within {CONVERGE_S:.0f} s: {reason}; its "
                    f"nodes' logs are in {self.deployment.folder}"
                )
            self._watch(self._now() + SECOND // 4)

    # -- watching ----------------------------------------------------------------------------------

    def _next_frame(self) -> int:
        return self._clock.frame(self._now()) + 1

    def _watch(self, until: int) -> None:
        """Take what comes until then, or until something is to be decided."""
        converged = self.record.phases[-1].converged
        while not self._stopped and converged == self.record.phases[-1].converged:
            now = self._now()
            if now >= self._looked + LOOK_S * SECOND:
                self._looked = now
                self._look()
            if self._monitor is not None and now >= self._shown + SECOND:
                self._shown = now
                self._monitor.show(self, now)
            if now >= until:
                return
            if self._receive(min(until - now, int(LOOK_S * SECOND))):
                self._notice_convergence()

    def _receive(self, wait: int) -> bool:
        """Take one event, if one comes in time, and the answers that are due."""
        now = self._now()
        selector = self.observer.selector
        due = selector.next_wakeup() if selector is not None else None
        if due is not None:
            wait = max(0, min(wait, due - now))
        event = self._transport.receive(wait / SECOND)
        if event is not None:
            self.observer.take(event, self._now())
        self.observer.choose(self._now())
        return event is not None

    def _notice_convergence(self) -> None:
        phases = self.record.phases
        if not phases[-1].converged and self.observer.not_converged(self._down) is None:
            phases.append(Phase(self._now(), frozenset(self._down), converged=True))

    def _look(self) -> None:
        states = self.deployment.states
        crashed = {node for node, state in states.items() if state == "crashed"} - self._down
        if not crashed:
            return
        node = min(crashed)
        if not self.record.first:
            lines = self.deployment.log(node).read_text(errors="replace").strip().splitlines()
            raise InputError(f"node {node!r} did not start: {lines[-1] if lines else 'no reason'}")
        self._say(f"{', '.join(sorted(crashed))} CRASHED")
        self._change(self._down | crashed)

    def _finish(self) -> None:
        """Take the last answers on their way, and the first bytes of a run of a moment."""
        record = self.record
        ended = self._now()
        while (
            record.last not in self.observer.answers and self._now() < ended + GRACE_S * SECOND
        ) or (self._unreported() and self._now() < ended + REPORT_S * SECOND):
            self._receive(SECOND // 20)
        record.fill(self.observer.answers, self.observer.received.values())
        record.duplicates = self.observer.duplicates
        record.crashes = list(self.deployment.crashes)
        self._sum_bytes(ended)

    def _unreported(self) -> bool:
        """Whether a node that is up is yet to tell what it sent in this run."""
        reported = {node for node, sums in self.observer.sums.items() if sums.frames}
        return not self._stopped and not reported | self._down >= set(self.topology.order)

    def _sum_bytes(self, end: int) -> None:
        """Bytes an inference, each node weighted by how long it was not down, until `end`."""
        self._down_ns += time_down(self.record.phases, self._begun, end)
        for node, sums in self.observer.sums.items():
            if not sums.frames:
                continue
            share = max(0.0, 1 - self._down_ns[node] / max(1, end - self._begun))
            self.record.payload_bytes += share * sums.payload_bytes / sums.frames
            self.record.header_bytes += share * sums.header_bytes / sums.frames

    def _say(self, text: str) -> None:
        if self._monitor is not None:
            self._monitor.say(text)


def time_down(phases: Sequence[Phase], begun: int, end: int) -> Counter[str]:
    """Nanoseconds for which each node was down since `begun`; the last phase is over at `end`.

    Of no phases, nothing: a part of a run in which nothing changed gives none away.
    """
    down: Counter[str] = Counter()
    ends = [*(phase.start_ns for phase in phases[1:]), end]
    for phase, until in zip(phases, ends, strict=False):
        for node in phase.down:
            down[node] += max(0, until - max(begun, phase.start_ns))
    return down


def check_survival(topology: Topology, survival: Survival) -> None:
    """Only nodes can be made to fail; `InputError` where a sensor or a link is to."""
    chances = FailureModel.of(topology, survival).element_marginals
    nodes = {topology.index[node] for node in topology.order}
    others = [
        name
        for i, (name, chance) in enumerate(zip(topology.elements, chances, strict=True))
        if chance < 1 and i not in nodes
    ]
    if others:
        raise InputError(
            f"--survival: only nodes can be made to fail here, and {', '.join(others)} "
            "may, too, which are no processes that can be killed; give these the survival 1 in a "
            ".json file that --survival names, or draw their failures with `ddnn-edge simulate`"
        )
