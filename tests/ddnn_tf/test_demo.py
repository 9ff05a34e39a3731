"""`ddnn demo` from end to end, on few pictures and for one epoch."""

import json
from pathlib import Path
from types import SimpleNamespace as Record
from typing import Any

import pytest
from rich.console import Console

from ddnn_tf import demo
from ddnn_tf.cli import main
from edge_runtime.cli.main import main as edge_main
from tests.commands import CLASSES, FRAMES, Said, call, done, files

METHODS = ["baseline", "residual", "dropout"]
SURVIVABILITIES = ["high", "medium", "low"]


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("demo") / "made" / "here"


@pytest.fixture(scope="module")
def said(tiny_cameras: Path, out: Path) -> Said:
    return done(main, "demo", "--data", tiny_cameras, "--out", out, "--epochs", "1", "--seed", "3")


@pytest.fixture(scope="module")
def report(said: Said, out: Path) -> Any:
    return json.loads((out / "report.json").read_text(encoding="utf-8"))


def test_people_see_the_table_and_where_to_look(said: Said, report: Any, out: Path) -> None:
    assert "expected accuracy, %" in said.err
    for method in METHODS:
        found = report["methods"][method]
        row = next(line for line in said.err.splitlines() if method in line)
        for name in SURVIVABILITIES:
            expected = 100 * found["expected_accuracy"][name]
            balanced = 100 * found["balanced_accuracy"][name]
            assert f"{expected:.1f} ({balanced:.0f})" in row
    assert "9 artifacts checked" in said.err
    assert "the bundle, with LiteRT alone: high" in said.err
    assert f"wrote {out / 'report.html'}, {out / 'report.json'} and {out / 'bundle'}" in said.err


def test_all_that_the_demo_promises_is_there_and_nothing_else(said: Said, out: Path) -> None:
    assert {path.name for path in out.iterdir()} == {
        "bundle",
        "by_failures.png",
        "configurations.png",
        "expected_accuracy.png",
        "importance.png",
        "model.keras",
        "report.html",
        "report.json",
        "share_of_time.png",
        "test.npz",
        "topology.png",
    }
    assert not [name for name in files(out) if "/." in name or name.startswith(".")]


def test_the_page_opens_offline(said: Said, out: Path) -> None:
    page = (out / "report.html").read_text(encoding="utf-8")
    assert "<svg" in page
    for elsewhere in ('src="http', 'href="http', "url(http", "@import"):
        assert elsewhere not in page


def test_the_report_says_what_was_run_and_found(report: Any, tiny_cameras: Path) -> None:
    assert list(report["methods"]) == METHODS
    for found in report["methods"].values():
        assert found["samples"] == len(CLASSES) * len(FRAMES["test_dir"])
        assert found["configurations"] == 256
        assert list(found["expected_accuracy"]) == SURVIVABILITIES
    assert report["methods"]["baseline"]["section_evaluations"] == 57
    assert report["methods"]["dropout"]["section_evaluations"] == 102
    assert report["facts"]["data"] == str(tiny_cameras)
    assert report["facts"]["command"].endswith("--sections fc32 --epochs 1 --seed 3")


def test_the_best_model_is_the_one_deployed(said: Said, report: Any, out: Path) -> None:
    best = report["methods"][report["best"]]
    data = ("--data", out / "test.npz", "--json")
    device = done(edge_main, "evaluate", out / "bundle", *data).json
    assert device == report["bundle"]
    assert device["expected_accuracy"] == pytest.approx(best["expected_accuracy"], abs=1e-6)
    assert device["section_evaluations"] == best["section_evaluations"]
    split = ("--split", "all")
    model = done(main, "evaluate", out / "model.keras", *data, *split).json
    assert model["expected_accuracy"] == pytest.approx(best["expected_accuracy"], abs=1e-9)


def test_no_epochs_are_refused_and_leave_nothing(tiny_cameras: Path, tmp_path: Path) -> None:
    said = call(main, "demo", "--data", tiny_cameras, "--out", tmp_path / "out", "--epochs", "0")
    assert said.code == 2
    assert said.err == "ddnn: expected epochs of at least 1, got 0\n"
    assert not (tmp_path / "out").exists()


def test_artifacts_that_give_other_numbers_stop_the_demo(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo, "check_node", lambda folder: Record(node=folder.name, passed=False))
    exported: Any = Record(bytes={"fog1": 3})
    with pytest.raises(RuntimeError, match="do not give their golden numbers: fog1"):
        demo._check(Path("bundle"), exported, Console())
