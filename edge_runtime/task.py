"""The task of a model: what an answer holds, how it is scored, and what is said of nothing.

One idea for training, evaluation, export, runtime and report. An answer is a row of numbers, one
for each of the task's `names`; a target is what it should have been. A score is a mean over
samples, so that an expected score over failures is a mean over configurations.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal, get_args

import msgspec
import numpy as np
from numpy.typing import ArrayLike, NDArray

from .arrays import Array, Vector
from .errors import InputError
from .scoring import (
    ACCURACY,
    TOLD_FROM,
    ClassScorer,
    LabelScorer,
    MatchScorer,
    OutputsScorer,
    OwnScorer,
    Score,
    Scorer,
    ValueScorer,
    slices,
)

#: Digits of the probabilities in an answer, by which answers are compared.
DIGITS = 6
#: Significant digits of a value in an answer.
VALUE_DIGITS = 7
#: What is answered when nothing reaches a node that answers. `prior`: what training data make
#: likeliest: the most frequent class, the labels that more than half of the samples have, the
#: constant with the best score. Of classes alone: `prior-random`, drawn by their frequencies, and
#: `uniform`. Of values alone: the training `mean` or `median`.
Fallback = Literal["prior", "prior-random", "uniform", "mean", "median"]
FALLBACKS: tuple[Fallback, ...] = get_args(Fallback)


#: What an answer says: a class, the labels, or the values by name.
Told = str | tuple[str, ...] | dict[str, float]


class _Task(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind"):
    """What all tasks have."""

    #: What `names` are.
    called: ClassVar[str] = "values"
    fallbacks: ClassVar[tuple[Fallback, ...]] = ("prior",)

    if TYPE_CHECKING:

        @property
        def names(self) -> tuple[str, ...]:
            """What the numbers of an answer stand for, in order."""

    @property
    def kind(self) -> str:
        """The task's name, such as `classification`."""
        return str(type(self).__struct_config__.tag)

    @property
    def width(self) -> int:
        """How many numbers an answer has."""
        return len(self.names)

    def __str__(self) -> str:
        """The kind, and the names in their order."""
        units = getattr(self, "units", ())
        within = f" in {', '.join(units)}" if any(units) else ""
        return f"{self.kind} ({', '.join(self.names)}{within})"

    def check_fallback(self, fallback: Fallback) -> None:
        """`InputError` for a fallback that the task does not have."""
        if fallback not in self.fallbacks:
            raise InputError(
                f"expected a fallback of a {self.kind}, {' or '.join(self.fallbacks)}; "
                f"got {fallback!r}"
            )


