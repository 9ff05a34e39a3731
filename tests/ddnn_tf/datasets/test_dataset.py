"""A data set, its splits and its summary."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from ddnn_tf.datasets import read_crops
from edge_runtime.errors import InputError


def test_the_folders_own_splits_are_the_default(crops: Path) -> None:
    data = read_crops(crops)
    assert data.train.name == "train_dir:train"
    assert data.validation.name == "train_dir:validation"
    assert data.test.name == "test_dir"
    assert len(data.train.samples) + len(data.validation.samples) == 18
    assert data.train is data.train


def test_another_family_of_splits(crops: Path) -> None:
    for name in ("time", "time:train"):
        data = read_crops(crops, split=name)
        assert [s.name for s in (data.train, data.test)] == ["time:train", "time:test"]
    whole = read_crops(crops, split="all")
    assert len(whole.train.samples) == len(whole.test.samples) == 21
    with pytest.raises(InputError, match=r"there is no split 'holdout_dir': .* test_dir, "):
        read_crops(crops, split="holdout_dir")
    with pytest.raises(InputError, match="there is no split 'nope'"):
        data.split("nope")


def test_only_one_folder(crops: Path) -> None:
    (crops / "train_dir").rename(crops / "holdout_dir")
    data = read_crops(crops)
    assert data.split("holdout_dir").prior == (2 / 18, 16 / 18)
    with pytest.raises(InputError, match="there is no split 'train_dir'"):
        data.split("train_dir")


def test_prior_is_that_of_the_training_data(crops: Path) -> None:
    data = read_crops(crops)
    for name in ("train_dir", "train_dir:validation", "test_dir"):
        assert data.split(name).prior == (2 / 18, 16 / 18)
    time = data.split("time:train")
    assert data.split("time:test").prior == tuple(time.samples.frequencies().tolist())


def test_training_order_follows_the_seed(crops: Path) -> None:
    orders = [read_crops(crops, seed=s).train[0][0]["cam0"] for s in (1, 1, 2)]
    assert (orders[0] == orders[1]).all()
    assert (orders[0] != orders[2]).any()


def test_batched(crops: Path) -> None:
    data = read_crops(crops, batch_size=5).batched(3)
    assert [data.train.batch_size, data.test.batch_size] == [3, 3]
    assert data.split("all", batch_size=7).batch_size == 7


def test_summary_is_json_and_text(crops: Path) -> None:
    data = read_crops(crops)
    summary = data.summary.as_dict()
    assert json.loads(json.dumps(summary)) == summary
    assert summary["samples"] == 21
    assert summary["sensors"]["cam1"] == "8x8x3 uint8"
    assert summary["seen"] == dict(zip(data.sensors, data.visible.sum(0).tolist(), strict=True))
    text = str(data.summary)
    assert "21 samples, 3 sensors" in text
    assert any(line.split() == ["test_dir", "3", "1", "2"] for line in text.splitlines())


def test_visible_has_one_column_per_sensor(crops: Path) -> None:
    data = read_crops(crops)
    with pytest.raises(InputError, match=r"visible must have shape \(21, 3\); came \(21, 2\)"):
        replace(data, visible=np.ones((21, 2), bool))
