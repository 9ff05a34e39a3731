"""`ddnn` as its users meet it: the contract of its commands, its exit codes, how it refuses."""

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from ddnn_tf.cli import app, main
from edge_runtime.cli.main import main as edge_main
from edge_runtime.samples import Samples
from edge_runtime.task import MultiLabel, Regression, Task
from edge_runtime.topology import Topology
from export import ParityError
from tests.commands import CLASSES, FRAMES, LIMIT, Deployed, call, done, files, process, refused
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
}

ddnn = partial(done, main)
bad = partial(refused, main)


@pytest.fixture
def cameras(tiny_cameras: Path, tmp_path: Path) -> Path:
    """A copy, to be damaged."""
    return Path(shutil.copytree(tiny_cameras, tmp_path / "cameras"))


@pytest.fixture
def training(small_deployed: Deployed, tmp_path: Path) -> Callable[..., tuple[str | Path, ...]]:
    """The arguments of the quickest training, into `out/model.keras`."""

    def arguments(*options: str | Path, epochs: int = 1) -> tuple[str | Path, ...]:
        topology = small_deployed.model.with_name("small.json")
        return (
            *("train", "--topology", topology, "--data", small_deployed.data),
            *("--epochs", str(epochs), "--out", tmp_path / "out" / "model.keras", *options),
        )

    return arguments


# -- the poster's system: train, evaluate, export, evaluate again ----------------------------------


@pytest.mark.parametrize(
    ("name", "evaluations"),
    [("poster-baseline", 57), ("poster-residual", 102), ("poster-edge-skip", 218)],
)
def test_model_bundle_and_device_agree(
    poster_deployed: Callable[[str], Deployed], name: str, evaluations: int
) -> None:
    it = poster_deployed(name)
    model = ddnn("evaluate", it.model, "--data", it.data, "--split", "test_dir", "--json").json
    bundle = ddnn("evaluate", it.bundle, "--data", it.data, "--split", "test_dir", "--json").json
    device = done(edge_main, "evaluate", it.bundle, "--data", it.test, "--json").json
    assert set(model) >= CONTRACT
    assert model["samples"] == len(CLASSES) * len(FRAMES["test_dir"])
    assert model["configurations"] == 256
    assert model["section_evaluations"] == evaluations
    assert list(model["expected_accuracy"]) == ["high", "medium", "low"]
    # It has learned something, so that more than a constant is compared.
    assert model["all_alive"] > 0.5
    assert device == bundle
    for key in ("expected_accuracy", "balanced_accuracy"):
        assert device[key] == pytest.approx(model[key], abs=1e-6)
    for key in ("samples", "configurations", "section_evaluations", "fallback"):
        assert device[key] == model[key]


def test_the_default_split_is_the_one_to_report(
    poster_deployed: Callable[[str], Deployed],
) -> None:
    it = poster_deployed("poster-residual")
    found = ddnn("evaluate", it.model, "--data", it.data, "--survival", "low", "--json").json
    assert found["samples"] == len(CLASSES) * len(FRAMES["test_dir"])
    assert list(found["expected_accuracy"]) == ["low"]
    table = ddnn("evaluate", it.model, "--data", it.data, "--survival", "low").out
    assert f"{100 * found['expected_accuracy']['low']:.2f}" in table


def test_the_exported_split_holds_the_pictures(
    poster_deployed: Callable[[str], Deployed],
) -> None:
    it = poster_deployed("poster-residual")
    samples = Samples.load_npz(it.test)
    assert samples.class_names == CLASSES
    assert {x.shape[1:] for x in samples.inputs.values()} == {(32, 32, 3)}
    assert {x.dtype.name for x in samples.inputs.values()} == {"uint8"}
    # The class is the color: red, green, blue by label, so that order of channels is right.
    for label in range(3):
        mean = samples.inputs["cam0"][samples.labels == label].mean(axis=(0, 1, 2))
        assert mean.argmax() == 2 - label  # `write_cameras` writes as OpenCV does, blue first


# -- train -----------------------------------------------------------------------------------------


def test_train_says_what_it_wrote_and_found(training: Any, tmp_path: Path) -> None:
    said = ddnn(*training("--json"))
    [model] = said.json["models"]
    assert model == str(tmp_path / "out" / "model.keras")
    assert set(said.json["validation"]) == {"low", "high"}
    for found in said.json["validation"].values():
        assert set(found) == {"expected_accuracy", "balanced_accuracy", "half_range"}
    assert "wrote" in said.err
    assert "% expected on validation" in said.err
    assert "±" not in said.err, "one seed lies apart from nothing"
    assert list(files(tmp_path / "out")) == ["model.keras"]


