"""`ddnn-edge` as its users meet it: what it prints, its exit codes, and how it refuses."""

import json
import os
import re
import shutil
import subprocess
import sys
import warnings
from collections.abc import Callable, Mapping
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from edge_runtime.answers.smoothing import Smoother, smoothed_task
from edge_runtime.bundle.manifest import read_bundle
from edge_runtime.cli import check
from edge_runtime.cli.main import main
from edge_runtime.errors import InputError
from edge_runtime.failures.parsing import survivabilities
from edge_runtime.failures.trace import FailureTrace
from edge_runtime.files import sha256
from edge_runtime.process.command import guarded
from edge_runtime.samples import Samples
from tests.commands import BYTECODE, CLASSES, Deployed, call, done, files, process, refused
from tests.reference import small_topology

CONTRACT = {
    "samples",
    "configurations",
    "section_evaluations",
    "all_alive",
    "expected_accuracy",
    "balanced_accuracy",
    "fallback",
    "answer",
    "bound",
    "exits",
    "early",
    "payload_bytes",
    "answers",
    "link_bytes",
}

edge = partial(done, main)
bad = partial(refused, main)


@pytest.fixture
def bundle(small_deployed: Deployed, tmp_path: Path) -> Path:
    """A copy, to be damaged."""
    return Path(shutil.copytree(small_deployed.bundle, tmp_path / "bundle"))


@pytest.fixture
def evaluated(small_deployed: Deployed) -> tuple[str | Path, ...]:
    return ("evaluate", small_deployed.bundle, "--data", small_deployed.test)


@pytest.fixture
def simulated(small_deployed: Deployed) -> tuple[str | Path, ...]:
    return ("simulate", small_deployed.bundle, "--data", small_deployed.test)


def write_data(path: Path, **arrays: NDArray[Any]) -> Path:
    """A file that `Samples` would refuse to write."""
    good: dict[str, NDArray[Any]] = {
        "cam0": np.zeros((3, 3), np.float32),
        "cam1": np.zeros((3, 3), np.float32),
        "label": np.array([0, 1, 2]),
        "class_names": np.array(CLASSES),
    }
    contents: dict[str, Any] = {**good, **arrays}
    np.savez(path, **contents)
    return path


# -- evaluate --------------------------------------------------------------------------------------


def test_evaluate_prints_the_object_of_the_contract(evaluated: tuple[str, ...]) -> None:
    found = edge(*evaluated, "--json").json
    assert set(found) >= CONTRACT
    assert found["samples"] == 18
    assert found["configurations"] == 4
    assert found["fallback"] == "prior"
    assert list(found["expected_accuracy"]) == list(found["balanced_accuracy"]) == ["low", "high"]
    for accuracy in (found["all_alive"], *found["expected_accuracy"].values()):
        assert 0 <= accuracy <= 1
    # Better than one class in three, so that these tests compare more than a constant.
    assert found["all_alive"] > 0.6


def test_evaluate_in_a_process_says_the_same_and_nothing_else(
    evaluated: tuple[str, ...], tmp_path: Path
) -> None:
    said = process("ddnn-edge", *evaluated, "--survival", "low", "--json", cwd=tmp_path)
    assert said.json == edge(*evaluated, "--survival", "low", "--json").json
    assert said.err == ""


def test_people_get_a_table(evaluated: tuple[str, ...]) -> None:
    found = edge(*evaluated, "--json").json
    table = edge(*evaluated).out
    assert "18 samples, 4 failure configurations" in table
    for name, accuracy in found["expected_accuracy"].items():
        assert f"{name:<11} {100 * accuracy:6.2f} %" in table


def test_absent_classes_are_named(small_deployed: Deployed, tmp_path: Path) -> None:
    samples = Samples.load_npz(small_deployed.test)
    samples.take(samples.labels != 1).save_npz(tmp_path / "two.npz")
    arguments = ("evaluate", small_deployed.bundle, "--data", tmp_path / "two.npz")
    assert edge(*arguments, "--json").json["absent_classes"] == ["car"]
    assert "no samples of car" in edge(*arguments).out


