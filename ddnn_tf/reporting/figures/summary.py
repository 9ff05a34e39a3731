"""One figure: expected score, score by number of failures, importance."""

from __future__ import annotations

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from edge_runtime.evaluation.reliability import Reliability

from ..wording import axis, factor, outputs_line, title
from .birnbaum import draw_importance
from .expected_accuracy import draw_expected
from .style import SOFT, SURVIVABILITIES, series_of, styled


@styled()
def overview(report: Reliability) -> Figure:
    """One figure: expected score, score by number of failures, importance."""
    figure = Figure(figsize=(11, 7), layout="constrained")
    axes = figure.subplot_mosaic([["expected", "importance"], ["failures", "importance"]])
    name, task, report = report.topology.name, report.task, report.main
    score = title(report.score)
    draw_expected(axes["expected"], {name: report}, first=1)
    _lines_by_survivability(axes["failures"], report)
    draw_importance(axes["importance"], report, residual=False)
    axes["expected"].set_title(f"{score} over all failures", loc="left", weight="bold")
    axes["failures"].set_title(f"{score} by number of failures", loc="left", weight="bold")
    axes["importance"].set_title("Which machine hurts most", loc="left", weight="bold")
    count, output = len(report.configurations), outputs_line(task)
    figure.suptitle(
        f"{name}: {report.samples:,} samples, {count:,} failure configurations, "
        f"fallback {report.fallback}{output and f', {output}'}",
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
            [factor(report.score) * r["score"] for r in rows],
            color=color,
            marker=marker,
            markersize=5,
            label=name,
        )
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_xlabel("number of failures")
    axes.set_ylabel(axis(report.score))
    axes.legend()
