import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from keras import layers

import edge_runtime.bundle.sections
import export.artifact
import export.bundle
from ddnn_tf.model import build
from edge_runtime.arrays import Array, LabeledArrays
from edge_runtime.bundle.litert import LiteRTSection
from edge_runtime.bundle.manifest import read_bundle, read_node
from edge_runtime.bundle.sections import check_node
from edge_runtime.errors import InputError
from edge_runtime.evaluation.answering import state_keys
from edge_runtime.evaluation.bundle import Bundle
from edge_runtime.evaluation.reliability import evaluate
from edge_runtime.failures.configurations import draw, enumerate_configurations, output_states
from edge_runtime.failures.distribution import mask_without
from edge_runtime.files import sha256
from edge_runtime.task import Classification, Regression
from edge_runtime.topology import Topology
from export import ParityError, export_bundle
from export.litert import convert
from export.split import KerasRunner
from tests.models import flagged, plain_model, randomized, two_outputs
from tests.reference import small_topology
from tests.strategies import samples

CLASSES = ("car", "person", "bus")


def tree(folder: Path) -> dict[str, str]:
    """Every file below a folder with its hash."""
    files = sorted(p for p in folder.rglob("*") if p.is_file())
    return {p.relative_to(folder).as_posix(): sha256(p.read_bytes()) for p in files}


# -- what is written ---------------------------------------------------------------------------


def test_one_folder_for_each_node_and_what_describes_the_whole(exported: Any) -> None:
    nodes = ("left", "right", "top")
    expected = {"manifest.json"} | {
        f"nodes/{n}/{file}" for n in nodes for file in ("node.json", "model.tflite", "golden.npz")
    }
    found = set(tree(exported.path))
    assert {f for f in found if "saved_model" not in f} == expected
    assert os.listdir(exported.path.parent) == ["bundle"]


def test_the_bundle_describes_the_model(exported: Any) -> None:
    manifest, nodes = read_bundle(exported.path)
    assert manifest.topology == exported.topology
    assert manifest.task == Classification(CLASSES, (0.2, 0.5, 0.3))
    assert manifest.quantization == "none"
    top = nodes["top"]
    assert [(x.source, x.bit, x.sensor) for x in top.incoming] == [
        ("left", 2, False),
        ("right", 3, False),
        ("cam0", 4, True),
    ]
    assert nodes["left"].outgoing == ("top",)
    assert set(top.inputs) == {"left", "right", "cam0", "present"}
    assert top.outputs[0].shape == (3,)
    assert len({node.fingerprint for node in nodes.values()} | {manifest.fingerprint}) == 1


def test_only_a_node_that_answers_carries_what_answers_mean(exported: Any) -> None:
    manifest, nodes = read_bundle(exported.path)
    assert nodes["top"].task == manifest.task
    assert nodes["top"].reliability == manifest.reliability
    for node in ("left", "right"):
        assert nodes[node].task is None
        assert nodes[node].reliability is None


def test_hashes_cover_every_file_of_a_node(exported: Any) -> None:
    for node, manifest in read_bundle(exported.path)[1].items():
        found = tree(exported.path / "nodes" / node)
        del found["node.json"]
        assert manifest.files == found


def test_a_saved_model_is_there_where_asked_for(exported: Any) -> None:
    assert not (exported.path / "nodes" / "left" / "saved_model").exists()
    loaded = tf.saved_model.load(exported.path / "nodes" / "top" / "saved_model" / "1")
    golden = np.load(exported.path / "nodes" / "top" / "golden.npz")
    inputs = {n.removeprefix("input/"): golden[n] for n in golden if n.startswith("input/")}
    tensors = {n: tf.constant(x) for n, x in inputs.items()}
    (found,) = loaded.signatures["serving_default"](**tensors).values()
    assert found.numpy() == pytest.approx(golden["output/0"], abs=1e-5)


# -- what it computes --------------------------------------------------------------------------


def answers(exported: Any, count: int = 40) -> tuple[Array, Array]:
    """The bundle's answers and the model's, each frame under failures of its own."""
    rng = np.random.default_rng(5)
    survival = {"left": 0.6, "right": 0.6, "cam0": 0.7, "top": 0.9}
    masks = draw(exported.topology, survival, count, rng)
    inputs: Any = samples(exported.topology, count, seed=9)
    found = Bundle(exported.path).answer(inputs, masks)
    return found.values, exported.model.simulate(inputs, masks)


