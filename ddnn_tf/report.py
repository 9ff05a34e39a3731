"""Tables and pictures of what an evaluation found."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, fields
from pathlib import Path
from textwrap import wrap
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from edge_runtime.errors import InputError
from edge_runtime.evaluation.reliability import Reliability
from edge_runtime.failures.configurations import output_states
from edge_runtime.failures.distribution import mask_without
from edge_runtime.files import new_file

if TYPE_CHECKING:
    import jinja2
    from matplotlib.figure import Figure


SCHEMA = 1
TEMPLATES = Path(__file__).parent / "templates"

FORMATS = ("jpg", "pdf", "png", "svg")
#: Columns of a terminal.
TERMINAL = 80
#: Numbers of failures of which the worst case is sought.
WORST = 8
#: Of these, how many the page shows.
WORST_SHOWN = 4
#: More configurations than this make a file of many megabytes, and a scatter says no more.
MOST_LISTED = 4096

#: The figures of a page, each also written as a PNG.
PICTURES = (
    "expected_accuracy",
    "by_failures",
    "configurations",
    "share_of_time",
    "importance",
    "topology",
)


@dataclass(frozen=True, repr=False)
class Report(Reliability):
    """A `Reliability` that can be shown: `print(report)`, `report.plot("report.png")`."""

    @classmethod
    def of(cls, reliability: Reliability) -> Report:
        """The same findings, able to show themselves."""
        return cls(**{f.name: getattr(reliability, f.name) for f in fields(Reliability)})

    def __repr__(self) -> str:
        return f"<Report on {self.topology.name}: {len(self.configurations):,} configurations>"

    def __str__(self) -> str:
        return "\n".join([*_head(self), "", *_table(self)])

    @property
    def harshest(self) -> str:
        """The survivability under which least is expected."""
        return min(self.survivabilities, key=self.expected_accuracy)

    def most_probable(self, count: int) -> NDArray[np.intp]:
        """Rows of the `count` most probable configurations when it is harshest, in their order."""
        probabilities = self.configurations.probabilities(self.harshest)
        return np.sort(np.argsort(-probabilities, kind="stable")[:count])

    def plot(self, path: str | Path) -> None:
        """Write one figure: expected accuracy, accuracy by number of failures, importance.

        The suffix of `path` decides the format: .png, .svg, .pdf or .jpg. Raises `InputError` for
        any other, and where nothing can be written.
        """
        figures, path = _figures(), Path(path)
        kind = path.suffix[1:].lower()
        if kind not in FORMATS:
            raise InputError(
                f"expected a picture's name, which ends in one of .{', .'.join(FORMATS)}, "
                f"got {str(path)!r}"
            )
        with new_file(path) as temporary:
            temporary.write_bytes(figures.render(figures.overview(self), kind))


# -- text ------------------------------------------------------------------------------------------


def _head(report: Report) -> Iterator[str]:
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
        yield from (f"{_clipped(s)}{report.interval_text(s)}" for s in report.survivabilities)
    if absent := report.absent_classes:
        yield from wrap(f"no samples of: {', '.join(absent)}", TERMINAL)


def _table(report: Report) -> Iterator[str]:
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


def _columns(report: Report) -> Iterator[list[str]]:
    """Two lines of heading, then a value for each survivability."""
    names = report.survivabilities
    yield ["expected", "accuracy", *(_percent(report.expected_accuracy(s)) for s in names)]
    yield ["balanced", "accuracy", *(_percent(report.balanced_accuracy(s)) for s in names)]
    bounds = report.bounds()
    if None not in bounds.values():
        yield ["none can", "beat", *(_percent(bounds[s] or 0.0) for s in names)]
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


# -- files -----------------------------------------------------------------------------------------


def write_report(
    folder: str | Path,
    methods: Mapping[str, Report],
    *,
    title: str,
    best: str,
    facts: Mapping[str, str],
    export: Mapping[str, Any] | None = None,
    bundle: Mapping[str, Any] | None = None,
) -> None:
    """Write report.html (one file, opens offline), report.json and each figure as a PNG.

    The same arguments give the same bytes: nothing is dated unless `facts` says a date. All files
    appear together once they are complete.

    Args:
        folder: Where to; made if missing.
        methods: What each method reached, by its name, in the order to show.
        title: Heading of the page.
        best: The method that the details are about: importance, worst failures, topology.
        facts: What was run, such as data, split, seed, versions and the command.
        export: `ExportReport.to_dict()` of the best method's bundle.
        bundle: `Reliability.to_dict()` of that bundle run by LiteRT.

    Raises:
        InputError: for methods that cannot be shown, where nothing can be written, and where
            matplotlib or jinja2 is missing.
    """
    if best not in methods:
        raise InputError(
            f"expected the best method to be one of {', '.join(methods) or 'none given'}, "
            f"got {best!r}"
        )
    figures, template, folder = _figures(), _template(), Path(folder)
    with ExitStack() as stack:
        # Before anything is drawn, so that a folder that cannot be written is known at once.
        names = ["report.html", "report.json", *(f"{name}.png" for name in PICTURES)]
        files = {name: stack.enter_context(new_file(folder / name)) for name in names}
        content = _content(methods, title, best, facts, export, bundle)
        text = json.dumps(content, indent=1, ensure_ascii=False, default=_plain, allow_nan=False)
        files["report.json"].write_text(text + "\n", encoding="utf-8")
        pictures = _pictures(figures, methods, best)
        for name, picture in pictures.items():
            files[f"{name}.png"].write_bytes(figures.render(picture))
        drawn = {name: figures.inline_svg(picture, name) for name, picture in pictures.items()}
        page = template.render(
            content, pictures=drawn, colours=figures.CSS, **_context(methods, methods[best])
        )
        files["report.html"].write_text(page, encoding="utf-8")


def _pictures(figures: ModuleType, methods: Mapping[str, Report], best: str) -> dict[str, Figure]:
    chosen = methods[best]
    hurts = chosen.importance(chosen.harshest)
    return {
        "expected_accuracy": figures.expected(methods),
        "by_failures": figures.by_failures(methods, best),
        "configurations": figures.configurations(chosen),
        "share_of_time": figures.share_of_time(methods, best),
        "importance": figures.importance(chosen),
        "topology": figures.topology(chosen.topology, hurts),
    }


def _content(
    methods: Mapping[str, Report],
    title: str,
    best: str,
    facts: Mapping[str, str],
    export: Mapping[str, Any] | None,
    bundle: Mapping[str, Any] | None,
) -> dict[str, Any]:
    """What report.json holds, which is all that the page and its figures show."""
    return {
        "schema": SCHEMA,
        "title": title,
        "best": best,
        "facts": dict(facts),
        "methods": {name: _findings(report) for name, report in methods.items()},
        "export": dict(export) if export else None,
        "bundle": dict(bundle) if bundle else None,
    }


def _context(methods: Mapping[str, Report], chosen: Report) -> dict[str, Any]:
    """What the page says besides report.json's content."""
    configurations, causes = chosen.configurations, chosen.topology.causes
    most = max(len(report.configurations.fallible) for report in methods.values())
    names = (s for report in methods.values() for s in report.survivabilities)
    return {
        "survivabilities": list(dict.fromkeys(names)),
        "harshest": chosen.harshest,
        "survivals": {
            name: {causes[i]: float(model.marginals[i]) for i in configurations.fallible}
            for name, model in configurations.models.items()
        },
        "worst_rows": min(WORST_SHOWN, most),
    }


