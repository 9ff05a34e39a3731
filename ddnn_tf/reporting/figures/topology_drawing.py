"""The machines of a topology, drawn."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import groupby

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch, Rectangle
from matplotlib.path import Path as Curve

from edge_runtime.arrays import Vector
from edge_runtime.scoring import ACCURACY, Score
from edge_runtime.topology import Link, Topology

from ..wording import lost_short
from .style import BAND, METHODS, SOFT, WIDTH, styled
from .topology_curves import route
from .topology_layout import BOX, GAP, ROW, columns_of, rows_of, tiers_of

#: Text on a node and the colors below it stay in dark mode, so they are none of the above.
NODE_INK = "#1b1f25"
HEAT = LinearSegmentedColormap.from_list("heat", ["#fdf6e9", "#f9c98a", "#ee8a4a"])
DASHES = (0.0, (4.0, 2.5))


@styled()
def topology(t: Topology, importances: Mapping[str, float], score: Score = ACCURACY) -> Figure:
    """The machines in rows from the sensors up; residual links dashed and curved around.

    `importances`: what each element's failure costs of the `score`; it colors the nodes.
    """
    rows = rows_of(t)
    box = max(0.74, 0.1 * max(len(name) for name in rows) + 0.16)
    places = {
        name: (column * (box + GAP), rows[name] * ROW)
        for name, column in columns_of(t, rows).items()
    }
    curves = route(t, places, box)
    points = np.concatenate([*curves.values(), np.array(list(places.values()))])
    left, right = points[:, 0].min() - box / 2 - 0.95, points[:, 0].max() + box / 2 + 0.15
    bottom, top = points[:, 1].min() - ROW / 2, points[:, 1].max() + ROW / 2
    short = max(0.0, WIDTH - (right - left)) / 2
    left, right = left - short, right + short

    figure = Figure(figsize=(right - left, top - bottom + 0.45))
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(left, right), ylim=(bottom - 0.45, top))
    axes.axis("off")
    _draw_tiers(axes, t, rows, left, right)
    for link in t.links:
        _draw_link(axes, link, curves[link.name])
    most = max(*(importances[name] for name in rows), 1e-9)
    for name, place in places.items():
        cost = importances[name]
        said = f"{100 * cost:.1f}" if score.unit == "%" else f"{cost:.3g}"
        _draw_node(axes, name, place, box, said, cost / most)
    _draw_key(axes, t, left + 0.12, bottom - 0.24, f"number: {lost_short(score)}")
    return figure


def _draw_tiers(
    axes: Axes, t: Topology, rows: Mapping[str, int], left: float, right: float
) -> None:
    """A band behind the rows of each tier, where every row belongs to one."""
    tiers = tiers_of(t)
    found = [{tiers[n] for n in rows if rows[n] == row} for row in range(max(rows.values()) + 1)]
    if any(len(names) > 1 for names in found):
        return
    low = 0
    for (tier,), run in groupby(found):
        high = low + len(list(run)) - 1
        bottom, top = (low - 0.46) * ROW, (high + 0.46) * ROW
        band = Rectangle((left, bottom), right - left, top - bottom, fc=BAND, ec="none", zorder=0)
        axes.add_patch(band)
        label = "sensors" if low == high == 0 else tier
        axes.text(left + 0.12, top - 0.1, label, va="top", color=SOFT, fontsize=10.5)
        low = high + 1


def _draw_link(axes: Axes, link: Link, curve: Vector) -> None:
    residual = link.kind == "residual"
    codes = [Curve.MOVETO, Curve.CURVE4, Curve.CURVE4, Curve.CURVE4]
    axes.add_patch(
        FancyArrowPatch(
            path=Curve(curve, codes),
            arrowstyle="-|>",
            mutation_scale=9,
            color=METHODS[1] if residual else SOFT,
            linestyle=DASHES if residual else "-",
            linewidth=1.6 if residual else 1.2,
            shrinkA=0,
            shrinkB=0,
            zorder=2,
        )
    )


def _draw_node(
    axes: Axes, name: str, place: tuple[float, float], box: float, lost: str, heat: float
) -> None:
    x, y = place
    axes.add_patch(
        FancyBboxPatch(
            (x - box / 2, y - BOX / 2),
            box,
            BOX,
            boxstyle="round,pad=0,rounding_size=0.07",
            facecolor=HEAT(max(heat, 0.0)),
            edgecolor=SOFT,
            zorder=3,
        )
    )
    axes.text(x, y + 0.085, name, ha="center", va="center", color=NODE_INK, fontsize=10.5)
    axes.text(x, y - 0.105, lost, ha="center", va="center", color=NODE_INK, fontsize=9)


def _draw_key(axes: Axes, t: Topology, x: float, y: float, number: str) -> None:
    axes.text(x, y, number, va="center", fontsize=10)
    x += max(1.75, 0.08 * len(number) + 0.2)
    for kind, label in (("primary", "primary link"), ("residual", "residual link")):
        if any(link.kind == kind for link in t.links):
            color, style = (SOFT, "-") if kind == "primary" else (METHODS[1], DASHES)
            axes.plot([x, x + 0.4], [y, y], color=color, linestyle=style)
            axes.text(x + 0.5, y, label, va="center", fontsize=10)
            x += 1.85
