"""What users have, as samples of sensors; and what cannot be."""

from types import SimpleNamespace
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from ddnn_tf.datasets.arrays import labeled_samples
from ddnn_tf.datasets.batches import Batches
from ddnn_tf.datasets.npz import read_npz
from edge_runtime.errors import InputError
from edge_runtime.samples import Samples
from edge_runtime.task import Classification
from edge_runtime.topology import Link, Node, Sensor, Topology
from tests.commands import CLASSES, small_samples
from tests.reference import small_topology

SAMPLES = small_samples(10)
X, Y = SAMPLES.inputs, SAMPLES.labels
PAIR = tuple(X.values())
ONE = Topology(
    name="one",
    sensors=(Sensor("image", (4, 4, 1), "uint8"),),
    nodes=(Node("edge", "edge"), Node("cloud", "cloud")),
    links=(Link("image", "edge"), Link("edge", "cloud")),
)
PICTURES = np.random.default_rng(0).integers(0, 256, (10, 4, 4, 1))


class Sequence(keras.utils.PyDataset):
    """Batches of four, as users of Keras write them; `ends` says whether it has a length."""

    def __init__(self, *, ends: bool = True) -> None:
        super().__init__()
        self._ends = ends

    @property
    def num_batches(self) -> int | None:
        return 3 if self._ends else None

    def __getitem__(self, i: int) -> Any:
        rows = slice(4 * i, 4 * i + 4)
        return {name: x[rows] for name, x in X.items()}, Y[rows]


def made(x: Any, y: Any = None, topology: Topology | None = None) -> Any:
    task = Classification(CLASSES)
    return labeled_samples(x, y, topology=topology or small_topology(), task=task)


def batched(x: Any = X, y: Any = Y) -> Any:
    return tf.data.Dataset.from_tensor_slices((x, y)).batch(4)


@pytest.mark.parametrize(
    ("x", "y"),
    [
        (X, Y),
        (PAIR, Y),
        (list(PAIR), Y.astype(np.float32)),
        ({name: tf.constant(x) for name, x in X.items()}, tf.constant(Y)),
        ({name: x.astype(np.float64) for name, x in X.items()}, Y[:, None]),
        ({name: x.tolist() for name, x in X.items()}, Y.tolist()),
        (X, np.eye(3)[Y]),
        (X, np.array(CLASSES)[Y]),
        (X, np.array(CLASSES, object)[Y]),
        (batched(), None),
        (batched(PAIR), None),
        (batched(y=np.eye(3)[Y]), None),
        (batched(y=np.array(CLASSES)[Y]), None),
        (Sequence(), None),
        (Batches(SAMPLES), None),
        (SAMPLES, None),
        (SimpleNamespace(inputs=X, labels=Y), None),
    ],
)
def test_all_forms_are_the_same_samples(x: Any, y: Any) -> None:
    found = made(x, y)
    assert list(found.inputs) == list(X)
    for name, values in X.items():
        assert found.inputs[name] == pytest.approx(values)
        assert found.inputs[name].dtype == np.float32
    assert found.labels.tolist() == Y.tolist()


@pytest.mark.parametrize("x", [PICTURES, [PICTURES], {"image": PICTURES.astype(np.uint8)}])
def test_one_sensor_takes_an_array_and_whole_numbers_become_its_bytes(x: Any) -> None:
    found = made(x, Y, ONE)
    assert found.inputs["image"].dtype == np.uint8
    assert np.array_equal(found.inputs["image"], PICTURES)


def test_bytes_become_the_floats_that_a_sensor_gives() -> None:
    bright = {name: (x > 0).astype(np.uint8) * 200 for name, x in X.items()}
    found = made(bright, Y)
    assert found.inputs["cam0"].dtype == np.float32
    assert np.array_equal(found.inputs["cam0"], bright["cam0"])