class Classification(_Task, frozen=True, tag="classification"):
    """One of several classes.

    `class_names`: in the order of a section's outputs. `prior`: training frequency of each class,
    from which the fallback is made; all alike if not given.
    """

    class_names: tuple[str, ...]
    prior: tuple[float, ...] = ()

    called: ClassVar[str] = "classes"
    fallbacks: ClassVar[tuple[Fallback, ...]] = ("prior", "prior-random", "uniform")
    score: ClassVar[Score] = ACCURACY
    loss: ClassVar[str] = "sparse_categorical_crossentropy"

    def __post_init__(self) -> None:
        _check_names("class", self.class_names)
        if not self.prior:
            shares = (1.0 / len(self.class_names),) * len(self.class_names)
            msgspec.structs.force_setattr(self, "prior", shares)
        _check_frequencies("prior", self.prior, self.class_names)
        if not abs(sum(self.prior) - 1.0) <= 1e-6:
            raise InputError(f"expected a prior that sums to 1, got {list(self.prior)}")

    @property
    def names(self) -> tuple[str, ...]:
        """The classes."""
        return self.class_names

    def fallback(self, fallback: Fallback = "prior") -> Vector:
        """Probability with which the fallback answers each class, float64 (classes,).

        `prior-random` is kept as a distribution, so that what follows from it is an expectation
        and not a draw.
        """
        self.check_fallback(fallback)
        p = np.asarray(self.prior, np.float64)
        if fallback == "prior":
            return np.asarray(np.eye(len(p))[p.argmax()])
        if fallback == "prior-random":
            return np.asarray(p / p.sum())
        return np.full(len(p), 1.0 / len(p))

    def checked(self, targets: ArrayLike) -> NDArray[np.int64]:
        """LabelScorer, int64 (samples,); `InputError` for what is none."""
        return _checked_classes(_some(targets), self.class_names)

    def scorer(self, targets: ArrayLike) -> Scorer:
        """Of these labels."""
        return ClassScorer(self.class_names, self.checked(targets))

    def learned(self, targets: ArrayLike) -> Classification:
        """With the frequencies in training labels as prior."""
        counts = np.bincount(self.checked(targets), minlength=len(self.class_names))
        return msgspec.structs.replace(self, prior=tuple((counts / counts.sum()).tolist()))

    def counts(self, targets: Array) -> dict[str, int]:
        """Samples of each class, by name."""
        found = np.bincount(targets, minlength=self.width)
        return dict(zip(self.names, found.tolist(), strict=True))

    def confidence(self, answers: Array) -> NDArray[np.float64]:
        """Greatest of the probabilities along the last axis, as an answer tells it."""
        return np.asarray(np.round(answers.max(axis=-1).astype(np.float64), DIGITS))

    def entropy(self, answers: Array) -> NDArray[np.float64]:
        """Normalized entropy, 0 to 1, of probabilities (..., classes), shape (...,)."""
        p = np.asarray(answers, np.float64)
        logs = np.log(p, out=np.zeros_like(p), where=p > 0)
        return np.asarray(-(p * logs).sum(axis=-1) / np.log(p.shape[-1]))

    def told(self, answer: Array) -> str:
        """The most probable class of an answer, (classes,)."""
        return self.class_names[int(np.argmax(answer))]

    def read(self, told: Told, probabilities: Sequence[float]) -> Vector:
        """The class of an answer that was told, as 1 among 0; `ValueError` for what is none."""
        if told not in self.class_names or len(probabilities) != self.width:
            raise ValueError(f"expected one of {', '.join(self.class_names)}, got {told!r}")
        return np.asarray(np.eye(self.width)[self.class_names.index(told)])

    def agree(self, answers: Array, others: Array) -> NDArray[np.bool_]:
        """Whether two answers name the same class, bool (samples,)."""
        return np.asarray(answers.argmax(axis=1) == others.argmax(axis=1))


class MultiLabel(_Task, frozen=True, tag="multi-label"):
    """Any number of labels, each told or not by a probability of its own.

    `label_names`: in the order of a section's outputs. `frequencies`: share of the training samples
    that have each, from which the fallback is made; half if not given. `by`: `label accuracy`, the
    share of labels that are told rightly, or `exact match`, of samples in which all are.
    """

    label_names: tuple[str, ...]
    frequencies: tuple[float, ...] = ()
    by: Literal["label accuracy", "exact match"] = "label accuracy"

    called: ClassVar[str] = "labels"
    loss: ClassVar[str] = "binary_crossentropy"

    def __post_init__(self) -> None:
        _check_names("label", self.label_names)
        if not self.frequencies:
            msgspec.structs.force_setattr(self, "frequencies", (0.5,) * len(self.label_names))
        _check_frequencies("frequency", self.frequencies, self.label_names)

    @property
    def names(self) -> tuple[str, ...]:
        """The labels."""
        return self.label_names

    @property
    def score(self) -> Score:
        """By `by`."""
        return Score(self.by)

    def fallback(self, fallback: Fallback = "prior") -> Vector:
        """The frequency of each label, float64 (labels,)."""
        self.check_fallback(fallback)
        return np.asarray(self.frequencies, np.float64)

    def checked(self, targets: ArrayLike) -> NDArray[np.uint8]:
        """Which labels each sample has, uint8 (samples, labels); `InputError` for what is none."""
        return _checked_labels(_some(targets), self.label_names)

    def scorer(self, targets: ArrayLike) -> Scorer:
        """Of these labels."""
        labels = self.checked(targets).astype(bool)
        if self.by == "exact match":
            return MatchScorer(self.by, labels)
        return LabelScorer(self.label_names, labels)

    def learned(self, targets: ArrayLike) -> MultiLabel:
        """With the frequencies in training data."""
        shares = self.checked(targets).mean(axis=0)
        return msgspec.structs.replace(self, frequencies=tuple(shares.tolist()))

    def counts(self, targets: Array) -> dict[str, int]:
        """Samples with each label, by name."""
        found = np.asarray(targets).sum(axis=0, dtype=np.int64)
        return dict(zip(self.names, found.tolist(), strict=True))

    def confidence(self, answers: Array) -> NDArray[np.float64]:
        """By its own probabilities, which share of the labels is told rightly."""
        sure = np.maximum(answers, 1.0 - answers).astype(np.float64).mean(axis=-1)
        return np.asarray(np.round(sure, DIGITS))

    def entropy(self, answers: Array) -> NDArray[np.float64]:
        """Mean entropy of the labels in bits, 0 to 1, of probabilities (..., labels)."""
        p = np.asarray(answers, np.float64)
        both = np.stack([p, 1.0 - p])
        logs = np.log2(both, out=np.zeros_like(both), where=both > 0)
        return np.asarray(-(both * logs).sum(axis=0).mean(axis=-1))

    def told(self, answer: Array) -> tuple[str, ...]:
        """The labels of an answer, (labels,)."""
        return tuple(n for n, p in zip(self.label_names, answer, strict=True) if p >= TOLD_FROM)

    def read(self, told: Told, probabilities: Sequence[float]) -> Vector:
        """The labels of an answer that was told, 1 or 0 each; `ValueError` for what is none."""
        own = set(told) if isinstance(told, (tuple, list)) else None
        if own is None or own - set(self.label_names) or len(probabilities) != self.width:
            raise ValueError(f"expected some of {', '.join(self.label_names)}, got {told!r}")
        return np.array([float(name in own) for name in self.label_names])

    def agree(self, answers: Array, others: Array) -> NDArray[np.bool_]:
        """Whether two answers tell the same labels, bool (samples,)."""
        return np.asarray(((answers >= TOLD_FROM) == (others >= TOLD_FROM)).all(axis=1))


