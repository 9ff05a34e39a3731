"""One door to all forms, and the .npz form."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ddnn_tf.datasets import load
from ddnn_tf.datasets.splits import rows_of
from edge_runtime.errors import InputError
from edge_runtime.samples import Samples
from tests.conftest import ROOT
from tests.ddnn_tf.datasets.conftest import WriteRaw

BOXES = {("car", f, 0): ["2 3 22 33"] for f in range(1, 5)}


def test_forms_are_recognized(crops: Path, write_raw: WriteRaw, tmp_path: Path) -> None:
    assert load(crops).form == "crops"
    raw = load(str(write_raw(BOXES)), size=10, margin=1.2)
    assert raw.form == "raw"
    assert raw.samples.inputs["cam0"].shape == (4, 10, 10, 3)
    load(crops).samples.save_npz(tmp_path / "a.npz")
    assert load(tmp_path / "a.npz").form == "npz"


def test_npz(crops: Path, tmp_path: Path) -> None:
    folder = load(crops)
    folder.samples.save_npz(tmp_path / "a.npz")
    data = load(tmp_path / "a.npz")
    assert (data.visible == folder.visible).all()
    both = "npz:train+validation"
    assert data.split_names == ("npz:train", "npz:validation", "npz:test", both, "all")
    assert len(data.split("all").samples) == len(data) == len(folder)
    names = [data.train.name, data.validation.name, data.test.name]
    assert names == ["npz:train", "npz:validation", "npz:test"]
    assert load(tmp_path / "a.npz", split="all").test.name == "all"


def test_npz_of_other_sensors(tmp_path: Path) -> None:
    values = np.array([[1.5, 0], [0, 0], [0, -2], [0, 1]])
    Samples({"lidar": values}, np.array([0, 1, 0, 1]), ("a", "b")).save_npz(tmp_path / "a.npz")
    assert load(tmp_path / "a.npz").visible[:, 0].tolist() == [True, False, True, True]


def some(seed: int, groups: list[Any] | None = None, **changes: Any) -> Samples:
    count = 6 if groups is None else len(groups)
    rng = np.random.default_rng(seed)
    inputs = {"a": rng.normal(size=(count, 3)).astype(np.float32), "b": np.ones((count, 2))}
    given = {"inputs": inputs, "labels": np.arange(count) % 2, "task": ("x", "y"), **changes}
    return Samples(**given, groups=None if groups is None else np.array(groups))


def test_an_npz_of_groups_is_divided_by_them(tmp_path: Path) -> None:
    some(0, ["b", "a", "c", "c", "b", "b"] * 8).save_npz(tmp_path / "a.npz")
    data = load(tmp_path / "a.npz")
    assert data.groups is not None
    assert data.groups.tolist() == ["b", "a", "c", "c", "b", "b"] * 8
    parts = (data.train, data.validation, data.test)
    assert [x.name for x in parts] == ["group:train", "group:validation", "group:test"]
    assert [len(x.labels) for x in parts] == [8, 24, 16]
    assert load(tmp_path / "a.npz", split="npz").test.name == "npz:test"
    assert data.summary.groups == 3
    assert set(data.summary.leaks) == {"npz:validation", "npz:test"}
    assert data.summary.as_dict()["leaks"]["npz:test"] in str(data.summary)


def test_a_folder_of_npz_files_is_groups_named_after_them(tmp_path: Path) -> None:
    for number in (10, 2, 1):
        some(number).save_npz(tmp_path / f"day{number}.npz")
    (tmp_path / "README.txt").write_text("no data")
    data = load(tmp_path)
    assert (data.form, len(data)) == ("npz", 18)
    assert data.groups is not None
    assert data.groups.tolist() == ["day1"] * 6 + ["day2"] * 6 + ["day10"] * 6
    for number, name in ((1, "group:train"), (2, "group:validation"), (10, "group:test")):
        part, file = data.split(name), some(number)
        assert all(np.array_equal(part.inputs[n], file.inputs[n]) for n in file.inputs)
        assert part.labels.tolist() == file.labels.tolist()


def test_groups_in_the_files_of_a_folder_come_before_their_names(tmp_path: Path) -> None:
    some(0, [1, 1, 2, 2, 3, 3]).save_npz(tmp_path / "a.npz")
    some(1, [3, 3, 3, 4, 4, 4]).save_npz(tmp_path / "b.npz")
    data = load(tmp_path)
    assert data.groups is not None
    assert data.groups.tolist() == [1, 1, 2, 2, 3, 3, 3, 3, 3, 4, 4, 4]
    some(1).save_npz(tmp_path / "b.npz")
    with pytest.raises(InputError, match="expected 'group' in every file"):
        load(tmp_path)
    some(1, ["s"] * 6).save_npz(tmp_path / "b.npz")
    with pytest.raises(InputError, match="of strings or of integers in all"):
        load(tmp_path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"task": ("y", "x")},
            r"expected classification \(x, y\); came classification \(y, x\)",
        ),
        ({"inputs": {"a": np.zeros((6, 3), np.float32)}}, "missing: 'b'; unknown: none"),
        (
            {"inputs": {"a": np.zeros((6, 4), np.float32), "b": np.zeros((6, 2))}},
            r"sensor 'a' has the wrong shape: expected \(3,\)",
        ),
        (
            {"inputs": {"a": np.zeros((6, 3)), "b": np.zeros((6, 2))}},
            "'a' has the wrong type",
        ),
    ],
)
def test_files_of_a_folder_are_alike(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    some(0).save_npz(tmp_path / "a.npz")
    some(1, **changes).save_npz(tmp_path / "b.npz")
    with pytest.raises(InputError, match=rf"b\.npz differs from a\.npz: .*{message}"):
        load(tmp_path)


DSADS = ROOT.parent / "shared" / "data" / "dsads"


@pytest.mark.skipif(not DSADS.is_dir(), reason=f"there is no {DSADS}")
def test_body_units_of_seven_persons() -> None:
    data = load(DSADS)
    assert (len(data), data.summary.groups) == (7 * 1140, 7)
    assert data.groups is not None
    parts = ("train", "validation", "test")
    whose = [set(data.groups[rows_of(f"group:{part}", data.table)]) for part in parts]
    assert whose == [{f"subject{n}" for n in range(1, 6)}, {"subject6"}, {"subject7"}]
    assert data.leak("group:test") is None
    leak = data.leak("npz:test")
    assert leak is not None
    assert "its groups are in npz:train too" in leak


def test_what_is_none_of_the_forms(tmp_path: Path, crops: Path) -> None:
    with pytest.raises(InputError, match=r"there is no nowhere: expected 'street' .* \.npz file"):
        load("nowhere")
    with pytest.raises(InputError, match="has none of the accepted forms: expected 'street'"):
        load(tmp_path)
    (tmp_path / "a.csv").write_text("1,2")
    with pytest.raises(InputError, match=r"a\.csv has none of the accepted forms"):
        load(tmp_path / "a.csv")
    with pytest.raises(
        InputError, match="holds views as they are: size, margin and boxes need whole"
    ):
        load(crops, size=48)
