"""In which share of the time a method is at least how good."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure

from ..ranking import harshest
from ..wording import axis, factor
from .style import METHODS, WIDTH, Methods, add_legend, series_of, similar, styled


@styled()
def share_of_time(methods: Methods, best: str) -> Figure:
    """For each method: in which share of the time it is at least how good."""
    figure = Figure(figsize=(WIDTH, 4.4), layout="constrained")
    axes = figure.subplots()
    survivability, score = harshest(methods[best]), methods[best].score
    for (name, report), color, style in zip(
        methods.items(),
        series_of(METHODS, methods),
        series_of(("-", "--", "-."), methods),
        strict=True,
    ):
        weights = report.configurations.probabilities(similar(report, survivability))
        order = np.argsort(-score.sign * report.scores, kind="stable")
        share = np.cumsum(weights[order])
        scores = factor(score) * report.scores[order]
        axes.step(
            100 * np.concatenate([[0.0], share]),
            np.concatenate([scores[:1], scores]),
            where="pre",
            color=color,
            linestyle=style,
            linewidth=2,
            label=name,
        )
    axes.set_xlim(0, 100)
    axes.set_xlabel(f"share of the time at {survivability} survivability (%)")
    is_accuracy = score.name == "accuracy"
    axes.set_ylabel("at least this accurate (%)" if is_accuracy else axis(score, " or better"))
    add_legend(axes)
    return figure
