"""Scores of answers against targets: by sample, and by part of the data.

A score is a mean over samples, so that an expected score over failures is a mean over
configurations.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .arrays import Array, Vector
from .errors import InputError

#: A label is told from this probability on.
TOLD_FROM = 0.5

#: What each sample scores, float (samples,), from answers and targets, both samples first.
SampleScore = Callable[[Array, Array], Array]


@dataclass(frozen=True)
class Score:
    """How well answers do, as a mean over samples.

    `name`: such as `accuracy`. `higher_is_better`: which way is better. `unit`: `%` for fractions
    of 1; else what the numbers are measured in, or nothing. `of`: what each sample scores, where
    the score is a user's own; None where it is a task's.
    """

    name: str
    higher_is_better: bool = True
    unit: str = "%"
    of: SampleScore | None = None

    def key(self, which: str) -> str:
        """The name of a figure in JSON: `expected_accuracy`; of other scores `expected_score`."""
        return f"{which}_accuracy" if self.name == "accuracy" else f"{which}_score"

    @property
    def change_key(self) -> str:
        """The name of a difference in JSON: `accuracy_change`; of other scores `score_change`."""
        return "accuracy_change" if self.name == "accuracy" else "score_change"

    @property
    def sign(self) -> float:
        """1.0 where higher is better, else -1.0: times it, the higher score is the better one."""
        return 1.0 if self.higher_is_better else -1.0

    def number(self, value: float, digits: int = 2) -> str:
        """A score without its unit, fractions in percent."""
        return f"{100 * value:.{digits}f}" if self.unit == "%" else f"{value:.4g}"

    def text(self, value: float) -> str:
        """A score as it is printed: `97.25 %`, or `0.4123 objects`."""
        return f"{self.number(value)} {self.unit}".rstrip()

    def change(self, value: float) -> str:
        """A difference between two scores: `-0.14 points`, or `+0.02 objects`."""
        if self.unit == "%":
            return f"{100 * value:+.2f} points"
        return f"{value:+.4g} {self.unit}".rstrip()


ACCURACY = Score("accuracy")


class Scorer(ABC):
    """A score against the targets of some samples.

    A part of the data is what a recall, or a mean error, is told of by itself: a class, the samples
    with or without a label, a value. `parts`: their names. `counts`: int64 (parts,), the targets in
    each. `perfect`: what a sample scores at best. `columns`: how many points a sample has.
    """

    parts: tuple[str, ...]
    counts: NDArray[np.int64]
    perfect: float
    columns: int = 1

    @abstractmethod
    def points(self, answers: Array) -> Array:
        """What each answer, (samples, width), scores: (samples,), or (samples, columns)."""

    @abstractmethod
    def by_part(self, points: Array) -> Vector:
        """Mean points of each part, float64 (parts,); 0 for a part without a target."""

    @abstractmethod
    def best_constant(self, rows: NDArray[np.bool_]) -> float:
        """Sum of the scores in these samples of the constant answer that is best there."""

    def of_constant(self, answer: Vector) -> Array:
        """What one answer, (width,), scores in each sample, as `points`.

        Of classes it may be a distribution over answers; the points are then an expectation.
        """
        return self.points(answer[None])

    def per_sample(self, points: Array) -> NDArray[np.float64]:
        """The score of each sample, float64 (samples,); the score of all is their mean."""
        return np.asarray(points if points.ndim == 1 else points.mean(axis=1), np.float64)

    def total(self, parts: Array) -> Any:
        """The score, from the mean points of the parts, (..., parts)."""
        return parts @ self.counts / self.counts.sum()


class ClassScorer(Scorer):
    """Whether the class is right; by class, its recall."""

    perfect = 1.0

    def __init__(self, class_names: tuple[str, ...], labels: NDArray[np.int64]) -> None:
        self._labels = labels
        self.parts = class_names
        self._one_hot = np.eye(len(class_names))[labels]
        self.counts = np.bincount(labels, minlength=len(class_names))
        self._counted = np.maximum(self.counts, 1)

    def points(self, answers: Array) -> Array:
        """Bool (samples,)."""
        return np.asarray(answers.argmax(axis=1) == self._labels)

    def of_constant(self, answer: Vector) -> Array:
        """The probability of the label."""
        return np.asarray(answer[self._labels])

    def by_part(self, points: Array) -> Vector:
        """Recalls."""
        return np.asarray(points @ self._one_hot / self._counted)

    def best_constant(self, rows: NDArray[np.bool_]) -> float:
        """The most frequent class."""
        return float(np.bincount(self._labels[rows], minlength=1).max())


class LabelScorer(Scorer):
    """Which labels are told rightly; by label, of the samples that have it and of those without."""

    perfect = 1.0

    def __init__(self, label_names: tuple[str, ...], labels: NDArray[np.bool_]) -> None:
        self._labels = labels
        self.columns = len(label_names)
        self.parts = (*label_names, *(f"not {name}" for name in label_names))
        self._has = np.concatenate([labels, ~labels], axis=1).astype(np.float64)
        self.counts = self._has.sum(axis=0).astype(np.int64)
        self._counted = np.maximum(self.counts, 1)

    def points(self, answers: Array) -> Array:
        """Bool (samples, labels)."""
        return np.asarray((answers >= TOLD_FROM) == self._labels)

    def by_part(self, points: Array) -> Vector:
        """Recalls of the labels, then of their absence."""
        both = np.concatenate([points, points], axis=1)
        return np.asarray((both * self._has).sum(axis=0) / self._counted)

    def best_constant(self, rows: NDArray[np.bool_]) -> float:
        """Of each label, what most samples have."""
        has = self._labels[rows].sum(axis=0)
        return float(np.maximum(has, rows.sum() - has).sum() / self.columns)


class _OnePart(Scorer):
    """One number a sample, of which no part is told by itself."""

    def __init__(self, name: str, samples: int) -> None:
        self.parts = (name,)
        self.counts = np.array([samples])

    def by_part(self, points: Array) -> Vector:
        return np.array([points.mean()])

    def total(self, parts: Array) -> Any:
        return np.asarray(parts)[..., 0]


class MatchScorer(_OnePart):
    """Whether all labels are told rightly."""

    perfect = 1.0

    def __init__(self, name: str, labels: NDArray[np.bool_]) -> None:
        super().__init__(name, len(labels))
        self._labels = labels

    def points(self, answers: Array) -> Array:
        """Bool (samples,)."""
        return np.asarray(((answers >= TOLD_FROM) == self._labels).all(axis=1))

    def best_constant(self, rows: NDArray[np.bool_]) -> float:
        """The most frequent set of labels."""
        if not rows.any():
            return 0.0
        return float(np.unique(self._labels[rows], axis=0, return_counts=True)[1].max())


class ValueScorer(Scorer):
    """How far each value is off: absolutely, or squared."""

    perfect = 0.0

    def __init__(
        self, value_names: tuple[str, ...], targets: NDArray[np.float64], *, squared: bool
    ) -> None:
        self._targets, self._squared = targets, squared
        self.columns = len(value_names)
        self.parts = value_names
        self.counts = np.full(len(value_names), len(targets))

    def points(self, answers: Array) -> Array:
        """Float64 (samples, values)."""
        return self._error(answers - self._targets)

    def by_part(self, points: Array) -> Vector:
        """Mean error of each value."""
        return np.asarray(points.mean(axis=0), np.float64)

    def best_constant(self, rows: NDArray[np.bool_]) -> float:
        """The median, or of squares the mean."""
        own = self._targets[rows]
        if not len(own):
            return 0.0
        best = own.mean(axis=0) if self._squared else np.median(own, axis=0)
        return float(self._error(own - best).mean(axis=1).sum())

    def _error(self, off: Array) -> Array:
        return np.asarray(off**2 if self._squared else np.abs(off))


class OwnScorer(_OnePart):
    """A user's own score, of which it is not known what is perfect."""

    perfect = float("nan")

    def __init__(self, name: str, targets: Array, of: SampleScore) -> None:
        super().__init__(name, len(targets))
        self._targets, self._of = targets, of

    def points(self, answers: Array) -> Array:
        """Float64 (samples,); `InputError` where the user's function gives anything else."""
        found = np.asarray(self._of(answers, self._targets), np.float64)
        if found.shape != (len(self._targets),) or not np.isfinite(found).all():
            nan = "" if np.isfinite(found).all() else ", with NaN or infinity"
            raise InputError(
                f"expected of the score {self.parts[0]!r} a finite number for each of "
                f"{len(self._targets)} samples, whose mean is taken; got {found.shape}{nan}"
            )
        return found

    def of_constant(self, answer: Vector) -> Array:
        """As of any answer."""
        return self.points(np.tile(answer, (len(self._targets), 1)))

    def best_constant(self, rows: NDArray[np.bool_]) -> float:
        """There is no telling."""
        return float("nan")


