"""What a report singles out: the harshest survivability, the most probable configurations."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from edge_runtime.evaluation.reliability import Reliability

#: More configurations than this make a file of many megabytes, and a scatter says no more.
MOST_LISTED = 4096


def harshest(report: Reliability) -> str:
    """The survivability under which the worst is expected."""
    sign = report.score.sign
    return min(report.survivabilities, key=lambda s: sign * report.expected_score(s))


def most_probable(report: Reliability, count: int) -> NDArray[np.intp]:
    """Rows of the `count` most probable configurations when it is harshest, in their order."""
    probabilities = report.configurations.probabilities(harshest(report))
    return np.sort(np.argsort(-probabilities, kind="stable")[:count])
