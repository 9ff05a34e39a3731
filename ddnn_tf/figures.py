"""Pictures of a reliability evaluation.

Every function here returns a `matplotlib.figure.Figure`; `render` and `inline_svg` turn one into
bytes or into a piece of a page. Nothing is shared with `pyplot`, and the style, which matplotlib
keeps in one global table, is put back after each call.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import cycle, groupby, islice, product
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch, Rectangle
from matplotlib.path import Path as Curve
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from edge_runtime.arrays import Vector
from edge_runtime.topology import Link, Node, Sensor, Topology
from edge_runtime.topology.topology import TIERS, Tier

from .report import MOST_LISTED, Report

Methods = Mapping[str, Report]

INK, SOFT, GRID, BAND, PAPER = "#1b1f24", "#57606b", "#d8dee5", "#f3f5f8", "#fffffe"
#: Okabe and Ito's colours, which colour-blind readers tell apart; each also has its own marker.
METHODS = ("#d55e00", "#0072b2", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
MARKERS = ("s", "o", "^", "D", "v", "P")
#: Light to dark, so that an order of survivabilities survives a black-and-white printer.
SURVIVABILITIES = ("#c9b3de", "#9166b5", "#4f2379", "#b39ac9", "#6f4594")
#: Text on a node and the colours below it stay in dark mode, so they are none of the above.
NODE_INK = "#1b1f25"
HEAT = LinearSegmentedColormap.from_list("heat", ["#fdf6e9", "#f9c98a", "#ee8a4a"])

#: What a page may redefine: every colour of ours, as the name of a CSS variable.
CSS = {
    INK: "--ink",
    SOFT: "--soft",
    GRID: "--grid",
    BAND: "--band",
    PAPER: "--page",
    **{colour: f"--method{i}" for i, colour in enumerate(METHODS)},
    **{colour: f"--survival{i}" for i, colour in enumerate(SURVIVABILITIES)},
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
MOST_BARS = 30


@contextmanager
def _styled() -> Iterator[None]:
    """Our style, whatever the user's matplotlibrc says; theirs again afterwards."""
    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update(STYLE)
        yield


# -- writing ---------------------------------------------------------------------------------------


@_styled()
def render(figure: Figure, kind: str = "png") -> bytes:
    """The figure as a file of this kind (png, svg, pdf, ...); the same bytes each time."""
    buffer = io.BytesIO()
    undated = {"svg": {"Date": None}, "pdf": {"CreationDate": None}}
    figure.savefig(buffer, format=kind, dpi=160, metadata=undated.get(kind))
    return buffer.getvalue()


@_styled()
def inline_svg(figure: Figure, name: str) -> str:
    """An <svg> for a page: no outside reference, its own identifiers, colours as CSS variables."""
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    text = buffer.getvalue()
    text = re.sub(r"<metadata>.*?</metadata>", "", text[text.index("<svg") :], flags=re.DOTALL)
    # Several pictures share one page, where an identifier may occur only once.
    text = re.sub(r'(\bid="|url\(#|href="#)', rf"\g<1>{name}-", text)
    for colour, variable in CSS.items():
        text = text.replace(colour, f"var({variable})")
    width = round(figure.get_size_inches()[0] * 50)
    return re.sub(
        r'<svg .*?viewBox="(.*?)".*?>',
        rf'<svg viewBox="\1" style="min-width: {width}px" aria-hidden="true">',
        text,
        count=1,
        flags=re.DOTALL,
    )


# -- figures ---------------------------------------------------------------------------------------


@_styled()
def overview(report: Report) -> Figure:
    """One figure: expected accuracy, accuracy by number of failures, importance."""
    figure = Figure(figsize=(11, 7), layout="constrained")
    axes = figure.subplot_mosaic([["expected", "importance"], ["failures", "importance"]])
    name = report.topology.name
    _expected(axes["expected"], {name: report}, first=1)
    _lines_by_survivability(axes["failures"], report)
    _importance(axes["importance"], report, residual=False)
    axes["expected"].set_title("Accuracy over all failures", loc="left", weight="bold")
    axes["failures"].set_title("Accuracy by number of failures", loc="left", weight="bold")
    axes["importance"].set_title("Which machine hurts most", loc="left", weight="bold")
    samples, count = int(report.counts.sum()), len(report.configurations)
    figure.suptitle(
        f"{name}: {samples:,} samples, {count:,} failure configurations, "
        f"fallback {report.fallback}",
        x=0.01,
        ha="left",
        color=SOFT,
        fontsize=11,
    )
    return figure


