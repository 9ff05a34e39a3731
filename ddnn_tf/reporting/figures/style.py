"""What all figures share: colors, style, legends.

Nothing is shared with `pyplot`, and the style, which matplotlib keeps in one global table, is put
back after each call.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import cycle, islice
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes

from edge_runtime.evaluation.reliability import Reliability

from ..ranking import harshest

Methods = Mapping[str, Reliability]
INK, SOFT, GRID, BAND, PAPER = "#1b1f24", "#57606b", "#d8dee5", "#f3f5f8", "#fffffe"
#: Okabe and Ito's colors, which color-blind readers tell apart; each also has its own marker.
METHODS = ("#d55e00", "#0072b2", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
MARKERS = ("s", "o", "^", "D", "v", "P")
#: Light to dark, so that an order of survivabilities survives a black-and-white printer.
SURVIVABILITIES = ("#c9b3de", "#9166b5", "#4f2379", "#b39ac9", "#6f4594")

#: What a page may redefine: every color of ours, as the name of a CSS variable.
CSS = {
    INK: "--ink",
    SOFT: "--soft",
    GRID: "--grid",
    BAND: "--band",
    PAPER: "--page",
    **{color: f"--method{i}" for i, color in enumerate(METHODS)},
    **{color: f"--survival{i}" for i, color in enumerate(SURVIVABILITIES)},
}

STYLE: Mapping[Any, Any] = {
    "font.size": 11,
    "axes.titlesize": 11,
    "axes.labelcolor": INK,
    "axes.edgecolor": SOFT,
    "axes.facecolor": "none",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": GRID,
    "text.color": INK,
    "xtick.color": SOFT,
    "xtick.labelcolor": INK,
    "ytick.color": SOFT,
    "ytick.labelcolor": INK,
    "figure.constrained_layout.h_pad": 0.08,
    "figure.constrained_layout.w_pad": 0.08,
    "legend.frameon": False,
    # A name may hold a dollar sign.
    "text.parse_math": False,
    "svg.fonttype": "none",
    # Without a salt of our own the identifiers inside an SVG differ from run to run.
    "svg.hashsalt": "ddnn-tf",
}

WIDTH = 6.4


@contextmanager
def styled() -> Iterator[None]:
    """Our style, whatever the user's matplotlibrc says; theirs again afterwards."""
    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update(STYLE)
        yield


def series_of(values: Sequence[str], of: Mapping[str, object]) -> list[str]:
    """One value for each member of `of`, over and over again where there are too few."""
    return list(islice(cycle(values), len(of)))


def similar(report: Reliability, survivability: str) -> str:
    """This survivability, or where the report has it not, its own harshest."""
    return survivability if survivability in report.survivabilities else harshest(report)


def add_legend(axes: Axes, columns: int = 0, *, equal: bool = False) -> None:
    """Above the plot, where it covers no data; two columns where the labels are long."""
    handles, labels = axes.get_legend_handles_labels()
    fits = sum(len(x) + 5 for x in labels) < 66
    legend = axes.legend(
        loc="lower left",
        bbox_to_anchor=(0, 1.0),
        ncols=columns or (len(labels) if fits else 2 if max(map(len, labels)) < 28 else 1),
        borderaxespad=0.2,
        handletextpad=0.5,
        columnspacing=1.4,
        handles=handles,
    )
    if equal:
        for handle in legend.legend_handles:
            handle.set_sizes([50])  # type: ignore[union-attr]