class _Numbers(_Task, frozen=True):
    """What tasks have whose answers are values."""

    def counts(self, targets: Array) -> dict[str, int]:
        """Nothing is counted of values."""
        return {}

    def confidence(self, answers: Array) -> None:
        """A number does not say how sure it is."""
        return

    def told(self, answer: Array) -> dict[str, float]:
        """The values of an answer, (values,), by name, to the digits that a float32 has."""
        found = (float(f"{float(x):.{VALUE_DIGITS}g}") for x in answer)
        return dict(zip(self.names, found, strict=True))

    def read(self, told: Told, probabilities: Sequence[float]) -> Vector:
        """The numbers of an answer that was told; `ValueError` for what is none."""
        if not isinstance(told, Mapping) or tuple(told) != self.names:
            raise ValueError(f"expected {', '.join(self.names)}, got {told!r}")
        return np.array([float(x) for x in told.values()])

    def agree(self, answers: Array, others: Array) -> None:
        """Two numbers are hardly ever the same, so no share of them is told."""
        return


class Regression(_Numbers, frozen=True, tag="regression"):
    """One or more numbers.

    `value_names`: in the order of a section's outputs; `units`: of each, such as `degrees`, or
    nothing. `mean`, `median`: of the training targets, from which the fallback is made; 0 if not
    given. `by`: the score, a mean over the values.
    """

    value_names: tuple[str, ...]
    units: tuple[str, ...] = ()
    mean: tuple[float, ...] = ()
    median: tuple[float, ...] = ()
    by: Literal["mean absolute error", "mean squared error"] = "mean absolute error"

    fallbacks: ClassVar[tuple[Fallback, ...]] = ("prior", "mean", "median")

    def __post_init__(self) -> None:
        _check_names("value", self.value_names)
        for name, default in (("units", ""), ("mean", 0.0), ("median", 0.0)):
            given = getattr(self, name)
            if not given:
                msgspec.structs.force_setattr(self, name, (default,) * len(self.value_names))
            elif len(given) != len(self.value_names):
                raise InputError(
                    f"expected {name} of {len(self.value_names)} values, got {len(given)}"
                )
        if not np.isfinite([*self.mean, *self.median]).all():
            raise InputError(f"expected finite means and medians, got {self.mean}, {self.median}")

    @property
    def names(self) -> tuple[str, ...]:
        """The values."""
        return self.value_names

    @property
    def score(self) -> Score:
        """By `by`; lower is better."""
        unit = self.units[0] if len(set(self.units)) == 1 else ""
        squared = f"{unit}²" if unit else ""
        is_absolute = self.by == "mean absolute error"
        return Score(self.by, higher_is_better=False, unit=unit if is_absolute else squared)

    @property
    def loss(self) -> str:
        """Of training: the score itself."""
        return self.by.replace(" ", "_")

    def fallback(self, fallback: Fallback = "prior") -> Vector:
        """A constant, float64 (values,); `prior`: the one with the best score in training."""
        self.check_fallback(fallback)
        is_absolute = self.by == "mean absolute error"
        median = fallback == "median" or (fallback == "prior" and is_absolute)
        return np.asarray(self.median if median else self.mean, np.float64)

    def checked(self, targets: ArrayLike) -> NDArray[np.float32]:
        """Targets, float32 (samples, values); `InputError` for what is none.

        Of one value, (samples,) will do.
        """
        return _checked_values(_some(targets), self.value_names)

    def scorer(self, targets: ArrayLike) -> Scorer:
        """Of these targets."""
        squared = self.by == "mean squared error"
        values = self.checked(targets).astype(np.float64)
        return ValueScorer(self.value_names, values, squared=squared)

    def learned(self, targets: ArrayLike) -> Regression:
        """With the mean and the median of training targets."""
        values = self.checked(targets)
        return msgspec.structs.replace(
            self,
            mean=tuple(values.mean(axis=0).tolist()),
            median=tuple(np.median(values, axis=0).tolist()),
        )