@_styled()
def expected(methods: Methods) -> Figure:
    """Expected and balanced accuracy of each method at each survivability."""
    figure = Figure(figsize=(WIDTH, 4.4), layout="constrained")
    _expected(figure.subplots(), methods)
    return figure


@_styled()
def by_failures(methods: Methods, best: str) -> Figure:
    """Accuracy by number of failures, and below it how probable each number is."""
    figure = Figure(figsize=(WIDTH, 4.8), layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=[2.2, 1])
    weights = methods[best].harshest
    for (name, report), colour, marker in zip(
        methods.items(), _series(METHODS, methods), _series(MARKERS, methods), strict=True
    ):
        rows = report.by_failures(_similar(report, weights))
        above.plot(
            [r["failures"] for r in rows],
            [100 * r["accuracy"] for r in rows],
            color=colour,
            marker=marker,
            markersize=6,
            label=name,
        )
    above.set_ylabel("accuracy (%)")
    _legend(above)
    _probability_bars(below, methods[best])
    return figure


@_styled()
def configurations(report: Report) -> Figure:
    """Every failure configuration: failures across, accuracy up, probability as area."""
    figure = Figure(figsize=(WIDTH, 4.4), layout="constrained")
    axes = figure.subplots()
    cases = report.most_probable(MOST_LISTED)
    failures = report.configurations.failures[cases]
    accuracies = 100 * report.accuracies[cases]
    probabilities = report.configurations.probabilities(report.harshest)[cases]
    x = failures + _spread(failures, accuracies)
    area = 10 + 300 * probabilities / probabilities.max()
    answered = report.answered[cases]
    for rows, colour, label in (
        (answered, METHODS[1], "an input reaches the output"),
        (~answered, METHODS[0], f"nothing does: fallback ({report.fallback})"),
    ):
        axes.scatter(
            x[rows], accuracies[rows], area[rows], colour, alpha=0.55, linewidth=0, label=label
        )
    axes.set_xlabel("number of failures")
    axes.set_ylabel("accuracy (%)")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(axis="x", visible=False)
    _legend(axes, columns=2, equal=True)
    return figure


@_styled()
def share_of_time(methods: Methods, best: str) -> Figure:
    """For each method: in which share of the time it is at least how accurate."""
    figure = Figure(figsize=(WIDTH, 4.4), layout="constrained")
    axes = figure.subplots()
    survivability = methods[best].harshest
    for (name, report), colour, style in zip(
        methods.items(), _series(METHODS, methods), _series(("-", "--", "-."), methods), strict=True
    ):
        weights = report.configurations.probabilities(_similar(report, survivability))
        order = np.argsort(-report.accuracies, kind="stable")
        share = np.cumsum(weights[order])
        accuracies = report.accuracies[order]
        axes.step(
            100 * np.concatenate([[0.0], share]),
            100 * np.concatenate([accuracies[:1], accuracies]),
            where="pre",
            color=colour,
            linestyle=style,
            linewidth=2,
            label=name,
        )
    axes.set_xlim(0, 100)
    axes.set_xlabel(f"share of the time at {survivability} survivability (%)")
    axes.set_ylabel("at least this accurate (%)")
    _legend(axes)
    return figure


@_styled()
def importance(report: Report) -> Figure:
    """Birnbaum importance of every sensor, node and residual link."""
    rows = min(len(_importances(report, residual=True)[0]), MOST_BARS)
    figure = Figure(figsize=(WIDTH, max(3.0, 1.3 + 0.27 * rows)), layout="constrained")
    _importance(figure.subplots(), report, residual=True)
    return figure


@_styled()
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
    for (name, points), colour, marker in zip(
        series.items(), _series(SURVIVABILITIES, series), _series(MARKERS, series), strict=True
    ):
        x, means, halves = (np.array(column) for column in zip(*points, strict=True))
        axes.errorbar(
            x, 100 * means, 100 * halves, color=colour, marker=marker, capsize=3, label=name
        )
        if limits:
            x, most = (np.array(column) for column in zip(*limits[name], strict=True))
            axes.plot(x, 100 * most, ":", color=colour, linewidth=1.2)
        for found in (apart or {}).values():
            place, mean, half, beaten = found[name]
            looks: dict[str, Any] = {"color": colour, "markerfacecolor": PAPER, "markersize": 8}
            axes.errorbar(place, 100 * mean, 100 * half, fmt=marker, capsize=3, zorder=3, **looks)
            axes.plot(place, 100 * beaten, "_", color=colour, markersize=10)
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
    _legend(axes)
    return figure


# -- parts of figures ------------------------------------------------------------------------------


def _series(values: Sequence[str], of: Mapping[str, object]) -> list[str]:
    return list(islice(cycle(values), len(of)))


