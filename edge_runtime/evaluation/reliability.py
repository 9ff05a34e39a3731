"""What a deployment's answers are worth over everything that can fail.

The arithmetic exists here once, over anything that can run a node: sections cut from a Keras
model, LiteRT artifacts, or a test's counting runner. Exact where the configurations are not too
many, and quick, because what a node computes depends on its delivered-links state alone: the 256
failure configurations of the poster's residual topology need 102 section evaluations, not 2304.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..answers.policies import highest_first
from ..answers.rule import AnswerRule
from ..arrays import Array, Labeled, Vector
from ..errors import InputError
from ..failures.configurations import Configurations, output_states
from ..failures.distribution import Mask, working
from ..failures.sampling import LEVEL, Sampling, find_configurations
from ..scoring import OutputsScorer, Score
from ..task import (
    Classification,
    Fallback,
    MultiLabel,
    Several,
    Single,
    Task,
    check_samples,
    scorer_of,
)
from ..topology import Survival, Topology
from .answering import BoundRule, state_keys
from .bounds import _best, views_seen
from .cache import Runner, SectionCache
from .intervals import Intervals
from .part_scores import PartScores
from .traffic import Traffic


@dataclass(frozen=True)
class Reliability:
    """What an evaluation found: exactly, or where configurations were sampled, as an estimate.

    `score`: how well answers do, the task's own or another. `part_scores`: float64 (configurations,
    parts), the score of each part of the data in each configuration, such as the recall of each
    class; `parts`, `counts`: their names, and int64 (parts,) the targets in each, see `Scorer`.
    `samples`: how many. `answered`: bool (configurations,), whether anything reached a node that
    may answer. `rule`: who that is, and whose answer is taken. `answer_shares`: float64
    (configurations, nodes that may answer, as in `exits`), the share of the samples that each
    answers. `traffic`: what the nodes send and hand over. `seen`: bool (samples, sensors), which
    sensors see the object; None where the data do not tell. Accuracies are fractions of 1.
    """

    topology: Topology
    configurations: Configurations
    task: Task
    fallback: Fallback
    score: Score
    samples: int
    part_scores: NDArray[np.float64]
    answered: Mask
    section_evaluations: int
    rule: AnswerRule
    answer_shares: NDArray[np.float64]
    traffic: Traffic
    seen: Mask | None
    _case: PartScores

    @property
    def class_names(self) -> tuple[str, ...]:
        """In the order of `counts`; of another task than classification, none."""
        return self.task.class_names if isinstance(self.task, Classification) else ()

    @property
    def parts(self) -> tuple[str, ...]:
        """What each column of `part_scores` is of."""
        return self._case.scorer.parts

    @property
    def counts(self) -> NDArray[np.int64]:
        """Targets in each part, int64 (parts,)."""
        return self._case.scorer.counts

    @property
    def survivabilities(self) -> tuple[str, ...]:
        """Names of what was asked for."""
        return tuple(self.configurations.models)

    @cached_property
    def scores(self) -> Vector:
        """The score in each configuration, shape (configurations,)."""
        return np.asarray(self._total(self.part_scores))

    @property
    def all_alive(self) -> float:
        """The score when nothing has failed."""
        return float(self.scores[0])

    @property
    def absent_classes(self) -> tuple[str, ...]:
        """Parts without a target, such as classes, which no balanced accuracy can speak of."""
        return tuple(n for n, c in zip(self.parts, self.counts, strict=True) if not c)

    def expected_score(self, survivability: str) -> float:
        """The score in each configuration, weighted by its probability."""
        return float(self.configurations.probabilities(survivability) @ self.scores)

    def expected_accuracy(self, survivability: str) -> float:
        """The expected score of a classification; `InputError` for another score."""
        if self.score.name != "accuracy":
            raise InputError(
                f"this is no accuracy but the {self.score.name} of a {self.task.kind}; ask for "
                "expected_score"
            )
        return self.expected_score(survivability)

    def expected_parts(self, survivability: str) -> dict[str, float]:
        """Expected score of each part of the data that has a target, such as recalls by class."""
        expected = self.configurations.probabilities(survivability) @ self.part_scores
        present = zip(self.parts, expected, self.counts, strict=True)
        return {name: float(score) for name, score, count in present if count}

    def class_recalls(self, survivability: str) -> dict[str, float]:
        """Expected recall of each class present."""
        return self.expected_parts(survivability) if self.class_names else {}

    @property
    def is_balanced(self) -> bool:
        """Whether there is a balanced accuracy: of classes, and of labels."""
        if self.score != self.task.score:
            return False
        labels = isinstance(self.task, MultiLabel) and len(self.parts) > 1
        return labels or isinstance(self.task, Classification)

    def balanced_accuracy(self, survivability: str) -> float:
        """Mean expected recall over the classes present; of labels, over those and their absence.

        `InputError` where neither exists, as for values.
        """
        if not self.is_balanced:
            raise InputError(f"the {self.score.name} of a {self.task.kind} has no balanced form")
        return float(np.mean(list(self.expected_parts(survivability).values())))

    def of_output(self, name: str) -> Reliability:
        """The same evaluation for one output of several, by its own task and score."""
        if not isinstance(self.task, Several) or name not in self.task.outputs:
            known = ", ".join(self.task.outputs) if isinstance(self.task, Several) else "one alone"
            raise InputError(f"expected one of the outputs, {known}; got {name!r}")
        assert isinstance(self._case.scorer, OutputsScorer)  # by `evaluate`
        task: Single = self.task.outputs[name]
        return replace(
            self,
            task=task,
            score=task.score,
            part_scores=self.part_scores[:, self._case.scorer.part_of[name]],
            _case=self._case.of_output(name),
        )

    def by_output(self) -> dict[str, Reliability]:
        """Of each output, where there are several; else none."""
        names = self.task.outputs if isinstance(self.task, Several) else ()
        return {name: self.of_output(name) for name in names}

    @property
    def main(self) -> Reliability:
        """Of the first output, where there are several; else this one."""
        return next(iter(self.by_output().values()), self)

    def reach_probability(self, survivability: str) -> float:
        """Probability that information reaches a node that may answer."""
        return float(self.configurations.probabilities(survivability) @ self.answered)

    @property
    def intervals(self) -> Intervals:
        """How sure each estimate is."""
        return Intervals(
            self.configurations, self._case.scorer, self.score, self.part_scores, self.answered
        )

    def by_failures(self, survivability: str) -> list[dict[str, float]]:
        """For each number of failures: its probability and the score expected then."""
        p, failures = self.configurations.probabilities(survivability), self.configurations.failures
        rows = []
        for count in np.unique(failures).tolist():
            weight = p * (failures == count)
            total = float(weight.sum())
            # A number of failures that cannot occur has no expectation; count configurations.
            mean = weight @ self.scores / total if total else self._mean(failures == count)
            rows.append({"failures": count, "probability": total, "score": float(mean)})
        return rows

    def worst(self, failures: int) -> tuple[tuple[str, ...], float]:
        """The `failures` elements or groups whose joint failure costs most, and the score left.

        Of those joint failures that the configurations hold.
        """
        cases = np.flatnonzero(self.configurations.failures == failures)
        if not len(cases):
            raise InputError(
                f"expected 0 to {len(self.configurations.fallible)} failures, got {failures}"
            )
        case = cases[(self.score.sign * self.scores[cases]).argmin()]
        return self.failed(int(case)), float(self.scores[case])

    def failed(self, case: int) -> tuple[str, ...]:
        """Names of the elements, and of the groups, that have failed in a configuration."""
        down = ~self.configurations.components[case]
        return tuple(n for n, d in zip(self.topology.components, down, strict=True) if d)

    def importance(self, survivability: str) -> dict[str, float]:
        """Birnbaum importance of every sensor, node, link and group, whether or not it can fail.

        Expected score while it works for sure minus expected score once it has failed, or of a
        score of which less is better the other way round (Birnbaum, *On the importance of different
        components in a multicomponent system*, 1969), all else being as it is: an element that
        works by itself still fails with its groups. Where configurations were sampled, over some of
        them alone. May evaluate further sections, which `section_evaluations` does not count.
        """
        rows, weights = self.configurations.occurring(survivability)
        components, scores = self.configurations.components[rows], self.scores[rows]
        found = {}
        for place, name in enumerate(self.topology.components):
            others = components.copy()
            others[:, place] ^= True
            otherwise = self._total(self._case.of_masks(working(self.topology, others))[0])
            gains = np.where(components[:, place], scores - otherwise, otherwise - scores)
            found[name] = float(self.score.sign * (weights @ gains))
        return found

    def states(self, also: Mask | None = None, node: str | None = None) -> dict[int, float]:
        """Score in each delivered-links state that occurs; bit i stands for `links[i]`.

        Of the output node's answers, or of those of `node`'s exit. State 0 is the fallback. `also`:
        further cases, bool (cases, elements), whose states are wanted; what they need is
        evaluated, and not counted in `section_evaluations`.
        """
        masks = self.configurations.masks
        cases = masks if also is None else np.concatenate([masks, also])
        return {
            key: float(self._total(self._case.of_state(key, node or self.topology.output)))
            for key in {0, *state_keys(output_states(self.topology, cases, node))[0]}
        }

    def exits(self, survivability: str) -> dict[str, float]:
        """Probability that each node's answer is taken, by name; the rest is the fallback's."""
        expected = self.configurations.probabilities(survivability) @ self.answer_shares
        return dict(zip(self._case.answering.nodes, map(float, expected), strict=True))

    def exit_score(self, node: str, survivability: str) -> float | None:
        """Expected score of one node's own answers, given that it has one; None if it never has.

        May evaluate further sections, which `section_evaluations` does not count.
        """
        keys, inverse = state_keys(output_states(self.topology, self.configurations.masks, node))
        found = np.array([self._total(self._case.of_state(key, node)) for key in keys])
        weights = self.configurations.probabilities(survivability)
        weights = weights * (np.array([key != 0 for key in keys])[inverse])
        total = float(weights.sum())
        return float(weights @ found[inverse]) / total if total else None

    def priority(self) -> tuple[str, ...]:
        """All nodes that can answer, the one first whose own answers are the best.

        By the mean over the survivabilities; of equals, the higher node. On validation data, this
        is the order for the policy `priority`.
        """

        def worth(node: str) -> float:
            found = [self.exit_score(node, s) for s in self.survivabilities]
            never = 0.0 if self.score.higher_is_better else float("inf")
            return self.score.sign * float(np.mean([never if x is None else x for x in found]))

        return tuple(sorted(highest_first(self.topology), key=worth, reverse=True))

    def bounds(self) -> dict[str, float | None]:
        """What no choice among the answers can beat, see `reachability_bound`, by survivability.

        None where no view is blank, so that the data do not tell who sees the object; and for a
        score of which it is not known what is perfect.
        """
        if self.seen is None or not np.isfinite(self._case.scorer.perfect):
            return dict.fromkeys(self.survivabilities)
        best = _best(
            self.topology,
            self.configurations.masks,
            self.seen,
            self._case.scorer,
            self._case.answering.nodes,
        )
        weights = self.configurations.probabilities
        return {s: float(weights(s) @ best) for s in self.survivabilities}

    def to_dict(self) -> dict[str, Any]:
        """The object that `evaluate --json` prints; of samples, with their intervals."""
        return self._intervals_to_dict() | {
            "samples": self.samples,
            "configurations": len(self.configurations),
            "section_evaluations": self.section_evaluations,
            "task": self.task.kind,
            **self._scores_to_dict(),
            **self._outputs_to_dict(),
            "reach_probability": {s: self.reach_probability(s) for s in self.survivabilities},
            "fallback": self.fallback,
            "answer": self.rule.mode,
            "bound": self.bounds(),
            "exits": {s: self.exits(s) for s in self.survivabilities},
            "early": dict(self.rule.early),
            "payload_bytes": {s: self.traffic.payload_bytes(s) for s in self.survivabilities},
            "answers": {s: self.traffic.answers(s) for s in self.survivabilities},
            "link_bytes": {s: self.traffic.link_bytes(s) for s in self.survivabilities},
        }

    def _scores_to_dict(self) -> dict[str, Any]:
        """What depends on the task, in the words of the task; of several outputs, of the first."""
        if self.main is not self:
            return self.main._scores_to_dict()
        names = self.survivabilities
        if self.score.name == "accuracy":
            return {
                "all_alive": self.all_alive,
                "expected_accuracy": {s: self.expected_score(s) for s in names},
                "balanced_accuracy": {s: self.balanced_accuracy(s) for s in names},
                "class_recalls": {s: self.class_recalls(s) for s in names},
                "absent_classes": list(self.absent_classes),
            }
        found: dict[str, Any] = {
            "score": self.score.name,
            "higher_is_better": self.score.higher_is_better,
            "unit": self.score.unit,
            "all_alive": self.all_alive,
            "expected_score": {s: self.expected_score(s) for s in names},
            "parts": {s: self.expected_parts(s) for s in names},
        }
        if self.is_balanced:
            found["balanced_accuracy"] = {s: self.balanced_accuracy(s) for s in names}
        return found

    def _outputs_to_dict(self) -> dict[str, Any]:
        """Of several outputs, each one's own scores."""
        own = {
            name: {"task": x.task.kind, **x._intervals_to_dict(), **x._scores_to_dict()}
            for name, x in self.by_output().items()
        }
        return {"outputs": own} if own else {}

    def _intervals_to_dict(self) -> dict[str, Any]:
        """How sure each estimate is, where configurations were drawn."""
        method = self.configurations.method
        if method == "exact":
            return {}
        found = {s: self.main.intervals.of(s) for s in self.survivabilities}
        names = next(iter(found.values()))
        by_name = {name: {s: found[s][name] for s in found} for name in names}
        return {"method": method, "interval": {"level": LEVEL, **by_name}}

    def _total(self, parts: Array) -> Any:
        return self._case.scorer.total(parts)

    def _mean(self, cases: Mask) -> float:
        return float(self.scores[cases].mean())


