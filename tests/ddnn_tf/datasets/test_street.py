"""The generated street: what it is, and how hard."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from ddnn_tf.datasets import Batches, Dataset, load, read_raw, read_street, write_street
from edge_runtime.errors import InputError

Features = NDArray[np.float64]


def contents(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_the_same_seed_gives_the_same_street(tmp_path: Path) -> None:
    for name, seed in (("a", 3), ("b", 3), ("c", 4)):
        write_street(tmp_path / name, seed=seed, frames=2)
    a, b, c = (contents(tmp_path / name) for name in "abc")
    assert a == b
    assert a != c
    assert sorted(os.listdir(tmp_path)) == ["a", "b", "c"]


def test_it_is_in_the_raw_form(tmp_path: Path) -> None:
    write_street(tmp_path / "street", frames=3)
    data = read_raw(tmp_path / "street")
    assert data.sensors == ("cam0", "cam1", "cam2", "cam3", "cam4", "cam5")
    assert data.visible.any(axis=1).all()
    about = json.loads((tmp_path / "street" / "street.json").read_text())
    assert len(about["cameras"]) == 6
    assert load(tmp_path / "street", size=16).samples.inputs["cam0"].shape[1:] == (16, 16, 3)


def test_it_is_drawn_once(tmp_path: Path) -> None:
    read_street(cache=tmp_path, frames=2)
    (folder,) = tmp_path.iterdir()
    before = folder.stat().st_mtime_ns
    data = read_street(cache=tmp_path, frames=2, seed=5, size=8)
    assert folder.stat().st_mtime_ns == before
    assert data.form == "street"
    next(folder.rglob("*.jpg")).write_bytes(b"")
    with pytest.raises(InputError, match=f"is corrupt.*remove {folder} and it is drawn again"):
        read_street(cache=tmp_path, frames=2)


def test_where_it_cannot_be_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert len(read_street(frames=2)) > 0
    with pytest.raises(InputError, match="cannot write"):
        read_street(frames=2, cache=tmp_path / "file")
    with pytest.raises(InputError, match="frames must be at least 1"):
        read_street(frames=0)


def test_nothing_else_is_overwritten(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("precious")
    with pytest.raises(InputError, match="not ours to replace"):
        write_street(tmp_path, frames=1)
    assert os.listdir(tmp_path) == ["mine"]


def test_it_is_like_a_street(street: Dataset) -> None:
    summary = street.summary
    assert 900 <= len(street) <= 1300
    assert summary.classes["car"] > summary.classes["person"] > summary.classes["bus"] >= 40
    for part in ("train", "validation", "test"):
        assert min(summary.splits[f"time:{part}"].values()) >= 5
    share = street.visible.mean(axis=0)
    assert share.min() >= 0.3
    assert share.max() <= 0.7
    assert street.visible.any(axis=1).all()
    assert street.train.name == "time:train"


def raw_pixels(data: Batches, sensors: tuple[str, ...]) -> Features:
    return (
        np.concatenate([data.inputs[s].reshape(len(data.labels), -1) for s in sensors], 1) / 255.0
    )


def gradients(data: Batches, sensors: tuple[str, ...]) -> Features:
    """Histograms of edge directions in an 8x8 grid: what a simple classifier may look at."""
    every = []
    for sensor in sensors:
        gray = data.inputs[sensor].mean(axis=-1)
        gray = (gray - gray.mean((1, 2), keepdims=True)) / (gray.std((1, 2), keepdims=True) + 12)
        across, down = np.diff(gray, axis=2)[:, :31], np.diff(gray, axis=1)[:, :, :31]
        angle, size = np.arctan2(down, across) % np.pi, np.hypot(across, down)
        for step in range(8):
            away = np.abs((angle - step * np.pi / 8 + np.pi / 2) % np.pi - np.pi / 2)
            one = np.pad(size * np.maximum(0, 1 - away / (np.pi / 8)), ((0, 0), (0, 1), (0, 1)))
            every.append(np.sqrt(one.reshape(-1, 8, 4, 8, 4).mean((2, 4)).reshape(len(gray), -1)))
    return np.concatenate(every, axis=1)


def ridge_accuracy(street: Dataset, sensors: tuple[str, ...]) -> float:
    """Test accuracy of ridge regression onto the classes, on edge directions."""
    a, b = gradients(street.split("time:train"), sensors), gradients(street.test, sensors)
    a, b = a - a.mean(axis=0), b - a.mean(axis=0)
    wanted = np.eye(3)[street.train.labels]
    kernel = a @ a.T
    strength = 0.1 * np.trace(kernel) / len(kernel)
    weights = np.linalg.solve(kernel + strength * np.eye(len(kernel)), wanted - wanted.mean(axis=0))
    scores = b @ a.T @ weights + wanted.mean(axis=0)
    return float((scores.argmax(axis=1) == street.test.labels).mean())


def test_no_camera_is_enough(street: Dataset) -> None:
    together = ridge_accuracy(street, street.sensors)
    best = max(ridge_accuracy(street, (sensor,)) for sensor in street.sensors)
    assert together >= 0.95  # it can be learned
    assert best <= together - 0.10


def test_the_nearest_neighbor_is_not_enough(street: Dataset) -> None:
    train, test = street.split("time:train"), street.test
    a, b = raw_pixels(train, street.sensors), raw_pixels(test, street.sensors)
    distance = (a**2).sum(axis=1) - 2 * b @ a.T
    found = train.labels[distance.argmin(axis=1)]
    assert 0.5 < float((found == test.labels).mean()) <= 0.95