def _similar(report: Report, survivability: str) -> str:
    """This survivability, or where the report has it not, its own harshest."""
    return survivability if survivability in report.survivabilities else report.harshest


def _legend(axes: Axes, columns: int = 0, *, equal: bool = False) -> None:
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


def _expected(axes: Axes, methods: Methods, first: int = 0) -> None:
    names = list(dict.fromkeys(s for r in methods.values() for s in r.survivabilities))
    step = min(0.8 / len(methods), 0.3)
    low, high = 100.0, 0.0
    for i, (name, report) in enumerate(methods.items()):
        colour, marker = (x[(first + i) % len(x)] for x in (METHODS, MARKERS))
        offset = step * (i - (len(methods) - 1) / 2)
        places = [names.index(s) + offset for s in report.survivabilities]
        whole = [100 * report.expected_accuracy(s) for s in report.survivabilities]
        balanced = [100 * report.balanced_accuracy(s) for s in report.survivabilities]
        axes.vlines(places, np.minimum(whole, balanced), np.maximum(whole, balanced), GRID, lw=2)
        axes.plot(places, whole, marker, color=colour, markersize=8, label=name)
        axes.plot(places, balanced, marker, color=colour, markersize=7, mfc=PAPER, mew=1.4)
        for x, y, other in zip(places, whole, balanced, strict=True):
            below = other > y
            axes.annotate(
                f"{y:.1f}",
                (x, y),
                (0, -8 if below else 8),
                textcoords="offset points",
                ha="center",
                va="top" if below else "bottom",
                fontsize=10,
            )
        low, high = min(low, *whole, *balanced), max(high, *whole, *balanced)
    axes.set_xlim(-0.55, len(names) - 0.45)
    axes.set_ylim(low - 0.06 * (high - low) - 0.5, high + 0.14 * (high - low) + 0.5)
    axes.set_xticks(range(len(names)), names)
    axes.grid(axis="x", visible=False)
    axes.set_xlabel("survivability (filled: expected, hollow: balanced)")
    axes.set_ylabel("accuracy (%)")
    if len(methods) > 1:
        _legend(axes)


def _lines_by_survivability(axes: Axes, report: Report) -> None:
    names = {s: s for s in report.survivabilities}
    for name, colour, marker in zip(
        names, _series(SURVIVABILITIES, names), _series(("o", "s", "^"), names), strict=True
    ):
        rows = report.by_failures(name)
        axes.plot(
            [r["failures"] for r in rows],
            [100 * r["accuracy"] for r in rows],
            color=colour,
            marker=marker,
            markersize=5,
            label=name,
        )
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_xlabel("number of failures")
    axes.set_ylabel("accuracy (%)")
    axes.legend()


def _probability_bars(axes: Axes, report: Report) -> None:
    names = report.survivabilities
    width = 0.8 / len(names)
    shades = islice(cycle(SURVIVABILITIES), len(names))
    for i, (name, colour) in enumerate(zip(names, shades, strict=True)):
        rows = report.by_failures(name)
        places = [r["failures"] + width * (i - (len(names) - 1) / 2) for r in rows]
        axes.bar(places, [100 * r["probability"] for r in rows], width, color=colour, label=name)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(axis="x", visible=False)
    axes.set_xlabel("number of failures")
    axes.set_ylabel("how often (%)")
    axes.legend(fontsize=10, handlelength=1.2, labelspacing=0.25)


def _spread(groups: NDArray[np.int64], values: Vector) -> Vector:
    """A shift of each point within its group, by rank, so that equal values stay apart."""
    shift = np.zeros(len(values))
    for group in np.unique(groups):
        rows = np.flatnonzero(groups == group)
        order = rows[np.argsort(-values[rows], kind="stable")]
        if len(rows) > 1:
            shift[order] = np.linspace(-0.36, 0.36, len(rows))
    return shift


def _importances(
    report: Report, *, residual: bool
) -> tuple[list[str], dict[str, dict[str, float]]]:
    """Elements worth a bar, most important first, and their importance by survivability."""
    found = {s: report.importance(s) for s in report.survivabilities}
    t = report.topology
    names = [*t.order, *(x.name for x in t.sensors), *(x.name for x in t.groups)]
    names += [x.name for x in t.links if residual and x.kind == "residual"]
    judged = found[report.harshest]
    return sorted(names, key=lambda name: -judged[name]), found


