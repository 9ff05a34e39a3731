"""Accuracy against a number, a line for each survivability."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from .style import MARKERS, PAPER, SOFT, SURVIVABILITIES, WIDTH, add_legend, series_of, styled


@styled()
def lines(
    series: Mapping[str, Sequence[tuple[float, float, float]]],
    *,
    across: str,
    ticks: Mapping[float, str] | None = None,
    limits: Mapping[str, Sequence[tuple[float, float]]] | None = None,
    apart: Mapping[str, Mapping[str, tuple[float, float, float, float]]] | None = None,
) -> Figure:
    """Accuracy against a number, a line for each survivability.

    `series`: by survivability, points of (x, mean, half range), accuracies as fractions. `across`:
    what x is. `ticks`: names of places on the axis. `limits`: by survivability, points of (x, what
    no model can beat). `apart`: by what they are called, points that belong to no line: by
    survivability (x, mean, half range, what no model can beat).
    """
    figure = Figure(figsize=(WIDTH, 4.4), layout="constrained")
    axes = figure.subplots()
    for (name, points), color, marker in zip(
        series.items(), series_of(SURVIVABILITIES, series), series_of(MARKERS, series), strict=True
    ):
        x, means, halves = (np.array(column) for column in zip(*points, strict=True))
        axes.errorbar(
            x, 100 * means, 100 * halves, color=color, marker=marker, capsize=3, label=name
        )
        if limits:
            x, most = (np.array(column) for column in zip(*limits[name], strict=True))
            axes.plot(x, 100 * most, ":", color=color, linewidth=1.2)
        for found in (apart or {}).values():
            place, mean, half, beaten = found[name]
            looks: dict[str, Any] = {"color": color, "markerfacecolor": PAPER, "markersize": 8}
            axes.errorbar(place, 100 * mean, 100 * half, fmt=marker, capsize=3, zorder=3, **looks)
            axes.plot(place, 100 * beaten, "_", color=color, markersize=10)
    for label, found in (apart or {}).items():
        lowest = min(found.values(), key=lambda point: point[1])
        left = lowest[0] < sum(axes.get_xlim()) / 2
        axes.annotate(
            label,
            (lowest[0], 100 * lowest[1]),
            (9 if left else -9, 0),
            textcoords="offset points",
            ha="left" if left else "right",
            va="center",
            color=SOFT,
        )
    if ticks:
        axes.set_xticks(list(ticks), list(ticks.values()), rotation=30, ha="right")
    axes.set_xlabel(across + (" (dotted: what no model can beat)" if limits else ""))
    axes.set_ylabel("expected accuracy (%)")
    add_legend(axes)
    return figure