class Custom(_Numbers, frozen=True, tag="custom"):
    """Numbers whose score is a user's own.

    `value_names`: in the order of a section's outputs. `constant`: the fallback, one number for
    each. `by`: what the score is called; `higher_is_better`: which way is better. The score itself
    is a function, which no file carries: give it where a score is asked for.
    """

    value_names: tuple[str, ...]
    constant: tuple[float, ...]
    by: str
    higher_is_better: bool = True
    unit: str = ""

    def __post_init__(self) -> None:
        _check_names("value", self.value_names)
        if len(self.constant) != len(self.value_names) or not np.isfinite(self.constant).all():
            raise InputError(
                f"expected a constant of {len(self.value_names)} finite numbers, got "
                f"{list(self.constant)}"
            )

    @property
    def names(self) -> tuple[str, ...]:
        """The values."""
        return self.value_names

    @property
    def score(self) -> Score:
        """Without its function."""
        return Score(self.by, self.higher_is_better, self.unit)

    def fallback(self, fallback: Fallback = "prior") -> Vector:
        """The constant, float64 (values,)."""
        self.check_fallback(fallback)
        return np.asarray(self.constant, np.float64)

    def checked(self, targets: ArrayLike) -> Array:
        """Targets as they are; what they may be is for the score to know."""
        values = np.asarray(targets)
        if not values.ndim or not len(values):
            raise InputError("expected a target for each sample, one sample at least; got none")
        return values

    def scorer(self, targets: ArrayLike) -> Scorer:
        """Needs the user's function."""
        raise InputError(
            f"the score {self.by!r} is your own, and no file carries it; give its function: score="
        )

    def learned(self, targets: ArrayLike) -> Custom:
        """The constant is the user's."""
        return self


#: A task of one output.
Single = Classification | MultiLabel | Regression | Custom


