"""Bundles whose nodes have exits."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ddnn_tf.evaluation import expected_accuracy
from ddnn_tf.model import build
from edge_runtime.answers.rule import AnswerRule
from edge_runtime.bundle.litert import LiteRTSection
from edge_runtime.bundle.manifest import Quantization, read_bundle
from edge_runtime.bundle.saved_model import SavedModelSection
from edge_runtime.bundle.sections import check_node, read_golden
from edge_runtime.cli.main import main
from edge_runtime.errors import InputError
from edge_runtime.evaluation.bundle import Bundle
from edge_runtime.evaluation.reliability import evaluate
from edge_runtime.evaluation.thresholds import write_thresholds
from edge_runtime.failures.configurations import enumerate_configurations
from edge_runtime.files import sha256
from edge_runtime.samples import Samples
from edge_runtime.task import Classification
from export import export_bundle
from export.litert import convert
from tests import reference
from tests.commands import done, refused
from tests.export.conftest import CLASSES, labeled
from tests.models import flagged, randomized, two_outputs
from tests.reference import small_topology

EXITS = small_topology().with_exits(["left"])
SURVIVAL: dict[str, Any] = {"low": "low", "half": {"top": 0.5, "left": 0.9}}
VALIDATION = labeled(EXITS, 30, seed=2)
#: As in test_litert.py.
TOLERANCES: dict[Quantization, float] = {"none": 1e-5, "int8": 0.05}


@pytest.fixture(scope="module")
def model() -> Any:
    return randomized(build(EXITS, flagged, classes=CLASSES))


@pytest.fixture(scope="module")
def bundle(model: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Not to be changed."""
    path = tmp_path_factory.mktemp("exits") / "bundle"
    export_bundle(model, path, labeled(EXITS, 40, seed=1), VALIDATION, saved_models=["left"])
    return path


def evaluated(runner: Any, survivabilities: Any = SURVIVAL, rule: Any = AnswerRule()) -> Any:
    classification = Classification(CLASSES, (1 / 3,) * 3)
    return evaluate(EXITS, runner, VALIDATION, classification, survivabilities, rule=rule)


@pytest.mark.parametrize("quantization", TOLERANCES)
def test_an_artifact_has_two_signatures_of_one_section(quantization: Quantization) -> None:
    section: Any = randomized(build(EXITS, two_outputs, classes=CLASSES)).get_layer("left")
    inputs = {"cam0": VALIDATION.inputs["cam0"], "present": np.ones((30, 1), np.float32)}
    expected = [np.asarray(x) for x in section(inputs)]
    artifact = LiteRTSection(convert(section, quantization, representative=inputs, exit=True))
    assert artifact.has_exit
    sent, answered = artifact(inputs), artifact.with_exit(inputs)
    assert (len(sent), len(answered)) == (2, 3)
    for got, wanted in zip([*sent, *answered], [*expected[:2], *expected], strict=True):
        scale = max(1, np.abs(wanted).max())
        assert np.abs(got - wanted).max() / scale <= TOLERANCES[quantization]
        assert np.ptp(wanted, axis=0).max() > 0.1, "outputs that do not differ prove nothing"


def test_a_node_with_an_exit_knows_what_its_answers_mean_and_are_worth(bundle: Path) -> None:
    manifest, nodes = read_bundle(bundle)
    assert {name: node.exit for name, node in nodes.items()} == {
        "left": True,
        "right": False,
        "top": False,
    }
    left = nodes["left"]
    assert left.task == manifest.task
    assert left.links == tuple(x.name for x in EXITS.links)
    assert [spec.shape for spec in left.outputs] == [(3,), (3,)]
    assert nodes["right"].reliability is None
    found = evaluated(Bundle(bundle))
    assert left.reliability is not None
    assert left.reliability.states["1"] == pytest.approx(found.states(node="left")[1])
    assert left.reliability.expected["low"] == pytest.approx(found.exit_score("left", "low"))
    presets = evaluated(Bundle(bundle), survivabilities={s: s for s in EXITS.survivabilities})
    assert manifest.priority == presets.priority()
    assert nodes["top"].reliability == manifest.reliability != left.reliability