def _importance(axes: Axes, report: Report, *, residual: bool) -> None:
    names, found = _importances(report, residual=residual)
    names = names[:MOST_BARS]
    rows = np.arange(len(names))
    values = np.array([[100 * found[s][n] for s in found] for n in names])
    axes.hlines(rows, np.minimum(values.min(1), 0), np.maximum(values.max(1), 0), GRID, lw=3)
    axes.axvline(0, color=SOFT, linewidth=1)
    colours, markers = _series(SURVIVABILITIES, found), _series(("o", "s", "^"), found)
    for name, column, colour, marker in zip(found, values.T, colours, markers, strict=True):
        axes.plot(column, rows, marker, color=colour, markersize=7, label=name)
    axes.set_yticks(rows, [n.replace("->", " → ") for n in names])
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.grid(axis="y", visible=False)
    axes.set_xlabel("accuracy lost once it has failed (percentage points)")
    axes.legend(loc="lower right")


# -- the topology ----------------------------------------------------------------------------------

#: Sizes in inches: a box's height, from row to row, and the room between two boxes.
BOX, ROW, GAP = 0.44, 0.92, 0.26
DASHES = (0.0, (4.0, 2.5))


@_styled()
def topology(t: Topology, importances: Mapping[str, float]) -> Figure:
    """The machines in rows from the sensors up; residual links dashed and curved around.

    `importances`: what each element's failure costs, as a fraction; it colours the nodes.
    """
    rows = _rows(t)
    box = max(0.74, 0.1 * max(len(name) for name in rows) + 0.16)
    places = {
        name: (column * (box + GAP), rows[name] * ROW) for name, column in _columns(t, rows).items()
    }
    curves = _route(t, places, box)
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
        _draw_node(axes, name, place, box, importances[name], importances[name] / most)
    _draw_key(axes, t, left + 0.12, bottom - 0.24)
    return figure


def _rows(t: Topology) -> dict[str, int]:
    """Row of each sensor and node, the sensors' at the bottom, every link upward.

    Longest-path depth; where no link leads to a lower tier, each tier also begins above the last.
    """
    tiers = {name: TIERS.index(tier) for name, tier in _tiers(t).items()}
    if any(tiers[x.source] > tiers[x.target] for x in t.links):
        tiers = dict.fromkeys(tiers, 0)
    rows = {s.name: 0 for s in t.sensors}
    for tier in range(len(TIERS)):
        base = 1 + max(rows.values())
        for name in t.order:
            if tiers[name] == tier:
                below = max(rows[x.source] for x in t.incoming(name)) + 1
                rows[name] = max(base, below) if tier else below
    return rows


def _tiers(t: Topology) -> dict[str, Tier]:
    members: tuple[Sensor | Node, ...] = (*t.sensors, *t.nodes)
    return {x.name: x.tier for x in members}


def _columns(t: Topology, rows: Mapping[str, int]) -> dict[str, float]:
    """Horizontal place of each sensor and node: near what it is linked to, at least 1 apart."""
    by_row = [[n for n in rows if rows[n] == row] for row in range(max(rows.values()) + 1)]
    places = {n: i - (len(names) - 1) / 2 for names in by_row for i, n in enumerate(names)}
    senders = {n: _near(t.incoming(n), "source") if n in t.order else [] for n in rows}
    receivers = {n: _near(t.outgoing(n), "target") for n in rows}
    # Up and down a few times, as in Sugiyama's method; up last, so that each sits over its inputs.
    for near, order in [(senders, by_row), (receivers, by_row[::-1])] * 3 + [(senders, by_row)]:
        for names in order:
            wish = {n: float(np.mean([places[m] for m in near[n] or [n]])) for n in names}
            ordered = sorted(names, key=lambda n: (wish[n], places[n]))
            spaced = _apart([wish[n] for n in ordered])
            places.update(zip(ordered, spaced, strict=True))
    return places


def _near(links: Sequence[Link], end: str) -> list[str]:
    """What these links lead to; the primary ones alone where there are any."""
    primary = [x for x in links if x.kind == "primary"]
    return [getattr(x, end) for x in primary or links]


def _apart(wishes: Sequence[float]) -> list[float]:
    """Places at least 1 apart and nearest to ascending wishes: least squares, by pooling."""
    pools: list[list[float]] = []
    for i, wish in enumerate(wishes):
        pools.append([wish - i])
        while len(pools) > 1 and np.mean(pools[-2]) > np.mean(pools[-1]):
            last = pools.pop()
            pools[-1] += last
    flat = [float(np.mean(pool)) for pool in pools for _ in pool]
    return [value + i for i, value in enumerate(flat)]


Places = Mapping[str, tuple[float, float]]


