"""A reliability evaluation as text for a terminal."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from textwrap import wrap

from edge_runtime.evaluation.reliability import Reliability

#: Columns of a terminal.
TERMINAL = 80


def head(report: Reliability) -> Iterator[str]:
    """What was evaluated, in lines of a terminal's width."""
    yield from wrap(
        f"{report.topology.name}: {report.counts.sum():,} samples, "
        f"{len(report.configurations):,} configurations, "
        f"{report.section_evaluations:,} section evaluations",
        TERMINAL,
    )
    yield f"accuracy {_percent(report.all_alive)}% with all alive; fallback: {report.fallback}"
    if report.rule.mode == "any":
        yield f"any exit answers; of several, by the policy {report.rule.policy}"
    if report.configurations.method != "exact":
        yield from (f"{_clipped(s)}{report.intervals.text(s)}" for s in report.survivabilities)
    if absent := report.absent_classes:
        yield from wrap(f"no samples of: {', '.join(absent)}", TERMINAL)


def table(report: Reliability) -> Iterator[str]:
    """Rows by survivability, in percent; recalls that do not fit go into further tables."""
    first = ["in %", "survivability", *(_clipped(s) for s in report.survivabilities)]
    margin = max(map(len, first))
    block: list[list[str]] = []
    width = margin
    for column in _columns(report):
        needed = 2 + max(map(len, column))
        if block and width + needed > TERMINAL:
            yield from (*_lines(first, block), "")
            block, width = [], margin
        block.append(column)
        width += needed
    yield from _lines(first, block)


def _columns(report: Reliability) -> Iterator[list[str]]:
    """Two lines of heading, then a value for each survivability."""
    names = report.survivabilities
    yield ["expected", "accuracy", *(_percent(report.expected_accuracy(s)) for s in names)]
    yield ["balanced", "accuracy", *(_percent(report.balanced_accuracy(s)) for s in names)]
    bounds = report.bounds()
    if None not in bounds.values():
        yield ["upper", "bound", *(_percent(bounds[s] or 0.0) for s in names)]
    goal = "the output" if report.rule.mode == "output" else "an exit"
    yield ["reaches", goal, *(_percent(report.reach_probability(s)) for s in names)]
    recalls = [report.class_recalls(s) for s in names]
    for name in recalls[0]:
        yield ["recall", _clipped(name), *(_percent(recall[name]) for recall in recalls)]


def _lines(first: Sequence[str], columns: Sequence[Sequence[str]]) -> Iterator[str]:
    margin = max(map(len, first))
    for i, name in enumerate(first):
        cells = (f"  {column[i]:>{max(map(len, column))}}" for column in columns)
        yield f"{name:<{margin}}{''.join(cells)}".rstrip()


def _clipped(text: str, width: int = 20) -> str:
    """Both ends, since long names often differ in their last letters."""
    half = width // 2
    return text if len(text) <= width else f"{text[:half]}…{text[half + 1 - width :]}"


def _percent(fraction: float) -> str:
    return f"{100 * fraction:.2f}"
