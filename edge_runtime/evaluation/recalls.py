"""Recall of every class in every case, from section outputs that are computed as needed."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..answers.early import senders
from ..arrays import Vector
from ..failures.distribution import Mask
from .answering import BoundRule
from .cache import SectionCache


class Recalls:
    """Recall of every class in every case, from section outputs that are computed as needed."""

    def __init__(
        self,
        cache: SectionCache,
        labels: NDArray[np.int64],
        fallback: Vector,
        classes: int,
        answering: BoundRule,
    ) -> None:
        self._cache = cache
        self.labels = labels
        self.answering = answering
        self._fallback = fallback
        self._one_hot = np.eye(classes)[labels]
        self._counts = np.maximum(self._one_hot.sum(axis=0), 1)
        self._by_state: dict[tuple[str, int], Vector] = {}
        self._by_joint_state: dict[tuple[int, ...], tuple[Vector, ...]] = {}

    def of_state(self, state: int, node: str) -> Vector:
        """Recalls of one node's own answers in one state of its own."""
        if not state:
            return self._fallback
        if (node, state) not in self._by_state:
            answers = self._cache.answer(state, node).argmax(axis=1)
            self._by_state[node, state] = self._recalls(answers)
        return self._by_state[node, state]

    def of_masks(self, masks: Mask) -> tuple[NDArray[np.float64], ...]:
        """Recalls (cases, classes); and by node, shares of samples (cases, nodes).

        Those that each node that may answer answers; and those in which each node in order sends a
        tensor, and in which it hands over an answer if it is one that may.
        """
        found, inverse = self.answering.joint_states(masks)
        columns = zip(*map(self._of_joint_state, found), strict=True)
        recalls, shares, sends, says = (np.stack(column)[inverse] for column in columns)
        if not self.answering.early:
            sends = says = senders(self._cache.topology, masks).astype(np.float64)
        return recalls, shares, sends, says

    def _of_joint_state(self, joint_state: tuple[int, ...]) -> tuple[Vector, ...]:
        if joint_state not in self._by_joint_state:
            taken = self.answering.take(self._cache, joint_state)
            who, nodes = taken.places, len(self.answering.nodes)
            shares = np.bincount(who + 1, minlength=nodes + 1)[1:] / len(who)
            right = taken.probabilities.argmax(axis=1) == self.labels
            right = np.where(who < 0, self._fallback[self.labels], right)
            recalls = np.asarray(right @ self._one_hot / self._counts)
            sends, says = (
                np.zeros(0) if counted is None else counted.mean(axis=1)
                for counted in (taken.sends_tensor, taken.hands_over)
            )
            self._by_joint_state[joint_state] = recalls, shares, sends, says
        return self._by_joint_state[joint_state]

    def _recalls(self, answers: NDArray[np.int64]) -> Vector:
        return np.asarray((answers == self.labels) @ self._one_hot / self._counts)