def _route(t: Topology, places: Places, box: float) -> dict[str, Vector]:
    """Four Bezier points a link.

    Primary links go straight from top to bottom where nothing is in the way; residual links leave
    and enter at the sides and keep clear of what they skip.
    """
    sent = {n: _ports(t.outgoing(n), "target", places, box) for n in places}
    heard = {n: _ports(t.incoming(n), "source", places, box) for n in t.order}
    curves: dict[str, Vector] = {}
    taken: list[Vector] = []
    for link in sorted(t.links, key=lambda x: x.kind == "residual"):
        below, above = np.array(places[link.source]), np.array(places[link.target])
        others = [p for n, p in places.items() if n not in (link.source, link.target)]
        blocked = np.array(others).reshape(-1, 2)
        start = below + np.array([sent[link.source].get(link.name, 0.0), BOX / 2])
        end = above - np.array([-heard[link.target].get(link.name, 0.0), BOX / 2])
        curve = np.linspace(start, end, 4)
        if link.kind == "residual" or _covered(_sampled(curve), blocked, box, margin=0.07):
            choices = list(_around(below, above, box))
            own = np.stack([below, above])
            costs = [_cost(_sampled(c), blocked, own, taken, box) for c in choices]
            curve = choices[int(np.argmin(costs))]
        curves[link.name] = curve
        taken.append(_sampled(curve))
    return curves


def _ports(links: Sequence[Link], end: str, places: Places, box: float) -> dict[str, float]:
    """Where on a box's top or bottom each primary link ends, in the order of its other ends."""
    own = sorted((x for x in links if x.kind == "primary"), key=lambda x: places[getattr(x, end)])
    room = min(0.6 * box, 0.2 * max(len(own) - 1, 0))
    offsets = np.linspace(-room / 2, room / 2, len(own)) if room else np.zeros(len(own))
    return {x.name: float(offset) for x, offset in zip(own, offsets, strict=True)}


def _around(below: Vector, above: Vector, box: float) -> Iterator[Vector]:
    """Curves from either side of one box to either side of the other, nearer ones first."""
    rise = float(above[1] - below[1])
    for reach, height, leaves, enters in product(
        np.arange(1, 9) * box / 2.5, (-0.11, 0.0, 0.11), (1, -1), (1, -1)
    ):
        start = below + np.array([leaves * box / 2, 0.11])
        end = above + np.array([enters * box / 2, height])
        first = start + np.array([leaves * reach, 0.25 * rise])
        second = end + np.array([enters * reach, -0.15 * rise])
        yield np.stack([start, first, second, end])


def _sampled(curve: Vector) -> Vector:
    u = np.linspace(0, 1, 25)[:, None]
    a, b, c, d = curve
    return np.asarray(
        (1 - u) ** 3 * a + 3 * u * (1 - u) ** 2 * b + 3 * u**2 * (1 - u) * c + u**3 * d
    )


def _covered(points: Vector, boxes: Vector, box: float, margin: float) -> int:
    """How many of the points lie on a box, or nearer to it than `margin`."""
    half = np.array([box / 2, BOX / 2]) + margin
    return int((np.abs(points[:, None] - boxes) < half).all(axis=2).sum())


def _cost(
    points: Vector, others: Vector, own: Vector, taken: Sequence[Vector], box: float
) -> float:
    """A curve's length, and more for each point over a box, which is worst, or on another link."""
    over = _covered(points, others, box, margin=0.08) + _covered(points[1:-1], own, box, margin=0)
    other = np.concatenate([points[:0], *taken])
    near = (np.linalg.norm(points[:, None] - other, axis=2) < 0.1).any(axis=1).sum()
    length = np.linalg.norm(np.diff(points, axis=0), axis=1).sum()
    return float(length + 10 * over + 0.2 * near)


def _draw_tiers(
    axes: Axes, t: Topology, rows: Mapping[str, int], left: float, right: float
) -> None:
    """A band behind the rows of each tier, where every row belongs to one."""
    tiers = _tiers(t)
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
    axes: Axes, name: str, place: tuple[float, float], box: float, lost: float, heat: float
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
    axes.text(
        x, y - 0.105, f"{100 * lost:.1f}", ha="center", va="center", color=NODE_INK, fontsize=9
    )


def _draw_key(axes: Axes, t: Topology, x: float, y: float) -> None:
    axes.text(x, y, "number: points lost", va="center", fontsize=10)
    x += 1.75
    for kind, label in (("primary", "primary link"), ("residual", "residual link")):
        if any(link.kind == kind for link in t.links):
            colour, style = (SOFT, "-") if kind == "primary" else (METHODS[1], DASHES)
            axes.plot([x, x + 0.4], [y, y], color=colour, linestyle=style)
            axes.text(x + 0.5, y, label, va="center", fontsize=10)
            x += 1.85
