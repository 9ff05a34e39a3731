"""What report.json holds, which is all that the page and its figures show."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from edge_runtime.evaluation.reliability import Reliability
from edge_runtime.failures.configurations import output_states
from edge_runtime.failures.distribution import mask_without

from .ranking import MOST_LISTED, most_probable

SCHEMA = 1
#: Numbers of failures of which the worst case is sought.
WORST = 8


def content_of(
    methods: Mapping[str, Reliability],
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


def _findings(report: Reliability) -> dict[str, Any]:
    names = report.survivabilities
    return {
        **report.to_dict(),
        "topology": report.topology.to_dict(),
        **_counts(report.main),
        "by_failures": {s: report.by_failures(s) for s in names},
        "importance": {s: report.importance(s) for s in names},
        "worst": _worst(report),
        "by_configuration": _configurations(report),
    }


def _counts(report: Reliability) -> dict[str, Any]:
    """Targets in each part; of classes they are called so."""
    name = "class_counts" if report.score.name == "accuracy" else "part_counts"
    return {name: dict(zip(report.parts, report.counts.tolist(), strict=True))}


def _key(report: Reliability) -> str:
    return "accuracy" if report.score.name == "accuracy" else "score"


def _worst(report: Reliability) -> list[dict[str, Any]]:
    """The costliest joint failure of each number of elements, of the numbers that occur."""
    rows: list[dict[str, Any]] = []
    occurring = np.unique(report.configurations.failures)
    for count in occurring[(occurring > 0) & (occurring <= WORST)].tolist():
        failed, score = report.worst(count)
        state = output_states(report.topology, mask_without(report.topology, failed)[None])
        rows.append(
            {
                "failures": count,
                "failed": list(failed),
                _key(report): score,
                "reaches_output": bool(state.any()),
            }
        )
    return rows


def _configurations(report: Reliability) -> list[dict[str, Any]]:
    """What failed, the score then, and how probable that is; the most probable of very many."""
    cases = most_probable(report, MOST_LISTED)
    weights = {s: report.configurations.probabilities(s) for s in report.survivabilities}
    return [
        {
            "failed": list(report.failed(case)),
            _key(report): float(report.scores[case]),
            "probability": {s: float(p[case]) for s, p in weights.items()},
        }
        for case in cases.tolist()
    ]


def plain(value: Any) -> Any:
    """For `json`: numpy's numbers and paths, which a caller's mapping may hold."""
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, Path):
        return str(value)
    raise TypeError(f"cannot write a {type(value).__name__} as JSON")