def test_the_bundle_answers_as_the_model_does_under_failures(exported: Any) -> None:
    found, expected = answers(exported)
    assert found == pytest.approx(expected, abs=1e-5)
    assert np.ptp(found, axis=0).min() > 0.2


def test_the_report_compares_under_every_configuration(exported: Any) -> None:
    report = exported.report
    assert report.parity.configurations == 4
    assert report.parity.max_error <= 1e-5
    assert report.parity.label_agreement == {"low": 1.0, "high": 1.0}
    assert max(report.node_errors.values()) <= 1e-5
    assert report.bytes == {
        node: (exported.path / "nodes" / node / "model.tflite").stat().st_size
        for node in ("left", "right", "top")
    }
    assert set(report.score_change) == {"low", "high"}
    assert report.score_change == pytest.approx({"low": 0.0, "high": 0.0})
    plain = report.to_dict()
    assert json.loads(json.dumps(plain)) == plain
    assert str(exported.path) in str(report)


def accuracy(exported: Any, runner: Any, data: Any) -> dict[str, float]:
    found = evaluate(
        exported.topology,
        runner,
        data,
        Classification(CLASSES, (0.2, 0.5, 0.3)),
        {"low": "low", "high": "high"},
    )
    return {s: found.expected_accuracy(s) for s in ("low", "high")}


def test_the_table_tells_what_the_artifacts_are_worth(exported: Any) -> None:
    bundle, data = Bundle(exported.path), exported.validation
    table = read_bundle(exported.path)[0].reliability
    assert table is not None
    assert table.samples == 30
    assert table.expected == pytest.approx(accuracy(exported, bundle, data))
    assert exported.report.states == len(table.states)
    masks = enumerate_configurations(exported.topology, {"low": "low", "high": "high"}).masks
    states, which = state_keys(output_states(exported.topology, masks))
    for i, state in enumerate(states):
        answers = bundle.answer(data.inputs, np.tile(masks[which == i][0], (30, 1)))
        right = (answers.values.argmax(axis=1) == data.labels).mean()
        assert table.states[f"{state:x}"] == pytest.approx(right)


def test_without_held_out_data_quantization_is_judged_by_the_labels_of_calibration(
    exported: Any, calibration: Any, tmp_path: Path
) -> None:
    path = tmp_path / "bundle"
    report = export_bundle(exported.model, path, calibration=calibration, quantize="int8")
    assert read_bundle(path)[0].reliability is None, "what was trained on proves no answer's worth"
    assert report.states == 0
    assert "no reliability table: that takes held-out data with labels" in str(report)
    trained = accuracy(exported, KerasRunner(exported.model, exported.topology), calibration)
    deployed = accuracy(exported, Bundle(path), calibration)
    change = {s: deployed[s] - trained[s] for s in trained}
    assert report.score_change == pytest.approx(change, abs=1e-12)
    assert "accuracy " in str(report)


