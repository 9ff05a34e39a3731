"""The table, the figures and the page of models that tell other things than classes."""

import json
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ddnn_tf
from ddnn_tf.cli import main
from ddnn_tf.reporting import figures
from ddnn_tf.reporting.page import PICTURES, write_report
from ddnn_tf.reporting.report import Report
from edge_runtime.arrays import Array
from edge_runtime.errors import InputError
from edge_runtime.samples import Samples
from edge_runtime.task import Classification, Custom, MultiLabel, Regression, Several, Task
from tests.commands import done
from tests.models import randomized
from tests.reference import small_topology
from tests.strategies import samples

ddnn = partial(done, main)

COUNT = 24
RNG = np.random.default_rng(3)
TARGETS: dict[str, Any] = {
    "kinds": np.stack([RNG.random(COUNT) < 0.5, np.ones(COUNT, bool)], axis=1).astype(np.uint8),
    "count": RNG.normal(size=(COUNT, 1)),
    "place": RNG.normal(size=(COUNT, 2)),
    "which": RNG.integers(0, 3, COUNT),
}
KINDS = MultiLabel(("car", "bus"))
VALUE = Regression(("count",), ("objects",))
PLACE = Regression(("north", "speed"), ("m", "km/h"))
WHICH = Classification(("a", "b", "c"))
OWN = Custom(("count",), (0.0,), "own penalty", higher_is_better=False, unit="points")


def own_penalty(answers: Array, targets: Array) -> Array:
    return np.asarray(np.abs(answers - targets).max(axis=1) ** 1.5)


TASKS: dict[str, tuple[Task, Any]] = {
    "kinds": (KINDS, TARGETS["kinds"]),
    "match": (MultiLabel(("car", "bus"), by="exact match"), TARGETS["kinds"]),
    "count": (VALUE, TARGETS["count"]),
    "place": (PLACE, TARGETS["place"]),
    "own": (OWN, TARGETS["count"]),
    "several": (
        Several({"which": WHICH, "kinds": KINDS, "count": VALUE}),
        {name: TARGETS[name] for name in ("which", "kinds", "count")},
    ),
    "value first": (
        Several({"count": VALUE, "which": WHICH}),
        {name: TARGETS[name] for name in ("count", "which")},
    ),
}


def model_of(name: str) -> Any:
    task, targets = TASKS[name]
    model = ddnn_tf.build(small_topology(), "fc32", task=task.learned(task.checked(targets)))
    return randomized(model)


def report(name: str, *, blank: bool = False, **options: Any) -> Report:
    task, targets = TASKS[name]
    if isinstance(task, Custom):
        options["score"] = ddnn_tf.Score(task.by, False, task.unit, own_penalty)
    views = samples(small_topology(), COUNT)
    if blank:  # half of the samples have nothing in view of a camera
        views["cam0"][::2] = 0
    return ddnn_tf.expected_score(model_of(name), views, targets, **options)


@pytest.fixture(scope="module")
def reports() -> dict[str, Report]:
    return {name: report(name) for name in TASKS}


def columns(text: str) -> list[list[str]]:
    """The two lines of heading of a report's tables, word by word."""
    lines = text.splitlines()
    at = [i for i, line in enumerate(lines) if line.startswith("survivability")]
    return [[*lines[i - 1].split(), "/", *lines[i].split()] for i in at]


# -- the table -------------------------------------------------------------------------------------


def test_the_table_of_labels(reports: dict[str, Report]) -> None:
    found, lines = reports["kinds"], str(reports["kinds"]).splitlines()
    all_alive = f"{100 * found.all_alive:.2f} %"
    assert lines[1:5] == [
        f"label accuracy {all_alive} with all alive, higher is better",
        "fallback: prior",
        "no samples of: not bus",
        "",
    ]
    assert lines[5].split() == ["in", "%", "expected", "balanced", "reaches", *["recall"] * 3]
    assert lines[6].split()[1:] == ["score", "score", "the", "output", "car", "bus", "not", "car"]
    row = [100 * x for x in (found.expected_score("low"), found.balanced_accuracy("low"))]
    assert lines[7].split()[:3] == ["low", *(f"{x:.2f}" for x in row)]


def test_the_table_of_an_exact_match_has_nothing_balanced(reports: dict[str, Report]) -> None:
    text = str(reports["match"])
    heading = "in % expected reaches / survivability score the output"
    assert columns(text) == [heading.split()]
    assert "balanced" not in text


