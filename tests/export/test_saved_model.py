from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from ddnn_tf.model import build
from edge_runtime.topology import Sensor
from export import saved_model
from export.split import KerasRunner
from tests.models import randomized
from tests.reference import small_topology
from tests.strategies import samples


@pytest.fixture(scope="module")
def written(model: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("saved") / "1"
    saved_model.write(model.get_layer("top"), path)
    return path


def test_it_is_laid_out_as_tensorflow_serving_expects(written: Path) -> None:
    assert (written / "saved_model.pb").is_file()
    assert (written / "variables" / "variables.index").is_file()


@pytest.mark.parametrize("batch", [1, 7])
def test_it_gives_the_sections_numbers_for_any_batch(written: Path, model: Any, batch: int) -> None:
    rng = np.random.default_rng(batch)
    inputs = {n: rng.normal(size=(batch, 3)).astype(np.float32) for n in ("left", "right", "cam0")}
    expected = KerasRunner(model, model.topology).run("top", inputs)
    signature = tf.saved_model.load(written).signatures["serving_default"]
    flags = np.ones((batch, 3), np.float32)
    tensors = {n: tf.constant(x) for n, x in {**inputs, "present": flags}.items()}
    (found,) = signature(**tensors).values()
    assert found.numpy() == pytest.approx(expected, abs=1e-5)


def test_bytes_of_a_sensor_are_its_input_type(tmp_path: Path) -> None:
    topology = small_topology(sensors=(Sensor("cam0", (3,)), Sensor("cam1", (3,))))
    model = randomized(build(topology, "fc32", classes=("a", "b")))
    saved_model.write(model.get_layer("left"), tmp_path / "1")
    signature = tf.saved_model.load(tmp_path / "1").signatures["serving_default"]
    x = samples(topology, 5)["cam0"]
    (found,) = signature(cam0=tf.constant(x)).values()
    expected = np.asarray(model.get_layer("left")({"cam0": x}))
    assert found.numpy() == pytest.approx(expected, abs=1e-5)