def test_more_configurations_than_can_be_enumerated_need_no_table(
    exported: Any, calibration: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def limited(*args: Any, **options: Any) -> Any:
        return enumerate_configurations(*args, **{**options, "limit": 3})

    monkeypatch.setattr(export.bundle, "enumerate_configurations", limited)
    report = export_bundle(exported.model, tmp_path / "bundle", calibration)
    assert report.score_change == {}
    assert report.parity.label_agreement == {"low": 1.0, "high": 1.0}
    # Held-out data, for which somebody asked, meet sampled ones where there are too many.
    export_bundle(exported.model, tmp_path / "b", calibration, exported.validation)
    assert read_bundle(tmp_path / "b")[0].reliability is not None


def test_validation_data_that_do_not_fit_are_refused_before_the_work(
    exported: Any, calibration: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(export.artifact, "convert", failing(0, AssertionError("lost work")))
    data = exported.validation
    for inputs, labels, said in (
        (data.inputs, data.labels + 1, "label 3 of sample 0 is out of range: expected 0 to 2"),
        (data.inputs, data.labels[1:], "as many samples"),
        ({"cam0": data.inputs["cam0"]}, data.labels, "no data for sensor 'cam1'"),
    ):
        with pytest.raises(InputError, match=said):
            export_bundle(exported.model, tmp_path / "b", calibration, type(data)(inputs, labels))
    assert not os.listdir(tmp_path)


def test_the_table_knows_what_the_loss_of_any_one_element_leaves(exported: Any) -> None:
    topology = exported.topology
    table = read_bundle(exported.path)[0].reliability
    assert table is not None
    for element in topology.elements:
        keys, _ = state_keys(output_states(topology, mask_without(topology, [element])[None]))
        assert f"{keys[0]:x}" in table.states, element


def test_every_node_proves_its_numbers_by_itself(exported: Any, tmp_path: Path) -> None:
    for node in ("left", "right", "top"):
        shutil.copytree(exported.path / "nodes" / node, tmp_path / node)
        check = check_node(tmp_path / node)
        assert check.passed
        assert check.node == node
        assert check.samples > 4


def test_golden_vectors_notice_an_artifact_of_other_weights(copy: Path, exported: Any) -> None:
    section = randomized(
        exported.model.get_layer("left").__class__.from_config(
            exported.model.get_layer("left").get_config()
        ),
        seed=99,
    )
    folder = copy / "nodes" / "left"
    (folder / "model.tflite").write_bytes(convert(section))
    node = json.loads((folder / "node.json").read_text())
    node["files"]["model.tflite"] = sha256((folder / "model.tflite").read_bytes())
    (folder / "node.json").write_text(json.dumps(node))
    assert not check_node(folder).passed


def test_the_same_weights_have_the_same_fingerprint_and_others_another(
    exported: Any, calibration: Any, tmp_path: Path
) -> None:
    fingerprints = {}
    for name, seed in (("same", 0), ("other", 1)):
        model = randomized(type(exported.model).from_config(exported.model.get_config()), seed)
        export_bundle(model, tmp_path / name, calibration)
        fingerprints[name] = read_bundle(tmp_path / name)[0].fingerprint
    assert fingerprints["same"] == exported_fingerprint(exported)
    assert fingerprints["other"] != exported_fingerprint(exported)


def exported_fingerprint(exported: Any) -> str:
    return read_bundle(exported.path)[0].fingerprint


# -- other models ------------------------------------------------------------------------------


@pytest.mark.parametrize("inputs", ["dict", "list"])
def test_any_keras_model_is_exported_with_what_it_does_not_carry(
    inputs: str, tmp_path: Path
) -> None:
    model, topology = plain_model(inputs=inputs), small_topology()
    x: Any = samples(topology, 20)
    report = export_bundle(
        model,
        tmp_path / "bundle",
        x,
        topology=topology,
        task=Classification(("a", "b"), (0.25, 0.75)),
    )
    assert report.parity.configurations == 4
    bundle = Bundle(tmp_path / "bundle")
    assert bundle.manifest.reliability is None, "no labeled data, no table"
    alive = np.ones((20, len(topology.elements)), bool)
    expected = np.asarray(model([x["cam0"], x["cam1"]]))
    assert bundle.answer(x, alive).values == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("missing", ["topology", "task"])
def test_what_a_model_does_not_carry_must_be_given(missing: str, tmp_path: Path) -> None:
    given: dict[str, Any] = {
        "topology": small_topology(),
        "task": Classification(("a", "b")),
    }
    del given[missing]
    with pytest.raises(InputError, match=f"'plain' does not carry its {missing}; give {missing}="):
        export_bundle(plain_model(), tmp_path / "b", samples(small_topology(), 2), **given)


def test_a_layer_between_sections_is_refused_with_the_node(tmp_path: Path) -> None:
    model = plain_model(between=layers.Rescaling(1.5))
    with pytest.raises(ParityError, match="first at node 'top'"):
        export_bundle(
            model,
            tmp_path / "b",
            samples(small_topology(), 12),
            topology=small_topology(),
            task=Classification(("a", "b")),
        )
    assert not os.listdir(tmp_path)


def test_a_reference_of_ones_own_is_what_the_bundle_must_answer(
    model: Any, calibration: Any, tmp_path: Path
) -> None:
    def other(inputs: Any, masks: Array) -> Array:
        return np.roll(np.asarray(model.simulate(inputs, masks)), 1, axis=1)

    with pytest.raises(ParityError, match="the bundle differs from the model by"):
        export_bundle(model, tmp_path / "b", calibration, reference=other)
    assert not os.listdir(tmp_path)


def test_links_of_several_tensors_are_exported(tmp_path: Path) -> None:
    model = randomized(build(small_topology(), two_outputs, classes=CLASSES))
    export_bundle(model, tmp_path / "bundle", samples(small_topology(), 12))
    inputs: Any = samples(small_topology(), 30, seed=4)
    masks = np.random.default_rng(4).random((30, 10)) < 0.75
    found = Bundle(tmp_path / "bundle").answer(inputs, masks).values
    assert found == pytest.approx(model.simulate(inputs, masks), abs=1e-5)


@pytest.mark.parametrize("quantize", ["float16", "dynamic", "int8"])
def test_a_quantized_bundle_reports_how_it_differs(
    quantize: Any, model: Any, calibration: Any, exported: Any, tmp_path: Path
) -> None:
    report = export_bundle(
        model, tmp_path / "bundle", calibration, exported.validation, quantize=quantize
    )
    bundle = Bundle(tmp_path / "bundle")
    assert bundle.manifest.quantization == report.quantization == quantize
    assert set(report.parity.label_agreement) == {"low", "high"}
    assert all(0.8 <= share <= 1.0 for share in report.parity.label_agreement.values())
    assert report.parity.max_error < 0.1
    assert set(report.score_change) == {"low", "high"}
    assert all(check_node(tmp_path / "bundle" / "nodes" / n).passed for n in model.topology.order)
    assert bundle.manifest.fingerprint != exported_fingerprint(exported)


def test_one_sample_for_calibration_is_enough_for_every_node(tmp_path: Path) -> None:
    """Also where every failure that is drawn would leave all nodes silent."""
    topology = small_topology(survivabilities={"dark": {"cam0": 0.0, "cam1": 0.0}})
    model = randomized(build(topology, flagged, classes=CLASSES))
    one: Any = samples(topology, 1)
    export_bundle(model, tmp_path / "bundle", one, seed=1)
    for node in topology.order:
        assert check_node(tmp_path / "bundle" / "nodes" / node).samples == 1


def test_the_posters_bundle_is_exact_over_all_256_configurations(tmp_path: Path) -> None:
    topology = Topology.load("poster-residual")
    # Of a size at which float32 does not get near the tolerance.
    model = randomized(build(topology, "fc32", classes=CLASSES), scale=2.0)
    inputs: Any = samples(topology, 12)
    report = export_bundle(model, tmp_path / "bundle", inputs)
    configurations = enumerate_configurations(topology, {"low": "low"})
    assert len(configurations) == 256
    answering = output_states(topology, configurations.masks).any(axis=1)
    assert report.parity.configurations == answering.sum()
    assert report.parity.max_error <= 1e-5
    labels = np.asarray(model(inputs)).argmax(axis=1)
    found = evaluate(
        topology,
        Bundle(tmp_path / "bundle"),
        LabeledArrays(inputs, labels),
        Classification(CLASSES, model.prior),
        {"low": "low"},
    )
    assert found.section_evaluations == 102
    assert found.all_alive == 1.0


# -- bad options -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "fragment"),
    [
        (
            {"quantize": "int4"},
            "unknown quantization 'int4'; expected none, float16, dynamic, int8",
        ),
        ({"saved_models": ["lost"]}, "unknown nodes lost; the topology has left, right, top"),
        ({"task": Classification(("a", "b"))}, r"classification of a, b; .* \(None, 3\)"),
        ({"task": Regression(("a",))}, r"regression of a; their shapes are \(None, 3\)"),
        ({"calibration": 7}, "data as a mapping from sensor to array, .* got int"),
        ({"calibration": {}}, "no data for sensor 'cam0'; got none"),
        (
            {"calibration": {"cam0": np.zeros((2, 3), "f4"), "cam1": np.zeros((2, 4), "f4")}},
            r"sensor 'cam1': expected float32 \(samples, 3\), got float32 \(2, 4\)",
        ),
        (
            {"calibration": {"cam0": np.zeros((2, 3), "u1"), "cam1": np.zeros((2, 3), "f4")}},
            "sensor 'cam0': expected float32 .* got uint8",
        ),
        (
            {"calibration": {"cam0": np.zeros((2, 3), "f4"), "cam1": np.zeros((1, 3), "f4")}},
            "as many samples, one at least, of each sensor",
        ),
        (
            {"calibration": {"cam0": np.zeros((0, 3), "f4"), "cam1": np.zeros((0, 3), "f4")}},
            "as many samples, one at least, of each sensor",
        ),
    ],
)
def test_what_does_not_fit_is_refused_before_anything_is_written(
    change: dict[str, Any], fragment: str, model: Any, calibration: Any, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=fragment):
        export_bundle(model, tmp_path / "b", **{"calibration": calibration, **change})
    assert not os.listdir(tmp_path)


def test_a_place_that_cannot_be_written_leaves_nothing(
    model: Any, calibration: Any, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("dear")
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter1.tex").write_text("dear")
    before = tree(tmp_path)
    for name in ("file/bundle", "file", "thesis"):
        with pytest.raises(InputError, match=r"choose a(nother| place)"):
            export_bundle(model, tmp_path / name, calibration)
    assert tree(tmp_path) == before
    assert sorted(os.listdir(tmp_path)) == ["file", "thesis"]


# -- failed exports ----------------------------------------------------------------------------


def failing(after: int, error: BaseException) -> Callable[..., bytes]:
    calls = []

    def instead(*args: Any, **kwargs: Any) -> bytes:
        calls.append(args)
        if len(calls) > after:
            raise error
        return convert(*args, **kwargs)

    return instead


@pytest.mark.parametrize("error", [KeyboardInterrupt(), MemoryError()])
def test_an_export_that_ends_half_way_leaves_the_older_bundle(
    error: BaseException,
    copy: Path,
    model: Any,
    calibration: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    before = tree(copy)
    monkeypatch.setattr(export.artifact, "convert", failing(1, error))
    with pytest.raises(type(error)):
        export_bundle(model, copy, calibration)
    assert tree(copy) == before
    assert os.listdir(copy.parent) == ["bundle"]
    Bundle(copy)


def test_an_artifact_that_computes_something_else_is_not_written(
    model: Any, calibration: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def wrong(section: Any, *args: Any, **kwargs: Any) -> bytes:
        if section.name == "right":
            section = randomized(type(section).from_config(section.get_config()), seed=99)
        return convert(section, *args, **kwargs)

    monkeypatch.setattr(export.artifact, "convert", wrong)
    with pytest.raises(ParityError, match="artifact of node 'right' differs from its section by"):
        export_bundle(model, tmp_path / "b", calibration)
    assert not os.listdir(tmp_path)


def test_a_newer_export_replaces_the_older_bundle_as_a_whole(
    copy: Path, model: Any, calibration: Any
) -> None:
    export_bundle(model, copy, calibration)
    assert not (copy / "nodes" / "top" / "saved_model").exists()
    assert read_bundle(copy)[0].reliability is None
    assert os.listdir(copy.parent) == ["bundle"]


# -- damaged bundles ---------------------------------------------------------------------------


def _truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def _flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(bytes(content))


@pytest.mark.parametrize("damage", [_truncate, _flip, Path.unlink])
@pytest.mark.parametrize("file", ["nodes/right/model.tflite", "nodes/right/node.json"])
def test_a_damaged_file_is_named_before_litert_sees_a_byte(
    file: str, damage: Callable[[Path], Any], copy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[bytes] = []

    def watched(content: bytes, **options: Any) -> LiteRTSection:
        seen.append(content)
        return LiteRTSection(content, **options)

    monkeypatch.setattr(edge_runtime.bundle.sections, "LiteRTSection", watched)
    damage(copy / file)
    with pytest.raises(InputError) as caught:
        Bundle(copy)
    assert str(copy / file) in str(caught.value)
    good = {sha256((copy / "nodes" / n / "model.tflite").read_bytes()) for n in ("left", "top")}
    assert {sha256(content) for content in seen} <= good


@pytest.mark.parametrize("damage", [_truncate, _flip, Path.unlink])
@pytest.mark.parametrize("file", ["model.tflite", "golden.npz"])
def test_a_device_names_its_damaged_file(
    file: str, damage: Callable[[Path], Any], copy: Path
) -> None:
    folder = copy / "nodes" / "top"
    damage(folder / file)
    with pytest.raises(InputError) as caught:
        check_node(folder)
    assert str(folder / file) in str(caught.value)


def test_a_node_that_does_not_name_its_artifact_is_refused(copy: Path) -> None:
    folder = copy / "nodes" / "left"
    node = json.loads((folder / "node.json").read_text())
    del node["files"]["model.tflite"]
    (folder / "node.json").write_text(json.dumps(node))
    assert "model.tflite" not in read_node(folder).files
    with pytest.raises(InputError, match=r"names no model.tflite \(at \$.files\)"):
        check_node(folder)
