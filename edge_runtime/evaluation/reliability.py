"""How accurate a deployment is over everything that can fail.

The arithmetic exists here once, over anything that can run a node: sections cut from a Keras
model, LiteRT artifacts, or a test's counting runner. Exact where the configurations are not too
many, and quick, because what a node computes depends on its delivered-links state alone: the 256
failure configurations of the poster's residual topology need 102 section evaluations, not 2304.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..answers.classification import Classification
from ..answers.fallback import Fallback, fallback_answer
from ..answers.policies import highest_first
from ..answers.rule import AnswerRule
from ..arrays import Array, Labeled, Vector
from ..errors import InputError
from ..failures.configurations import Configurations, output_states
from ..failures.distribution import Mask, working
from ..failures.sampling import LEVEL, Sampling, find_configurations
from ..topology import Survival, Topology
from .answering import BoundRule, state_keys
from .bounds import _best, views_seen
from .cache import Runner, SectionCache
from .intervals import Intervals
from .recalls import Recalls
from .traffic import Traffic


@dataclass(frozen=True)
class Reliability:
    """What an evaluation found: exactly, or where configurations were sampled, as an estimate.

    `recalls`: float64 (configurations, classes), the recall of each class in each configuration.
    `counts`: int64 (classes,), samples of each class. `answered`: bool (configurations,), whether
    anything reached a node that may answer. `rule`: who that is, and whose answer is taken.
    `answer_shares`: float64 (configurations, nodes that may answer, as in `exits`), the share of
    the samples that each answers. `traffic`: what the nodes send and hand over. `seen`: bool
    (samples, sensors), which sensors see the object; None where the data do not tell. All
    accuracies are fractions of 1.
    """

    topology: Topology
    configurations: Configurations
    classification: Classification
    counts: NDArray[np.int64]
    recalls: NDArray[np.float64]
    answered: Mask
    section_evaluations: int
    rule: AnswerRule
    answer_shares: NDArray[np.float64]
    traffic: Traffic
    seen: Mask | None
    _case: Recalls

    @property
    def class_names(self) -> tuple[str, ...]:
        """In the order of `counts`."""
        return self.classification.class_names

    @property
    def fallback(self) -> Fallback:
        """The answer when nothing reaches a node that answers."""
        return self.classification.fallback

    @property
    def survivabilities(self) -> tuple[str, ...]:
        """Names of what was asked for."""
        return tuple(self.configurations.models)

    @property
    def accuracies(self) -> Vector:
        """Accuracy in each configuration, shape (configurations,)."""
        return np.asarray(self._accuracy(self.recalls))

    @property
    def all_alive(self) -> float:
        """Accuracy when nothing has failed."""
        return float(self.accuracies[0])

    @property
    def absent_classes(self) -> tuple[str, ...]:
        """Classes without a sample, which no balanced accuracy can speak of."""
        return tuple(n for n, c in zip(self.class_names, self.counts, strict=True) if not c)

    def expected_accuracy(self, survivability: str) -> float:
        """Accuracy in each configuration, weighted by its probability."""
        return float(self.configurations.probabilities(survivability) @ self.accuracies)

    def class_recalls(self, survivability: str) -> dict[str, float]:
        """Expected recall of each class present."""
        expected = self.configurations.probabilities(survivability) @ self.recalls
        present = zip(self.class_names, expected, self.counts, strict=True)
        return {name: float(recall) for name, recall, count in present if count}

    def balanced_accuracy(self, survivability: str) -> float:
        """Mean expected recall over the classes present."""
        return float(np.mean(list(self.class_recalls(survivability).values())))

    def reach_probability(self, survivability: str) -> float:
        """Probability that information reaches a node that may answer."""
        return float(self.configurations.probabilities(survivability) @ self.answered)

    @property
    def intervals(self) -> Intervals:
        """How sure each estimate is."""
        return Intervals(
            self.configurations, self.class_names, self.counts, self.recalls, self.answered
        )

    def by_failures(self, survivability: str) -> list[dict[str, float]]:
        """For each number of failures: its probability and the accuracy expected then."""
        p, failures = self.configurations.probabilities(survivability), self.configurations.failures
        rows = []
        for count in np.unique(failures).tolist():
            weight = p * (failures == count)
            total = float(weight.sum())
            # A number of failures that cannot occur has no expectation; count configurations.
            mean = weight @ self.accuracies / total if total else self._mean(failures == count)
            rows.append({"failures": count, "probability": total, "accuracy": float(mean)})
        return rows

    def worst(self, failures: int) -> tuple[tuple[str, ...], float]:
        """The `failures` elements or groups whose joint failure costs most, and the accuracy left.

        Of those joint failures that the configurations hold.
        """
        cases = np.flatnonzero(self.configurations.failures == failures)
        if not len(cases):
            raise InputError(
                f"expected 0 to {len(self.configurations.fallible)} failures, got {failures}"
            )
        case = cases[self.accuracies[cases].argmin()]
        return self.failed(int(case)), float(self.accuracies[case])

    def failed(self, case: int) -> tuple[str, ...]:
        """Names of the elements, and of the groups, that have failed in a configuration."""
        down = ~self.configurations.components[case]
        return tuple(n for n, d in zip(self.topology.components, down, strict=True) if d)

    def importance(self, survivability: str) -> dict[str, float]:
        """Birnbaum importance of every sensor, node, link and group, whether or not it can fail.

        Expected accuracy while it works for sure minus expected accuracy once it has failed
        (Birnbaum, *On the importance of different components in a multicomponent system*, 1969),
        all else being as it is: an element that works by itself still fails with its groups. Where
        configurations were sampled, over some of them alone. May evaluate further sections, which
        `section_evaluations` does not count.
        """
        rows, weights = self.configurations.occurring(survivability)
        components, accuracies = self.configurations.components[rows], self.accuracies[rows]
        found = {}
        for place, name in enumerate(self.topology.components):
            others = components.copy()
            others[:, place] ^= True
            otherwise = self._accuracy(self._case.of_masks(working(self.topology, others))[0])
            gains = np.where(components[:, place], accuracies - otherwise, otherwise - accuracies)
            found[name] = float(weights @ gains)
        return found

    def states(self, also: Mask | None = None, node: str | None = None) -> dict[int, float]:
        """Accuracy in each delivered-links state that occurs; bit i stands for `links[i]`.

        Of the output node's answers, or of those of `node`'s exit. State 0 is the fallback. `also`:
        further cases, bool (cases, elements), whose states are wanted; what they need is
        evaluated, and not counted in `section_evaluations`.
        """
        masks = self.configurations.masks
        cases = masks if also is None else np.concatenate([masks, also])
        return {
            key: float(self._accuracy(self._case.of_state(key, node or self.topology.output)))
            for key in {0, *state_keys(output_states(self.topology, cases, node))[0]}
        }

    def exits(self, survivability: str) -> dict[str, float]:
        """Probability that each node's answer is taken, by name; the rest is the fallback's."""
        expected = self.configurations.probabilities(survivability) @ self.answer_shares
        return dict(zip(self._case.answering.nodes, map(float, expected), strict=True))

    def exit_accuracy(self, node: str, survivability: str) -> float | None:
        """Expected accuracy of one node's own answers, given that it has one; None if it never has.

        May evaluate further sections, which `section_evaluations` does not count.
        """
        keys, inverse = state_keys(output_states(self.topology, self.configurations.masks, node))
        found = np.array([self._accuracy(self._case.of_state(key, node)) for key in keys])
        weights = self.configurations.probabilities(survivability)
        weights = weights * (np.array([key != 0 for key in keys])[inverse])
        total = float(weights.sum())
        return float(weights @ found[inverse]) / total if total else None

    def priority(self) -> tuple[str, ...]:
        """All nodes that can answer, the one first whose own answers are the most accurate.

        By the mean over the survivabilities; of equals, the higher node. On validation data, this
        is the order for the policy `priority`.
        """

        def worth(node: str) -> float:
            found = [self.exit_accuracy(node, s) for s in self.survivabilities]
            return float(np.mean([0.0 if x is None else x for x in found]))

        return tuple(sorted(highest_first(self.topology), key=worth, reverse=True))

    def bounds(self) -> dict[str, float | None]:
        """What no choice among the answers can beat, see `reachability_bound`, by survivability.

        None where no view is blank, so that the data do not tell who sees the object.
        """
        if self.seen is None:
            return dict.fromkeys(self.survivabilities)
        best = _best(
            self.topology,
            self.configurations.masks,
            self.seen,
            self._case.labels,
            self._case.answering.nodes,
        )
        weights = self.configurations.probabilities
        return {s: float(weights(s) @ best) for s in self.survivabilities}

    def to_dict(self) -> dict[str, Any]:
        """The object that `evaluate --json` prints; of samples, with their intervals."""
        method = self.configurations.method
        sampled: dict[str, Any] = {}
        if method != "exact":
            found = {s: self.intervals.of(s) for s in self.survivabilities}
            names = next(iter(found.values()))
            by_name = {name: {s: found[s][name] for s in found} for name in names}
            sampled = {"method": method, "interval": {"level": LEVEL, **by_name}}
        return sampled | {
            "samples": int(self.counts.sum()),
            "configurations": len(self.configurations),
            "section_evaluations": self.section_evaluations,
            "all_alive": self.all_alive,
            "expected_accuracy": {s: self.expected_accuracy(s) for s in self.survivabilities},
            "balanced_accuracy": {s: self.balanced_accuracy(s) for s in self.survivabilities},
            "class_recalls": {s: self.class_recalls(s) for s in self.survivabilities},
            "absent_classes": list(self.absent_classes),
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

    def _accuracy(self, recalls: Array) -> Any:
        return recalls @ self.counts / self.counts.sum()

    def _mean(self, cases: Mask) -> float:
        return float(self.accuracies[cases].mean())


def evaluate(
    topology: Topology,
    runner: Runner,
    samples: Labeled,
    classification: Classification,
    survivabilities: Mapping[str, Survival],
    *,
    rule: AnswerRule = AnswerRule(),
    sampling: Sampling = Sampling(),
) -> Reliability:
    """Expected accuracy over all failure configurations.

    `samples`: of every sensor, and their labels; `classification`: the classes, the training
    frequency of each, and the fallback. `rule`: who answers, whose answer is taken of several, and
    who does so early; for the policy `priority`, its order is what `Reliability.priority` gives for
    validation data. `sampling`: whether exact, or an estimate with an interval.

    Raises `InputError` for data that do not fit.
    """
    names, prior, fallback = classification
    fallback_p = fallback_answer(fallback, prior)
    configurations = find_configurations(topology, survivabilities, sampling)
    classes = len(names)
    if len(fallback_p) != classes:
        raise InputError(f"expected a prior of {classes} classes, got {len(fallback_p)}")
    bound = BoundRule(topology, rule)
    check_data(topology, samples, classes)
    cache = SectionCache(topology, runner, samples.inputs)
    case = Recalls(cache, samples.labels, fallback_p, classes, bound)
    recalls, shares, tensor_rates, answer_rates = case.of_masks(configurations.masks)
    return Reliability(
        topology=topology,
        configurations=configurations,
        classification=Classification(tuple(names), tuple(prior), fallback),
        counts=np.bincount(samples.labels, minlength=classes),
        recalls=recalls,
        answered=np.asarray(shares.any(axis=1)),
        section_evaluations=cache.evaluations,
        rule=bound.rule,
        answer_shares=shares,
        traffic=Traffic(bound, configurations, tensor_rates, answer_rates, cache.message_bytes),
        seen=views_seen(topology, samples.inputs),
        _case=case,
    )


def check_data(topology: Topology, samples: Labeled, classes: int) -> None:
    """`InputError` for samples and labels that do not fit a topology and a number of classes."""
    inputs, labels = samples.inputs, samples.labels
    missing = [s.name for s in topology.sensors if s.name not in inputs]
    if missing:
        raise InputError(f"no data for sensor {', '.join(missing)}; got {', '.join(inputs)}")
    counts = {s.name: len(inputs[s.name]) for s in topology.sensors}
    if not len(labels) or set(counts.values()) != {len(labels)}:
        raise InputError(
            f"expected as many samples, one at least, of each sensor as there are labels "
            f"({len(labels)}), got {counts}"
        )
    if labels.min() < 0 or labels.max() >= classes:
        raise InputError(
            f"expected labels from 0 to {classes - 1}, got {labels.min()} to {labels.max()}"
        )
