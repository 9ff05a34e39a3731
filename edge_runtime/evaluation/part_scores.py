"""Scores of every part of the data in every case, from section outputs computed as needed."""

from __future__ import annotations

from copy import copy

import numpy as np
from numpy.typing import NDArray

from ..answers.early import senders
from ..arrays import Vector
from ..failures.distribution import Mask
from ..scoring import OutputsScorer, Scorer
from .answering import BoundRule
from .cache import SectionCache


class PartScores:
    """Scores of every part of the data in every case, from outputs that are computed as needed.

    `fallback`: the answer when nothing reaches a node that answers, see `Scorer.of_constant`.
    """

    def __init__(
        self, cache: SectionCache, scorer: Scorer, fallback: Vector, answering: BoundRule
    ) -> None:
        self._cache = cache
        self.scorer = scorer
        self.answering = answering
        self._whole, self._picks = scorer, slice(None)
        self._fallback = scorer.of_constant(fallback)
        self._of_fallback = scorer.by_part(self._fallback)
        self._by_state: dict[tuple[str, int], Vector] = {}
        self._by_joint_state: dict[tuple[int, ...], tuple[Vector, ...]] = {}

    def of_output(self, name: str) -> PartScores:
        """For one output of several, by its own scores."""
        found = copy(self)
        assert isinstance(self.scorer, OutputsScorer)  # by who asks
        found.scorer, found._picks = self.scorer.of[name], self.scorer.part_of[name]
        return found

    def of_state(self, state: int, node: str) -> Vector:
        """Those of one node's own answers in one state of its own, (parts,)."""
        if not state:
            return self._of_fallback[self._picks]
        if (node, state) not in self._by_state:
            points = self._whole.points(self._cache.answer(state, node))
            self._by_state[node, state] = self._whole.by_part(points)
        return self._by_state[node, state][self._picks]

    def of_masks(self, masks: Mask) -> tuple[NDArray[np.float64], ...]:
        """Scores (cases, parts); and by node, shares of samples (cases, nodes).

        Those that each node that may answer answers; and those in which each node in order sends a
        tensor, and in which it hands over an answer if it is one that may.
        """
        found, inverse = self.answering.joint_states(masks)
        columns = zip(*map(self._of_joint_state, found), strict=True)
        scores, shares, sends, says = (np.stack(column)[inverse] for column in columns)
        if not self.answering.early:
            sends = says = senders(self._cache.topology, masks).astype(np.float64)
        return scores[:, self._picks], shares, sends, says

    def _of_joint_state(self, joint_state: tuple[int, ...]) -> tuple[Vector, ...]:
        if joint_state not in self._by_joint_state:
            taken = self.answering.take(self._cache, joint_state)
            who, nodes = taken.places, len(self.answering.nodes)
            shares = np.bincount(who + 1, minlength=nodes + 1)[1:] / len(who)
            nobody = who < 0
            if nobody.all():
                scores = self._of_fallback
            else:
                points = self._whole.points(taken.answers)
                if nobody.any():
                    rows = nobody.reshape(-1, *[1] * (points.ndim - 1))
                    points = np.where(rows, self._fallback, points)
                scores = self._whole.by_part(points)
            sends, says = (
                np.zeros(0) if counted is None else counted.mean(axis=1)
                for counted in (taken.sends_tensor, taken.hands_over)
            )
            self._by_joint_state[joint_state] = scores, shares, sends, says
        return self._by_joint_state[joint_state]
