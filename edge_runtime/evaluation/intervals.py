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


@dataclass(frozen=True)
class Intervals:
    """What holds the true value of each estimate with probability `LEVEL` or more.

    Of configurations that are all there are, both ends are the value itself. `counts`: samples of
    each class; `recalls`: float64 (configurations, classes); `answered`: bool (configurations,).
    """

    configurations: Configurations
    class_names: tuple[str, ...]
    counts: NDArray[np.int64]
    recalls: NDArray[np.float64]
    answered: Mask

    def of(self, survivability: str) -> dict[str, Any]:
        """[low, high] by the name of the estimate, those of recalls by class."""
        present = self.counts > 0
        names = [n for n, count in zip(self.class_names, self.counts, strict=True) if count]
        recalls = self.recalls[:, present].T

        def interval(values: Vector) -> list[float]:
            return list(self.configurations.interval(survivability, values))

        return {
            "expected_accuracy": interval(self.recalls @ self.counts / self.counts.sum()),
            "balanced_accuracy": interval(recalls.mean(axis=0)),
            "class_recalls": dict(zip(names, map(interval, recalls), strict=True)),
            "reach_probability": interval(self.answered.astype(np.float64)),
        }

    def text(self, survivability: str) -> str:
        """Says how sure the expected accuracy is; nothing of one that is exact."""
        if self.configurations.method == "exact":
            return ""
        low, high = self.of(survivability)["expected_accuracy"]
        return f"   sampled; {100 * LEVEL:g} % sure: {100 * low:.2f} to {100 * high:.2f} %"