@pytest.mark.parametrize(
    ("x", "y", "said"),
    [
        (X, None, "expected labels beside dict"),
        (X["cam0"], Y, r"each of 2 sensors \(cam0, cam1\), in this order or by name; got 1"),
        ({"cam0": X["cam0"]}, Y, r"each sensor \(cam0, cam1\), got cam0; name"),
        ((X["cam0"], X["cam1"][:, :2]), Y, r"sensor 'cam1': expected \(samples, 3\), got \(10, 2"),
        ({name: x[0] for name, x in X.items()}, Y[:1], r"one sample without .* array\[None\]"),
        ((X["cam0"], X["cam1"][:9]), Y, "'cam1' has the wrong number of samples: expected 10"),
        (X, Y[:9], "'cam0' has the wrong number of samples: expected 9, one per label; came 10"),
        (X, Y + 1, "label 3 of sample 2 is out of range: expected 0 to 2"),
        (X, Y - 1, "label -1 of sample 0 is out of range"),
        (X, Y + 0.5, "expected whole numbers as labels, .* got 0.5 of sample 0"),
        (X, np.where(Y, Y, np.nan), "expected whole numbers as labels, .* got nan of sample 0"),
        (X, np.eye(4)[Y], r"one-hot rows \(samples, 3\); got \(10, 4\)"),
        (X, np.full((10, 3), 1 / 3), "one-hot rows as labels, a single 1 in each; got"),
        (X, np.ones((10, 3)), r"a single 1 in each; got \[1.0, 1.0, 1.0\] of sample 0"),
        (X, np.zeros((10, 2, 2)), r"labels \(samples,\), or one-hot rows .* got \(10, 2, 2\)"),
        (X, ["car", "lorry"] * 5, "labels .* among bus, car, person; got lorry"),
        (X, np.array([None] * 10), "labels must be numbers or names of classes; came object"),
        ([*PAIR, PAIR[0]], Y, "each of 2 sensors .* got 3"),
        (({"a": 1}, PAIR[0]), Y, r"sensor 'cam0': expected \(samples, 3\), got \(\)"),
        ((PAIR[0].astype(str), PAIR[1]), Y, "sensor 'cam0': expected numbers, got <U"),
        (([[1.0], [1.0, 2.0]], PAIR[1]), Y, "sensor 'cam0': expected an array, got list"),
        ((PAIR[0] * np.nan, PAIR[1]), Y, r"'cam0' has NaN or infinite values in sample 0 \(10"),
        ({name: x[:0] for name, x in X.items()}, Y[:0], "there are no samples"),
        (batched().repeat(), None, r"without end, as repeat\(\) makes it; .* data.take\(100\)"),
        (batched(), Y, "no labels beside a _?BatchDataset, which holds its own; got ndarray"),
        (batched().unbatch(), None, r"batch 0 .*one sample without .*data.batch\(64\)"),
        (batched().take(0), None, "expected data with a batch at least, got none"),
        (batched().map(lambda x, y: x), None, r"batch 0 .*expected \(x, y\).* got dict"),
        (batched().map(lambda x, y: (x, y, y)), None, "got 3 parts; every sample weighs alike"),
        (batched(y=np.where(Y, Y, 7)), None, "label 7 of sample 0 is out of range"),
        (Sequence(ends=False), None, "a Sequence without a number of batches; give it a __len__"),
    ],
)
def test_what_does_not_fit_is_refused(x: Any, y: Any, said: str) -> None:
    with pytest.raises(InputError, match=said) as error:
        made(x, y)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("x", "said"),
    [
        (PICTURES / 255.0, "'image' gives bytes, got float64; give the pictures as uint8"),
        (PICTURES + 1000, "'image' gives bytes, got numbers from 1000 to 1255; expected 0 to 255"),
        (PICTURES - 300, "'image' gives bytes, got numbers from -300"),
        (PICTURES[..., 0], r"'image': expected \(samples, 4, 4, 1\), got \(10, 4, 4\); reshape"),
    ],
)
def test_what_is_no_picture_of_bytes_is_refused(x: Any, said: str) -> None:
    with pytest.raises(InputError, match=said):
        made(x, Y, ONE)


def test_the_same_classes_in_another_order_are_refused(tmp_path: Any) -> None:
    with pytest.raises(InputError, match="classes bus, car, person, in this order; got person"):
        made(Samples(X, Y, CLASSES[::-1]))
    assert made(Samples(X, Y, ("0", "1", "2"))).labels.tolist() == Y.tolist()
    SAMPLES.save_npz(tmp_path / "own.npz")
    with pytest.raises(InputError, match=r"one split of the data, got all of them; .* data.test"):
        made(read_npz(tmp_path / "own.npz"))
