"""A Keras model under failures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from edge_runtime.answers.policies import AnswerMode
from edge_runtime.answers.rule import AnswerRule
from edge_runtime.arrays import Labeled
from edge_runtime.evaluation.cache import Runner
from edge_runtime.evaluation.reliability import evaluate
from edge_runtime.evaluation.rounding import Rounded
from edge_runtime.failures.configurations import MOST_CONFIGURATIONS
from edge_runtime.failures.sampling import Sampling
from edge_runtime.task import Fallback
from edge_runtime.topology import Survival
from edge_runtime.transport.wire import Encoding
from export.split import KerasRunner

from .model import ResilientModel
from .reporting.report import Report


def expected_accuracy(
    model: ResilientModel,
    data: Labeled,
    survival: Sequence[str] | Mapping[str, Survival] = ("high", "medium", "low"),
    *,
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
        data: anything with `inputs` (per sensor, samples first) and integer `labels`, such as one
            split of a data set.
        survival: presets of the topology by name, or survivabilities by a name of your own.
        fallback: the answer when nothing reaches the output node.
        answer: who answers: the output node, or any node that has an exit; or a whole answer rule,
            which also says whose answer is taken of several, and who answers early.
        messages: how nodes send to each other, see `edge_runtime.transport.wire`.
        limit: the most configurations to enumerate, which gives exact numbers; above it they are
            sampled, and every number has an interval.
        configurations: how many to sample, whatever their number.
        seed: of those sampled.
    """
    runner: Runner = KerasRunner(model, model.topology)
    if messages != "raw":
        runner = Rounded(runner, model.topology, messages)
    found = evaluate(
        model.topology,
        runner,
        data,
        model.task,
        named_survivabilities(survival),
        fallback=fallback,
        rule=answer if isinstance(answer, AnswerRule) else AnswerRule(answer),
        sampling=Sampling(limit, configurations, seed),
    )
    return Report.of(found)


def named_survivabilities(
    survival: str | Sequence[str] | Mapping[str, Survival],
) -> dict[str, Survival]:
    """Survivabilities by name: presets stand for themselves."""
    if isinstance(survival, Mapping):
        return dict(survival)
    return {name: name for name in ([survival] if isinstance(survival, str) else survival)}