def test_the_bundle_answers_from_any_exit_as_the_model_does(model: Any, bundle: Path) -> None:
    deployed = evaluated(Bundle(bundle), rule=AnswerRule("any"))
    trained = expected_accuracy(model, VALIDATION, survival=SURVIVAL, answer="any")
    assert deployed.scores == pytest.approx(trained.scores)
    assert deployed.answer_shares == pytest.approx(trained.answer_shares)
    assert deployed.section_evaluations == trained.section_evaluations
    assert deployed.exits("half")["left"] == pytest.approx(0.5 * 0.9)


def test_frames_are_answered_by_whoever_can(bundle: Path) -> None:
    masks = enumerate_configurations(EXITS, {"s": {"left": 0.5, "top": 0.5, "cam0": 0.5}}).masks
    inputs = {name: x[: len(masks)] for name, x in VALIDATION.inputs.items()}
    found = Bundle(bundle)
    answers = found.answer(inputs, masks, AnswerRule("any"))
    alone = found.answer(inputs, masks)
    for i, mask in enumerate(masks):
        up = reference.working(EXITS, mask)
        states = reference.exit_states(EXITS, up)
        assert answers.nodes[i] in (states or {None})
        assert alone.nodes[i] == ("top" if "top" in states else None)
        assert bin(answers.states[i]).count("1") == len(states.get(str(answers.nodes[i]), ()))
        if answers.nodes[i] == "top":
            assert answers.values[i] == pytest.approx(alone.values[i])
        if answers.nodes[i] == "left":
            row = {"cam0": inputs["cam0"][i : i + 1]}
            assert answers.values[i] == pytest.approx(found.run("left", row)[1][0], abs=1e-6)
    assert {None, "left", "top"} == set(answers.nodes)


def test_a_device_proves_both_signatures(bundle: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(bundle, tmp_path / "bundle")) / "nodes" / "left"
    assert check_node(folder).passed
    manifest = json.loads((folder / "node.json").read_text())
    golden = dict(np.load(folder / "golden.npz"))
    golden["output/1"] = golden["output/1"][::-1]
    np.savez(folder / "golden.npz", allow_pickle=False, **golden)
    manifest["files"]["golden.npz"] = sha256((folder / "golden.npz").read_bytes())
    (folder / "node.json").write_text(json.dumps(manifest))
    assert not check_node(folder).passed, "the exit's answers are not the golden ones"


def test_what_node_json_says_of_the_exit_is_checked(bundle: Path, tmp_path: Path) -> None:
    copied = Path(shutil.copytree(bundle, tmp_path / "bundle"))
    folder = copied / "nodes" / "left"
    manifest = json.loads((folder / "node.json").read_text())
    (folder / "node.json").write_text(json.dumps({**manifest, "exit": False}))
    with pytest.raises(InputError, match=r"not as in node.json \(at \$.exit\)"):
        check_node(folder)
    whole = json.loads((copied / "manifest.json").read_text())
    whole["nodes"]["left"] = sha256((folder / "node.json").read_bytes())
    (copied / "manifest.json").write_text(json.dumps(whole))
    with pytest.raises(InputError, match="whether 'left' has an exit is not as in the bundle's"):
        read_bundle(copied)


def test_a_saved_model_has_the_exit_too(bundle: Path) -> None:
    folder = bundle / "nodes" / "left"
    manifest = read_bundle(bundle)[1]["left"]
    section = SavedModelSection(folder, manifest)
    inputs, golden = read_golden(folder, manifest)
    for got, wanted in zip(section.with_exit(inputs), golden, strict=True):
        assert got == pytest.approx(wanted, abs=1e-5)
    assert len(section(inputs)) == 1


# -- early exits -----------------------------------------------------------------------------------


@pytest.fixture
def copied(bundle: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(bundle, tmp_path / "bundle"))


@pytest.fixture
def data(tmp_path: Path) -> Path:
    Samples(VALIDATION.inputs, VALIDATION.labels, CLASSES).save_npz(tmp_path / "validation.npz")
    return tmp_path / "validation.npz"


def test_thresholds_stand_in_the_bundle_and_on_each_node(copied: Path) -> None:
    before = {p: p.read_bytes() for p in copied.rglob("*") if p.is_file()}
    write_thresholds(copied, {"left": 0.75})
    manifest, nodes = read_bundle(copied)
    assert manifest.early == {"left": 0.75}
    assert {name: node.early for name, node in nodes.items()} == {
        "left": 0.75,
        "right": None,
        "top": None,
    }
    after = {p: p.read_bytes() for p in copied.rglob("*") if p.is_file()}
    assert before.keys() == after.keys()
    changed = {p.relative_to(copied).as_posix() for p in before if before[p] != after[p]}
    assert changed == {"manifest.json", "nodes/left/node.json"}
    assert [p.name for p in copied.parent.iterdir()] == ["bundle"]
    write_thresholds(copied, {"left": 0.0})
    assert {p: p.read_bytes() for p in copied.rglob("*") if p.is_file()} == before
    with pytest.raises(InputError, match="no exit on right"):
        write_thresholds(copied, {"right": 0.5})


