"""What a live run proves: its answers replayed through the artifacts, and set beside the theory."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from ..answers.records import Answer, values_of
from ..arrays import Array
from ..failures.configurations import enumerate_configurations
from ..scoring import Score, Scorer
from ..task import Classification
from ..topology import Survival, Topology
from .replay import Replay
from .run import FixedSchedule, Plan, RandomSchedule, Record

#: Of the normal distribution, two-sided 99.9%.
Z = 3.2905


class RunReport(msgspec.Struct, frozen=True, kw_only=True):
    """What a run came to; docs/reference/run-report.md explains each number.

    `score`: which the three figures and the interval are of, None where no targets are known.
    """

    frames: int
    answered: int
    answerable: int
    unanswered: int
    score: str
    measured_score: float | None
    smoothed_score: float | None
    expected_score: float | None
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

    def to_dict(self) -> dict[str, Any]:
        """The object that `up --frames` prints; figures of an accuracy are called so."""
        plain: dict[str, Any] = msgspec.to_builtins(self)
        key = Score(self.score).key
        for which in ("measured", "smoothed", "expected"):
            plain[key(which)] = plain.pop(f"{which}_score")
        return plain


def judge(record: Record, replay: Replay, targets: Array | None, plan: Plan) -> RunReport:
    """Replay a run's answers and compare its score with what was to be expected."""
    judging = RunEvaluator(replay, targets, plan)
    judging.take(record)
    return judging.verdict()


class RunEvaluator:
    """Judges a run part by part, and keeps sums alone.

    Args:
        replay: of the bundle, on what the sensors saw.
        targets: of every sample, if they are known, samples first.
        plan: of the run.
    """

    def __init__(
        self,
        replay: Replay,
        targets: Array | None,
        plan: Plan,
    ) -> None:
        self._replay, self._task, self._plan = replay, replay.task, plan
        self._targets = None if targets is None else replay.task.checked(targets)
        self._scorer = None if targets is None else replay.task.scorer(targets)
        #: Whole numbers, by the names that `RunReport` has for them.
        self._counts: Counter[str] = Counter()
        self._bytes = [0.0, 0.0]
        self._crashes: list[str] = []
        #: Ages of the network's answers in hundredths of a millisecond, and how many had each.
        self._ages: Counter[int] = Counter()
        #: Frames answered by each node.
        self._exits: Counter[str] = Counter()
        self._expected = self._least = self._most = self._variance = 0.0
        self._measured = self._smoothed = 0.0
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
        if self._scorer is not None:
            self._measure(record, self._scorer, counted_states)

    def verdict(self) -> RunReport:
        """What all parts came to."""
        counts, frames = self._counts, self._counts["frames"]
        proved = counts["agreed"] + counts["mixed_frames"]
        measured, expected, interval = None, None, None
        if self._scorer is not None and frames:
            measured, expected = self._measured / frames, self._expected / frames
            if isinstance(self._plan, RandomSchedule):
                spread = Z * self._variance**0.5 / frames
                most = 1.0 if self._task.score.unit == "%" else math.inf
                interval = (max(0.0, expected - spread), min(most, expected + spread))
            else:
                interval = (self._least / frames, self._most / frames)
        smoothed = None
        if measured is not None and self._smooths:
            smoothed = self._smoothed / frames
        return RunReport(
            frames=frames,
            answered=counts["answered"],
            answerable=counts["answerable"],
            unanswered=counts["unanswered"],
            score=self._task.score.name,
            measured_score=measured,
            smoothed_score=smoothed,
            expected_score=expected,
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

    def _measure(self, record: Record, scorer: Scorer, during: Sequence[tuple[int, ...]]) -> None:
        """Add what the answers scored, and what was to be expected."""
        replay, counted, answers = self._replay, record.counted, record.answers
        samples = np.array(counted) % replay.samples
        nothing = self._task.fallback()
        given = [values_of(self._task, answers[f]) if f in answers else nothing for f in counted]
        measured = self._score_of(given, samples)
        self._measured += float(measured.sum())
        self._add_smoothed([answers.get(frame) for frame in counted], samples)
        if isinstance(self._plan, RandomSchedule):
            if self._every is None:
                self._every = _EveryConfiguration(
                    record.topology, self._plan.survival, replay, scorer
                )
            for hold in record.holds:
                mean, variance = self._every.score(np.array(hold) % replay.samples)
                self._expected += len(hold) * mean
                self._variance += len(hold) ** 2 * variance
            return
        # The artifacts on the same frames under the failures in force. The interval is what that
        # can be if of the frames during which something changed, all were wrong, or all right;
        # where a score has no such ends, they count as they were measured.
        scores = {joint_state: replay.scores(scorer, joint_state) for joint_state in set(during)}
        found = np.array([scores[k][i] for k, i in zip(during, samples, strict=True)])
        converged = record.converged()[np.array(counted) - record.first]
        if self._task.score.unit != "%":
            found = np.where(converged, found, measured)
        self._expected += float(found.sum())
        least, most = np.where(converged, found, 0.0), np.where(converged, found, 1.0)
        if self._task.score.unit != "%":
            # What a number may be off in a live answer, its error may be off as well.
            slack = replay.tolerance * np.maximum(1.0, np.abs(np.stack(given)).max(axis=1))
            least, most = found - slack, found + slack
        self._least += float(least.sum())
        self._most += float(most.sum())

    def _score_of(self, values: Sequence[Array], samples: NDArray[np.intp]) -> NDArray[np.float64]:
        """What answers score, each on a sample."""
        assert self._targets is not None  # by who asks
        scorer = self._task.scorer(self._targets[samples])
        return scorer.per_sample(scorer.points(np.stack(values)))

    def _add_smoothed(self, answers: Sequence[Answer | None], samples: NDArray[np.intp]) -> None:
        smoothed = [None if x is None else x.smoothed for x in answers]
        if not isinstance(self._task, Classification):
            return  # no other answers are smoothed
        self._smooths |= any(smoothed)
        one_hot = np.eye(self._task.width)
        names, fallback = self._task.class_names, self._task.fallback()
        values = [one_hot[names.index(s.answer)] if s else fallback for s in smoothed]
        self._smoothed += float(self._score_of(values, samples).sum())

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
    """All configurations of a survivability, how probable each is, and what answers score in it."""

    def __init__(
        self, topology: Topology, survival: Survival, replay: Replay, scorer: Scorer
    ) -> None:
        configurations = enumerate_configurations(topology, {"drawn": survival})
        self._weights = configurations.probabilities("drawn")
        found, self._which = replay.answering.joint_states(configurations.masks)
        self._scores = np.stack([replay.scores(scorer, joint_state) for joint_state in found])

    def score(self, samples: NDArray[np.int64]) -> tuple[float, float]:
        """Mean and variance, over all configurations, of the mean score of these samples.

        Exact for the frames of a hold: it is a random variable of the one configuration
        that was drawn, and holds are independent.
        """
        scores = self._scores[:, samples].mean(axis=1)[self._which]
        mean = float(self._weights @ scores)
        return mean, float(self._weights @ (scores - mean) ** 2)


def _joint_states(record: Record, replay: Replay) -> list[tuple[int, ...]]:
    """The joint_state to be expected in each frame from the first to the last."""
    found, which = replay.answering.joint_states(record.masks())
    return [found[i] for i in which]