@pytest.mark.parametrize("text", ["low", "high", "high,low", " low , high "])
def test_survival_takes_presets(evaluated: tuple[str, ...], text: str) -> None:
    every = edge(*evaluated, "--json").json["expected_accuracy"]
    found = edge(*evaluated, "--survival", text, "--json").json["expected_accuracy"]
    assert list(found) == [name.strip() for name in text.split(",")]
    assert found == {name: pytest.approx(every[name], abs=1e-12) for name in found}


def test_survival_takes_a_file_of_probabilities(evaluated: tuple[str, ...], tmp_path: Path) -> None:
    low = small_topology().survivabilities["low"]
    (tmp_path / "mine.json").write_text(json.dumps(low))
    (tmp_path / "dead.json").write_text('{"top": 0.0}')
    names = f"{tmp_path / 'mine.json'},low,{tmp_path / 'dead.json'}"
    found = edge(*evaluated, "--survival", names, "--json").json
    assert found["configurations"] == 8
    assert found["expected_accuracy"]["mine"] == found["expected_accuracy"]["low"]
    # All classes are equally frequent here.
    assert found["expected_accuracy"]["dead"] == pytest.approx(1 / 3)


def test_without_presets_the_topologys_own_survival_counts() -> None:
    assert survivabilities(None, small_topology(survivabilities={})) == {"own": None}
    assert list(survivabilities(None, small_topology())) == ["low", "high"]


@pytest.mark.parametrize("fallback", ["prior", "prior-random", "uniform"])
def test_each_fallback_counts_when_nothing_reaches_the_output(
    evaluated: tuple[str, ...], fallback: str, tmp_path: Path
) -> None:
    (tmp_path / "dead.json").write_text('{"top": 0.0}')
    survival = ("--survival", str(tmp_path / "dead.json"))
    found = edge(*evaluated, *survival, "--fallback", fallback, "--json").json
    assert found["fallback"] == fallback
    assert found["expected_accuracy"]["dead"] == pytest.approx(1 / 3)
    recalls = found["class_recalls"]["dead"].values()
    if fallback == "prior":
        assert sorted(recalls) == [0, 0, 1]
    else:
        assert list(recalls) == pytest.approx([1 / 3] * 3, abs=0.01)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("medium", "unknown survivability 'medium': topology 'small' has low, high; use one"),
        (" , ", "--survival is empty; name a preset"),
        ("nowhere.json", "--survival nowhere.json: .*No such file.*; expected probabilities"),
    ],
)
def test_unknown_survival_is_refused(evaluated: tuple[str, ...], text: str, said: str) -> None:
    with pytest.raises(InputError, match=said):
        survivabilities(text, small_topology())
    assert text.strip(" ,") in bad(*evaluated, "--survival", text)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("{", "Input data was truncated"),
        ('{"left": "often"}', "Expected `float | object`, got `str`"),
        ('{"left": {"mtbf": 0, "mttr": 1}}', "expected mtbf above 0, got 0.0"),
        (
            '{"left": 1.5}',
            "expected a survival probability from 0 to 1, got 1.5 (at survival.left)",
        ),
        ('{"middle": 0.5}', "unknown element 'middle'"),
    ],
)
def test_a_bad_file_of_probabilities_is_refused(
    evaluated: tuple[str, ...], content: str, said: str, tmp_path: Path
) -> None:
    (tmp_path / "mine.json").write_text(content)
    assert said in bad(*evaluated, "--survival", tmp_path / "mine.json")


def test_survival_takes_a_recorded_trace(
    evaluated: tuple[str, ...], simulated: tuple[str, ...], tmp_path: Path
) -> None:
    trace = tmp_path / "monday.jsonl"
    edge(
        *simulated,
        "--survival",
        "low",
        "--frames",
        "40",
        "--hold",
        "2s",
        "--fps",
        "1",
        "--save-trace",
        trace,
    )
    found = edge(*evaluated, "--survival", f"{trace},low", "--json").json
    shares = FailureTrace.load(trace, small_topology()).shares()
    assert sum(share.share for share in shares) == pytest.approx(1)
    exact = edge(*evaluated, "--survival", "low", "--json").json
    assert found["expected_accuracy"]["low"] == exact["expected_accuracy"]["low"]
    assert found["configurations"] == exact["configurations"], "they are among those enumerated"
    expected = 0.0
    for share in shares:
        certain = tmp_path / "certain.json"
        certain.write_text(json.dumps({n: float(n not in share.down) for n in ("left", "right")}))
        assert set(share.down) <= {"left", "right"}
        case = edge(*evaluated, "--survival", certain, "--json").json
        expected += share.share * case["expected_accuracy"]["certain"]
    assert found["expected_accuracy"]["monday"] == pytest.approx(expected)
    drawn = edge(*simulated, "--survival", trace, "--frames", "50", "--json").json
    assert drawn["changes"] > 5
    assert "method" not in found
    trace.write_text('{"frame": 3, "down": ["left"]}')
    assert "which frames it is about" in bad(*evaluated, "--survival", trace)


