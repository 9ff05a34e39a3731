"""The path of a user with a model and data of his own, by the commands."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ddnn_tf.cli import main
from ddnn_tf.cutting.partition import partition
from ddnn_tf.saved import load_model
from edge_runtime.cli.main import main as edge_main
from edge_runtime.errors import InputError
from edge_runtime.samples import Samples
from tests.commands import CLASSES, done, refused
from tests.models import residual_net, scenes

ddnn = partial(done, main)
bad = partial(refused, main)

COUNT = 90


def write_pictures(file: Path) -> Path:
    """Bytes whose class is the color, under coarse noise; one class is twice as frequent."""
    labels = np.array([0, 1, 2, 2] * COUNT, np.int64)[:COUNT]
    tint = 120 * np.eye(3, dtype=np.float32)[labels][:, None, None]
    pictures = np.clip(0.5 * scenes((8, 8, 3), COUNT) + tint, 0, 255).astype(np.uint8)
    Samples({"image": pictures}, labels, CLASSES).save_npz(file)
    return file


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_pictures(tmp_path_factory.mktemp("data") / "own.npz")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("whole") / "model.keras"
    residual_net(classes=3).save(file)
    return file


@pytest.fixture
def cut(whole: Path, tmp_path: Path) -> Callable[..., Path]:
    """Cut the model by the command, with these options."""

    def run(*options: str | Path, nodes: str = "edge:0.9/0.8/0.7,fog:0.95,cloud") -> Path:
        file = tmp_path / "cut.keras"
        ddnn("partition", whole, "--nodes", nodes, "--byte-range", "0:1", "--out", file, *options)
        return file

    return run


# -- survivabilities -------------------------------------------------------------------------------


def test_three_chances_of_a_node_are_high_medium_and_low(cut: Any, data: Path) -> None:
    file = cut("--classes", ",".join(CLASSES))
    topology = load_model(file).topology
    assert topology.survivabilities == {
        "high": {"edge": 0.9},
        "medium": {"edge": 0.8},
        "low": {"edge": 0.7},
    }
    assert topology.survival("low")[topology.index["fog"]] == 0.95
    found = ddnn("evaluate", file, "--data", data, "--survival", "low", "--json").json
    assert list(found["expected_accuracy"]) == ["low"]
    assert found["reach_probability"]["low"] == pytest.approx(0.7 * 0.95)


def test_a_model_without_presets_says_what_there_is(cut: Any, data: Path, tmp_path: Path) -> None:
    file = cut("--classes", ",".join(CLASSES), nodes="edge:0.9,fog,cloud")
    for command in (("evaluate", file), ("train", "--start", file, "--out", tmp_path / "t.keras")):
        line = bad(*command, "--data", data, "--survival", "low")
        assert "unknown survivability 'low': topology 'residual_net' has no presets" in line
        assert "take these (own)" in line
        assert "--nodes edge:0.99/0.9/0.8,cloud" in line
    own = ddnn("evaluate", file, "--data", data, "--survival", "own", "--json").json
    assert own == ddnn("evaluate", file, "--data", data, "--json").json
    assert own["reach_probability"] == {"own": pytest.approx(0.9)}


def test_a_device_takes_the_name_too(small_deployed: Any) -> None:
    said = done(
        edge_main, "evaluate", small_deployed.bundle, "--data", small_deployed.test,
        "--survival", "own,low", "--json",
    ).json  # fmt: skip
    assert list(said["expected_accuracy"]) == ["own", "low"]


@pytest.mark.parametrize(
    ("chances", "said"),
    [
        (
            (0.9, 0.8),
            "node 'edge': expected one survival, or three .*high, medium, low; got 0.9/0.8",
        ),
        ((0.7, 0.8, 0.9), "three from high to low, .*got 0.7/0.8/0.9"),
        ((1.2, 0.8, 0.7), r"from 0 to 1, got 1.2 \(at \$.survivabilities\['high'\].edge\)"),
    ],
)
def test_chances_that_are_not_three_from_high_to_low_are_refused(chances: Any, said: str) -> None:
    with pytest.raises(InputError, match=said):
        partition(residual_net(), {"edge": chances, "cloud": 1.0})