def _findings(report: Report) -> dict[str, Any]:
    names = report.survivabilities
    return {
        **report.to_dict(),
        "topology": report.topology.to_dict(),
        "class_counts": dict(zip(report.class_names, report.counts.tolist(), strict=True)),
        "by_failures": {s: report.by_failures(s) for s in names},
        "importance": {s: report.importance(s) for s in names},
        "worst": _worst(report),
        "by_configuration": _configurations(report),
    }


def _worst(report: Report) -> list[dict[str, Any]]:
    """The costliest joint failure of each number of elements, of the numbers that occur."""
    rows: list[dict[str, Any]] = []
    occurring = np.unique(report.configurations.failures)
    for count in occurring[(occurring > 0) & (occurring <= WORST)].tolist():
        failed, accuracy = report.worst(count)
        state = output_states(report.topology, mask_without(report.topology, failed)[None])
        rows.append(
            {
                "failures": count,
                "failed": list(failed),
                "accuracy": accuracy,
                "reaches_output": bool(state.any()),
            }
        )
    return rows


def _configurations(report: Report) -> list[dict[str, Any]]:
    """What failed, the accuracy then, and how probable that is; the most probable of very many."""
    cases = report.most_probable(MOST_LISTED)
    weights = {s: report.configurations.probabilities(s) for s in report.survivabilities}
    return [
        {
            "failed": list(report.failed(case)),
            "accuracy": float(report.accuracies[case]),
            "probability": {s: float(p[case]) for s, p in weights.items()},
        }
        for case in cases.tolist()
    ]


def _plain(value: Any) -> Any:
    """For `json`: numpy's numbers and paths, which a caller's mapping may hold."""
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, Path):
        return str(value)
    raise TypeError(f"cannot write a {type(value).__name__} as JSON")


# -- what only a workstation has -------------------------------------------------------------------


def _figures() -> ModuleType:
    try:
        from . import figures
    except ModuleNotFoundError as error:
        raise _missing(error) from error
    return figures


def _template() -> jinja2.Template:
    try:
        import jinja2
    except ModuleNotFoundError as error:
        raise _missing(error) from error
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["percent"] = lambda fraction: f"{100 * fraction:.1f}"
    return environment.get_template("report.html")


def _missing(error: ModuleNotFoundError) -> InputError:
    return InputError(f'a report needs {error.name}: pip install "ddnn-tf[train]"')
