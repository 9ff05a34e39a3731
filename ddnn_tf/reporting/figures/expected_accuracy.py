"""Expected score of each method at each survivability, and balanced accuracy where it is one."""

from __future__ import annotations

import math

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from edge_runtime.scoring import Score

from ..wording import axis, factor, short
from .style import GRID, MARKERS, METHODS, PAPER, WIDTH, Methods, add_legend, styled


@styled()
def expected(methods: Methods) -> Figure:
    """Expected score of each method at each survivability, and balanced where it has one."""
    figure = Figure(figsize=(WIDTH, 4.4), layout="constrained")
    draw_expected(figure.subplots(), methods)
    return figure


def draw_expected(axes: Axes, methods: Methods, first: int = 0) -> None:
    """A point for each method and survivability; colors from the `first` on."""
    names = list(dict.fromkeys(s for r in methods.values() for s in r.survivabilities))
    step = min(0.8 / len(methods), 0.3)
    score = next(iter(methods.values())).score
    is_balanced, times = all(r.is_balanced for r in methods.values()), factor(score)
    low, high = math.inf, -math.inf
    for i, (name, report) in enumerate(methods.items()):
        color, marker = (x[(first + i) % len(x)] for x in (METHODS, MARKERS))
        offset = step * (i - (len(methods) - 1) / 2)
        places = [names.index(s) + offset for s in report.survivabilities]
        whole = [times * report.expected_score(s) for s in report.survivabilities]
        balanced = whole
        if is_balanced:
            balanced = [times * report.balanced_accuracy(s) for s in report.survivabilities]
            ends = np.minimum(whole, balanced), np.maximum(whole, balanced)
            axes.vlines(places, *ends, GRID, lw=2)
        axes.plot(places, whole, marker, color=color, markersize=8, label=name)
        if is_balanced:
            axes.plot(places, balanced, marker, color=color, markersize=7, mfc=PAPER, mew=1.4)
        for x, y, other in zip(places, whole, balanced, strict=True):
            _write(axes, short(score, y / times), (x, y), below=other > y)
        low, high = min(low, *whole, *balanced), max(high, *whole, *balanced)
    axes.set_xlim(-0.55, len(names) - 0.45)
    axes.set_ylim(*_ends(low, high, score))
    axes.set_xticks(range(len(names)), names)
    axes.grid(axis="x", visible=False)
    axes.set_xlabel(
        "survivability" + (" (filled: expected, hollow: balanced)" if is_balanced else "")
    )
    axes.set_ylabel(axis(score))
    if len(methods) > 1:
        add_legend(axes)


def _ends(low: float, high: float, score: Score) -> tuple[float, float]:
    """Of an axis, with room for the numbers beside the points."""
    room = 0.5 if score.unit == "%" else 0.02 * max(abs(low), abs(high)) or 0.5
    return low - 0.06 * (high - low) - room, high + 0.14 * (high - low) + room


def _write(axes: Axes, text: str, point: tuple[float, float], *, below: bool) -> None:
    """A number beside a point."""
    axes.annotate(
        text,
        point,
        (0, -8 if below else 8),
        textcoords="offset points",
        ha="center",
        va="top" if below else "bottom",
        fontsize=10,
    )
