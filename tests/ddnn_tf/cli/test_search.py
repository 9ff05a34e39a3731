"""`ddnn links`, `rates`, `plan` and `study` as their users meet them."""

from functools import partial
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from ddnn_tf.cli import main
from ddnn_tf.datasets import read_npz
from ddnn_tf.evaluation import expected_accuracy
from edge_runtime.samples import Samples
from edge_runtime.topology import Topology
from tests.commands import Deployed, done, refused, small_samples
from tests.reference import chain_topology

ddnn = partial(done, main)
bad = partial(refused, main)

QUICK = ("--epochs", "1", "--batch-size", "48", "--learning-rate", "0.05")


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a topology and data of which each camera sees a part."""
    folder = tmp_path_factory.mktemp("here")
    chain_topology().save(folder / "chain.json")
    samples = small_samples()
    rng = np.random.default_rng(0)
    for x in samples.inputs.values():
        x[rng.random(len(x)) < 0.3] = 0.0  # out of sight
    Samples(samples.inputs, samples.labels, samples.class_names).save_npz(folder / "own.npz")
    return folder


def common(here: Path) -> tuple[Any, ...]:
    return ("--data", here / "own.npz", "--topology", here / "chain.json")


def test_importance_of_the_links_of_a_model(small_deployed: Deployed) -> None:
    it = small_deployed
    found = ddnn("links", "importance", it.model, "--data", it.data, "--json").json
    model = keras.models.load_model(it.model)
    report = expected_accuracy(model, read_npz(it.data).test, survival=["low", "high"])
    for row in found["links"]:
        for name, worth in row["importance"].items():
            assert worth == pytest.approx(report.importance(name)[row["link"]])
    sizes = {row["link"]: row["bytes"] for row in found["links"]}
    assert sizes == {
        "cam0->left": 0,
        "cam1->right": 0,
        "left->top": 128,
        "right->top": 128,
        "cam0->top": 12,
    }
    said = ddnn("links", "importance", it.model, "--data", it.data, "--survival", "low").out
    assert len(said.splitlines()) == 2 + len(sizes)
    worths = [float(line.split()[-1]) for line in said.splitlines()[2:]]
    assert worths == sorted(worths, reverse=True)


def test_a_search_over_links(here: Path, tmp_path: Path) -> None:
    arguments = ("links", "search", *common(here), "--out", tmp_path, "--survival", "low")
    found = ddnn(*arguments, *QUICK, "--no-retrain", "--max-links", "2", "--json").json
    assert found["retrained"] == []
    assert found["front"][0]["links"] == []
    assert all(len(p["links"]) <= 2 for p in found["front"])
    assert all(p["bytes"] == 384 + 128 * len(p["links"]) for p in found["front"])
    # Again, from what is kept, and within fewer bytes.
    less = ddnn(*arguments, *QUICK, "--no-retrain", "--max-bytes", "512").out
    assert "found on validation data by the supernet" in less
    assert "640 bytes" not in less
    assert len(list(tmp_path.glob("*.keras"))) == 1


def test_a_search_over_rates_goes_on(here: Path, tmp_path: Path) -> None:
    arguments = ("rates", *common(here), "--out", tmp_path, "--seeds", "0", "--per", "all", *QUICK)
    one = ddnn(*arguments, "--trials", "1", "--json").json
    assert one["trials"][0]["factors"] == {"all": 1.0}
    two = ddnn(*arguments, "--trials", "2", "--json").json
    assert one["trials"][0] in two["trials"]
    assert len(two["trials"]) == 2
    assert (tmp_path / "rates.journal").is_file()
    assert (tmp_path / "rates.json").is_file()
    said = ddnn(*arguments, "--trials", "2").out
    assert "2 trials at low, chosen on npz:validation" in said
    assert "holds another search" in bad(*arguments, "--trials", "2", "--survival", "high")


def test_a_study(here: Path, tmp_path: Path) -> None:
    arguments = ("study", "splits", *common(here), "--out", tmp_path, "--seeds", "1", *QUICK)
    found = ddnn(*arguments, "--json").json
    assert [row["label"] for row in found["rows"]] == ["npz:train to npz:test"]
    assert 0 < found["rows"][0]["low"]["expected_accuracy"] <= found["rows"][0]["low"]["bound"]
    assert (tmp_path / "splits.png").read_bytes().startswith(b"\x89PNG")
    said = ddnn(*arguments).out
    assert said == (tmp_path / "splits.md").read_text()
    assert "one seed" in said
    assert "±" not in said


def test_a_plan(here: Path, small_deployed: Deployed) -> None:
    arguments = ("plan", *common(here), "--survival", "low")
    found = ddnn(*arguments, "--goal", "0.5", "--json").json
    assert found["reachable"] is True
    hard = ddnn(*arguments, "--goal", "0.9", "--json").json
    assert (hard["reachable"], hard["bound"]) == (False, found["bound"])
    assert hard["links"]["steps"][0]["bytes"] == 128
    # A second machine's camera picture crosses the network, and so does its message.
    doubled = {s["what"]: s["bytes"] for s in hard["singles"] if s["kind"] == "double"}
    assert doubled["left"] == 12 + 128
    said = ddnn(*arguments, "--goal", "0.9").out
    assert f"not reachable, the bound is {100 * hard['bound']:.2f} %" in said
    it = small_deployed
    model = ("--model", it.model, "--data", it.data, "--survival", "low", "--goal", "0.9")
    measured = ddnn("plan", *model, "--json").json
    assert measured["topology"] == "small"
    assert measured["target"] == pytest.approx(0.9 + measured["bound"] - measured["measured"])


def test_what_cannot_be_searched_is_refused(here: Path, tmp_path: Path) -> None:
    plan = ("plan", *common(here))
    assert "above 0 and at most 1" in bad(*plan, "--survival", "low", "--goal", "95")
    assert "expected one --survival" in bad(*plan, "--survival", "low,high", "--goal", "0.9")
    assert "unknown survivability" in bad(*plan, "--survival", "mild", "--goal", "0.9")
    rates = ("rates", *common(here), "--out", tmp_path)
    assert "cannot use the storage" in bad(*rates, "--storage", "nodriver://here")
    assert "grouping" in bad("study", "weather", *common(here))
    small = Topology.load("poster-residual")
    small.save(tmp_path / "six.json")
    other = ("--data", here / "own.npz", "--topology", tmp_path / "six.json", "--out", tmp_path)
    assert "cam" in bad("study", "table", *other)
