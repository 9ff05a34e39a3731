"""What a live run proves: its answers replayed through the artifacts, and set beside the theory."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import numpy as np
from numpy.typing import NDArray

from ..failures import enumerate_configurations, output_states
from ..reliability import state_keys
from ..topology import Survival
from .injections import Injection
from .replay import Replay
from .run import Drawing, Listing, Record

__all__ = ["Verdict", "judge"]

#: Of the normal distribution, two-sided 99.9%.
Z = 3.2905


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """The object that `up --frames` prints; docs/runtime.md says what each number is."""

    frames: int
    answered: int
    answerable: int
    unanswered: int
    measured_accuracy: float | None
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


def judge(
    record: Record,
    replay: Replay,
    class_names: tuple[str, ...],
    labels: NDArray[np.int64] | None,
    plan: Sequence[Injection] | Drawing | Listing,
) -> Verdict:
    """Replay a run's answers and compare its accuracy with what was to be expected."""
    counted = record.counted
    places = np.array(counted, int) - record.first
    states = _states(record)[places] if counted else np.zeros(0, int)
    network = {f: a for f, a in record.answers.items() if not a.fallback}
    reached = {frame for frame, state in zip(counted, states, strict=True) if state}
    agreed, mixed = replay.count(record.answers.values())
    in_time = {f for f, a in network.items() if a.age_ms * 1e6 <= record.deadline_ns}
    ages = [network[f].age_ms for f in counted if f in network]
    measured, expected, interval = None, None, None
    if labels is not None and counted:
        truth = labels[np.array(counted) % replay.samples]
        fallback = replay.probabilities(0, 0).argmax()
        answered = [
            class_names.index(record.answers[f].answer) if f in record.answers else fallback
            for f in counted
        ]
        measured = float((np.array(answered) == truth).mean())
        if isinstance(plan, Drawing):
            expected, interval = _drawn(record, replay, labels, plan.survival)
        else:
            expected, interval = _planned(record, replay, labels, states)
    return Verdict(
        frames=len(counted),
        answered=sum(frame in network for frame in counted),
        answerable=len(reached),
        unanswered=len(reached - network.keys()),
        measured_accuracy=measured,
        expected_accuracy=expected,
        interval=interval,
        agreement=agreed / (agreed + mixed) if record.answers else 1.0,
        mixed_frames=mixed,
        duplicates=record.duplicates,
        deadline_misses=len(reached - in_time),
        latency_ms={f"p{q}": float(np.percentile(ages, q)) if ages else None for q in (50, 99)},
        payload_bytes=round(record.payload_bytes),
        header_bytes=round(record.header_bytes),
        transition_frames=record.last - record.first + 1 - len(counted)
        if record.holds
        else int((~record.settled()).sum()),
        configurations=len(record.holds) or sum(phase.settled for phase in record.phases),
        crashes=tuple(record.crashes),
    )


def _states(record: Record) -> NDArray[np.object_]:
    """The delivered-links state to be expected in each frame from the first to the last."""
    masks = record.masks()
    keys, which = state_keys(output_states(record.topology, masks))
    return np.array([keys[i] for i in which], object)


def _planned(
    record: Record, replay: Replay, labels: NDArray[np.int64], states: NDArray[np.object_]
) -> tuple[float, tuple[float, float]]:
    """The artifacts' accuracy on the same frames under the failures in force.

    The interval is what it can be if of the frames during which something changed, all were wrong,
    or all right.
    """
    right = {state: replay.right(labels, state) for state in set(states)}
    samples = np.array(record.counted) % replay.samples
    found = np.array([right[k][i] for k, i in zip(states, samples, strict=True)])
    settled = record.settled()[np.array(record.counted) - record.first]
    least = float((found & settled).mean())
    return float(found.mean()), (least, least + float((~settled).mean()))


def _drawn(
    record: Record, replay: Replay, labels: NDArray[np.int64], survival: Survival
) -> tuple[float, tuple[float, float]]:
    """Expected accuracy over all configurations on the frames shown, and its 99.9% interval.

    Exact for these frames: in each hold the accuracy is a random variable of the configuration
    drawn, whose mean and variance over all configurations are known; holds are independent.
    """
    topology = record.topology
    configurations = enumerate_configurations(topology, {"drawn": survival})
    weights = configurations.probabilities("drawn")
    keys, which = state_keys(output_states(topology, configurations.masks))
    right = np.stack([replay.right(labels, key) for key in keys])
    mean = variance = 0.0
    for hold in record.holds:
        accuracy = right[:, np.array(hold) % replay.samples].mean(axis=1)[which]
        expected = float(weights @ accuracy)
        mean += len(hold) * expected
        variance += len(hold) ** 2 * float(weights @ (accuracy - expected) ** 2)
    frames = sum(map(len, record.holds))
    mean, spread = mean / frames, Z * variance**0.5 / frames
    return mean, (max(0.0, mean - spread), min(1.0, mean + spread))