# -- bad bundles -----------------------------------------------------------------------------------


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(bytes(content))


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new, 1), encoding="utf-8")


@pytest.mark.parametrize(
    ("file", "damage", "said"),
    [
        ("nodes/left/model.tflite", truncate, "damaged or was edited: copy or export it again"),
        ("nodes/top/model.tflite", flip, "damaged or was edited: copy or export it again"),
        ("nodes/top/model.tflite", Path.unlink, "cannot be read (No such file"),
        ("nodes/right/node.json", Path.unlink, "cannot be read (No such file"),
        ("manifest.json", Path.unlink, "expected a folder that export wrote"),
        ("manifest.json", truncate, "Input data was truncated; export it again"),
        ("manifest.json", lambda p: p.write_bytes(b"\xff\xfe"), "export it again"),
        ("manifest.json", lambda p: p.write_text("[]"), "expected schema 2, got None"),
        (
            "manifest.json",
            lambda p: edit(p, '"schema": 2', '"schema": 1'),
            "expected schema 2, got 1 (at $.schema); export it again, or install the version",
        ),
        (
            "manifest.json",
            lambda p: edit(p, '"schema": 2', '"schema": 3'),
            "expected schema 2, got 3 (at $.schema); export it again, or install the version",
        ),
        (
            "manifest.json",
            lambda p: edit(p, '"schema": 2', '"schema": 2, "extra": 3'),
            "unknown field `extra`",
        ),
        (
            "manifest.json",
            lambda p: edit(p, '"right"', '"reich"'),
            "duplicate|unknown|expected nodes",
        ),
        ("manifest.json", lambda p: edit(p, '"bus",', ""), "expected a prior for each of 2 names"),
        (
            "manifest.json",
            lambda p: edit(p, '"bus",', '"lorry",'),
            "not what node 'top' was exported with (at $.task); the file was edited",
        ),
        ("manifest.json", lambda p: edit(p, '"low": 0.', '"low": 0.0'), "(at $.reliability)"),
        (
            "nodes/left/node.json",
            lambda p: edit(p, '"tolerance": ', '"tolerance": 1'),
            "damaged or was edited: copy or export it again",
        ),
    ],
)
def test_a_damaged_bundle_is_refused(
    bundle: Path, small_deployed: Deployed, file: str, damage: Callable[[Path], Any], said: str
) -> None:
    damage(bundle / file)
    for command in (
        ("evaluate", bundle, "--data", small_deployed.test, "--json"),
        ("simulate", bundle, "--data", small_deployed.test, "--survival", "low"),
    ):
        line = bad(*command)
        assert str(bundle / file) in line
        assert any(part in line for part in said.split("|"))


@pytest.mark.parametrize(
    ("file", "damage", "said"),
    [
        ("model.tflite", truncate, "damaged or was edited"),
        ("model.tflite", flip, "damaged or was edited"),
        ("golden.npz", flip, "damaged or was edited"),
        ("golden.npz", Path.unlink, "cannot be read"),
        ("node.json", truncate, "truncated; export it again"),
        ("node.json", lambda p: edit(p, '"schema": 2', '"schema": 3'), "expected schema 2, got 3"),
        ("node.json", Path.unlink, "expected a folder that export wrote"),
    ],
)
def test_check_refuses_a_damaged_folder(
    bundle: Path, file: str, damage: Callable[[Path], Any], said: str
) -> None:
    path = bundle / "nodes" / "top" / file
    damage(path)
    line = bad("check", path.parent, "--json")
    assert str(path) in line
    assert said in line