def test_several_seeds_give_several_models_and_their_spread(training: Any, tmp_path: Path) -> None:
    said = ddnn(*training("--seeds", "2", "--seed", "5", "--survival", "low", "--json"))
    assert re.search(r"^low +\d+\.\d\d ± \d\.\d\d % expected", said.err, re.MULTILINE)
    found = said.json
    assert list(files(tmp_path / "out")) == ["model.seed5.keras", "model.seed6.keras"]
    assert [Path(m).name for m in found["models"]] == list(files(tmp_path / "out"))
    assert list(found["validation"]) == ["low"]
    models = [keras.models.load_model(path).get_weights() for path in found["models"]]
    assert not np.array_equal(models[0][0], models[1][0])


@pytest.mark.parametrize("suffix", ["yaml", "json"])
def test_a_topology_of_ones_own_without_presets(
    training: Any, small_deployed: Deployed, suffix: str, tmp_path: Path
) -> None:
    small_topology(survivabilities={}, name="of my own").save(tmp_path / f"mine.{suffix}")
    mine = ("--topology", tmp_path / f"mine.{suffix}", "--method", "dropout")
    assert list(ddnn(*training(*mine, "--json")).json["validation"]) == ["own"]
    model = tmp_path / "out" / "model.keras"
    found = ddnn("evaluate", model, "--data", small_deployed.data, "--json").json
    assert (found["configurations"], list(found["expected_accuracy"])) == (1, ["own"])


def test_survival_takes_a_file_of_probabilities(
    training: Any, small_deployed: Deployed, tmp_path: Path
) -> None:
    (tmp_path / "mine.json").write_text(json.dumps({"left": 0.6, "right": 0.7}))
    survival = ("--survival", f"{tmp_path / 'mine.json'},low")
    found = ddnn(*training(*survival, "--json")).json["validation"]
    assert found["mine"] == pytest.approx(found["low"])
    model = tmp_path / "out" / "model.keras"
    found = ddnn("evaluate", model, "--data", small_deployed.data, *survival, "--json").json
    accuracies = found["expected_accuracy"]
    assert accuracies["mine"] == pytest.approx(accuracies["low"], abs=1e-12)


def test_baseline_leaves_residual_links_out(training: Any, tmp_path: Path) -> None:
    (tmp_path / "mine.json").write_text('{"cam0->top": 0.5}')
    line = bad(*training("--method", "baseline", "--survival", tmp_path / "mine.json"))
    assert "unknown element 'cam0->top'" in line
    ddnn(*training("--method", "baseline", "--split", "all"))
    model = keras.models.load_model(tmp_path / "out" / "model.keras")
    assert model.topology == small_topology().primary()


@pytest.mark.parametrize("fallback", ["prior", "prior-random", "uniform"])
def test_each_fallback_is_the_one_of_the_device(
    small_deployed: Deployed, fallback: str, tmp_path: Path
) -> None:
    it = small_deployed
    (tmp_path / "dead.json").write_text('{"top": 0.3}')
    options = ("--survival", tmp_path / "dead.json", "--fallback", fallback, "--json")
    model = ddnn("evaluate", it.model, "--data", it.data, *options).json
    device = done(edge_main, "evaluate", it.bundle, "--data", it.test, *options).json
    assert model["fallback"] == device["fallback"] == fallback
    assert device["expected_accuracy"] == pytest.approx(model["expected_accuracy"], abs=1e-6)
    assert device["class_recalls"]["dead"] == pytest.approx(model["class_recalls"]["dead"])


# -- interruption ----------------------------------------------------------------------------------


INTERRUPTED = """
import os, signal, sys
from ddnn_tf.cli import app
import keras

# A shell's background job is started deaf to it, and so are those that it starts.
signal.signal(signal.SIGINT, signal.default_int_handler)

def interrupting(bar, description, epochs):
    def end(epoch, logs):
        if epoch == 2:
            os.kill(os.getpid(), signal.SIGINT)

    return keras.callbacks.LambdaCallback(on_epoch_end=end)

app.epoch_bar = interrupting
sys.exit(app.main(sys.argv[1:]))
"""


def test_ctrl_c_leaves_a_checkpoint_from_which_the_same_call_goes_on(
    training: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    epochs = 6
    arguments = training("--checkpoint", tmp_path / "state", epochs=epochs)
    # The process sends itself the signal, since a training this small outruns who would watch it.
    running = subprocess.run(
        [sys.executable, "-c", INTERRUPTED, *(str(part) for part in arguments)],
        capture_output=True,
        text=True,
        timeout=LIMIT,
        check=False,
    )
    out, err = running.stdout, running.stderr
    assert running.returncode == 130, err
    assert err.endswith("ddnn: interrupted\n")
    assert "Traceback" not in err
    assert out == ""
    assert list(files(tmp_path / "out")) == []
    assert list(files(tmp_path / "state")) == [
        "seed0/training.json",
        "seed0/training.weights.h5",
    ]

    ran: list[int] = []

    def watched(bar: Any, description: str, epochs: int) -> Any:
        return keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: ran.append(epoch))

    monkeypatch.setattr(app, "epoch_bar", watched)
    ddnn(*arguments)
    assert ran == list(range(3, epochs))
    assert list(files(tmp_path / "out")) == ["model.keras"]
    assert list(files(tmp_path / "state")) == []


