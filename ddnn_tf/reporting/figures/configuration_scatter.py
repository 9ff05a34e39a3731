"""Every failure configuration as a point."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from edge_runtime.arrays import Vector
from edge_runtime.evaluation.reliability import Reliability

from ..ranking import MOST_LISTED, harshest, most_probable
from ..wording import axis, factor
from .style import METHODS, WIDTH, add_legend, styled


@styled()
def configurations(report: Reliability) -> Figure:
    """Every failure configuration: failures across, score up, probability as area."""
    figure = Figure(figsize=(WIDTH, 4.4), layout="constrained")
    axes = figure.subplots()
    cases = most_probable(report, MOST_LISTED)
    failures = report.configurations.failures[cases]
    scores = factor(report.score) * report.scores[cases]
    probabilities = report.configurations.probabilities(harshest(report))[cases]
    x = failures + _spread(failures, report.score.sign * scores)
    area = 10 + 300 * probabilities / probabilities.max()
    answered = report.answered[cases]
    for rows, color, label in (
        (answered, METHODS[1], "an input reaches the output"),
        (~answered, METHODS[0], f"nothing does: fallback ({report.fallback})"),
    ):
        axes.scatter(x[rows], scores[rows], area[rows], color, alpha=0.55, linewidth=0, label=label)
    axes.set_xlabel("number of failures")
    axes.set_ylabel(axis(report.score))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(axis="x", visible=False)
    add_legend(axes, columns=2, equal=True)
    return figure


def _spread(groups: NDArray[np.int64], values: Vector) -> Vector:
    """A shift of each point within its group, by rank, so that equal values stay apart."""
    shift = np.zeros(len(values))
    for group in np.unique(groups):
        rows = np.flatnonzero(groups == group)
        order = rows[np.argsort(-values[rows], kind="stable")]
        if len(rows) > 1:
            shift[order] = np.linspace(-0.36, 0.36, len(rows))
    return shift