# -- bad data --------------------------------------------------------------------------------------


NAN = np.array([[0, 0, 0], [0, np.nan, 0], [0, 0, 0]], np.float32)


@pytest.mark.parametrize(
    ("arrays", "said"),
    [
        ({"label": np.array([0, 1, 3])}, "label 3 of sample 2 is out of range: expected 0 to 2"),
        ({"label": np.array([0, -1, 2])}, "label -1 of sample 1 is out of range"),
        ({"label": np.array([0.0, 1.0, 2.0])}, "labels must be integers; came float64"),
        ({"cam0": np.zeros((3, 4), np.float32)}, "expected (3,) per sample, came (4,)"),
        ({"cam0": np.zeros((3, 3), np.float64)}, "expected float32, came float64"),
        ({"cam1": np.zeros((3, 3), np.uint8)}, "'cam1' has the wrong type: expected float32"),
        ({"cam1": NAN}, "sensor 'cam1' has NaN or infinite values in sample 1"),
        ({"cam2": np.zeros((3, 3), np.float32)}, "unknown: 'cam2'"),
        ({"class_names": np.array(["bus", "person", "car"])}, "expected data with the model's"),
        ({"class_names": np.array([1, 2, 3])}, "'class_names' must be a one-dimensional array"),
    ],
)
@pytest.mark.parametrize("command", ["evaluate", "simulate"])
def test_bad_data_are_refused(
    small_deployed: Deployed,
    command: str,
    arrays: Mapping[str, NDArray[Any]],
    said: str,
    tmp_path: Path,
) -> None:
    data = write_data(tmp_path / "data.npz", **arrays)
    assert said in bad(command, small_deployed.bundle, "--data", data, "--survival", "low")


def test_missing_and_damaged_data_are_refused(small_deployed: Deployed, tmp_path: Path) -> None:
    def line(path: Path) -> str:
        return bad("evaluate", small_deployed.bundle, "--data", path, "--json")

    with np.load(write_data(tmp_path / "whole.npz")) as file:
        arrays: dict[str, Any] = {name: file[name] for name in file.files if name != "cam1"}
    np.savez(tmp_path / "blind.npz", **arrays)
    assert "missing: 'cam1'" in line(tmp_path / "blind.npz")
    truncate(tmp_path / "whole.npz")
    assert "is damaged or not an .npz file" in line(tmp_path / "whole.npz")
    assert f"cannot read {tmp_path / 'none.npz'}" in line(tmp_path / "none.npz")


# -- check -----------------------------------------------------------------------------------------


def test_check_proves_every_node(small_deployed: Deployed) -> None:
    for node in small_deployed.topology.order:
        folder = small_deployed.bundle / "nodes" / node
        found = edge("check", folder, "--json").json
        assert found.pop("max_error") <= found.pop("tolerance")
        assert found.pop("computed_by").startswith("XNNPACK on 1 thread (")
        assert found == {"node": node, "passed": True, "samples": 16}
        assert f"{node}: the numbers it was exported with" in edge("check", folder).out


def test_check_of_a_whole_bundle_names_a_node(small_deployed: Deployed) -> None:
    message = bad("check", small_deployed.bundle)
    assert "is a whole bundle; name the folder of one of its nodes, such as" in message
    node = message.rsplit(" ", 1)[1].strip()
    assert edge("check", node, "--json").json["passed"]


def test_check_of_other_numbers_exits_1_and_says_so(bundle: Path) -> None:
    node = bundle / "nodes" / "left"
    with np.load(node / "golden.npz") as file:
        golden: dict[str, Any] = {name: file[name] for name in file.files}
    golden["output/0"] = golden["output/0"] + np.float32(0.01)
    np.savez(node / "golden.npz", **golden)
    described = json.loads((node / "node.json").read_bytes())
    described["files"]["golden.npz"] = sha256((node / "golden.npz").read_bytes())
    (node / "node.json").write_text(json.dumps(described))

    said = call(main, "check", node)
    assert (said.code, said.err) == (1, "")
    assert "left: not the numbers it was exported with on 16 golden samples" in said.out
    said = call(main, "check", node, "--json")
    assert said.code == 1
    assert json.loads(said.out)["passed"] is False
    # The bundle's manifest vouches for node.json, so the whole no longer accepts it.
    assert "node.json" in bad("evaluate", bundle, "--data", "any.npz")