def test_an_interrupted_call_trains_no_seed_twice(
    training: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun: list[str] = []

    def second_breaks_off(bar: Any, description: str, epochs: int) -> Any:
        def begin(epoch: int, logs: Any) -> None:
            begun.append(description)
            if begun == ["dropout (seed 0)", "dropout (seed 1)"]:
                raise KeyboardInterrupt

        return keras.callbacks.LambdaCallback(on_epoch_begin=begin)

    monkeypatch.setattr(app, "epoch_bar", second_breaks_off)
    arguments = training("--seeds", "2", "--checkpoint", tmp_path / "state")
    assert call(main, *arguments).code == 130
    ddnn(*arguments)
    assert begun == ["dropout (seed 0)", "dropout (seed 1)", "dropout (seed 1)"]
    assert list(files(tmp_path / "out")) == ["model.seed0.keras", "model.seed1.keras"]
    assert list(files(tmp_path / "state")) == []


def test_an_older_model_survives_an_interruption(
    training: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupting(bar: Any, description: str, epochs: int) -> Any:
        def stop(logs: Any) -> None:
            raise KeyboardInterrupt

        return keras.callbacks.LambdaCallback(on_train_begin=stop)

    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "model.keras").write_text("older")
    monkeypatch.setattr(app, "epoch_bar", interrupting)
    said = call(main, *training())
    assert said.code == 130
    assert list(files(tmp_path / "out")) == ["model.keras"]
    assert (tmp_path / "out" / "model.keras").read_text() == "older"


# -- export ----------------------------------------------------------------------------------------


def test_export_says_what_it_wrote_and_how_it_compares(
    small_deployed: Deployed, tmp_path: Path
) -> None:
    it, out = small_deployed, tmp_path / "bundle"
    arguments = ("export", it.model, "--data", it.data, "--out", out, "--saved-model", "top")
    # In a process, where the writer of SavedModels could reach stdout.
    found = process("ddnn", *arguments, "--quantize", "int8", "--json", cwd=tmp_path).json
    assert found["bundle"] == str(out)
    assert found["quantization"] == "int8"
    assert set(found["bytes"]) == {"left", "right", "top"}
    assert set(found["accuracy_change"]) == set(found["label_agreement"]) == {"low", "high"}
    written = set(files(out))
    assert {"manifest.json", "nodes/left/model.tflite"} <= written
    assert "nodes/top/saved_model/1/saved_model.pb" in written
    assert "nodes/left/saved_model/1/saved_model.pb" not in written
    assert {path.name for path in tmp_path.iterdir()} == {"bundle"}
    assert done(edge_main, "check", out / "nodes" / "top").code == 0


@pytest.mark.parametrize("quantize", ["float16", "dynamic"])
def test_each_quantization_evaluates(
    small_deployed: Deployed, quantize: str, tmp_path: Path
) -> None:
    it, out = small_deployed, tmp_path / "bundle"
    said = ddnn("export", it.model, "--data", it.data, "--out", out, "--quantize", quantize)
    assert f"quantization {quantize}" in said.out
    model = ddnn("evaluate", it.model, "--data", it.data, "--json").json
    device = done(edge_main, "evaluate", out, "--data", it.test, "--json").json
    assert device["section_evaluations"] == model["section_evaluations"]
    assert device["expected_accuracy"] == pytest.approx(model["expected_accuracy"], abs=0.06)


def test_a_budget_and_what_it_costs(small_deployed: Deployed, tmp_path: Path) -> None:
    it, out = small_deployed, tmp_path / "bundle"
    options = ("--budget", "edge=1MB", "--compress", "cloud=float16", "--table")
    found = ddnn("export", it.model, "--data", it.data, "--out", out, *options, "--json").json
    assert found["compression"] == {"left": "float32", "right": "float32", "top": "float16"}
    assert found["quantization"] == "mixed"
    table = found["costs"]
    assert {n: node["raw_bytes"] for n, node in table["nodes"].items()} == found["bytes"]
    for node in table["nodes"].values():
        assert 0 < node["zstd_bytes"] < node["raw_bytes"]
        assert node["latency_ms"] > 0
    sent = table["nodes"]["left"]["link_bytes"]
    assert sent["raw"] == 2 * sent["float16"] == 4 * sent["int8"] > 0
    assert table["nodes"]["top"]["link_bytes"] == {}
    changes = table["accuracy_change"]
    assert changes.keys() == {"raw", "float16", "int8"}
    assert changes["raw"].keys() == {"low", "high"}


def test_the_readmes_budget_is_met_by_the_model_that_train_makes(
    poster_deployed: Callable[[str], Deployed], root: Path, tmp_path: Path
) -> None:
    it = poster_deployed("poster-residual")
    shown = re.search(r"--budget '([^']+)'", (root / "README.md").read_text(encoding="utf-8"))
    assert shown is not None
    given = ("--data", it.data, "--out", tmp_path / "bundle", "--budget", shown[1])
    found = ddnn("export", it.model, *given, "--json").json
    edges = {node for node in found["bytes"] if node.startswith("edge")}
    assert {found["compression"][node] for node in edges} == {"int8"}
    assert max(found["bytes"][node] for node in edges) <= 128_000


def test_a_bundle_is_replaced_and_anything_else_is_not(
    small_deployed: Deployed, tmp_path: Path
) -> None:
    it = small_deployed
    out = Path(shutil.copytree(it.bundle, tmp_path / "bundle"))
    (out / "nodes" / "left" / "model.tflite").write_text("older")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "letter.txt").write_text("mine")
    ddnn("export", it.model, "--data", it.data, "--out", out)
    assert done(edge_main, "evaluate", out, "--data", it.test).code == 0
    line = bad("export", it.model, "--data", it.data, "--out", tmp_path / "mine")
    assert "mine exists and has no manifest.json, so it is not ours to replace; remove it" in line
    assert list(files(tmp_path / "mine")) == ["letter.txt"]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--saved-model", "middle"), "unknown nodes middle; the topology has left, right, top"),
        (("--split", "npz:all"), "there is no split 'npz:all': this data has npz:train"),
        (("--validation", "later"), "there is no split 'later'"),
        (("--quantize", "int4"), "'int4' is not one of 'none', 'float16', 'dynamic', 'int8'"),
        (("--compress", "egde*=int8"), "'egde*' names no node and no tier"),
        (("--compress", "left=small"), "cannot read 'small' in the compression 'small'"),
        (("--budget", "64KB"), "expected --budget NODES=VALUE, got '64KB'"),
        (("--budget", "left=64 bit"), "expected a size such as 64KB, 64KiB or 2000, got '64 bit'"),
        (("--budget", "top=10"), "node 'top' does not fit in 10 bytes: the smallest is "),
        (("--packed",), "--packed is how budgets count; give a --budget"),
    ],
)
def test_a_refused_export_leaves_the_older_bundle(
    small_deployed: Deployed, options: tuple[str, ...], said: str, tmp_path: Path
) -> None:
    it = small_deployed
    out = Path(shutil.copytree(it.bundle, tmp_path / "bundle"))
    (out / "nodes" / "left" / "model.tflite").write_text("older")
    before = list(files(tmp_path))
    assert said in bad("export", it.model, "--data", it.data, "--out", out, *options)
    assert list(files(tmp_path)) == before
    assert (out / "nodes" / "left" / "model.tflite").read_text() == "older"


