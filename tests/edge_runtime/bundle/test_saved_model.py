import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ddnn_tf.cli import main as ddnn
from ddnn_tf.model import build
from edge_runtime.bundle.manifest import read_node
from edge_runtime.bundle.saved_model import SavedModelSection
from edge_runtime.bundle.sections import load_section
from edge_runtime.errors import InputError
from export import export_bundle
from tests.commands import Deployed, done
from tests.models import randomized, two_outputs
from tests.reference import small_topology
from tests.strategies import samples


@pytest.fixture(scope="module")
def exported(small_deployed: Deployed, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The nodes' folders of a bundle in which two have a SavedModel as well."""
    out = tmp_path_factory.mktemp("saved") / "bundle"
    words = ("--data", small_deployed.data, "--out", out, "--saved-model", "left,top")
    done(ddnn, "export", small_deployed.model, *words)
    return out / "nodes"


@pytest.fixture
def left(exported: Path, tmp_path: Path) -> Path:
    """A copy, to be damaged."""
    return Path(shutil.copytree(exported / "left", tmp_path / "left"))


def random_inputs(section: Any, batch: int) -> dict[str, Any]:
    rng = np.random.default_rng(batch)
    return {
        name: rng.normal(size=(batch, *spec.shape)).astype(spec.dtype)
        for name, spec in section.inputs.items()
    }


@pytest.mark.parametrize("node", ["left", "top"])
@pytest.mark.parametrize("batch", [1, 5])
def test_it_computes_what_the_lite_artifact_does(exported: Path, node: str, batch: int) -> None:
    manifest = read_node(exported / node)
    saved = SavedModelSection(exported / node, manifest)
    lite = load_section(exported / node, manifest)
    assert saved.inputs == lite.inputs
    inputs = random_inputs(saved, batch)
    (found,), (expected,) = saved(inputs), lite(inputs)
    assert found.dtype == np.float32
    assert found == pytest.approx(expected, abs=1e-5)


def test_several_tensors_keep_their_order(tmp_path: Path) -> None:
    topology = small_topology()
    model = randomized(build(topology, two_outputs, classes=("a", "b")))
    export_bundle(model, tmp_path / "bundle", samples(topology, 20), saved_models=["left"])
    left = tmp_path / "bundle" / "nodes" / "left"
    manifest = read_node(left)
    saved, lite = SavedModelSection(left, manifest), load_section(left, manifest)
    inputs = random_inputs(saved, 3)
    for found, expected in zip(saved(inputs), lite(inputs), strict=True):
        assert found == pytest.approx(expected, abs=1e-5)


def refused(folder: Path) -> str:
    with pytest.raises(InputError) as caught:
        SavedModelSection(folder, read_node(folder))
    return str(caught.value)


def test_a_node_without_one(exported: Path) -> None:
    message = refused(exported / "right")
    assert "exported without a SavedModel; export it with --saved-model right" in message


def test_a_changed_file_is_found_before_tensorflow_reads_it(left: Path) -> None:
    with (left / "saved_model" / "1" / "saved_model.pb").open("ab") as file:
        file.write(b"x")
    assert "saved_model.pb: expected sha256" in refused(left)


def test_a_missing_file(left: Path) -> None:
    (left / "saved_model" / "1" / "variables" / "variables.index").unlink()
    assert "variables.index: cannot be read" in refused(left)


def test_a_file_that_nobody_promised(left: Path) -> None:
    (left / "saved_model" / "1" / "assets.extra").mkdir()
    (left / "saved_model" / "1" / "assets.extra" / "more").write_text("x")
    assert "assets.extra/more: node.json does not name it" in refused(left)
