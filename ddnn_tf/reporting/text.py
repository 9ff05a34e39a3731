"""A reliability evaluation as text for a terminal."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from textwrap import wrap

from edge_runtime.evaluation.reliability import Reliability
from edge_runtime.scoring import Score

from .wording import better, part_kind, part_names

#: Columns of a terminal.
TERMINAL = 80


def head(report: Reliability) -> Iterator[str]:
    """What was evaluated, in lines of a terminal's width; of one output also how it did."""
    yield from wrap(
        f"{report.topology.name}: {report.samples:,} samples, "
        f"{len(report.configurations):,} configurations, "
        f"{report.section_evaluations:,} section evaluations",
        TERMINAL,
    )
    fallback = f"fallback: {report.fallback}"
    if report.main is not report:
        yield fallback
    elif report.score.name == "accuracy":
        yield f"{_scored(report)}; {fallback}"
    else:
        yield from (*wrap(_scored(report), TERMINAL), fallback)
    if report.rule.mode == "any":
        yield f"any exit answers; of several, by the policy {report.rule.policy}"
    if report.main is report:
        yield from _notes(report)


def tables(report: Reliability) -> Iterator[str]:
    """The table of the one output, or of each output one after the other."""
    for name, own in report.by_output().items():
        lines = wrap(_scored(own), TERMINAL)
        yield from ("", f"output {name}:", *lines, *_notes(own), *table(own))
    if report.main is report:
        yield from ("", *table(report))


def _scored(report: Reliability) -> str:
    """The score while all works."""
    score = report.score
    value = score.number(report.all_alive) + (score.unit and f"{_space(score)}{score.unit}")
    way = better(score) and f", {better(score)}"
    return f"{score.name} {value} with all alive{way}"


def _notes(report: Reliability) -> Iterator[str]:
    """How sure the figures are, and what they do not speak of."""
    if report.configurations.method != "exact":
        yield from (f"{_clipped(s)}{report.intervals.text(s)}" for s in report.survivabilities)
    if absent := report.absent_classes:
        yield from wrap(f"no samples of: {', '.join(absent)}", TERMINAL)


def table(report: Reliability) -> Iterator[str]:
    """Rows by survivability, in the score's unit; parts that do not fit go into further tables."""
    unit = report.score.unit and f"in {report.score.unit}"
    first = [unit, "survivability", *(_clipped(s) for s in report.survivabilities)]
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
    names, number = report.survivabilities, report.score.number
    heading = ("expected", "accuracy") if report.score.name == "accuracy" else ("expected", "score")
    yield [*heading, *(number(report.expected_score(s)) for s in names)]
    if report.is_balanced:
        yield ["balanced", heading[1], *(number(report.balanced_accuracy(s)) for s in names)]
    bounds = report.bounds()
    if None not in bounds.values():
        end = "upper" if report.score.higher_is_better else "lower"
        yield [end, "bound", *(number(bounds[s] or 0.0) for s in names)]
    goal = "the output" if report.rule.mode == "output" else "an exit"
    percent = "" if report.score.unit == "%" else " %"
    yield ["reaches", goal, *(f"{100 * report.reach_probability(s):.2f}{percent}" for s in names)]
    parts, kind = [report.expected_parts(s) for s in names], part_kind(report)
    for name, said in part_names(report).items():
        yield [kind, _clipped(said), *(number(part[name]) for part in parts)]


def _lines(first: Sequence[str], columns: Sequence[Sequence[str]]) -> Iterator[str]:
    margin = max(map(len, first))
    for i, name in enumerate(first):
        cells = (f"  {column[i]:>{max(map(len, column))}}" for column in columns)
        yield f"{name:<{margin}}{''.join(cells)}".rstrip()


def _clipped(text: str, width: int = 20) -> str:
    """Both ends, since long names often differ in their last letters."""
    half = width // 2
    return text if len(text) <= width else f"{text[:half]}…{text[half + 1 - width :]}"


def _space(score: Score) -> str:
    """Between a number and its unit; the percent sign of an accuracy stands close."""
    return "" if score.name == "accuracy" else " "
