"""A Keras model under failures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from edge_runtime.answers.policies import AnswerMode
from edge_runtime.answers.rule import AnswerRule
from edge_runtime.evaluation.cache import Runner
from edge_runtime.evaluation.reliability import evaluate
from edge_runtime.evaluation.rounding import Rounded
from edge_runtime.failures.configurations import MOST_CONFIGURATIONS
from edge_runtime.failures.parsing import all_survivabilities, survivability_of
from edge_runtime.failures.sampling import Sampling
from edge_runtime.task import Fallback
from edge_runtime.topology import Survival, Topology
from edge_runtime.transport.wire import Encoding
from export.split import KerasRunner

from .datasets.arrays import labeled_samples
from .model import ResilientModel
from .reporting.report import Report


def expected_accuracy(
    model: ResilientModel,
    x: Any,
    y: Any = None,
    *,
    survival: str | Sequence[str] | Mapping[str, Survival] | None = None,
    fallback: Fallback = "prior",
    answer: AnswerMode | AnswerRule = "output",
    messages: Encoding = "raw",
    limit: int = MOST_CONFIGURATIONS,
    configurations: int | None = None,
    seed: int = 0,
) -> Report:
    """Expected accuracy of a trained model over all failure configurations.

    Args:
        model: from `build`, trained.
        x: views: an array (samples, …) of the one sensor, a mapping of one by sensor, or a tuple
            or list of them in the order of the sensors. Or views and labels together: one split of
            a data set, anything else with `inputs` and `labels`, or a finite `tf.data.Dataset` or
            `keras.utils.PyDataset` of batches (x, y).
        y: labels of views given as arrays: numbers, one-hot rows, or names of the classes.
        survival: presets of the topology by name (`own`: its own values), or survivabilities by a
            name of your own. None means all of its presets, or its own values where it has none.
        fallback: the answer when nothing reaches the output node.
        answer: who answers: the output node, or any node that has an exit; or a whole answer rule,
            which also says whose answer is taken of several, and who answers early.
        messages: how nodes send to each other, see `edge_runtime.transport.wire`.
        limit: the most configurations to enumerate, which gives exact numbers; above it they are
            sampled, and every number has an interval.
        configurations: how many to sample, whatever their number.
        seed: of those sampled.

    Raises:
        InputError: for data that do not fit, or an unknown survivability.
    """
    data = labeled_samples(x, y, topology=model.topology, class_names=model.class_names)
    runner: Runner = KerasRunner(model, model.topology)
    if messages != "raw":
        runner = Rounded(runner, model.topology, messages)
    found = evaluate(
        model.topology,
        runner,
        data,
        model.task,
        named_survivabilities(survival, model.topology),
        fallback=fallback,
        rule=answer if isinstance(answer, AnswerRule) else AnswerRule(answer),
        sampling=Sampling(limit, configurations, seed),
    )
    return Report.of(found)


def named_survivabilities(
    survival: str | Sequence[str] | Mapping[str, Survival] | None, topology: Topology
) -> dict[str, Survival]:
    """Survivabilities by name: presets stand for themselves, and None for all that there are."""
    if survival is None:
        return all_survivabilities(topology)
    if isinstance(survival, Mapping):
        return dict(survival)
    names = [survival] if isinstance(survival, str) else survival
    return {name: survivability_of(name, topology) for name in names}
