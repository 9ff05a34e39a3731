"""A Keras model under failures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from edge_runtime.answers.policies import AnswerMode
from edge_runtime.answers.rule import AnswerRule
from edge_runtime.errors import InputError
from edge_runtime.evaluation.cache import Runner
from edge_runtime.evaluation.reliability import evaluate
from edge_runtime.evaluation.rounding import Rounded
from edge_runtime.failures.configurations import MOST_CONFIGURATIONS
from edge_runtime.failures.parsing import all_survivabilities, survivability_of
from edge_runtime.failures.sampling import Sampling
from edge_runtime.scoring import SampleScore, Score
from edge_runtime.task import Fallback
from edge_runtime.topology import Survival, Topology
from edge_runtime.transport.wire import Encoding
from export.split import KerasRunner

from .datasets.arrays import labeled_samples
from .metrics import score_of
from .model import ResilientModel
from .reporting.report import Report


def expected_score(
    model: ResilientModel,
    x: Any,
    y: Any = None,
    *,
    survival: str | Sequence[str] | Mapping[str, Survival] | None = None,
    score: Score | str | SampleScore | None = None,
    fallback: Fallback = "prior",
    answer: AnswerMode | AnswerRule = "output",
    messages: Encoding = "raw",
    limit: int = MOST_CONFIGURATIONS,
    configurations: int | None = None,
    seed: int = 0,
) -> Report:
    """Expected score of a trained model over all failure configurations.

    Args:
        model: from `build`, trained.
        x: views: an array (samples, …) of the one sensor, a mapping of one by sensor, or a tuple
            or list of them in the order of the sensors. Or views and labels together: one split of
            a data set, anything else with `inputs` and `labels`, or a finite `tf.data.Dataset` or
            `keras.utils.PyDataset` of batches (x, y).
        y: targets of views given as arrays. Classes as numbers, one-hot rows, or names; labels as
            0 or 1, a column each; values as numbers; of several outputs a mapping by name.
        survival: presets of the topology by name (`own`: its own values), or survivabilities by a
            name of your own. None means all of its presets, or its own values where it has none.
        score: in place of the task's own: a `Score`; a function from answers and targets, samples
            first, to what each sample scores, (samples,), of which more is better; or a metric of
            Keras, or its name, that is a mean over samples, such as `top_k_categorical_accuracy`.
        fallback: the answer when nothing reaches the output node.
        answer: who answers: the output node, or any node that has an exit; or a whole answer rule,
            which also says whose answer is taken of several, and who answers early.
        messages: how nodes send to each other, see `edge_runtime.transport.wire`.
        limit: the most configurations to enumerate, which gives exact numbers; above it they are
            sampled, and every number has an interval.
        configurations: how many to sample, whatever their number.
        seed: of those sampled.

    Raises:
        InputError: for data that do not fit, an unknown survivability, or a score that is no mean
            over samples.
    """
    data = labeled_samples(x, y, topology=model.topology, task=model.task)
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
        score=score_of(score, model.task),
        rule=answer if isinstance(answer, AnswerRule) else AnswerRule(answer),
        sampling=Sampling(limit, configurations, seed),
    )
    return Report.of(found)


def expected_accuracy(model: ResilientModel, x: Any, y: Any = None, **options: Any) -> Report:
    """`expected_score` of a model that tells classes; `InputError` for any other."""
    if model.task.kind != "classification":
        raise InputError(
            f"this model is for a {model.task}, which has no accuracy but a "
            f"{model.task.score.name}; ask for expected_score"
        )
    return expected_score(model, x, y, **options)


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
