"""Birnbaum importance: which failure costs how much."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from edge_runtime.evaluation.reliability import Reliability

from ..ranking import harshest
from ..wording import factor, lost
from .style import GRID, SOFT, SURVIVABILITIES, WIDTH, series_of, styled

MOST_BARS = 30


@styled()
def importance(report: Reliability) -> Figure:
    """Birnbaum importance of every sensor, node and residual link."""
    rows = min(len(_importances(report, residual=True)[0]), MOST_BARS)
    figure = Figure(figsize=(WIDTH, max(3.0, 1.3 + 0.27 * rows)), layout="constrained")
    draw_importance(figure.subplots(), report, residual=True)
    return figure


def _importances(
    report: Reliability, *, residual: bool
) -> tuple[list[str], dict[str, dict[str, float]]]:
    """Elements worth a bar, most important first, and their importance by survivability."""
    found = {s: report.importance(s) for s in report.survivabilities}
    t = report.topology
    names = [*t.order, *(x.name for x in t.sensors), *(x.name for x in t.groups)]
    names += [x.name for x in t.links if residual and x.kind == "residual"]
    judged = found[harshest(report)]
    return sorted(names, key=lambda name: -judged[name]), found


def draw_importance(axes: Axes, report: Reliability, *, residual: bool) -> None:
    """The most important elements, a row each; residual links among them where `residual`."""
    names, found = _importances(report, residual=residual)
    names = names[:MOST_BARS]
    rows = np.arange(len(names))
    values = np.array([[found[s][n] for s in found] for n in names]) * factor(report.score)
    axes.hlines(rows, np.minimum(values.min(1), 0), np.maximum(values.max(1), 0), GRID, lw=3)
    axes.axvline(0, color=SOFT, linewidth=1)
    colors, markers = series_of(SURVIVABILITIES, found), series_of(("o", "s", "^"), found)
    for name, column, color, marker in zip(found, values.T, colors, markers, strict=True):
        axes.plot(column, rows, marker, color=color, markersize=7, label=name)
    axes.set_yticks(rows, [n.replace("->", " → ") for n in names])
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.grid(axis="y", visible=False)
    axes.set_xlabel(lost(report.score))
    axes.legend(loc="lower right")