def evaluate(
    topology: Topology,
    runner: Runner,
    samples: Labeled,
    task: Task,
    survivabilities: Mapping[str, Survival],
    *,
    fallback: Fallback = "prior",
    score: Score | None = None,
    rule: AnswerRule = AnswerRule(),
    sampling: Sampling = Sampling(),
) -> Reliability:
    """Expected score over all failure configurations.

    `samples`: of every sensor, and their targets; `task`: what answers mean. `fallback`: the answer
    when nothing reaches a node that answers; `score`: the task's, unless given. `rule`: who
    answers, whose answer is taken of several, and who does so early; for the policy `priority`, its
    order is what `Reliability.priority` gives for validation data. `sampling`: whether exact, or an
    estimate with an interval.

    Raises `InputError` for data that do not fit.
    """
    score = score or task.score
    constant = task.fallback(fallback)
    configurations = find_configurations(topology, survivabilities, sampling)
    bound = BoundRule(topology, rule, task)
    check_samples(samples.inputs, samples.labels, [s.name for s in topology.sensors])
    scorer = scorer_of(task, samples.labels, score, fallback)
    cache = SectionCache(topology, runner, samples.inputs)
    case = PartScores(cache, scorer, constant, bound)
    part_scores, shares, tensor_rates, answer_rates = case.of_masks(configurations.masks)
    return Reliability(
        topology=topology,
        configurations=configurations,
        task=task,
        fallback=fallback,
        score=score,
        samples=len(samples.labels),
        part_scores=part_scores,
        answered=np.asarray(shares.any(axis=1)),
        section_evaluations=cache.evaluations,
        rule=bound.rule,
        answer_shares=shares,
        traffic=Traffic(bound, configurations, tensor_rates, answer_rates, cache.message_bytes),
        seen=views_seen(topology, samples.inputs),
        _case=case,
    )
