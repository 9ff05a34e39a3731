"""Score by number of failures, and how probable each number is."""

from __future__ import annotations

from itertools import cycle, islice

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from edge_runtime.evaluation.reliability import Reliability

from ..ranking import harshest
from ..wording import axis, factor
from .style import (
    MARKERS,
    METHODS,
    SURVIVABILITIES,
    WIDTH,
    Methods,
    add_legend,
    series_of,
    similar,
    styled,
)


@styled()
def by_failures(methods: Methods, best: str) -> Figure:
    """Score by number of failures, and below it how probable each number is."""
    figure = Figure(figsize=(WIDTH, 4.8), layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=[2.2, 1])
    weights = harshest(methods[best])
    for (name, report), color, marker in zip(
        methods.items(), series_of(METHODS, methods), series_of(MARKERS, methods), strict=True
    ):
        rows = report.by_failures(similar(report, weights))
        above.plot(
            [r["failures"] for r in rows],
            [factor(report.score) * r["score"] for r in rows],
            color=color,
            marker=marker,
            markersize=6,
            label=name,
        )
    above.set_ylabel(axis(methods[best].score))
    add_legend(above)
    _probability_bars(below, methods[best])
    return figure


def _probability_bars(axes: Axes, report: Reliability) -> None:
    names = report.survivabilities
    width = 0.8 / len(names)
    shades = islice(cycle(SURVIVABILITIES), len(names))
    for i, (name, color) in enumerate(zip(names, shades, strict=True)):
        rows = report.by_failures(name)
        places = [r["failures"] + width * (i - (len(names) - 1) / 2) for r in rows]
        axes.bar(places, [100 * r["probability"] for r in rows], width, color=color, label=name)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(axis="x", visible=False)
    axes.set_xlabel("number of failures")
    axes.set_ylabel("how often (%)")
    axes.legend(fontsize=10, handlelength=1.2, labelspacing=0.25)
