"""What labels are: classes, several labels at once, or numbers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from edge_runtime.errors import InputError
from edge_runtime.samples import Samples
from edge_runtime.targets import TargetKind, Targets

X = np.arange(6, dtype=np.float32).reshape(3, 2)
CLASSES = Targets("classification", ("a", "b", "c"))
LABELS = Targets("multi-label", ("car", "bus"))
VALUES = Targets("regression", ("width", "height"), ("m", "cm"))
KINDS: list[tuple[Targets, NDArray[Any], str]] = [
    (CLASSES, np.array([2, 0, 2], np.uint8), "int64"),
    (LABELS, np.array([[True, False], [True, True], [False, False]]), "uint8"),
    (VALUES, np.array([[1.5, -2.0], [0.0, 4.0], [3.0, 4.0]]), "float32"),
]


@pytest.mark.parametrize(("targets", "labels", "dtype"), KINDS)
def test_each_kind_comes_back_from_a_file(
    tmp_path: Path, targets: Targets, labels: NDArray[Any], dtype: str
) -> None:
    samples = Samples({"x": X}, labels, targets)
    samples.save_npz(tmp_path / "a.npz")
    found = Samples.load_npz(tmp_path / "a.npz")
    assert found.targets == targets
    assert found.labels.dtype == dtype
    assert np.array_equal(found.labels, labels)
    assert list(found.inputs) == ["x"]
    part = found.take([2, 0])
    assert part.targets == targets
    assert np.array_equal(part.labels, labels[[2, 0]])


def test_the_file_says_what_the_labels_are(tmp_path: Path) -> None:
    keys = []
    for targets, labels, _ in KINDS:
        Samples({"x": X}, labels, targets).save_npz(tmp_path / "a.npz")
        with np.load(tmp_path / "a.npz") as archive:
            keys.append(sorted({*archive.files} - {"x", "label"}))
    assert keys == [["class_names"], ["label_names"], ["units", "value_names"]]


def test_one_value_may_be_one_dimensional() -> None:
    samples = Samples({"x": X}, np.array([1.0, 2.0, 4.0]), Targets("regression", ("count",)))
    assert samples.labels.tolist() == [[1.0], [2.0], [4.0]]
    assert samples.frequencies().tolist() == [pytest.approx(7 / 3)]


def test_what_is_known_beforehand() -> None:
    prior = [Samples({"x": X}, labels, targets).frequencies() for targets, labels, _ in KINDS]
    assert prior[0].tolist() == [1 / 3, 0, 2 / 3]
    assert prior[1].tolist() == [2 / 3, 1 / 3]
    assert prior[2].tolist() == [1.5, 2.0]
    counts = [t.counts(t.checked(labels)) for t, labels, _ in KINDS]
    assert counts == [{"a": 1, "b": 0, "c": 2}, {"car": 2, "bus": 1}, {}]


@pytest.mark.parametrize("targets", [LABELS, VALUES])
def test_what_knows_classes_alone_refuses_the_others(targets: Targets) -> None:
    samples = Samples({"x": X}, np.zeros((3, 2), np.uint8), targets)
    with pytest.raises(InputError, match=rf"labels are {targets.kind} \(.*expected classification"):
        _ = samples.class_names


@pytest.mark.parametrize(
    ("targets", "labels", "message"),
    [
        (LABELS, [[0, 1], [2, 0], [0, 3]], "label 'car' of sample 1 is 2: expected 0 or 1.*2 are"),
        (LABELS, [[0.0, 1.0]] * 3, "integers, 0 or 1; came float64"),
        (LABELS, [0, 1, 1], r"expected an array \(samples, 2\), a column for each of the labels"),
        (LABELS, [[0, 1, 1]] * 3, r"labels car, bus; came \(3, 3\)"),
        (LABELS, np.zeros((0, 2), int), "there are no samples"),
        (VALUES, [[0, 1], [0, np.nan], [np.inf, 0]], "value 'height' of sample 1 is nan.*2 are"),
        (
            VALUES,
            [[0, 1], [0, 1e39], [0, 0]],
            r"value 'height' of sample 1 is 1e\+39: expected fin",
        ),
        (VALUES, [["1", "2"]] * 3, "values must be numbers; came <U1"),
        (VALUES, [1.0, 2.0, 3.0], r"came \(3, 1\)"),
        (CLASSES, [[0, 1]] * 3, "labels must be one-dimensional"),
        (VALUES, [[0, 1]] * 2, "sensor 'x' has the wrong number of samples: expected 2"),
    ],
)
def test_labels_that_are_not_of_their_kind(targets: Targets, labels: Any, message: str) -> None:
    with pytest.raises(InputError, match=message) as error:
        Samples({"x": X}, np.array(labels), targets)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("kind", "names", "units", "message"),
    [
        ("ranking", ("a",), (), "of the kind classification, multi-label, regression; came rank"),
        ("regression", ("a", "a"), (), "value names must differ; 'a' repeats"),
        ("multi-label", ("a", ""), (), "label names must be a sequence of non-empty strings"),
        ("regression", ("a", "b"), ("m",), "units are one for each value.*came 1 for 2"),
        ("classification", ("a",), ("m",), "units are one for each value of a regression"),
    ],
)
def test_what_is_no_target(
    kind: TargetKind, names: tuple[str, ...], units: tuple[str, ...], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        Targets(kind, names, units)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        (
            {"label_names": ["a", "b"], "class_names": ["a"]},
            "expected one of 'class_names', .*came",
        ),
        ({"value_names": [1, 2]}, "'value_names' must be a one-dimensional array of strings"),
        ({"value_names": ["a", "b"], "units": [0.5]}, "'units' must be a one-dimensional array of"),
        ({"label_names": ["a", "b"], "units": ["m", "m"]}, "units are one for each value of a reg"),
        ({}, "'class_names' is missing: expected .*'label_names' of several"),
    ],
)
def test_files_that_do_not_say_what_labels_are(
    tmp_path: Path, arrays: dict[str, Any], message: str
) -> None:
    named: dict[str, Any] = {name: np.array(x) for name, x in arrays.items()}
    np.savez(tmp_path / "a.npz", x=X, label=np.zeros((3, 2), np.uint8), **named)
    with pytest.raises(InputError, match=rf"a\.npz: {message}"):
        Samples.load_npz(tmp_path / "a.npz")