def test_an_artifact_of_other_numbers_is_one_line_and_exit_code_1(
    small_deployed: Deployed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def differing(*args: Any, **options: Any) -> None:
        raise ParityError("the bundle differs")

    monkeypatch.setattr("export.export_bundle", differing)
    monkeypatch.setattr("ddnn_tf.demo.run", differing)
    it = small_deployed
    for command in (
        ("export", it.model, "--data", it.data, "--out", tmp_path / "bundle", "--json"),
        ("demo", "--out", tmp_path / "demo"),
    ):
        said = call(main, *command)
        assert (said.code, said.out) == (1, "")
        assert said.err == "ddnn: no bundle written: the bundle differs\n"
    assert list(files(tmp_path)) == []


# -- data ------------------------------------------------------------------------------------------


def test_info_says_what_was_read(tiny_cameras: Path) -> None:
    found = ddnn("data", "info", "--data", tiny_cameras, "--json").json
    assert found["form"] == "crops"
    assert found["samples"] == sum(len(frames) for frames in FRAMES.values()) * len(CLASSES)
    assert found["splits"]["test_dir"] == dict.fromkeys(CLASSES, len(FRAMES["test_dir"]))
    said = ddnn("data", "info", "--data", tiny_cameras)
    assert "train_dir:validation" in said.out
    assert said.err == ""


def test_export_of_a_split_is_whole_or_absent(small_deployed: Deployed, tmp_path: Path) -> None:
    out = tmp_path / "made" / "here.npz"
    arguments = ("data", "export", "--data", small_deployed.data, "--out")
    said = ddnn(*arguments, out, "--split", "npz:validation")
    assert said.out == ""
    assert said.err == f"wrote {out}: 18 samples\n"
    assert len(Samples.load_npz(out)) == 18
    before = out.read_bytes()
    assert "there is no split 'later'" in bad(*arguments, out, "--split", "later")
    assert "expected --out to end in .npz" in bad(*arguments, tmp_path / "here.zip")
    assert out.read_bytes() == before
    assert list(files(tmp_path)) == ["made/here.npz"]


def test_import_of_arrays(tmp_path: Path) -> None:
    x = np.random.default_rng(0).normal(size=(40, 5))
    np.save(tmp_path / "x.npy", x)
    np.save(tmp_path / "y.npy", np.arange(40) % 2)
    (tmp_path / "who.txt").write_text("ann\nbo\ncy\ndi\n" * 10)
    out = tmp_path / "d.npz"
    arrays = ("data", "import", tmp_path / "x.npy", tmp_path / "y.npy", "--out", out)
    found = ddnn(*arrays, "--classes", "no,yes", "--group", tmp_path / "who.txt", "--json")
    assert found.err == f"wrote {out}: 40 samples\n"
    assert found.json == ddnn("data", "info", "--data", out, "--json").json
    assert (found.json["classes"], found.json["groups"]) == ({"no": 20, "yes": 20}, 4)
    assert found.json["sensors"] == {"x": "5 float32"}
    sensors = (f"left={tmp_path / 'x.npy'}", f"right={tmp_path / 'x.npy'}", tmp_path / "y.npy")
    said = ddnn("data", "import", *sensors, "--out", out, "--values", "high", "--units", "m")
    assert "high: 0 to 1, mean 0.5 m" in said.out
    assert list(Samples.load_npz(out).inputs) == ["left", "right"]
    assert Samples.load_npz(out).task == Regression(("high",), ("m",))


def test_import_of_a_table_and_of_pictures(tiny_cameras: Path, tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("a,b,c,kind\n" + "1,2,3,x\n4,5,6,y\n" * 5)
    out, table = tmp_path / "d.npz", tmp_path / "t.csv"
    sensors = ("--sensor", "one=a", "--sensor", "two=b,c")
    found = ddnn("data", "import", table, "--label", "kind", *sensors, "--out", out, "--json").json
    assert found["sensors"] == {"one": "1 float32", "two": "2 float32"}
    assert found["classes"] == {"x": 5, "y": 5}
    for name in CLASSES:
        views = sorted((tiny_cameras / "test_dir" / f"{name}_images").glob("c0_*"))
        (tmp_path / "pictures" / name).mkdir(parents=True)
        for view in views:
            shutil.copy(view, tmp_path / "pictures" / name)
    pictures = ("data", "import", tmp_path / "pictures", "--out", out)
    found = ddnn(*pictures, "--size", "16x8", "--json").json
    assert found["sensors"] == {"cam0": "16x8x3 uint8"}
    assert found["classes"] == dict.fromkeys(CLASSES, len(views))


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("x.npy", "--out", "d.npz"), "expected the arrays of the sensors and then that of the"),
        (
            ("x.npy", "x.npy", "y.npy", "--out", "d.npz"),
            "several sensors: expected NAME=…, got x.n",
        ),
        (("a=x.npy", "a=x.npy", "y.npy", "--out", "d.npz"), "sensor a has two arrays"),
        (("a=x.npy", "b=x.npy", "--out", "d.npz"), "and then that of the labels, as x.npy y.npy"),
        (("x.npy", "y.npy", "--out", "d.zip"), "expected --out to end in .npz"),
        (("x.npy", "y.npy", "--label", "a", "--out", "d.npz"), "--label does not apply to x.npy"),
        (("x.npy", "y.npy", "--size", "8x8", "--out", "d.npz"), "--size does not apply to x.npy"),
        (("t.csv", "--sensor", "a", "--label", "b", "--out", "d.npz"), "--sensor: expected NAME=…"),
        (("t.csv", "t.csv", "--label", "b", "--out", "d.npz"), "expected t.csv alone, got 2 sou"),
        (("f", "--size", "8", "--out", "d.npz"), "expected --size HEIGHTxWIDTH in pixels"),
        (("f", "--group", "x.npy", "--out", "d.npz"), "--group does not apply to f"),
        (
            ("x.npy", "y.npy", "--labels", "a", "--values", "b", "--out", "d.npz"),
            "--labels and --v",
        ),
    ],
)
def test_an_import_that_is_refused(
    arguments: tuple[str, ...], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    np.save("x.npy", np.zeros((4, 2)))
    np.save("y.npy", [0, 1, 1, 0])
    (tmp_path / "t.csv").write_text("a,b\n1,2\n")
    (tmp_path / "f").mkdir()
    assert said in bad("data", "import", *arguments)
    assert not list(tmp_path.glob("d.*"))


@pytest.mark.parametrize("task", [MultiLabel(("car", "bus")), Regression(("car", "bus"))])
def test_what_knows_classes_alone_refuses_other_labels(
    small_deployed: Deployed, task: Task, tmp_path: Path
) -> None:
    it, samples = small_deployed, Samples.load_npz(small_deployed.data)
    labels = np.arange(2 * len(samples)).reshape(-1, 2) % 2
    other = Samples(samples.inputs, labels, task)
    other.save_npz(tmp_path / "other.npz")
    it.topology.save(tmp_path / "small.json")
    data, topology = ("--data", tmp_path / "other.npz"), ("--topology", tmp_path / "small.json")
    out = ("--out", tmp_path / "out")
    for command in (
        ("links", "search", *data, *topology, *out, "--survival", "low"),
        ("rates", *data, *topology, *out),
        ("plan", "--goal", "0.9", "--survival", "low", *data, *topology),
        ("study", "splits", *data, *topology, *out),
    ):
        assert f"labels are a {task}: expected classification" in bad(*command)
    said = f"data for the model's classification (bus, car, person); got those of a {task.kind}"
    for other_command in (
        ("evaluate", it.model, *data),
        ("evaluate", it.bundle, *data),
        ("export", it.model, *data, *out),
        ("links", "importance", it.model, *data),
    ):
        assert said in bad(*other_command)
    for edge in ("evaluate", "exits", "up", "simulate"):
        more = ("--survival", "low") if edge == "simulate" else ()
        assert said in refused(edge_main, edge, it.bundle, *data, *more)
    found = ddnn("data", "info", *data, "--json").json
    assert found["kind"] == task.kind
    assert found["sizes"]["npz:train"] == round(0.7 * len(samples))
    ddnn("data", "export", *data, "--split", "npz:test", "--out", tmp_path / "part.npz")
    assert Samples.load_npz(tmp_path / "part.npz").task == other.task


def test_a_split_that_leaks_is_named_wherever_it_is_reported(
    small_deployed: Deployed, tmp_path: Path
) -> None:
    it, samples = small_deployed, Samples.load_npz(small_deployed.data)
    groups = np.random.default_rng(0).choice(["ann", "bo", "cy", "di"], len(samples))
    replace(samples, groups=groups).save_npz(tmp_path / "groups.npz")
    data = ("--data", tmp_path / "groups.npz", "--json")
    leak = (
        "split npz:validation leaks, so what is new will be harder: its groups are in npz:train "
        "too, such as ann; use group:validation"
    )
    leaking, train = ("--validation", "npz:validation"), ("--split", "npz:train")
    short = ("--epochs", "1", "--survival", "low", "--out", tmp_path / "model.keras")
    small = ("train", "--topology", tmp_path / "small.json", *short, *data)
    it.topology.save(tmp_path / "small.json")
    for command in (
        (*small, *train, *leaking),
        ("evaluate", it.model, *data, "--split", "npz:validation"),
        ("evaluate", it.bundle, *data, "--split", "npz:validation"),
        ("export", it.model, *data, *leaking, "--out", tmp_path / "bundle"),
        ("links", "importance", it.model, *data, "--split", "npz:validation"),
    ):
        said = ddnn(*command)
        assert said.json["leaks"] == [leak]
        assert said.err.splitlines().count(leak) == 1
    said = ddnn(*small)
    assert "leaks" not in said.json
    assert "will be harder" not in said.err
    found = ddnn("data", "info", *data).json
    assert found["groups"] == 4
    assert found["leaks"]["npz:validation"] == leak.removeprefix("split ")


# -- bad input -------------------------------------------------------------------------------------


def no_camera_two(root: Path) -> Path:
    for path in (root / "test_dir").rglob("c2_*.jpg"):
        path.unlink()
    return root / "test_dir"


def some_views_missing(root: Path) -> Path:
    for path in (root / "train_dir" / "bus_images").glob("c3_*.jpg"):
        path.unlink()
    return root / "train_dir"


def corrupt_picture(root: Path) -> Path:
    path = root / "train_dir" / "car_images" / "c4_0_00000007.jpg"
    path.write_bytes(path.read_bytes()[:-40])
    return path


def empty_class(root: Path) -> Path:
    path = root / "train_dir" / "person_images"
    shutil.rmtree(path)
    path.mkdir()
    return path


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (no_camera_two, "has no picture of camera 2: expected view files .* Restore"),
        (some_views_missing, "view files are missing in 24 of 72 samples: .* Restore them"),
        (corrupt_picture, "is corrupt: expected a complete JPEG .* Restore or remove the file"),
        (empty_class, "is empty: expected pictures named .* Fill the class folder, or remove it"),
    ],
)
def test_damaged_pictures_are_refused(
    cameras: Path, damage: Callable[[Path], Path], said: str, tmp_path: Path
) -> None:
    place = damage(cameras)
    out = tmp_path / "out"
    for command in (
        ("train", "--data", cameras, "--out", out / "model.keras"),
        ("data", "export", "--data", cameras, "--out", out / "test.npz"),
        ("data", "info", "--data", cameras, "--json"),
        ("demo", "--data", cameras, "--out", out),
    ):
        line = bad(*command)
        assert str(place) in line
        assert re.search(said, line)
    assert not out.exists() or list(files(out)) == []


