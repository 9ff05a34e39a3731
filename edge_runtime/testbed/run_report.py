"""What a live run proves: its answers replayed through the artifacts, and set beside the theory."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

import msgspec
import numpy as np
from numpy.typing import NDArray

from ..answers.records import Answer
from ..failures.configurations import enumerate_configurations
from ..topology import Survival, Topology
from .replay import Replay
from .run import FixedSchedule, Plan, RandomSchedule, Record

#: Of the normal distribution, two-sided 99.9%.
Z = 3.2905


class RunReport(msgspec.Struct, frozen=True, kw_only=True):
    """The object that `up --frames` prints; docs/reference/run-report.md explains each number."""

    frames: int
    answered: int
    answerable: int
    unanswered: int
    measured_accuracy: float | None
    smoothed_accuracy: float | None
    expected_accuracy: float | None
    interval: tuple[float, float] | None
    agreement: float
    mixed_frames: int
    duplicates: int
    deadline_misses: int
    latency_ms: dict[str, float | None]
    payload_bytes: int
    header_bytes: int
    transition_frames: int
    configurations: int
    crashes: tuple[str, ...]
    exits: dict[str, float]


def judge(
    record: Record,
    replay: Replay,
    class_names: tuple[str, ...],
    labels: NDArray[np.int64] | None,
    plan: Plan,
) -> RunReport:
    """Replay a run's answers and compare its accuracy with what was to be expected."""
    judging = RunEvaluator(replay, class_names, labels, plan)
    judging.take(record)
    return judging.verdict()


