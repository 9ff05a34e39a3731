import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from edge_runtime.bundle.sections import check_node
from edge_runtime.errors import InputError
from edge_runtime.evaluation.bundle import Bundle
from edge_runtime.evaluation.reliability import evaluate
from edge_runtime.failures.configurations import draw, output_states
from edge_runtime.failures.distribution import mask_without
from edge_runtime.files import sha256
from edge_runtime.samples import Samples
from tests.commands import Deployed
from tests.reference import output_state, working


@pytest.fixture(scope="module")
def bundle(small_deployed: Deployed) -> Bundle:
    return Bundle(small_deployed.bundle)


@pytest.fixture(scope="module")
def samples(small_deployed: Deployed) -> Samples:
    return Samples.load_npz(small_deployed.test)


@pytest.fixture
def node(small_deployed: Deployed, tmp_path: Path) -> Path:
    """A copy of one node's folder, as a device has it, to be damaged."""
    return Path(shutil.copytree(small_deployed.bundle / "nodes" / "top", tmp_path / "top"))


def rewrite_golden(node: Path, change: Mapping[str, NDArray[Any]]) -> None:
    """Other golden vectors, with a node.json that vouches for them."""
    with np.load(node / "golden.npz") as file:
        golden = {name: file[name] for name in file.files}
    np.savez(node / "golden.npz", **{**golden, **change})
    vouch(node, "golden.npz")


def vouch(node: Path, name: str) -> None:
    described = json.loads((node / "node.json").read_bytes())
    described["files"][name] = sha256((node / name).read_bytes())
    (node / "node.json").write_text(json.dumps(described))


# -- answers ---------------------------------------------------------------------------------------


def test_answer_of_each_frame_is_the_one_of_its_mask_alone(
    bundle: Bundle, samples: Samples
) -> None:
    topology = bundle.manifest.topology
    survival = dict.fromkeys(topology.elements, 0.6)
    masks = draw(topology, survival, len(samples), np.random.default_rng(3))
    answers = bundle.answer(samples.inputs, masks)
    assert 0 in answers.states
    assert len(set(answers.states)) > 3
    for i, mask in enumerate(masks):
        one = {name: x[i : i + 1] for name, x in samples.inputs.items()}
        alone = bundle.answer(one, mask[None])
        assert alone.states == [answers.states[i]]
        np.testing.assert_allclose(alone.values[0], answers.values[i], atol=1e-6)
        heard = output_state(topology, working(topology, mask))
        bits = {1 << b for b, link in enumerate(topology.links) if link.name in heard}
        assert answers.states[i] == sum(bits)


def test_nothing_that_reaches_the_output_gives_the_prior(bundle: Bundle, samples: Samples) -> None:
    topology = bundle.manifest.topology
    masks = np.repeat(mask_without(topology, ["top"])[None], len(samples), axis=0)
    answers = bundle.answer(samples.inputs, masks)
    assert set(answers.states) == {0}
    most_frequent = int(np.argmax(bundle.manifest.task.fallback()))
    assert set(answers.values.argmax(axis=1).tolist()) == {most_frequent}
    assert answers.values.dtype == np.float32


def test_accuracy_over_drawn_failures_approaches_the_exact_one(
    bundle: Bundle, samples: Samples
) -> None:
    topology = bundle.manifest.topology
    survival = {"top": 0.9, "cam0": 0.7, "right": 0.6, "left->top": 0.8}
    exact = evaluate(
        topology,
        bundle,
        samples,
        bundle.manifest.task,
        {"own": survival},
    ).expected_accuracy("own")
    frames = np.arange(9000) % len(samples)
    masks = draw(topology, survival, len(frames), np.random.default_rng(0))
    answers = bundle.answer({n: x[frames] for n, x in samples.inputs.items()}, masks)
    measured = np.mean(answers.values.argmax(axis=1) == samples.labels[frames])
    # Five standard deviations of a share of 9000.
    assert measured == pytest.approx(exact, abs=5 * 0.5 / np.sqrt(len(frames)))
    assert output_states(topology, masks).any(axis=1).mean() < 1


# -- a device's check ------------------------------------------------------------------------------


def test_every_node_gives_its_golden_numbers(bundle: Bundle) -> None:
    for name in bundle.nodes:
        found = check_node(bundle.folder / "nodes" / name)
        assert found.passed
        assert found.node == name
        assert found.samples > 1
        assert found.max_error == 0


@pytest.mark.parametrize("wrong", [0.9, 1e-4, np.nan, np.inf])
def test_other_numbers_do_not_pass_though_their_hash_is_right(node: Path, wrong: float) -> None:
    with np.load(node / "golden.npz") as file:
        output = file["output/0"]
    output[3, 1] += wrong
    rewrite_golden(node, {"output/0": output})
    found = check_node(node)
    assert not found.passed
    assert found.max_error > found.tolerance


def test_numbers_within_the_tolerance_pass(node: Path) -> None:
    with np.load(node / "golden.npz") as file:
        output = file["output/0"]
    rewrite_golden(node, {"output/0": output + np.float32(1e-6)})
    found = check_node(node)
    assert 0 < found.max_error < found.tolerance
    assert found.passed


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"output/0": np.zeros((4, 2), np.float32)}, r"expected output/0 as float32 .*\(4, 2\)"),
        ({"input/left": np.zeros((16, 9), np.float32)}, r"expected input/left .*\(16, 9\)"),
        ({"input/left": np.zeros((16, 32), np.float64)}, "expected input/left .*got float64"),
        ({"output/0": np.zeros((0, 3), np.float32)}, r"got float32 \(0, 3\)"),
        ({"output/0": np.array([{}])}, "pickle"),
    ],
)
def test_golden_vectors_of_another_form_are_refused(
    node: Path, change: dict[str, NDArray[Any]], said: str
) -> None:
    rewrite_golden(node, change)
    with pytest.raises(InputError, match=f"golden.npz: .*{said}.*; export it again"):
        check_node(node)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 no archive", b"[1, 2]"])
def test_golden_vectors_that_are_no_archive_are_refused(node: Path, content: bytes) -> None:
    (node / "golden.npz").write_bytes(content)
    vouch(node, "golden.npz")
    with pytest.raises(InputError, match=r"golden.npz: .*; export it again"):
        check_node(node)


def test_a_model_of_other_inputs_is_refused_though_its_hash_is_right(
    node: Path, small_deployed: Deployed
) -> None:
    other = small_deployed.bundle / "nodes" / "left" / "model.tflite"
    shutil.copy(other, node / "model.tflite")
    vouch(node, "model.tflite")
    with pytest.raises(InputError, match=r"expected inputs .*cam0, left, right.* got cam0"):
        check_node(node)


def test_a_file_that_the_manifest_does_not_name_is_not_read(node: Path) -> None:
    described = json.loads((node / "node.json").read_bytes())
    del described["files"]["golden.npz"]
    (node / "node.json").write_text(json.dumps(described))
    with pytest.raises(InputError, match=r"names no golden.npz \(at \$.files\)"):
        check_node(node)