# -- sampling and reach ----------------------------------------------------------------------------


def test_evaluate_samples_when_asked(evaluated: tuple[str, ...]) -> None:
    asked = (*evaluated, "--survival", "low,high", "--configurations", "40", "--seed", "3")
    found, exact = edge(*asked, "--json").json, edge(*evaluated, "--json").json
    assert set(found) - set(exact) == {"method", "interval"}
    low, high = found["interval"]["expected_accuracy"]["low"]
    assert low <= exact["expected_accuracy"]["low"] <= high
    assert "sampled; 99 % sure" in edge(*asked).out
    for option, value in (("--configurations", "0"), ("--seed", "-1")):
        assert f"expected {option} of at least" in bad(*evaluated, option, value)


def test_reach_needs_no_model(evaluated: tuple[str, ...], tmp_path: Path) -> None:
    small_topology().save(tmp_path / "small.json")
    by_file = edge("reach", tmp_path / "small.json", "--json").json
    assert by_file == edge("reach", evaluated[1], "--json").json
    exact = edge(*evaluated, "--json").json["reach_probability"]
    assert by_file == {"reach_probability": pytest.approx(exact), "method": "exact"}
    said = edge("reach", tmp_path / "small.json").out
    assert f"{'low':<11} {100 * by_file['reach_probability']['low']:.7f} %" in said
    poster = ("reach", "poster-residual", "--survival", "low")
    expected = edge(*poster, "--json").json["reach_probability"]["low"]
    drawn = edge(*poster, "--configurations", "100", "--seed", "5", "--json").json
    low, high = drawn["interval"]["reach_probability"]["low"]
    assert low < expected < high
    assert drawn["method"] == "stratified"
    said = edge(*poster, "--configurations", "100").out
    bounds = [100 * float(x) for x in (low, high)]
    assert re.search(r"99 % sure: \d+\.\d{7} to \d+\.\d{7} %", said)
    assert bounds[0] < 100 * expected < bounds[1]


def test_reach_of_what_is_too_entangled_says_what_to_do(tmp_path: Path) -> None:
    layers = [[f"n{i}x{j}" for j in range(24)] for i in range(3)]
    pairs = [(a, b) for low, high in pairwise(layers) for a in low for b in high]
    plain = {
        "name": "wide",
        "sensors": [{"name": n, "shape": [1], "survival": 0.9} for n in layers[0]],
        "nodes": [{"name": n, "tier": "fog", "survival": 0.9} for n in [*layers[1], *layers[2]]],
        "links": [{"source": a, "target": b} for a, b in pairs],
    }
    plain["nodes"].append({"name": "top", "tier": "cloud"})  # type: ignore[attr-defined]
    plain["links"] += [{"source": n, "target": "top"} for n in layers[2]]  # type: ignore[operator]
    (tmp_path / "wide.json").write_text(json.dumps(plain))
    assert "too entangled" in bad("reach", tmp_path / "wide.json")
    drawn = edge("reach", tmp_path / "wide.json", "--configurations", "2000", "--json").json
    assert drawn["reach_probability"]["own"] == pytest.approx(1, abs=1e-3)


# -- simulate --------------------------------------------------------------------------------------


def read(record: Path) -> list[Any]:
    return [json.loads(line) for line in record.read_text(encoding="utf-8").splitlines()]


def test_a_written_trace_replays_to_the_same_answers(
    simulated: tuple[str, ...], tmp_path: Path
) -> None:
    trace, first, second = (tmp_path / name for name in ("trace", "first", "second"))
    drawing = (*simulated, "--survival", "low", "--seed", "7", "--frames", "50", "--json")
    drawn = edge(*drawing, "--save-trace", trace, "--save-answers", first).json
    replayed = edge(
        *simulated, "--trace", trace, "--frames", "50", "--save-answers", second, "--json"
    ).json
    assert drawn == replayed
    assert drawn["frames"] == 50
    assert drawn["changes"] == len(trace.read_text().splitlines()) - 1 > 10
    assert first.read_bytes() == second.read_bytes()
    assert edge(*drawing).json == drawn
    other = edge(*simulated, "--survival", "low", "--seed", "8", "--frames", "50", "--json").json
    assert other != drawn


