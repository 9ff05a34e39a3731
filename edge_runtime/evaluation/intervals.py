"""How sure the estimates of an evaluation are, where its configurations were drawn."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..arrays import Vector
from ..failures.configurations import Configurations
from ..failures.distribution import Mask
from ..failures.sampling import LEVEL
from ..scoring import Score, Scorer


@dataclass(frozen=True)
class Intervals:
    """What holds the true value of each estimate with probability `LEVEL` or more.

    Of configurations that are all there are, both ends are the value itself. What holds for any
    number of draws needs values from 0 to 1, so that an error, which has no upper end, has no
    interval where configurations were drawn. `part_scores`: float64 (configurations, parts);
    `answered`: bool (configurations,).
    """

    configurations: Configurations
    scorer: Scorer
    score: Score
    part_scores: NDArray[np.float64]
    answered: Mask

    def of(self, survivability: str) -> dict[str, Any]:
        """[low, high] by the name of the estimate, those of recalls by class."""

        def interval(values: Vector) -> list[float]:
            return list(self.configurations.interval(survivability, values))

        reach = {"reach_probability": interval(self.answered.astype(np.float64))}
        if self.score.unit != "%" and self.configurations.method != "exact":
            return reach
        scores = interval(self.scorer.total(self.part_scores))
        counted = self.scorer.counts > 0
        parts = self.part_scores[:, counted].T
        names = [n for n, has in zip(self.scorer.parts, counted, strict=True) if has]
        by_part = dict(zip(names, map(interval, parts), strict=True))
        if self.score.name != "accuracy":
            return {"expected_score": scores, "parts": by_part, **reach}
        balanced = interval(parts.mean(axis=0))
        own = {"expected_accuracy": scores, "balanced_accuracy": balanced}
        return {**own, "class_recalls": by_part, **reach}

    def text(self, survivability: str) -> str:
        """Says how sure the expected score is; nothing of one that is exact."""
        if self.configurations.method == "exact":
            return ""
        found = self.of(survivability)
        own = found.get("expected_accuracy") or found.get("expected_score")
        if own is None:
            return "   sampled; an error has no upper end, so how sure it is cannot be told"
        return f"   sampled; {100 * LEVEL:g} % sure: {100 * own[0]:.2f} to {100 * own[1]:.2f} %"
