"""In which share of the time a method is at least how accurate."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure

from ..ranking import harshest
from .style import METHODS, WIDTH, Methods, add_legend, series_of, similar, styled


@styled()
def share_of_time(methods: Methods, best: str) -> Figure:
    """For each method: in which share of the time it is at least how accurate."""
    figure = Figure(figsize=(WIDTH, 4.4), layout="constrained")
    axes = figure.subplots()
    survivability = harshest(methods[best])
    for (name, report), color, style in zip(
        methods.items(),
        series_of(METHODS, methods),
        series_of(("-", "--", "-."), methods),
        strict=True,
    ):
        weights = report.configurations.probabilities(similar(report, survivability))
        order = np.argsort(-report.scores, kind="stable")
        share = np.cumsum(weights[order])
        accuracies = report.scores[order]
        axes.step(
            100 * np.concatenate([[0.0], share]),
            100 * np.concatenate([accuracies[:1], accuracies]),
            where="pre",
            color=color,
            linestyle=style,
            linewidth=2,
            label=name,
        )
    axes.set_xlim(0, 100)
    axes.set_xlabel(f"share of the time at {survivability} survivability (%)")
    axes.set_ylabel("at least this accurate (%)")
    add_legend(axes)
    return figure
