"""Samples: what they accept, and the file they are kept in."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from edge_runtime.errors import InputError
from edge_runtime.samples import Samples

NAMES = ("bus", "car", "person")


def some(count: int = 6, seed: int = 0) -> Samples:
    rng = np.random.default_rng(seed)
    return Samples(
        {
            "cam0": rng.integers(0, 256, (count, 4, 5, 3), dtype=np.uint8),
            "lidar": rng.normal(size=(count, 7)).astype(np.float32),
        },
        rng.integers(0, 3, count),
        NAMES,
    )


def same(a: Samples, b: Samples) -> bool:
    return (
        a.class_names == b.class_names
        and a.labels.tolist() == b.labels.tolist()
        and list(a.inputs) == list(b.inputs)
        and all(
            np.array_equal(a.inputs[name], b.inputs[name])
            and a.inputs[name].dtype == b.inputs[name].dtype
            for name in a.inputs
        )
    )


def test_length_slice_and_take() -> None:
    samples = some()
    assert len(samples) == 6
    assert same(samples[1:3], samples.take([1, 2]))
    assert same(samples.take(samples.labels == samples.labels[0])[:1], samples[:1])
    assert samples.labels.dtype == np.int64
    with pytest.raises(TypeError, match="take"):
        samples[3]  # type: ignore[index]


def test_frequencies_sum_to_one_and_count_absent_classes() -> None:
    samples = Samples({"a": np.zeros((4, 2), np.uint8)}, np.array([1, 1, 2, 1]), NAMES)
    assert samples.frequencies().tolist() == [0.0, 0.75, 0.25]
    assert samples.frequencies().dtype == np.float64


@given(st.integers(1, 5), st.integers(0, 99))
@settings(max_examples=20, deadline=None)
def test_npz_round_trip(tmp_path_factory: pytest.TempPathFactory, count: int, seed: int) -> None:
    path = tmp_path_factory.mktemp("npz") / "some.npz"
    samples = some(count, seed)
    samples.save_npz(path)
    assert same(Samples.load_npz(path), samples)
    assert os.listdir(path.parent) == ["some.npz"]


def test_npz_is_plain_numpy_and_repeatable(tmp_path: Path) -> None:
    some().save_npz(tmp_path / "a.npz")
    some().save_npz(tmp_path / "b.npz")
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()
    with np.load(tmp_path / "a.npz") as archive:
        assert sorted(archive.files) == ["cam0", "class_names", "label", "lidar"]
        assert archive["label"].dtype == np.int64
        assert archive["class_names"].tolist() == list(NAMES)


def test_a_sensor_may_have_any_name(tmp_path: Path) -> None:
    samples = Samples({"file": np.zeros((1, 2), np.uint8)}, np.array([0]), NAMES)
    samples.save_npz(tmp_path / "a.npz")
    assert same(Samples.load_npz(tmp_path / "a.npz"), samples)


@pytest.mark.parametrize("groups", [["ann", "bo", "bo"], [3, 1, 1]])
def test_groups_travel_with_their_samples(tmp_path: Path, groups: list[Any]) -> None:
    samples = Samples({"a": X}, Y, NAMES, np.array(groups))
    samples.save_npz(tmp_path / "a.npz")
    with np.load(tmp_path / "a.npz") as archive:
        assert archive["group"].tolist() == groups
    found = Samples.load_npz(tmp_path / "a.npz")
    assert list(found.inputs) == ["a"]
    for part, expected in (
        (found, groups),
        (found[1:], groups[1:]),
        (found.take([2, 0]), [groups[2], groups[0]]),
        (replace(found, inputs={"b": X}), groups),
    ):
        assert part.groups is not None
        assert part.groups.tolist() == expected


@pytest.mark.parametrize(
    ("groups", "message"),
    [
        (["a", "b"], r"'group' must be strings or integers, one per sample \(3\); came <U1 of"),
        ([[1], [2], [3]], r"int64 of shape \(3, 1\)"),
        ([0.5, 1, 2], "came float64"),
        ([True, False, True], "came bool"),
        ([b"a", b"b", b"c"], r"came \|S1"),
        (["a", "", "c"], "'group' of sample 1 is empty"),
    ],
)
def test_what_is_no_group(groups: list[Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        Samples({"a": X}, Y, NAMES, np.array(groups))


X = np.zeros((3, 2), np.uint8)
Y = np.array([0, 1, 2])
NAN = np.array([[0.0, 1.0], [0.0, np.nan], [np.inf, 0.0]])


@pytest.mark.parametrize(
    ("inputs", "labels", "names", "message"),
    [
        ({"a": X}, [0, 1, 3], NAMES, "label 3 of sample 2 is out of range: expected 0 to 2"),
        ({"a": X}, [0, -1, 2], NAMES, "label -1 of sample 1 is out of range"),
        ({"a": X}, [0.0, 1.0, 2.0], NAMES, "labels must be integers; came float64"),
        ({"a": X}, [[0, 1, 2]], NAMES, "labels must be one-dimensional"),
        ({"a": X[:0]}, np.zeros(0, int), NAMES, "there are no samples"),
        ({"a": X, "b": X[:2]}, Y, NAMES, "sensor 'b' has the wrong number of samples: expected 3"),
        ({"a": X[:, :0]}, Y, NAMES, r"sensor 'a' holds nothing: its samples have the shape \(0,\)"),
        ({"a": np.zeros((3, 3, 8, 9), np.uint8)}, Y, NAMES, r"before height and width \(3, 8, 9\)"),
        ({"a": NAN}, Y, NAMES, r"sensor 'a' has NaN or infinite values in sample 1 \(2 of 3"),
        ({"a": X.astype(int)}, Y, NAMES, "sensor 'a' has type int64: expected uint8"),
        ({"a": np.uint8(3)}, Y, NAMES, "wrong number of samples: expected 3.*a single value"),
        ({}, Y, NAMES, "samples have no sensor"),
        ({"label": X}, Y, NAMES, "'label' is no name for a sensor"),
        ({"a": X}, Y, ("car", "bus", "car"), "class names must differ; 'car' repeats"),
        ({"a": X}, Y, ("car", "", "bus"), "class names must be .* non-empty"),
        ({"a": X}, Y, "car", "class names must be a sequence"),
    ],
)
def test_bad_samples(inputs: Any, labels: Any, names: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        Samples(inputs, np.asarray(labels), names)


GOOD: dict[str, tuple[tuple[int, ...], str]] = {
    "cam0": ((4, 5, 3), "uint8"),
    "lidar": ((7,), "float32"),
}


def test_check_accepts_what_fits() -> None:
    some().check(GOOD)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"cam1": ((4, 5, 3), "uint8")}, "missing: 'cam1'; unknown: none"),
        ({"cam0": ((32, 32, 3), "uint8")}, r"'cam0' has the wrong shape: expected \(32, 32, 3\)"),
        ({"lidar": ((7,), "uint8")}, "'lidar' has the wrong type: expected uint8, came float32"),
    ],
)
def test_check_says_what_differs(
    change: Mapping[str, tuple[tuple[int, ...], str]], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        some().check({**GOOD, **change})
    with pytest.raises(InputError, match="unknown: 'cam0'"):
        some().check({"lidar": GOOD["lidar"]})


@pytest.mark.parametrize("key", ["label", "class_names"])
def test_npz_without_a_key(tmp_path: Path, key: str) -> None:
    arrays: dict[str, NDArray[Any]] = {"cam0": X, "label": Y, "class_names": np.array(NAMES)}
    del arrays[key]
    np.savez(tmp_path / "a.npz", **arrays)  # type: ignore[arg-type]
    with pytest.raises(InputError, match=f"a.npz: '{key}' is missing: expected one uint8"):
        Samples.load_npz(tmp_path / "a.npz")


def test_npz_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"cannot read .*none\.npz: No such file"):
        Samples.load_npz(tmp_path / "none.npz")
    with pytest.raises(InputError, match=r"cannot read .*: Is a directory"):
        Samples.load_npz(tmp_path)
    for content in (b"", b"no archive at all", b"PK\x03\x04 not really"):
        (tmp_path / "bad.npz").write_bytes(content)
        with pytest.raises(InputError, match=r"bad.npz is damaged or not an .npz file"):
            Samples.load_npz(tmp_path / "bad.npz")
    np.save(tmp_path / "one.npy", X)
    with pytest.raises(InputError, match=r"is a single .npy array"):
        Samples.load_npz(tmp_path / "one.npy")
    np.savez(tmp_path / "object.npz", cam0=np.array([{}], dtype=object), label=Y)
    with pytest.raises(InputError, match="Python objects are not accepted"):
        Samples.load_npz(tmp_path / "object.npz")
    np.savez(tmp_path / "names.npz", cam0=X, label=Y, class_names=np.arange(3))
    with pytest.raises(InputError, match="'class_names' must be a one-dimensional array of str"):
        Samples.load_npz(tmp_path / "names.npz")
    np.savez(tmp_path / "range.npz", cam0=X, label=Y + 1, class_names=np.array(NAMES))
    with pytest.raises(InputError, match=r"range.npz: label 3 of sample 2 is out of range"):
        Samples.load_npz(tmp_path / "range.npz")


@given(st.data())
@settings(max_examples=150, deadline=None)
def test_a_damaged_npz_is_an_input_error_or_sound(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    path = tmp_path_factory.getbasetemp() / "damaged.npz"
    some().save_npz(path)
    content = bytearray(path.read_bytes())
    if data.draw(st.booleans()):
        content = content[: data.draw(st.integers(0, len(content) - 1))]
    else:
        for _ in range(data.draw(st.integers(1, 3))):
            content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(content)
    with contextlib.suppress(InputError):
        assert len(Samples.load_npz(path)) > 0


def test_unwritable_output(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(InputError, match="cannot write"):
        some().save_npz(tmp_path / "file" / "a.npz")
    with pytest.raises(InputError, match=r"cannot write .*folder"):
        some().save_npz(tmp_path)
    assert os.listdir(tmp_path) == ["file"]