def test_each_answer_is_recorded(simulated: tuple[str, ...], tmp_path: Path) -> None:
    (tmp_path / "often.json").write_text('{"top": 0.5, "left": 0.5}')
    found = edge(
        *simulated,
        "--survival",
        tmp_path / "often.json",
        "--save-answers",
        tmp_path / "log",
        "--json",
    ).json
    lines = read(tmp_path / "log")
    assert [line["frame"] for line in lines] == list(range(18))
    assert found == {
        "frames": 18,
        "answered": sum(not line["fallback"] for line in lines),
        "changes": found["changes"],
        "score": "accuracy",
        "measured_accuracy": pytest.approx(sum(line["score"] for line in lines) / 18),
    }
    assert 0 < found["answered"] < 18
    for line in lines:
        assert line["fallback"] == (line["state"] == "0")
        assert sum(line["probabilities"]) == pytest.approx(1, abs=1e-5)
        assert line["answer"] == CLASSES[int(np.argmax(line["probabilities"]))]


def test_smoothed_answers_stand_beside_the_recorded_ones_and_follow_from_them(
    simulated: tuple[str, ...], small_deployed: Deployed, tmp_path: Path
) -> None:
    (tmp_path / "often.json").write_text('{"top": 0.5, "left": 0.5}')
    survival = str(tmp_path / "often.json")
    drawn = (*simulated, "--survival", survival, "--json", "--save-answers")
    plain = edge(*drawn, tmp_path / "plain").json
    # Half a second at 4 frames per second are two frames.
    found = edge(*drawn, tmp_path / "log", "--smooth", "500ms", "--fps", "4").json
    lines = read(tmp_path / "log")
    smoother = Smoother(smoothed_task(read_bundle(small_deployed.bundle)[0].task).prior, 2)
    labels = Samples.load_npz(small_deployed.test).labels
    right = 0
    for line, label in zip(lines, labels, strict=True):
        smoothed = line.pop("smoothed")
        told = None if line["fallback"] else line["probabilities"]
        expected = smoother.add(told, line["frame"])
        assert expected is not None
        assert smoothed["probabilities"] == pytest.approx(expected, abs=2e-6)
        assert smoothed["answer"] == CLASSES[int(np.argmax(smoothed["probabilities"]))]
        right += smoothed["answer"] == CLASSES[label]
    assert lines == read(tmp_path / "plain")
    assert found == {**plain, "smoothed_accuracy": pytest.approx(right / len(lines))}


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (
            ("--smooth", "soon"),
            "--smooth: expected a time such as 50ms, 5s, 2min or 3h, got 'soon'",
        ),
        (("--smooth", "0s"), "expected --smooth above 0"),
        (("--smooth", "1s", "--early"), "only the output node's answers are smoothed"),
        (("--smooth", "1s", "--answer", "any"), "only the output node's answers are smoothed"),
        (("--smooth", "1s", "--fps", "0"), "expected --fps above 0, got 0.0"),
    ],
)
def test_smoothing_that_cannot_be_is_refused(
    simulated: tuple[str, ...], options: tuple[str, ...], said: str
) -> None:
    assert said in bad(*simulated, "--survival", "low", *options)


def test_without_failures_measured_accuracy_is_that_of_all_alive(
    simulated: tuple[str, ...], evaluated: tuple[str, ...], tmp_path: Path
) -> None:
    (tmp_path / "trace").write_text("")
    found = edge(*simulated, "--trace", tmp_path / "trace", "--json").json
    assert found["measured_accuracy"] == edge(*evaluated, "--json").json["all_alive"]
    assert (found["answered"], found["changes"]) == (18, 0)
    assert (
        "18 frames answered by the network" in edge(*simulated, "--trace", tmp_path / "trace").out
    )