NAN = np.full((9, 3), np.nan, np.float32)


@pytest.mark.parametrize(
    ("arrays", "said"),
    [
        ({"label": np.arange(9)}, "label 3 of sample 3 is out of range: expected 0 to 2"),
        ({"cam0": np.zeros((9, 4), np.float32)}, "expected (3,) per sample, came (4,)"),
        ({"cam0": np.zeros((9, 3), np.uint8)}, "expected float32, came uint8"),
        ({"cam1": NAN}, "sensor 'cam1' has NaN or infinite values in sample 0 (9 of 9 samples)"),
        ({"cam2": np.zeros((9, 3), np.float32)}, "unknown: 'cam2'"),
    ],
)
def test_bad_arrays_are_refused(
    training: Any, small_deployed: Deployed, arrays: dict[str, Any], said: str, tmp_path: Path
) -> None:
    it = small_deployed
    good: dict[str, Any] = {
        "cam0": np.zeros((9, 3), np.float32),
        "cam1": np.zeros((9, 3), np.float32),
        "label": np.arange(9) % 3,
        "class_names": np.array(CLASSES),
    }
    np.savez(tmp_path / "bad.npz", **{**good, **arrays})
    data = ("--data", tmp_path / "bad.npz")
    for command in (
        training(*data),
        ("evaluate", it.model, *data, "--json"),
        ("evaluate", it.bundle, *data, "--json"),
        ("export", it.model, *data, "--out", tmp_path / "bundle"),
    ):
        assert said in bad(*command)
    assert list(files(tmp_path)) == ["bad.npz"]