def test_the_table_of_a_value_is_in_its_unit(reports: dict[str, Report]) -> None:
    found, lines = reports["count"], str(reports["count"]).splitlines()
    all_alive = f"{found.all_alive:.4g} objects"
    assert lines[1] == f"mean absolute error {all_alive} with all alive, lower is better"
    assert lines[2] == "fallback: prior"
    assert lines[4].split() == ["in", "objects", "expected", "reaches"]
    assert lines[6].split() == ["low", f"{found.expected_score('low'):.4g}", *lines[6].split()[2:]]
    assert lines[6].endswith(" %")


def test_values_of_several_units_have_a_column_each(reports: dict[str, Report]) -> None:
    found, lines = reports["place"], str(reports["place"]).splitlines()
    assert lines[4].split() == ["expected", "reaches", "error", "error"]
    assert lines[5].endswith("north (m)  speed (km/h)")
    parts = found.expected_parts("low")
    assert lines[6].split()[-2:] == [f"{parts[x]:.4g}" for x in ("north", "speed")]


def test_the_table_of_a_score_of_ones_own(reports: dict[str, Report]) -> None:
    found, text = reports["own"], str(reports["own"])
    assert f"own penalty {found.all_alive:.4g} points with all alive, lower is better" in text
    assert columns(text)[0][:4] == ["in", "points", "expected", "reaches"]


@pytest.mark.parametrize(("name", "end"), [("kinds", "upper"), ("count", "lower")])
def test_a_bound_is_where_the_score_ends(name: str, end: str) -> None:
    found = report(name, blank=True)
    [heading] = columns(str(found))
    assert end in heading
    assert ("lower" if end == "upper" else "upper") not in heading
    bounds = found.bounds()
    assert found.score.number(bounds["low"]) in str(found).splitlines()[-2].split()
    sign = found.score.sign
    assert all(sign * bounds[s] >= sign * found.expected_score(s) for s in bounds)


@pytest.mark.parametrize("name", ["several", "value first"])
def test_several_outputs_have_a_table_each(reports: dict[str, Report], name: str) -> None:
    text = str(reports[name])
    found = reports[name].by_output()
    assert [x[7:-1] for x in text.splitlines() if x.startswith("output ")] == list(found)
    assert len(columns(text)) == len(found)
    for own in found.values():
        alone = str(Report.of(own)).splitlines()
        assert "\n".join(alone[alone.index("") + 1 :]) in text
    assert text.count("fallback: prior") == 1


def test_the_tables_keep_to_80_columns_and_say_how_sure_they_are() -> None:
    text = str(report("several", configurations=40))
    assert max(map(len, text.splitlines())) <= 80
    # Of the two outputs whose score has an upper end, at two survivabilities.
    assert text.count(" % sure: ") == 4
    assert text.count("how sure it is cannot be told") == 2


def test_the_harshest_is_where_most_is_lost(reports: dict[str, Report]) -> None:
    for name, found in reports.items():
        scores = {s: found.expected_score(s) for s in found.survivabilities}
        worst = max if not found.score.higher_is_better else min
        assert found.harshest == worst(scores, key=lambda s: scores[s]), name
    errors = {s: reports["count"].expected_score(s) for s in ("low", "high")}
    assert errors["low"] != errors["high"]


# -- evaluate, text and JSON -----------------------------------------------------------------------


@pytest.mark.parametrize("name", ["kinds", "match", "count", "place", "several", "value first"])
def test_ddnn_evaluate(reports: dict[str, Report], tmp_path: Path, name: str) -> None:
    task, targets = TASKS[name]
    model_of(name).save(tmp_path / "model.keras")
    Samples(samples(small_topology(), COUNT), task.checked(targets), task).save_npz(
        tmp_path / "data.npz"
    )
    data = ("--data", tmp_path / "data.npz", "--split", "all")
    command = ("evaluate", tmp_path / "model.keras", *data)
    assert ddnn(*command).out.strip() == str(reports[name])
    found = ddnn(*command, "--json").json
    assert found == reports[name].to_dict() | {k: v for k, v in found.items() if k == "leaks"}
    assert set(found.get("outputs", ())) == set(getattr(task, "outputs", ()))


def test_json_of_several_outputs_holds_the_first_and_each(reports: dict[str, Report]) -> None:
    found = reports["several"].to_dict()
    own = {name: x.to_dict() for name, x in reports["several"].by_output().items()}
    assert found["task"] == "several"
    assert found["expected_accuracy"] == own["which"]["expected_accuracy"]
    assert found["class_recalls"]["low"].keys() == {"a", "b", "c"}
    for name, plain in found["outputs"].items():
        assert plain == {key: own[name][key] for key in plain}
    assert found["outputs"]["count"]["expected_score"] == own["count"]["expected_score"]


