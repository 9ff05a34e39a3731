"""One door to all forms, and the .npz form."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from ddnn_tf.datasets import load
from edge_runtime.errors import InputError
from edge_runtime.samples import Samples
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