def test_data_of_other_classes_are_refused(small_deployed: Deployed, tmp_path: Path) -> None:
    it, other = small_deployed, tmp_path / "other.npz"
    samples = Samples.load_npz(it.data)
    Samples(samples.inputs, samples.labels, ("car", "bus", "person")).save_npz(other)
    for command in (
        ("evaluate", it.model, "--data", other),
        ("evaluate", it.bundle, "--data", other),
        ("export", it.model, "--data", other, "--out", tmp_path / "bundle"),
    ):
        line = bad(*command)
        assert "the model's classes bus, car, person, in this order; got car, bus, person" in line
    assert list(files(tmp_path)) == ["other.npz"]


def test_an_unwritable_output_is_refused_before_the_work(
    training: Any, small_deployed: Deployed, tiny_cameras: Path, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    def work(*args: Any, **kwargs: Any) -> None:
        raise AssertionError("work that would be lost")

    monkeypatch.setattr(keras.Model, "fit", work)
    it = small_deployed
    (tmp_path / "file").write_text("older")
    below = tmp_path / "file" / "below"
    for command in (
        training("--out", below / "model.keras"),
        training("--checkpoint", below),
        ("export", it.model, "--data", it.data, "--out", below),
        ("data", "export", "--data", it.data, "--out", below / "a.npz"),
        ("demo", "--data", tiny_cameras, "--out", below),
    ):
        line = bad(*command)
        assert f"cannot write {below}" in line
        assert "choose a place that can be written" in line
    assert list(files(tmp_path)) == ["file"]
    assert (tmp_path / "file").read_text() == "older"


def test_a_damaged_model_is_refused(small_deployed: Deployed, tmp_path: Path) -> None:
    it, copy = small_deployed, tmp_path / "model.keras"
    content = it.model.read_bytes()
    rng = np.random.default_rng(0)
    damaged = [b"", content[:-300], content[: len(content) // 2], b"not a model at all"]
    for place in rng.integers(len(content), size=20):
        flipped = bytearray(content)
        flipped[place] ^= 0xFF
        damaged.append(bytes(flipped))
    for case in damaged:
        copy.write_bytes(case)
        said = call(main, "evaluate", copy, "--data", it.data, "--json")
        assert said.code in (0, 2), said.err  # a flip may lie in what nobody reads
        if said.code == 2:
            assert said.err.startswith(f"ddnn: {copy}: not a Keras model")
            assert said.err.endswith("train it again\n")
            assert said.err.count("\n") == 1
    copy.write_bytes(damaged[1])
    assert "train it again" in bad("export", copy, "--data", it.data, "--out", tmp_path / "b")
    assert list(files(tmp_path)) == ["model.keras"]


def test_a_model_without_a_topology_is_refused(small_deployed: Deployed, tmp_path: Path) -> None:
    plain = keras.Sequential([keras.Input((3,)), keras.layers.Dense(3)])
    plain.save(tmp_path / "plain.keras")
    line = bad("evaluate", tmp_path / "plain.keras", "--data", small_deployed.data)
    assert "a Sequential without a topology; expected a model from `ddnn train`" in line
    line = bad("evaluate", tmp_path, "--data", small_deployed.data)
    assert "expected a .keras file or a bundle (a folder with manifest.json)" in line


def test_a_damaged_bundle_is_refused(small_deployed: Deployed, tmp_path: Path) -> None:
    it = small_deployed
    bundle = Path(shutil.copytree(it.bundle, tmp_path / "bundle"))
    model = bundle / "nodes" / "top" / "model.tflite"
    model.write_bytes(model.read_bytes()[:-1])
    line = bad("evaluate", bundle, "--data", it.data, "--json")
    assert f"{model}: expected sha256" in line
    manifest = bundle / "manifest.json"
    manifest.write_text(manifest.read_text().replace('"schema": 2', '"schema": 9', 1))
    line = bad("evaluate", bundle, "--data", it.data, "--json")
    assert "expected schema 2, got 9 (at $.schema); export it again, or install" in line


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--topology", "poster"), "shipped ones (health, mobile, poster-baseline, poster-edge-sk"),
        (("--data", "nowhere"), "there is no nowhere: expected 'street'"),
        (("--split", "train_dir"), "there is no split 'train_dir': this data has npz:train"),
        (("--validation", "later"), "there is no split 'later'"),
        (("--survival", "medium"), "unknown survivability 'medium'"),
        (("--survival", ","), "--survival is empty"),
        (("--out", "model.h5"), "expected --out to end in .keras, got model.h5"),
        (("--epochs", "0"), "expected epochs of at least 1, got 0"),
        (("--learning-rate", "-1"), "expected a learning_rate above 0, got -1.0"),
        (("--seeds", "0"), "expected --seeds of at least 1, got 0"),
        (("--seed", "-1"), "Input should be greater than or equal to 0; see `ddnn train"),
        (
            ("--method", "luck"),
            "'luck' is not one of 'baseline', 'residual', 'dropout', 'multiplexer'; see",
        ),
        (("--epochs", "many"), "Invalid value for '--epochs': Input should be a valid integer"),
    ],
)
def test_impossible_trainings_are_refused(
    training: Any, options: tuple[str, ...], said: str, tmp_path: Path
) -> None:
    assert said in bad(*training(*options))
    assert list(files(tmp_path)) == []


def test_a_wrong_topology_is_refused_with_its_path(training: Any, tmp_path: Path) -> None:
    plain = small_topology().to_dict()
    plain["nodes"][1]["name"] = "left"
    (tmp_path / "wrong.yaml").write_text(json.dumps(plain))
    line = bad(*training("--topology", tmp_path / "wrong.yaml"))
    assert "duplicate name 'left' (at $.nodes[1].name, first at $.nodes[0].name); rename" in line
    plain["schema"] = 2
    (tmp_path / "newer.json").write_text(json.dumps(plain))
    line = bad(*training("--topology", tmp_path / "newer.json"))
    assert "expected topology schema 1, got 2 (at $.schema); write it again" in line


# -- the command itself ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("forget",), "No such command 'forget'; see `ddnn --help`"),
        (("evaluate",), "Missing argument 'MODEL.keras|BUNDLE'; see `ddnn evaluate --help`"),
        (("evaluate", "m"), "Missing option '--data'; see `ddnn evaluate --help`"),
        (("data", "info", "--nope"), "No such option: --nope; see `ddnn data info --help`"),
    ],
)
def test_wrong_usage_is_one_line(arguments: tuple[str, ...], said: str) -> None:
    assert said in bad(*arguments)