class Several(_Task, frozen=True, tag="several"):
    """Several outputs, each with a task of its own, by name.

    An answer has the numbers of all, one after the other, and so has a target: a column of an
    output of classes, else one for each label or value. The score is that of the first output,
    `main`; the others have theirs beside it.
    """

    outputs: dict[str, Single]

    def __post_init__(self) -> None:
        _check_names("output", tuple(self.outputs), 2)
        for name, task in self.outputs.items():
            if isinstance(task, Custom):
                raise InputError(
                    f"output {name!r} has a score of its own, which can be a single output's only"
                )

    @property
    def main(self) -> Single:
        """The first output's task."""
        return next(iter(self.outputs.values()))

    @property
    def names(self) -> tuple[str, ...]:
        """Of all outputs, each behind its output's: `kinds/car`."""
        return tuple(f"{name}/{x}" for name, task in self.outputs.items() for x in task.names)

    @property
    def score(self) -> Score:
        """The first output's."""
        return self.main.score

    def answer_of(self, name: str) -> slice:
        """Where an answer holds an output's numbers."""
        return slices({n: task.width for n, task in self.outputs.items()})[name]

    def target_of(self, name: str) -> slice:
        """Where a target holds an output's columns."""
        return slices({n: _columns(task) for n, task in self.outputs.items()})[name]

    def fallback(self, fallback: Fallback = "prior") -> Vector:
        """Of all outputs, float64 (width,)."""
        self.check_fallback(fallback)
        return np.concatenate([task.fallback(fallback) for task in self.outputs.values()])

    def checked(self, targets: Any) -> NDArray[np.float64]:
        """Targets, float64 (samples, columns), given so, or by output in a mapping."""
        if isinstance(targets, Mapping):
            if set(targets) != set(self.outputs):
                raise InputError(
                    f"expected targets of {', '.join(self.outputs)}, got those of "
                    f"{', '.join(map(str, targets)) or 'none'}"
                )
            own = {name: np.asarray(targets[name]) for name in self.outputs}
        else:
            values = np.asarray(targets)
            columns = sum(_columns(task) for task in self.outputs.values())
            if values.ndim != 2 or values.shape[1] != columns:
                raise InputError(
                    f"expected {columns} target columns for {', '.join(self.outputs)}, got "
                    f"{values.dtype} {values.shape}"
                )
            own = {name: self.split(values)[name] for name in self.outputs}
        found = []
        for name, task in self.outputs.items():
            try:
                column = np.asarray(task.checked(own[name]), np.float64)
            except InputError as error:
                raise InputError(f"output {name!r}: {error}") from error
            found.append(column.reshape(len(column), -1))
        if len({len(x) for x in found}) > 1:
            raise InputError(
                "expected as many targets of each output, got "
                + ", ".join(f"{len(x)} of {n}" for n, x in zip(self.outputs, found, strict=True))
            )
        return np.concatenate(found, axis=1)

    def split(self, targets: Array) -> dict[str, Array]:
        """The targets of each output, as its task takes them."""
        return {
            name: targets[:, self.target_of(name)][:, 0].astype(np.int64)
            if isinstance(task, Classification)
            else targets[:, self.target_of(name)]
            for name, task in self.outputs.items()
        }

    def scorer(self, targets: ArrayLike) -> Scorer:
        """Of these targets."""
        own = self.split(self.checked(targets))
        scorers = {name: task.scorer(own[name]) for name, task in self.outputs.items()}
        return OutputsScorer(scorers, {name: self.answer_of(name) for name in scorers})

    def learned(self, targets: ArrayLike) -> Several:
        """Each output with what its training targets say."""
        own = self.split(self.checked(targets))
        return Several(outputs={n: task.learned(own[n]) for n, task in self.outputs.items()})

    def counts(self, targets: Array) -> dict[str, int]:
        """Those of each output, behind its name."""
        own = self.split(targets)
        return {
            f"{name}/{x}": count
            for name, task in self.outputs.items()
            for x, count in task.counts(own[name]).items()
        }

    def confidence(self, answers: Array) -> None:
        """Outputs of several tasks have no confidence in common."""
        return

    def agree(self, answers: Array, others: Array) -> NDArray[np.bool_] | None:
        """Of the first output."""
        columns = self.answer_of(next(iter(self.outputs)))
        return self.main.agree(answers[:, columns], others[:, columns])


Task = Single | Several


def check_samples(inputs: Mapping[str, Array], targets: Array, sensors: Sequence[str]) -> None:
    """`InputError` unless every sensor has as many samples as there are targets."""
    missing = [name for name in sensors if name not in inputs]
    if missing:
        raise InputError(f"no data for sensor {', '.join(missing)}; got {', '.join(inputs)}")
    counts = {name: len(inputs[name]) for name in sensors}
    if not len(targets) or set(counts.values()) != {len(targets)}:
        raise InputError(
            f"expected as many samples, one at least, of each sensor as there are labels "
            f"({len(targets)}), got {counts}"
        )


