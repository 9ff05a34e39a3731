"""Who answers a frame, and who does so early; see docs/explanation/runtime.md."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from ..answers.early import cascade, check_thresholds
from ..answers.policies import candidates, highest_first
from ..answers.rule import AnswerRule, check_confidence
from ..arrays import Array
from ..errors import InputError
from ..failures.configurations import output_states
from ..failures.distribution import Mask
from ..task import Classification, MultiLabel, Task
from ..topology import Topology
from .cache import SectionCache


class Taken(NamedTuple):
    """The answers taken in one joint_state.

    `answers`: (samples, width), zeros where nobody has an answer. `places`: (samples,) who
    gave them, in `BoundRule.nodes`; -1 for nobody. `sends_tensor`, `hands_over`: bool (nodes in
    order, samples), whether each sends a tensor, and whether it hands an answer over if it is one
    of `nodes`; None where nobody is early, so that all do that received something.
    """

    answers: Array
    places: NDArray[np.intp]
    sends_tensor: Mask | None = None
    hands_over: Mask | None = None


class BoundRule:
    """An answer rule on a topology: whose answer is taken in a joint delivery state.

    `rule`: as given, less thresholds of 0, which nothing is below. `nodes`: all that may answer,
    preferred ones first; `ordinary`: those of them whose answers are taken although they are not
    early.

    `task`: what answers mean.

    Raises `InputError` for a rule that does not fit the topology or the task.
    """

    def __init__(self, topology: Topology, rule: AnswerRule, task: Task) -> None:
        check_thresholds(topology, rule.early)
        check_confidence(task, rule)
        self.topology, self._task = topology, task
        thresholds = {node: threshold for node, threshold in rule.early.items() if threshold}
        self.rule = msgspec.structs.replace(rule, early=thresholds)
        self.early: Mapping[str, float] = thresholds
        self.ordinary = _ranking(topology, rule)
        also = [n for n in highest_first(topology) if n in self.early and n not in self.ordinary]
        self.nodes = (*self.ordinary, *also)

    @property
    def early_depths(self) -> dict[str, int]:
        """Depth of every node that may answer early, the higher first, as `AnswerSelector` asks."""
        order = [node for node in highest_first(self.topology) if node in self.early]
        return {node: self.topology.depths[node] for node in order}

    def joint_states(self, masks: Mask) -> tuple[list[tuple[int, ...]], NDArray[np.intp]]:
        """Distinct joint_states, and which of them each case of `masks` is in.

        A joint_state is the delivered-links state of each node in order, 0 where it has none; where
        nobody is early, of those that may answer alone, in the order of `nodes`.
        """
        names = self.topology.order if self.early else self.nodes
        columns = [output_states(self.topology, masks, node) for node in names]
        keys, inverse = state_keys(np.concatenate(columns, axis=1))
        links = len(self.topology.links)
        one = (1 << links) - 1
        return [tuple(k >> i * links & one for i in range(len(names))) for k in keys], inverse

    def states(self, joint_state: Sequence[int]) -> dict[str, int]:
        """The delivered-links states of a joint_state, by node."""
        names = self.topology.order if self.early else self.nodes
        return dict(zip(names, joint_state, strict=True))

    def take(self, cache: SectionCache, joint_state: Sequence[int]) -> Taken:
        """The answers taken in a joint_state, and who gave them."""
        states = self.states(joint_state)
        answers, places = self.not_early(cache, states)
        if not self.early:
            return Taken(answers, places)
        received = [bool(states[node]) for node in self.topology.order]
        sends = np.repeat(np.array(received)[:, None], cache.samples, axis=1)
        says = sends.copy()
        own = {node: cache.answer(states[node], node) for node in self.early if states[node]}
        if not own:
            return Taken(answers, places, sends, says)
        task = self.sure_task
        sure = {node: task.entropy(found) < self.early[node] for node, found in own.items()}
        bits = self.topology.bits
        delivers = {
            link.name: np.array(bool(states[link.target] >> bits[link.name] & 1))
            for link in self.topology.links
        }
        early, passes = cascade(self.topology, delivers, sure)
        for i, node in enumerate(self.topology.order):
            sends[i] &= ~(early[node] | passes[node])
            says[i] &= ~passes[node]
        chosen = first_early(self.topology, early, {n: task.confidence(x) for n, x in own.items()})
        is_early = chosen >= 0
        if is_early.any():
            answers = np.broadcast_to(answers, (cache.samples, *next(iter(own.values())).shape[1:]))
            answers, places = answers.copy(), places.copy()
            for node, found in own.items():
                rows = chosen == self.topology.order.index(node)
                answers[rows], places[rows] = found[rows], self.nodes.index(node)
        return Taken(answers, places, sends, says)

    def not_early(
        self, cache: SectionCache, states: Mapping[str, int]
    ) -> tuple[Array, NDArray[np.intp]]:
        """The answers taken where nobody answers early, and who gave them; see `Taken`."""
        chosen = candidates(self.rule.policy, states, self.ordinary)
        if not chosen:
            return np.zeros((cache.samples, 1)), np.full(cache.samples, -1)
        if len(chosen) == 1:  # nothing to choose by
            answer = cache.answer(states[chosen[0]], chosen[0])
            return answer, np.full(cache.samples, self.nodes.index(chosen[0]))
        answers = np.stack([cache.answer(states[node], node) for node in chosen])
        # As answers tell it: of two that are sure to all their digits the first is taken.
        which = self.sure_task.confidence(answers).argmax(axis=0)
        taken = np.take_along_axis(answers, which[None, :, None], axis=0)[0]
        return taken, np.array([self.nodes.index(node) for node in chosen])[which]

    @property
    def sure_task(self) -> Classification | MultiLabel:
        """The task, whose answers say how sure they are."""
        assert isinstance(self._task, (Classification, MultiLabel))  # by `check_confidence`
        return self._task


def first_early(
    topology: Topology, early: Mapping[str, Mask], confidences: Mapping[str, Array]
) -> NDArray[np.intp]:
    """Whose early answer is taken, by place in the topology's order; -1 where there is none.

    The one of least depth; of several, the most confident; of equals, the highest. Of nodes that
    may answer early, `early` says whether each does, and `confidences` how sure it is then.
    """
    shape = np.broadcast_shapes(*(np.shape(x) for x in confidences.values()))
    found, best = np.full(shape, -1), np.full(shape, -np.inf)
    for node in highest_first(topology):
        if node in confidences:
            # A probability is below 2, so that depth decides first.
            worth = confidences[node] - 2.0 * topology.depths[node]
            better = early[node] & (worth > best)
            found = np.where(better, topology.order.index(node), found)
            best = np.where(better, worth, best)
    return found


def state_keys(states: Mask) -> tuple[list[int], NDArray[np.intp]]:
    """Distinct delivered-links states as bit masks, and which of them each case is in."""
    packed = np.packbits(states, axis=1, bitorder="little")
    rows = np.ascontiguousarray(packed).view(np.dtype((np.void, packed.shape[1]))).ravel()
    distinct, inverse = np.unique(rows, return_inverse=True)
    return [int.from_bytes(row.tobytes(), "little") for row in distinct], inverse


def _ranking(topology: Topology, rule: AnswerRule) -> tuple[str, ...]:
    """Who may answer, in the order of the policy."""
    if rule.mode == "output":
        return (topology.output,)
    if not topology.exits:
        raise InputError(
            f"no node of {topology.name!r} has an exit, so only the output node answers; "
            "train with exits, or ask for its answers alone"
        )
    if rule.policy != "priority":
        return highest_first(topology)
    if rule.priority is None or sorted(rule.priority) != sorted(topology.answering):
        got = "none" if rule.priority is None else ", ".join(rule.priority)
        raise InputError(
            f"the policy priority needs an order of {', '.join(topology.answering)}, chosen on "
            f"validation data; got {got}"
        )
    return tuple(rule.priority)