@pytest.mark.parametrize("arguments", [(), ("data",)])
def test_without_a_command_the_help_is_shown(arguments: tuple[str, ...]) -> None:
    said = call(main, *arguments)
    assert (said.code, said.out) == (2, "")
    assert "Commands:" in said.err


def test_processes_print_one_object_and_exit_as_promised(
    small_deployed: Deployed, tmp_path: Path
) -> None:
    it = small_deployed
    arguments = ("evaluate", it.model, "--data", it.data, "--json")
    assert process("ddnn", *arguments, cwd=tmp_path).json == ddnn(*arguments).json
    said = process("ddnn", "evaluate", "none.keras", "--data", it.data, "--json", cwd=tmp_path)
    assert (said.code, said.out) == (2, "")
    assert said.err.startswith("ddnn: none.keras: expected a .keras file or a bundle")
    assert said.err.count("\n") == 1


def test_every_shipped_topology_is_named_in_the_contract() -> None:
    for name in ("poster-baseline", "poster-residual", "poster-edge-skip"):
        assert Topology.load(name).name == name


# -- exits -----------------------------------------------------------------------------------------


def test_exits_are_trained_and_answer_where_asked(
    training: Callable[..., tuple[str | Path, ...]], small_deployed: Deployed
) -> None:
    [path] = ddnn(*training("--exits", "left", "--seed", "1", "--json")).json["models"]
    evaluated = ("evaluate", path, "--data", small_deployed.data, "--survival", "low")
    alone = ddnn(*evaluated, "--json").json
    assert (alone["answer"], set(alone["exits"]["low"])) == ("output", {"top"})
    for policy in ("maximal", "priority"):
        said = ddnn(*evaluated, "--answer", "any", "--policy", policy, "--json").json
        assert said["answer"] == "any"
        assert set(said["exits"]["low"]) == {"top", "left"}
        assert said["section_evaluations"] == alone["section_evaluations"]
    assert "any exit answers" in ddnn(*evaluated, "--answer", "any").out
    assert "has an exit, so only" in refused(
        main, "evaluate", small_deployed.model, "--data", small_deployed.data, "--answer", "any"
    )
    assert "got 'tip'; the output node" in refused(main, *training("--exits", "tip"))