def test_json_of_several_outputs_says_how_sure_each_is() -> None:
    found = report("several", configurations=40).to_dict()
    assert set(found["interval"]["class_recalls"]["low"]) == {"a", "b", "c"}
    assert found["interval"] == found["outputs"]["which"]["interval"]
    assert set(found["outputs"]["kinds"]["interval"]["parts"]["low"]) == {"car", "bus", "not car"}
    assert "expected_score" not in found["outputs"]["count"]["interval"]


def test_a_score_of_ones_own_is_of_one_output() -> None:
    score = ddnn_tf.Score("mine", of=own_penalty)
    with pytest.raises(InputError, match="is of one output, and this model has which, kinds"):
        report("several", score=score)


# -- figures ---------------------------------------------------------------------------------------

#: What each picture says beside its axes.
AXES = {
    "kinds": ("label accuracy (%)", "label accuracy lost once it has failed (percentage points)"),
    "match": ("exact match (%)", "exact match lost once it has failed (percentage points)"),
    "count": (
        "mean absolute error (objects)",
        "mean absolute error added once it has failed (objects)",
    ),
    "place": ("mean absolute error", "mean absolute error added once it has failed"),
    "own": ("own penalty (points)", "own penalty added once it has failed (points)"),
    "several": ("accuracy (%)", "accuracy lost once it has failed (percentage points)"),
    "value first": (
        "mean absolute error (objects)",
        "mean absolute error added once it has failed (objects)",
    ),
}


@pytest.mark.parametrize("name", TASKS)
def test_one_figure(reports: dict[str, Report], tmp_path: Path, name: str) -> None:
    reports[name].plot(tmp_path / "x.svg")
    text = (tmp_path / "x.svg").read_text(encoding="utf-8")
    for words in AXES[name]:
        assert f">{words}<" in text
    balanced = name in ("kinds", "several")
    assert ("hollow: balanced" in text) == balanced
    others = {"several": "kinds, count", "value first": "which"}.get(name)
    assert ("the others: " in text) == (others is not None)
    if others:
        assert f", output {next(iter(reports[name].by_output()))} (the others: {others})" in text


def heights(figure: Any) -> Array:
    """The steps of the first line of a figure."""
    return np.asarray(figure.axes[0].lines[0].get_ydata(), float)


def test_the_share_of_the_time_begins_with_the_best(reports: dict[str, Report]) -> None:
    for name, rises in (("count", True), ("kinds", False)):
        steps = heights(figures.share_of_time({"one": reports[name].reliability}, "one"))
        assert len(set(steps)) > 2
        assert (np.diff(steps) >= 0).all() if rises else (np.diff(steps) <= 0).all()
        best = min if rises else max
        scale = 1 if rises else 100
        assert steps[0] == pytest.approx(scale * best(reports[name].scores))


# -- the page --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", TASKS)
def test_the_page(reports: dict[str, Report], tmp_path: Path, name: str) -> None:
    found = reports[name]
    score = found.score
    export = {
        "quantization": "none",
        "configurations": 8,
        "max_error": 1e-7,
        "label_agreement": {},
        "bytes": {"left": 1},
        "node_errors": {"left": 1e-7},
    }
    write_report(
        tmp_path,
        {"first": found, "second": found},
        title="t",
        best="first",
        facts={},
        export=export,
        bundle=found.to_dict(),
    )
    first = f"{score.key('expected')}.png"
    pictures = {first, *(f"{x}.png" for x in PICTURES[1:])}
    assert {x.name for x in tmp_path.iterdir()} == {"report.html", "report.json", *pictures}
    text = (tmp_path / "report.html").read_text(encoding="utf-8")
    for survivability in found.survivabilities:
        assert score.number(found.expected_score(survivability), 1) in text
    assert f"Expected {score.name}" in text
    assert ("balanced" in text) == found.main.is_balanced
    assert ("Each output" in text) == (name in ("several", "value first"))
    for own in found.by_output().values():
        assert f">{own.score.text(own.expected_score('low'))}<" in text
    content = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))["methods"]["first"]
    assert {k: content[k] for k in found.to_dict()} == found.to_dict()
    key = "accuracy" if score.name == "accuracy" else "score"
    left = [row[key] for row in content["worst"]]
    assert left == [found.worst(k + 1)[1] for k in range(len(left))]
    counts = content["class_counts" if score.name == "accuracy" else "part_counts"]
    assert counts == dict(zip(found.main.parts, found.main.counts.tolist(), strict=True))


def test_a_page_shows_methods_of_one_score(reports: dict[str, Report], tmp_path: Path) -> None:
    methods = {"one": reports["kinds"], "two": reports["match"]}
    with pytest.raises(InputError, match="label accuracy of one, exact match of two"):
        write_report(tmp_path / "new", methods, title="t", best="one", facts={})
    assert not (tmp_path / "new").exists()
