"""The poster's folder form."""

from __future__ import annotations

import os
import random
import shutil
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from ddnn_tf.datasets import Dataset, read_crops, read_raw
from edge_runtime.errors import InputError
from tests.ddnn_tf.datasets.conftest import CROPS, crop_path, picture, write_picture

CAR = ("train_dir", "car", 0, 1)
BUS = ("train_dir", "bus", 0, 3)


def test_reads_what_the_names_say(crops: Path) -> None:
    data = read_crops(crops)
    assert data.class_names == ("bus", "car")
    assert data.sensors == ("cam0", "cam1", "cam2")
    assert len(data) == len(CROPS)
    assert data.summary.splits["train_dir"] == {"bus": 2, "car": 16}
    assert data.summary.splits["test_dir"] == {"bus": 1, "car": 2}
    assert data.summary.events == {}
    table = data.table
    assert table.folders is not None
    assert table.objects is not None
    assert table.frames is not None
    for row in range(len(data)):
        label = data.class_names[table.labels[row]]
        key = (str(table.folders[row]), label, int(table.objects[row]), int(table.frames[row]))
        assert np.flatnonzero(data.visible[row]).tolist() == list(CROPS[key])
        expected = cv2.imread(str(crop_path(crops, key, 2)))
        assert expected is not None
        # OpenCV reads blue first; samples are red first.
        assert (data.samples.inputs["cam2"][row] == expected[..., ::-1]).all()


def test_the_order_of_listing_does_not_matter(crops: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sorted_ = read_crops(crops)

    def shuffled(path: Path, listdir: Callable[[Path], list[str]] = os.listdir) -> list[str]:
        return random.Random(3).sample(names := listdir(path), len(names))

    monkeypatch.setattr(os, "listdir", shuffled)
    again = read_crops(crops)
    for name in sorted_.sensors:
        assert (sorted_.samples.inputs[name] == again.samples.inputs[name]).all()


def split_in_two(root: Path, key: tuple[str, str, int, int], camera: int, number: int) -> None:
    """Give one view of a group another object number, as in the poster's folders."""
    folder, label, _, frame = key
    crop_path(root, key, camera).rename(crop_path(root, (folder, label, number, frame), camera))


def test_incomplete_pairs_are_merged(crops: Path) -> None:
    whole = read_crops(crops)
    split_in_two(crops, CAR, 1, 7)
    data = read_crops(crops)
    assert data.summary.events == {"merged pairs": 1}
    assert data.summary.notes == ("merged train_dir car 7 in frame 1 into object 0",)
    for name in whole.sensors:
        assert (whole.samples.inputs[name] == data.samples.inputs[name]).all()


def test_ambiguous_pairs_are_not_merged(crops: Path) -> None:
    split_in_two(crops, CAR, 1, 7)
    shutil.copy(
        crop_path(crops, ("train_dir", "car", 7, 1), 1),
        crop_path(crops, ("train_dir", "car", 8, 1), 1),
    )
    data = read_crops(crops, fill_missing=True)
    assert data.summary.events == {"filled views": 5}


def test_a_missing_view_is_an_error_or_filled_and_reported(crops: Path) -> None:
    crop_path(crops, CAR, 2).unlink()
    message = (
        r"train_dir: view files are missing in 1 of 18 samples: train_dir car 0 in frame 1, "
        r"camera 2\. Expected one picture per camera .* or pass fill_missing=True"
    )
    for fill in (None, False):
        with pytest.raises(InputError, match=message):
            read_crops(crops, fill_missing=fill)
    data = read_crops(crops, fill_missing=True)
    assert data.summary.events == {"filled views": 1}
    assert "filled train_dir car 0 in frame 1, camera 2 with a black view" in str(data.summary)
    assert data.visible.sum() == sum(map(len, CROPS.values())) - 1


def remove_camera(root: Path) -> None:
    for path in (root / "test_dir").glob("*/c1_*"):
        path.unlink()


def empty_class(root: Path) -> None:
    for path in (root / "train_dir" / "bus_images").iterdir():
        path.unlink()


def write(name: str, content: bytes) -> Callable[[Path], None]:
    def change(root: Path) -> None:
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).write_bytes(content)

    return change