def scorer_of(
    task: Task, targets: ArrayLike, score: Score | None = None, fallback: Fallback = "prior"
) -> Scorer:
    """By the task's own score, or by one of the user's.

    Raises `InputError` for targets that do not fit, and where the fallback is no answer that a
    user's function could score, but a distribution of answers.
    """
    if score is None or score.of is None:
        return task.scorer(targets)
    if fallback in ("prior-random", "uniform"):
        raise InputError(
            f"the score {score.name!r} is your own, and cannot be told of the fallback "
            f"{fallback!r}, which is a distribution of answers; ask for prior"
        )
    return OwnScorer(score.name, task.checked(targets), score.of)


def _columns(task: Single) -> int:
    return 1 if isinstance(task, Classification) else task.width


def _some(targets: ArrayLike) -> Array:
    values = np.asarray(targets)
    if values.ndim and not len(values):
        raise InputError("there are no samples: expected at least one")
    return values


def _checked_classes(values: Array, names: tuple[str, ...]) -> Array:
    if values.ndim != 1:
        raise InputError(f"labels must be one-dimensional, one per sample; came {values.shape}")
    if values.dtype.kind not in "iu":
        raise InputError(f"labels must be integers; came {values.dtype}")
    outside = np.flatnonzero((values < 0) | (values >= len(names)))
    if outside.size:
        raise InputError(
            f"label {values[outside[0]]} of sample {outside[0]} is out of range: expected 0 to "
            f"{len(names) - 1}, the positions in class_names {names} "
            f"({outside.size} labels are out of range)"
        )
    return values.astype(np.int64)


def _checked_labels(values: Array, names: tuple[str, ...]) -> Array:
    _check_columns(values, "label", names)
    if values.dtype.kind not in "iubf":
        raise InputError(f"labels of several must be numbers, 0 or 1; came {values.dtype}")
    wrong = np.argwhere((values != 0) & (values != 1))
    if wrong.size:
        row, column = wrong[0]
        raise InputError(
            f"label '{names[column]}' of sample {row} is {values[row, column]}: expected 0 or 1, "
            f"whether the sample has it ({len(wrong)} are neither)"
        )
    return values.astype(np.uint8)


def _checked_values(values: Array, names: tuple[str, ...]) -> Array:
    if values.ndim == 1:
        values = values[:, None]
    _check_columns(values, "value", names)
    if values.dtype.kind not in "iuf":
        raise InputError(f"values must be numbers; came {values.dtype}")
    with np.errstate(over="ignore"):
        kept = values.astype(np.float32)
    wrong = np.argwhere(~np.isfinite(kept))
    if wrong.size:
        row, column = wrong[0]
        raise InputError(
            f"value '{names[column]}' of sample {row} is {values[row, column]}: expected finite "
            f"numbers of float32 ({len(wrong)} are none). Replace them, or leave the samples out"
        )
    return kept


def _check_columns(values: Array, what: str, names: tuple[str, ...]) -> None:
    if not names or values.ndim != 2 or values.shape[1] != len(names):
        raise InputError(
            f"expected an array (samples, {len(names)}), a column for each of the {what}s "
            f"{', '.join(names) or '(none is named)'}; came {values.shape}"
        )


def _check_names(what: str, names: Sequence[str], least: int = 1) -> None:
    if isinstance(names, str) or not all(isinstance(name, str) and name for name in names):
        raise InputError(f"{what} names must be a sequence of non-empty strings; came {names!r}")
    repeated = sorted({name for name in names if list(names).count(name) > 1})
    if repeated:
        listed = ", ".join(f"'{name}'" for name in repeated)
        raise InputError(f"{what} names must differ; {listed} repeats in {list(names)}")
    if len(names) < least:
        raise InputError(f"expected {least} {what} names at least, got {list(names)}")


def _check_frequencies(what: str, shares: Sequence[float], names: Sequence[str]) -> None:
    if len(shares) != len(names):
        raise InputError(
            f"expected a {what} for each of {len(names)} names, got {len(shares)}: {list(shares)}"
        )
    if not all(0 <= share <= 1 + 1e-9 for share in shares):
        raise InputError(f"expected each {what} from 0 to 1, got {list(shares)}")
