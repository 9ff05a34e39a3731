"""Scores that a user asks for: a function of his own, or a metric of Keras."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np

from edge_runtime.arrays import Array
from edge_runtime.errors import InputError
from edge_runtime.scoring import SampleScore, Score
from edge_runtime.task import Classification, Several, Task

#: What the names of metrics end with of which less is better.
ERRORS = ("error", "entropy", "hinge", "loss", "divergence", "poisson", "mse", "mae", "mape")


def score_of(given: Score | str | SampleScore | Any | None, task: Task) -> Score | None:
    """What was asked for, as a score of a task; None where nothing was.

    `given`: see `ddnn_tf.expected_score`. Raises `InputError` for what is no mean over samples, and
    for a metric that is asked of several outputs.
    """
    if given is None or (isinstance(given, Score) and given.of is None):
        return given
    if isinstance(given, str):
        if given == task.score.name:
            return None
        given = _named(given)
    if isinstance(task, Several):
        raise InputError(
            f"a score of your own is of one output, and this model has {', '.join(task.outputs)}; "
            "leave it out: each has its own"
        )
    if isinstance(given, Score):
        return given
    if isinstance(given, keras.metrics.Metric):
        return _of_metric(given, task)
    if not callable(given):
        raise InputError(f"expected a score, a metric of Keras or a function, got {given!r}")
    name = getattr(given, "__name__", type(given).__name__)
    return Score(name, unit="", of=given)


def _named(name: str) -> Any:
    try:
        found = keras.metrics.get(name)
    except ValueError as error:
        raise InputError(
            f"unknown score {name!r}; expected the task's own, or a metric of Keras"
        ) from error
    # Keras gives the function for some names, and the metric for others.
    return found if isinstance(found, keras.metrics.Metric) else _wrapped(found)


def _wrapped(function: Callable[..., Any]) -> keras.metrics.Metric:
    return keras.metrics.MeanMetricWrapper(function, name=function.__name__)


def _of_metric(metric: keras.metrics.Metric, task: Task) -> Score:
    """A metric that is the mean of what it says of each sample."""
    if not isinstance(metric, keras.metrics.MeanMetricWrapper):
        raise InputError(
            f"the metric {metric.name!r} is no mean over samples, so it has no expectation over "
            "failures; ask for one that is, such as mean_absolute_error"
        )
    function, options = metric._fn, metric._fn_kwargs

    def of(answers: Array, targets: Array) -> Array:
        y = targets
        if isinstance(task, Classification) and "sparse" not in function.__name__:
            y = np.eye(task.width, dtype=np.float32)[targets]
        found = np.asarray(function(y, answers.astype(np.float32), **options), np.float64)
        return np.asarray(found.reshape(len(answers), -1).mean(axis=1))

    better = not any(word in metric.name.lower() for word in ERRORS)
    unit = "%" if better and "accuracy" in metric.name else ""
    return Score(metric.name, higher_is_better=better, unit=unit, of=of)