def test_thresholds_that_were_edited_are_refused(copied: Path) -> None:
    write_thresholds(copied, {"left": 0.75})
    path = copied / "manifest.json"
    whole = json.loads(path.read_text())
    for early, fragment in (
        (
            {"left": 0.5},
            r"the thresholds of its nodes, {'left': 0.75}, got {'left': 0.5} \(at \$.ear",
        ),
        (None, r"got None \(at \$.early\)"),
        ({"left": 0.75, "top": 0.1}, "got one of 'top'"),
        ({"left": 1.5}, "<= 1.0 - at"),
    ):
        path.write_text(json.dumps({**whole, "early": early}))
        with pytest.raises(InputError, match=fragment):
            read_bundle(copied)


def test_the_command_chooses_thresholds_for_a_goal(copied: Path, data: Path) -> None:
    evaluate_it = ("evaluate", copied, "--data", data, "--survival", "low", "--json")
    refused(main, *evaluate_it, "--early")
    plain = done(main, *evaluate_it).json
    exits = ("exits", copied, "--data", data, "--survival", "low")
    found = done(main, *exits, "--json").json
    assert found["chosen"] is None
    assert read_bundle(copied)[0].early is None, "without a goal nothing is written"
    assert found["without"]["bytes"]["low"] == pytest.approx(plain["payload_bytes"]["low"])
    assert found["without"]["accuracy"] == pytest.approx(plain["expected_accuracy"])
    assert found["front"][0]["bytes"]["low"] <= found["without"]["bytes"]["low"]

    # Half of what is sent is the right node's, which has no exit.
    chosen = done(main, *exits, "--byte-share", "0.6", "--json").json["chosen"]
    assert chosen["bytes"]["low"] <= 0.6 * plain["payload_bytes"]["low"] + 1e-9
    early = done(main, *evaluate_it, "--early").json
    assert early["early"] == chosen["thresholds"] == read_bundle(copied)[0].early
    assert early["payload_bytes"] == pytest.approx(chosen["bytes"])
    assert early["expected_accuracy"] == pytest.approx(chosen["accuracy"])
    assert early["exits"]["low"]["left"] > 0
    assert early["link_bytes"]["low"]["left->top"] < plain["link_bytes"]["low"]["left->top"]
    assert done(main, *evaluate_it).json == plain, "switched on by --early alone"

    text = done(main, *exits, "--accuracy-change", "-0.5").out
    assert f"written to {copied}" in text
    assert "bytes of payload an inference" in done(main, *evaluate_it[:-1], "--early").out
    for options, fragment in (
        (("--byte-share", "0.01"), "at most 1 % of the bytes in every survivability"),
        (("--accuracy-change", "0.9"), "change the accuracy by +90 points"),
        (("--byte-share", "2"), "a share from 0 to 1, got 2"),
        (("--accuracy-change", "-2"), "a change such as -0.005"),
        (("--byte-share", "0.5", "--accuracy-change", "0"), "not allowed with"),
    ):
        assert fragment in refused(main, *exits, *options)


def test_frames_are_answered_early_as_an_evaluation_says(copied: Path) -> None:
    write_thresholds(copied, {"left": 0.9})
    found = Bundle(copied)
    masks = np.ones((len(VALIDATION.labels), len(EXITS.elements)), bool)
    answers = found.answer(VALIDATION.inputs, masks, found.manifest.rule(early=True))
    alone = found.answer(VALIDATION.inputs, masks)
    expected = evaluated(found, rule=AnswerRule(early={"left": 0.9}))
    share = float(np.mean([node == "left" for node in answers.nodes]))
    assert share == pytest.approx(expected.answer_shares[0, 1])
    assert 0 < share < 1
    for i, node in enumerate(answers.nodes):
        if node == "top":
            assert answers.values[i] == pytest.approx(alone.values[i], abs=1e-6)
        else:
            assert (node, answers.states[i]) == ("left", 1)
