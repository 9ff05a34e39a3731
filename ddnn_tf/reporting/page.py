"""A folder with a page, its figures and its numbers."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from edge_runtime.errors import InputError
from edge_runtime.evaluation.reliability import Reliability
from edge_runtime.files import new_file
from edge_runtime.scoring import Score

from .content import content_of, plain
from .ranking import harshest
from .report import Report
from .wording import (
    better,
    fallback_words,
    outputs_line,
    part_kind,
    part_names,
    short,
)
from .wording import (
    title as title_of,
)
from .workstation import load_figures, missing

if TYPE_CHECKING:
    import jinja2
    from matplotlib.figure import Figure

TEMPLATES = Path(__file__).parent / "templates"
#: Of these, how many the page shows.
WORST_SHOWN = 4

#: The figures of a page, each also written as a PNG; the first under the name of its score.
PICTURES = (
    "expected_accuracy",
    "by_failures",
    "configurations",
    "share_of_time",
    "importance",
    "topology",
)


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

    Of several outputs the first is shown, and what is expected of each other one. The same
    arguments give the same bytes: nothing is dated unless `facts` says a date. All files appear
    together once they are complete.

    Args:
        folder: Where to; made if missing.
        methods: What each method reached, by its name, in the order to show.
        title: Heading of the page.
        best: The method that the details are about: importance, worst failures, topology.
        facts: What was run, such as data, split, seed, versions and the command.
        export: `ExportReport.to_dict()` of the best method's bundle.
        bundle: `Reliability.to_dict()` of that bundle run by LiteRT.

    Raises:
        InputError: for methods that cannot be shown beside each other, where nothing can be
            written, and where matplotlib or jinja2 is missing.
    """
    if best not in methods:
        raise InputError(
            f"expected the best method to be one of {', '.join(methods) or 'none given'}, "
            f"got {best!r}"
        )
    findings = {name: report.reliability for name, report in methods.items()}
    score = _common_score(findings)
    figures, template, folder = load_figures(), _template(score), Path(folder)
    with ExitStack() as stack:
        # Before anything is drawn, so that a folder that cannot be written is known at once.
        names = ["report.html", "report.json", *(_file(name, score) for name in PICTURES)]
        files = {name: stack.enter_context(new_file(folder / name)) for name in names}
        content = content_of(findings, title, best, facts, export, bundle)
        text = json.dumps(content, indent=1, ensure_ascii=False, default=plain, allow_nan=False)
        files["report.json"].write_text(text + "\n", encoding="utf-8")
        pictures = _pictures(figures, findings, best)
        for name, picture in pictures.items():
            files[_file(name, score)].write_bytes(figures.render(picture))
        drawn = {name: figures.inline_svg(picture, name) for name, picture in pictures.items()}
        page = template.render(
            content, pictures=drawn, colors=figures.CSS, **_context(findings, findings[best])
        )
        files["report.html"].write_text(page, encoding="utf-8")


def _common_score(methods: Mapping[str, Reliability]) -> Score:
    """What all methods are measured by."""
    scores = {name: report.score for name, report in methods.items()}
    first, *others = scores.values()
    if any(score != first for score in others):
        said = ", ".join(f"{score.name} of {name}" for name, score in scores.items())
        raise InputError(f"expected methods of one score, to be shown side by side; got {said}")
    return first


def _file(picture: str, score: Score) -> str:
    return f"{score.key('expected') if picture == PICTURES[0] else picture}.png"


def _pictures(
    figures: ModuleType, methods: Mapping[str, Reliability], best: str
) -> dict[str, Figure]:
    methods = {name: report.main for name, report in methods.items()}
    chosen = methods[best]
    hurts = chosen.importance(harshest(chosen))
    return {
        "expected_accuracy": figures.expected(methods),
        "by_failures": figures.by_failures(methods, best),
        "configurations": figures.configurations(chosen),
        "share_of_time": figures.share_of_time(methods, best),
        "importance": figures.importance(chosen),
        "topology": figures.topology(chosen.topology, hurts, chosen.score),
    }


def _context(methods: Mapping[str, Reliability], chosen: Reliability) -> dict[str, Any]:
    """What the page says besides report.json's content."""
    configurations, components = chosen.configurations, chosen.topology.components
    most = max(len(report.configurations.fallible) for report in methods.values())
    names = (s for report in methods.values() for s in report.survivabilities)
    return {
        "survivabilities": list(dict.fromkeys(names)),
        "harshest": harshest(chosen),
        "survivals": {
            name: {components[i]: float(model.marginals[i]) for i in configurations.fallible}
            for name, model in configurations.models.items()
        },
        "worst_rows": min(WORST_SHOWN, most),
        "outputs": [
            (method, name, own.score, own)
            for method, report in methods.items()
            for name, own in report.by_output().items()
        ],
        "words": _words(methods, chosen),
    }


#: What the table of the parts is headed, by the kind of the task.
BY_PART = {"classification": "By class", "multi-label": "By label"}


def _words(methods: Mapping[str, Reliability], chosen: Reliability) -> dict[str, Any]:
    """How the page speaks of the score."""
    main, score = chosen.main, chosen.score
    names, is_accuracy = part_names(main), score.name == "accuracy"
    return {
        "accuracy": is_accuracy,
        "score": score.name,
        "title": title_of(score),
        "key": score.key("expected"),
        "left": "accuracy" if is_accuracy else "score",
        "unit": "%" if score.unit == "%" else score.unit and f" {score.unit}",
        "in_unit": score.unit and f"In {score.unit}",
        "better": better(score),
        "lost": "percentage points of "
        if score.unit == "%"
        else score.unit and f"{score.unit} of ",
        "gained": score.higher_is_better,
        "balanced": all(report.main.is_balanced for report in methods.values()),
        "labels": main.task.kind == "multi-label",
        "fallback": fallback_words(chosen),
        "outputs": outputs_line(chosen.task),
        "by_part": BY_PART.get(main.task.kind, "By value") if names else "Reaching the output",
        "part_kind": part_kind(main),
        "counted": main.is_balanced,
        "parts": [(said, main.counts[main.parts.index(n)]) for n, said in names.items()],
        "part_scores": {
            s: [main.expected_parts(s)[name] for name in names] for s in main.survivabilities
        },
        "counts": dict(zip(main.parts, main.counts.tolist(), strict=True))
        if main.is_balanced
        else {},
    }


def _template(score: Score) -> jinja2.Template:
    try:
        import jinja2
    except ModuleNotFoundError as error:
        raise missing(error) from error
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["percent"] = lambda fraction: f"{100 * fraction:.1f}"
    environment.filters["figure"] = lambda value: short(score, value)
    environment.filters["exactly"] = score.number
    environment.filters["change"] = lambda value: score.change(value).split()[0]
    return environment.get_template("report.html")