def truncate(root: Path) -> None:
    path = crop_path(root, CAR, 0)
    path.write_bytes(path.read_bytes()[:-40])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (remove_camera, "test_dir has no picture of camera 1: expected view files c0_"),
        (empty_class, "bus_images is empty: expected pictures named cCAMERA_OBJECT_FRAME"),
        (truncate, r"c0_0_00000001\.jpg is corrupt: expected a complete JPEG"),
        (write("train_dir/car_images/c0_0_00000001.jpg", b""), "is corrupt: .* came 0 bytes"),
        (write("train_dir/car_images/notes.txt", b""), r"notes\.txt has an unexpected name"),
        (write("train_dir/car_images/c0_0_1.jpg", b""), "is camera 0 of train_dir car 0 .* second"),
        (write("train_dir/notes.txt", b""), r"notes\.txt does not belong here: expected only fol"),
        (write("train_dir/cars/c0_0_1.jpg", b""), "cars does not belong here"),
    ],
)
def test_bad_folders(crops: Path, change: Callable[[Path], None], message: str) -> None:
    change(crops)
    with pytest.raises(InputError, match=message):
        read_crops(crops)


def test_pictures_of_another_size(crops: Path) -> None:
    write_picture(crop_path(crops, BUS, 1), picture(0, 9, 10))
    with pytest.raises(InputError, match=r"has the wrong size: expected 8x8 pixels .* came 10x9"):
        read_crops(crops)


def test_empty_folders(tmp_path: Path) -> None:
    (tmp_path / "train_dir").mkdir()
    with pytest.raises(InputError, match="train_dir is empty: expected folders named CLASS_images"):
        read_crops(tmp_path)


@pytest.fixture(scope="module")
def poster(camera_data: Path) -> Dataset:
    return read_crops(camera_data / "mvmc")


def test_the_posters_counts(poster: Dataset) -> None:
    splits = poster.summary.splits
    assert splits["train_dir"] == {"bus": 7, "car": 813, "person": 294}
    assert splits["test_dir"] == {"bus": 2, "car": 98, "person": 49}
    assert poster.summary.events == {"merged pairs": 3, "filled views": 4}
    assert poster.test.name == "test_dir"
    assert poster.samples.inputs["cam5"].shape == (1263, 32, 32, 3)
    parts = [splits["train_dir:train"], splits["train_dir:validation"]]
    for name in poster.class_names:
        assert min(part[name] for part in parts) >= 1
        assert sum(part[name] for part in parts) == splits["train_dir"][name]


def test_the_raw_form_reproduces_the_posters_crops(poster: Dataset, camera_data: Path) -> None:
    raw = read_raw(camera_data / "epfl_multiclass")
    assert raw.summary.classes == {"bus": 9, "car": 836, "person": 317}
    assert raw.summary.events["frames without pictures"] == 40
    assert raw.summary.splits["time:test"] == {"bus": 4, "car": 155, "person": 51}

    def keyed(data: Dataset) -> dict[tuple[int, ...], int]:
        assert data.table.frames is not None
        assert data.table.objects is not None
        columns = (data.table.labels, data.table.frames, data.table.objects)
        return {tuple(map(int, key)): row for row, key in enumerate(zip(*columns, strict=True))}

    ours, theirs = keyed(raw), keyed(poster)
    common = sorted(set(ours) & set(theirs))
    assert len(common) == 1160
    a, b = [ours[key] for key in common], [theirs[key] for key in common]
    # The poster's crops lack seven views of objects that share a row with an empty box.
    assert (raw.visible[a] != poster.visible[b]).sum() == 7
    errors = []
    for column, name in enumerate(raw.sensors):
        both = raw.visible[a, column] & poster.visible[b, column]
        mine, other = raw.samples.inputs[name][a][both], poster.samples.inputs[name][b][both]
        errors.append(np.abs(mine.astype(int) - other.astype(int)).mean(axis=(1, 2, 3)))
    assert np.concatenate(errors).mean() < 2.5
    assert np.concatenate(errors).max() < 6
