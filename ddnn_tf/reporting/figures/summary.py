"""One figure: expected accuracy, accuracy by number of failures, importance."""

from __future__ import annotations

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from edge_runtime.evaluation.reliability import Reliability

from .birnbaum import draw_importance
from .expected_accuracy import draw_expected
from .style import SOFT, SURVIVABILITIES, series_of, styled


@styled()
def overview(report: Reliability) -> Figure:
    """One figure: expected accuracy, accuracy by number of failures, importance."""
    figure = Figure(figsize=(11, 7), layout="constrained")
    axes = figure.subplot_mosaic([["expected", "importance"], ["failures", "importance"]])
    name = report.topology.name
    draw_expected(axes["expected"], {name: report}, first=1)
    _lines_by_survivability(axes["failures"], report)
    draw_importance(axes["importance"], report, residual=False)
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


def _lines_by_survivability(axes: Axes, report: Reliability) -> None:
    names = {s: s for s in report.survivabilities}
    for name, color, marker in zip(
        names, series_of(SURVIVABILITIES, names), series_of(("o", "s", "^"), names), strict=True
    ):
        rows = report.by_failures(name)
        axes.plot(
            [r["failures"] for r in rows],
            [100 * r["score"] for r in rows],
            color=color,
            marker=marker,
            markersize=5,
            label=name,
        )
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_xlabel("number of failures")
    axes.set_ylabel("accuracy (%)")
    axes.legend()
