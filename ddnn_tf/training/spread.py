"""Figures over several seeds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from edge_runtime.evaluation.reliability import Reliability

from ..reporting.report import Report


@dataclass(frozen=True)
class Spread:
    """A figure over several seeds: mean, and half the distance from least to greatest."""

    mean: float
    half_range: float
    count: int

    def __str__(self) -> str:
        """In percent; how far the seeds lie apart where there are several."""
        mean = f"{100 * self.mean:.2f}"
        return mean if self.count == 1 else f"{mean} ± {100 * self.half_range:.2f}"


def spread(
    reports: Sequence[Reliability | Report], survivability: str, *, balanced: bool = False
) -> Spread:
    """Expected (or balanced) accuracy of one method's models, trained from several seeds."""
    values = [
        r.balanced_accuracy(survivability) if balanced else r.expected_accuracy(survivability)
        for r in reports
    ]
    return Spread(float(np.mean(values)), float(max(values) - min(values)) / 2, len(values))