def test_hold_keeps_a_drawn_configuration(simulated: tuple[str, ...], tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    edge(*simulated, "--survival", "low", "--hold", "200ms", "--save-trace", trace)
    changes = FailureTrace.load(trace, small_topology()).changes
    assert changes
    assert all(change.frame % 6 == 0 for change in changes)


def test_all_presets_are_what_none_named_means(evaluated: tuple[str, ...]) -> None:
    assert edge(*evaluated, "--survival", "all").out == edge(*evaluated).out


def test_a_copied_folder_says_that_its_version_is_unknown(root: Path, tmp_path: Path) -> None:
    shutil.copytree(root / "edge_runtime", tmp_path / "edge_runtime", ignore=BYTECODE)
    # Without what is installed beside this Python, but for what the command itself needs.
    code = (
        "import importlib.metadata as m, sys\n"
        "def none(name): raise m.PackageNotFoundError(name)\n"
        "m.version = none\n"
        "from edge_runtime.cli.main import main\n"
        "sys.exit(main(['--version']))"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert (ran.returncode, ran.stderr) == (0, "")
    assert ran.stdout.startswith("ddnn-edge: version unknown; ddnn-tf is not installed here")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--hold", "6"), "--hold 6: expected a time, not frames; that many frames at 30 a second"),
        (("--hold", "6", "--fps", "4"), "are --hold 1.5s"),
        (("--hold", "1ms"), "--hold 1ms: expected at least one frame, at 30 a second"),
    ],
)
def test_hold_is_a_time_of_at_least_a_frame(
    simulated: tuple[str, ...], words: tuple[str, ...], message: str
) -> None:
    assert message in bad(*simulated, "--survival", "low", *words)


def test_mean_times_give_a_trace_that_lasts(simulated: tuple[str, ...], tmp_path: Path) -> None:
    def changes(*options: str) -> int:
        found = edge(*simulated, "--frames", "2000", *options, "--json").json
        return int(found["changes"])

    often = changes("--survival", "low", "--mttr", "2s", "--fps", "1")
    seldom = changes("--survival", "low", "--mttr", "2s", "--fps", "20")
    assert often == changes("--survival", "low", "--mttr", "2s", "--fps", "1")
    assert 0 < 5 * seldom < often
    assert changes("--mtbf", "30s", "--mttr", "10s", "--fps", "1") > 0
    (tmp_path / "field.json").write_text('{"left": {"mtbf": 30, "mttr": 10}}')
    field = ("--survival", os.fspath(tmp_path / "field.json"), "--fps", "1")
    assert 0 < changes(*field) < changes(*field, "--hold", "1s")


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        (['{"frame": 0, "down": ["left"]}', '{"frame": 0, "down": []}'], "line 2: expected frames"),
        (['{"frame": 3, "down": ["middle"]}'], "line 1: unknown element 'middle'"),
        (['{"frame": 1, "down": []}', "", "x"], "line 2: "),
        (['{"frame": 1, "down": [], "up": []}'], "line 1: Object contains unknown field `up`"),
        (['{"frame": -1, "down": []}'], "line 1: expected frames in rising order, got -1"),
    ],
)
def test_a_broken_trace_names_its_line(
    simulated: tuple[str, ...], lines: list[str], said: str, tmp_path: Path
) -> None:
    (tmp_path / "trace").write_text("\n".join(lines))
    line = bad(*simulated, "--trace", tmp_path / "trace", "--save-trace", tmp_path / "copy")
    assert f"{tmp_path / 'trace'}, {said}" in line
    assert list(files(tmp_path)) == ["trace"]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ((), "give --trace FILE, or --survival NAME"),
        (("--survival", "low,high"), "expected one survivability to draw from, got low, high"),
        (("--survival", "low", "--hold", "0s"), "--hold 0s: expected at least one frame"),
        (("--survival", "low", "--frames", "0"), "expected --frames of at least 1, got 0"),
        (("--survival", "low", "--frames", "-4"), "expected --frames of at least 1, got -4"),
        (("--survival", "low", "--seed", "-1"), "expected --seed of at least 0, got -1"),
        (("--trace", "nowhere"), "cannot read the trace nowhere: No such file"),
        (("--mttr", "3s"), "or both --mtbf and --mttr of all nodes"),
        (("--survival", "low", "--mttr", "3s", "--hold", "2s"), "give --hold, or mean times"),
        (("--survival", "low", "--mttr", "3s", "--mtbf", "9s"), "expected one mean time"),
        (("--survival", "low", "--mttr", "3s", "--fps", "0"), "expected --fps above 0, got 0.0"),
    ],
)
def test_impossible_simulations_are_refused(
    simulated: tuple[str, ...], options: tuple[str, ...], said: str
) -> None:
    assert said in bad(*simulated, *options)


