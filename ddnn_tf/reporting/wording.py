"""What a report calls its score, and in which numbers it shows it."""

from __future__ import annotations

from edge_runtime.evaluation.reliability import Reliability
from edge_runtime.scoring import Score
from edge_runtime.task import Regression, Several, Task


def factor(score: Score) -> float:
    """What a score is multiplied by to be drawn: fractions are drawn in percent."""
    return 100.0 if score.unit == "%" else 1.0


def short(score: Score, value: float) -> str:
    """A score in a picture or on the page, without its unit."""
    return score.number(value, 1)


def with_unit(text: str, unit: str) -> str:
    """What a number is, and behind it in which unit, if any: `accuracy (%)`."""
    return f"{text} ({unit})" if unit else text


def axis(score: Score, more: str = "") -> str:
    """What stands beside an axis: `accuracy (%)`; `more` comes between."""
    return with_unit(score.name + more, score.unit)


def title(score: Score) -> str:
    """At the beginning of a heading."""
    return score.name[:1].upper() + score.name[1:]


def lost(score: Score) -> str:
    """What a failure does to the score, beside the axis of an importance."""
    done = "lost" if score.higher_is_better else "added"
    unit = "percentage points" if score.unit == "%" else score.unit
    return with_unit(f"{score.name} {done} once it has failed", unit)


def lost_short(score: Score) -> str:
    """The same in the key of a picture."""
    return "points lost" if score.unit == "%" else with_unit("how much worse", score.unit)


def better(score: Score) -> str:
    """Which way is better, where the name does not say it by itself."""
    if score.name == "accuracy":
        return ""
    return "higher is better" if score.higher_is_better else "lower is better"


def part_names(report: Reliability) -> dict[str, str]:
    """What parts of the data are called, those with a target; with a unit where each has its own.

    None of a score that has one part alone, which is the score itself.
    """
    if len(report.parts) == 1 and not report.is_balanced:
        return {}
    names = {n: n for n, count in zip(report.parts, report.counts, strict=True) if count}
    task = report.task
    if isinstance(task, Regression) and not report.score.unit:
        square = "²" if task.by == "mean squared error" else ""
        units = dict(zip(task.value_names, task.units, strict=True))
        return {n: with_unit(n, units[n] and units[n] + square) for n in names}
    return names


def part_kind(report: Reliability) -> str:
    """What is told of a part: of classes and labels a recall, of values an error."""
    return "recall" if report.is_balanced else "error"


def outputs_line(task: Task) -> str:
    """Of several outputs, which one is shown and what the others are; of one output nothing."""
    if not isinstance(task, Several):
        return ""
    first, *others = task.outputs
    return f"output {first} (the others: {', '.join(others)})"


def fallback_words(report: Reliability) -> str:
    """What the fallback answers."""
    task, name = report.main.task, report.fallback
    if name == "uniform":
        return "every class equally often"
    if name == "prior-random":
        return "a class drawn by its frequency in training"
    if name in ("mean", "median"):
        return f"the {name} of the training data"
    if task.kind == "classification":
        return "the class that is most frequent in training"
    if task.kind == "multi-label":
        return "the labels that half of the training data or more have"
    if isinstance(task, Regression):
        middle = "median" if task.by == "mean absolute error" else "mean"
        return f"the {middle} of the training data"
    return "the constant that the task gives"
