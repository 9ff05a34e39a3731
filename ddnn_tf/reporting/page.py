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

from .content import content_of, plain
from .ranking import harshest
from .report import Report
from .workstation import load_figures, missing

if TYPE_CHECKING:
    import jinja2
    from matplotlib.figure import Figure

TEMPLATES = Path(__file__).parent / "templates"
#: Of these, how many the page shows.
WORST_SHOWN = 4

#: The figures of a page, each also written as a PNG.
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
    figures, template, folder = load_figures(), _template(), Path(folder)
    findings = {name: report.reliability for name, report in methods.items()}
    with ExitStack() as stack:
        # Before anything is drawn, so that a folder that cannot be written is known at once.
        names = ["report.html", "report.json", *(f"{name}.png" for name in PICTURES)]
        files = {name: stack.enter_context(new_file(folder / name)) for name in names}
        content = content_of(findings, title, best, facts, export, bundle)
        text = json.dumps(content, indent=1, ensure_ascii=False, default=plain, allow_nan=False)
        files["report.json"].write_text(text + "\n", encoding="utf-8")
        pictures = _pictures(figures, findings, best)
        for name, picture in pictures.items():
            files[f"{name}.png"].write_bytes(figures.render(picture))
        drawn = {name: figures.inline_svg(picture, name) for name, picture in pictures.items()}
        page = template.render(
            content, pictures=drawn, colors=figures.CSS, **_context(findings, findings[best])
        )
        files["report.html"].write_text(page, encoding="utf-8")


def _pictures(
    figures: ModuleType, methods: Mapping[str, Reliability], best: str
) -> dict[str, Figure]:
    chosen = methods[best]
    hurts = chosen.importance(harshest(chosen))
    return {
        "expected_accuracy": figures.expected(methods),
        "by_failures": figures.by_failures(methods, best),
        "configurations": figures.configurations(chosen),
        "share_of_time": figures.share_of_time(methods, best),
        "importance": figures.importance(chosen),
        "topology": figures.topology(chosen.topology, hurts),
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
    }


def _template() -> jinja2.Template:
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
    return environment.get_template("report.html")