class OutputsScorer(Scorer):
    """The scores of several outputs, one after the other; the first is the score of all.

    `of`: the scorer of each, by name; `answers`: where an answer holds its numbers.
    """

    def __init__(self, of: Mapping[str, Scorer], answers: Mapping[str, slice]) -> None:
        self.of, self._answers = dict(of), answers
        self.parts = tuple(f"{name}/{part}" for name, x in of.items() for part in x.parts)
        self.counts = np.concatenate([x.counts for x in of.values()])
        self.columns = sum(x.columns for x in of.values())
        self._points = slices({name: x.columns for name, x in of.items()})
        self._main = next(iter(self.of.values()))
        self.perfect = self._main.perfect
        #: Where the parts of each output are.
        self.part_of = slices({name: len(x.parts) for name, x in of.items()})

    def points(self, answers: Array) -> Array:
        """Float64 (samples, columns)."""
        return self._joined(lambda name: self.of[name].points(answers[:, self._answers[name]]))

    def of_constant(self, answer: Vector) -> Array:
        """Of each output by its own numbers."""
        return self._joined(lambda name: self.of[name].of_constant(answer[self._answers[name]]))

    def by_part(self, points: Array) -> Vector:
        """Those of each output."""
        return np.concatenate(
            [x.by_part(self._own(points, name, x)) for name, x in self.of.items()]
        )

    def per_sample(self, points: Array) -> NDArray[np.float64]:
        """The first output's."""
        name = next(iter(self.of))
        return self._main.per_sample(self._own(points, name, self._main))

    def total(self, parts: Array) -> Any:
        """The first output's."""
        return self._main.total(parts[..., : len(self._main.parts)])

    def best_constant(self, rows: NDArray[np.bool_]) -> float:
        """The first output's."""
        return self._main.best_constant(rows)

    def _own(self, points: Array, name: str, scorer: Scorer) -> Array:
        columns = points[:, self._points[name]]
        return columns[:, 0] if isinstance(scorer, (ClassScorer, _OnePart)) else columns

    def _joined(self, points_of: Callable[[str], Array]) -> Array:
        found = [np.asarray(points_of(name), np.float64) for name in self.of]
        return np.concatenate([x[:, None] if x.ndim == 1 else x for x in found], axis=1)


def slices(widths: Mapping[str, int]) -> dict[str, slice]:
    """Where each of some neighbours is, by name."""
    ends = np.cumsum([0, *widths.values()]).tolist()
    return {name: slice(ends[i], ends[i + 1]) for i, name in enumerate(widths)}