@pytest.mark.parametrize("option", ["--save-trace", "--save-answers"])
def test_an_unwritable_output_is_refused_and_what_stands_there_is_left(
    simulated: tuple[str, ...], option: str, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("older")
    (tmp_path / "folder").mkdir()
    for place in (tmp_path / "file" / "below", tmp_path / "folder"):
        line = bad(*simulated, "--survival", "low", option, place)
        assert f"cannot write {place}: " in line
        assert "choose a place that can be written" in line
    assert list(files(tmp_path)) == ["file"]
    assert (tmp_path / "file").read_text() == "older"


def test_outputs_are_opened_before_the_work(
    simulated: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def work(*arguments: Any) -> None:
        raise AssertionError("work that would be lost")

    monkeypatch.setattr("edge_runtime.evaluation.bundle.Bundle.answer", work)
    (tmp_path / "folder").mkdir()
    outputs = ("--save-trace", tmp_path / "trace", "--save-answers", tmp_path / "folder")
    assert "cannot write" in bad(*simulated, "--survival", "low", *outputs)
    assert list(files(tmp_path)) == []


def test_an_older_record_survives_bad_input(simulated: tuple[str, ...], tmp_path: Path) -> None:
    (tmp_path / "log").write_text("older")
    bad(*simulated, "--trace", tmp_path / "none", "--save-answers", tmp_path / "log")
    assert (tmp_path / "log").read_text() == "older"
    edge(*simulated, "--survival", "low", "--save-answers", tmp_path / "log")
    assert len(read(tmp_path / "log")) == 18
    assert list(files(tmp_path)) == ["log"]


# -- the command itself ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "the following arguments are required: COMMAND; see `ddnn-edge --help`"),
        (("evaluate", "b"), "required: --data; see `ddnn-edge evaluate --help`"),
        (("evaluate", "b", "--data", "d", "--fallback", "none"), "invalid choice: 'none'"),
        (("forget",), "invalid choice: 'forget'"),
        (("check", "b", "--data", "d"), "unrecognized arguments: --data d"),
    ],
)
def test_wrong_usage_is_one_line(arguments: tuple[str, ...], said: str) -> None:
    assert said in bad(*arguments)


def test_bad_input_in_a_process_exits_2_with_one_line(tmp_path: Path) -> None:
    said = process("ddnn-edge", "evaluate", "nowhere", "--data", "d.npz", "--json", cwd=tmp_path)
    assert (said.code, said.out) == (2, "")
    assert said.err.startswith("ddnn-edge: nowhere/manifest.json: cannot be read")
    assert said.err.count("\n") == 1


@pytest.mark.filterwarnings("default")
def test_a_warning_is_one_line_on_stderr() -> None:
    def warning() -> int:
        warnings.warn("a residual link\nskips nothing", stacklevel=1)
        return 0

    said = call(lambda _: guarded("ddnn-edge", warning))
    assert (said.code, said.out) == (0, "")
    assert said.err == "ddnn-edge: warning: a residual link skips nothing\n"


def test_a_reader_that_has_enough_ends_a_command_well(monkeypatch: pytest.MonkeyPatch) -> None:
    def printing() -> int:
        print("a line", flush=True)
        raise AssertionError("nobody reads it")

    ours, theirs = os.pipe()
    os.close(ours)
    with open(theirs, "w") as out:
        monkeypatch.setattr(sys, "stdout", out)
        assert guarded("ddnn-edge", printing) == 0


def test_ctrl_c_exits_130_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(folder: Path, compute: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(check, "check_node", interrupted)
    said = call(main, "check", "anywhere")
    assert (said.code, said.out, said.err) == (130, "", "ddnn-edge: interrupted\n")


def test_a_fault_of_ours_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    def faulty(folder: Path, compute: Any) -> None:
        raise ValueError("ours")

    monkeypatch.setattr(check, "check_node", faulty)
    with pytest.raises(ValueError, match="ours"):
        call(main, "check", "anywhere")