class RunEvaluator:
    """Judges a run part by part, and keeps sums alone.

    Args:
        replay: of the bundle, on what the sensors saw.
        class_names: of the model.
        labels: true class of every sample, if they are known; int64 (samples,).
        plan: of the run.
    """

    def __init__(
        self,
        replay: Replay,
        class_names: tuple[str, ...],
        labels: NDArray[np.int64] | None,
        plan: Plan,
    ) -> None:
        self._replay, self._names, self._labels, self._plan = replay, class_names, labels, plan
        #: Whole numbers, by the names that `RunReport` has for them.
        self._counts: Counter[str] = Counter()
        self._bytes = [0.0, 0.0]
        self._crashes: list[str] = []
        #: Ages of the network's answers in hundredths of a millisecond, and how many had each.
        self._ages: Counter[int] = Counter()
        #: Frames answered by each node.
        self._exits: Counter[str] = Counter()
        self._expected = self._least = self._most = self._variance = 0.0
        self._every: _EveryConfiguration | None = None
        self._smooths = False

    def take(self, record: Record) -> None:
        """Judge a record, or the next part of one."""
        counted, counts = record.counted, self._counts
        network = {f: a for f, a in record.answers.items() if not a.fallback}
        agreed, mixed = self._replay.count(record.received or record.answers.values())
        held = isinstance(self._plan, RandomSchedule | FixedSchedule)
        counts.update(
            frames=len(counted),
            answered=sum(frame in network for frame in counted),
            agreed=agreed,
            mixed_frames=mixed,
            duplicates=record.duplicates,
            configurations=len(record.holds) if held else record.convergences,
        )
        for answer in (network[frame] for frame in counted if frame in network):
            self._ages[round(100 * answer.age_ms)] += 1
            self._exits[answer.node] += 1
        self._bytes[0] += record.payload_bytes
        self._bytes[1] += record.header_bytes
        self._crashes += record.crashes
        if counted:
            self._judge_frames(record, network, held)

    def _judge_frames(self, record: Record, network: Mapping[int, Answer], held: bool) -> None:
        """Set the network's answers, by frame, beside what could be answered."""
        counted = record.counted
        during = _joint_states(record, self._replay)
        counted_states = [during[frame - record.first] for frame in counted]
        answered = {found: self._replay.answered(found) for found in set(counted_states)}
        reached = {
            frame
            for frame, found in zip(counted, counted_states, strict=True)
            if answered[found][frame % self._replay.samples]
        }
        in_time = {f for f, a in network.items() if a.age_ms * 1e6 <= record.deadline_ns}
        converged = record.converged()
        self._counts.update(
            answerable=len(reached),
            unanswered=len(reached - network.keys()),
            deadline_misses=len(reached - in_time),
            transition_frames=len(converged) - len(counted) if held else int((~converged).sum()),
        )
        if self._labels is not None:
            self._measure(record, self._labels, counted_states)

    def verdict(self) -> RunReport:
        """What all parts came to."""
        counts, frames = self._counts, self._counts["frames"]
        proved = counts["agreed"] + counts["mixed_frames"]
        measured, expected, interval = None, None, None
        if self._labels is not None and frames:
            measured, expected = counts["right"] / frames, self._expected / frames
            if isinstance(self._plan, RandomSchedule):
                spread = Z * self._variance**0.5 / frames
                interval = (max(0.0, expected - spread), min(1.0, expected + spread))
            else:
                interval = (self._least / frames, self._most / frames)
        smoothed = None
        if measured is not None and self._smooths:
            smoothed = counts["smoothed_right"] / frames
        return RunReport(
            frames=frames,
            answered=counts["answered"],
            answerable=counts["answerable"],
            unanswered=counts["unanswered"],
            measured_accuracy=measured,
            smoothed_accuracy=smoothed,
            expected_accuracy=expected,
            interval=interval,
            agreement=counts["agreed"] / proved if proved else 1.0,
            mixed_frames=counts["mixed_frames"],
            duplicates=counts["duplicates"],
            deadline_misses=counts["deadline_misses"],
            latency_ms={f"p{q}": self._age(q) for q in (50, 99)},
            payload_bytes=round(self._bytes[0]),
            header_bytes=round(self._bytes[1]),
            transition_frames=counts["transition_frames"],
            configurations=counts["configurations"],
            crashes=tuple(self._crashes),
            exits={
                node: self._exits[node] / frames
                for node in self._replay.answering.nodes
                if self._exits[node]
            },
        )

    def _measure(
        self, record: Record, labels: NDArray[np.int64], during: Sequence[tuple[int, ...]]
    ) -> None:
        """Add what was answered rightly, and what was to be expected."""
        replay, counted = self._replay, record.counted
        samples = np.array(counted) % replay.samples
        fallback = replay.probabilities(0, 0).argmax()
        answered = [
            self._names.index(record.answers[f].answer) if f in record.answers else fallback
            for f in counted
        ]
        self._counts["right"] += int((np.array(answered) == labels[samples]).sum())
        smoothed = [getattr(record.answers.get(f), "smoothed", None) for f in counted]
        self._smooths |= any(smoothed)
        reported = [self._names.index(s.answer) if s else fallback for s in smoothed]
        self._counts["smoothed_right"] += int((np.array(reported) == labels[samples]).sum())
        if isinstance(self._plan, RandomSchedule):
            if self._every is None:
                self._every = _EveryConfiguration(
                    record.topology, self._plan.survival, replay, labels
                )
            for hold in record.holds:
                mean, variance = self._every.accuracy(np.array(hold) % replay.samples)
                self._expected += len(hold) * mean
                self._variance += len(hold) ** 2 * variance
            return
        # The artifacts on the same frames under the failures in force. The interval is what that
        # can be if of the frames during which something changed, all were wrong, or all right.
        right = {joint_state: replay.right(labels, joint_state) for joint_state in set(during)}
        found = np.array([right[k][i] for k, i in zip(during, samples, strict=True)])
        converged = record.converged()[np.array(counted) - record.first]
        self._expected += float(found.sum())
        self._least += float((found & converged).sum())
        self._most += float((found | ~converged).sum())

    def _age(self, percent: int) -> float | None:
        """A percentile of the ages, in milliseconds, between the two nearest as numpy has it."""
        if not self._ages:
            return None
        ages = np.array(sorted(self._ages))
        ends = np.cumsum([self._ages[age] for age in ages.tolist()])
        place = percent / 100 * (ends[-1] - 1)
        low, high = (ages[np.searchsorted(ends, int(i), "right")] for i in (place, -(-place // 1)))
        return float(low + (high - low) * (place % 1)) / 100


class _EveryConfiguration:
    """All configurations of a survivability, their probabilities, and what each answers rightly."""

    def __init__(
        self, topology: Topology, survival: Survival, replay: Replay, labels: NDArray[np.int64]
    ) -> None:
        configurations = enumerate_configurations(topology, {"drawn": survival})
        self._weights = configurations.probabilities("drawn")
        found, self._which = replay.answering.joint_states(configurations.masks)
        self._right = np.stack([replay.right(labels, joint_state) for joint_state in found])

    def accuracy(self, samples: NDArray[np.int64]) -> tuple[float, float]:
        """Mean and variance, over all configurations, of the accuracy on these samples.

        Exact for the frames of a hold: their accuracy is a random variable of the one configuration
        that was drawn, and holds are independent.
        """
        accuracy = self._right[:, samples].mean(axis=1)[self._which]
        mean = float(self._weights @ accuracy)
        return mean, float(self._weights @ (accuracy - mean) ** 2)


def _joint_states(record: Record, replay: Replay) -> list[tuple[int, ...]]:
    """The joint_state to be expected in each frame from the first to the last."""
    found, which = replay.answering.joint_states(record.masks())
    return [found[i] for i in which]
