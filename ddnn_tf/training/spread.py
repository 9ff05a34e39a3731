"""Figures over several seeds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from edge_runtime.evaluation.reliability import Reliability
from edge_runtime.scoring import ACCURACY, Score

from ..reporting.report import Report


@dataclass(frozen=True)
class Spread:
    """A figure over several seeds: mean, and half the distance from least to greatest."""

    mean: float
    half_range: float
    count: int
    score: Score = ACCURACY

    def __str__(self) -> str:
        """An accuracy in percent; how far the seeds lie apart where there are several."""
        mean = self.score.number(self.mean)
        return mean if self.count == 1 else f"{mean} ± {self.score.number(self.half_range)}"


def spread(
    reports: Sequence[Reliability | Report], survivability: str, *, balanced: bool = False
) -> Spread:
    """Expected score (or balanced accuracy) of one method's models, trained from several seeds."""
    values = [
        r.balanced_accuracy(survivability) if balanced else r.expected_score(survivability)
        for r in reports
    ]
    score = ACCURACY if balanced else reports[0].score
    return Spread(float(np.mean(values)), float(max(values) - min(values)) / 2, len(values), score)
