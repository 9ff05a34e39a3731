"""The raw form: pictures and boxes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from ddnn_tf.datasets import read_raw
from edge_runtime.errors import InputError
from tests.ddnn_tf.datasets.conftest import WriteRaw, picture, write_picture

PICTURES = "multiclass_ground_truth_images"
BOXES = "bounding_boxes_EPFL_cross"
SOME = {
    ("car", 1, 0): ["2 3 22 33", "0 0 0 0"],
    ("car", 1, 1): ["  1.5e+01 5.9 30.9 2.5e1", "10 10 30 30"],
    ("bus", 1, 1): ["-20 -5 25.7 90"],
    ("bus", 2, 0): ["5 5 25 25"],
}


def test_rows_are_objects(write_raw: WriteRaw) -> None:
    data = read_raw(write_raw(SOME), size=(6, 8))
    assert data.class_names == ("bus", "car")
    assert data.table.labels.tolist() == [0, 0, 1, 1]
    assert data.table.frames is not None
    assert data.table.objects is not None
    assert data.table.frames.tolist() == [1, 2, 1, 1]
    assert data.table.objects.tolist() == [0, 0, 0, 1]
    assert data.visible.tolist() == [[False, True], [True, False], [True, True], [False, True]]
    assert data.samples.inputs["cam0"].shape == (4, 6, 8, 3)
    assert not data.samples.inputs["cam0"][0].any()
    assert data.summary.events == {"views with an empty box": 1}
    assert data.table.span == (1, 4)


def test_crops_are_truncated_clipped_and_cubic(write_raw: WriteRaw) -> None:
    root = write_raw(SOME)
    data = read_raw(root, size=6)
    whole = cv2.imread(str(root / PICTURES / "c1" / "00000001.jpg"))
    assert whole is not None
    for row, part in ((2, whole[5:25, 15:30]), (0, whole[0:40, 0:25])):
        expected = cv2.resize(part, (6, 6), interpolation=cv2.INTER_CUBIC)[..., ::-1]
        assert (data.samples.inputs["cam1"][row] == expected).all()


def test_margin_widens_about_the_center(write_raw: WriteRaw) -> None:
    root = write_raw(SOME)
    data = read_raw(root, size=6, margin=1.5)
    whole = cv2.imread(str(root / PICTURES / "c1" / "00000001.jpg"))
    assert whole is not None
    expected = cv2.resize(whole[5:35, 5:35], (6, 6), interpolation=cv2.INTER_CUBIC)[..., ::-1]
    assert (data.samples.inputs["cam1"][3] == expected).all()
    assert (read_raw(root, size=6).visible == data.visible).all()


def test_the_size_of_a_box_is_that_of_what_is_seen_of_it(write_raw: WriteRaw) -> None:
    root = write_raw(SOME)
    pixels = read_raw(root, size=6)
    # By hand, of pictures of 40x60: truncated, and cut off at the border.
    sizes = {
        "cam0_box": [[0, 0], [20 / 40, 20 / 60], [30 / 40, 20 / 60], [0, 0]],
        "cam1_box": [[40 / 40, 25 / 60], [0, 0], [20 / 40, 15 / 60], [20 / 40, 20 / 60]],
    }
    for margin in (1.0, 1.5):
        both = read_raw(root, size=6, margin=margin, boxes="beside")
        assert both.sensors == ("cam0", "cam0_box", "cam1", "cam1_box")
        for name, expected in sizes.items():
            found = both.samples.inputs[name]
            assert found.dtype == np.float32
            np.testing.assert_array_equal(found, np.array(expected, np.float32))
    assert (both.visible == pixels.visible.repeat(2, axis=1)).all()
    alone = read_raw(root, boxes="alone")
    assert alone.sensors == ("cam0_box", "cam1_box")
    assert (alone.visible == pixels.visible).all()
    for name in alone.sensors:
        assert (alone.samples.inputs[name] == both.samples.inputs[name]).all()


@pytest.mark.parametrize(
    "box", ["0 0 0 0", "26.6e1 23 26.5e1 54", "10 20 10.9 30", "-36 -18 -37 -20", "60 0 80 9"]
)
def test_a_box_without_area_in_the_picture_is_not_seen(write_raw: WriteRaw, box: str) -> None:
    boxes = {("car", 1, 0): [box, "2 3 22 33"], ("car", 1, 1): [box]}
    data = read_raw(write_raw(boxes))
    assert data.table.objects is not None
    assert data.table.objects.tolist() == [1]
    assert data.summary.events == {
        "views with an empty box": 2,
        "dropped objects no camera sees": 1,
    }


def test_frames_without_pictures_are_counted(write_raw: WriteRaw) -> None:
    boxes = {**SOME, ("car", 9, 0): ["1 1 9 9", "1 1 9 9"]}
    data = read_raw(write_raw(boxes, frames=(1, 2, 5)))
    assert len(data) == 4
    assert data.summary.events["frames without pictures"] == 2
    assert data.summary.events["dropped objects without pictures"] == 2


def write(name: str, content: str) -> Callable[[Path], None]:
    def change(root: Path) -> None:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(content)

    return change


CAR = f"{BOXES}/gt_files4_car/visible_frame"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (write(f"{CAR}/det_frame1_cam0.txt", "1 2 3\n"), "cam0.txt, line 1: expected four finite"),
        (write(f"{CAR}/det_frame1_cam0.txt", "1 2 3 4\n1 2 nan 4"), "line 2: .* came '1 2 nan 4'"),
        (write(f"{CAR}/det_frame1_cam0.txt", "a b c d\n"), "line 1: .* came 'a b c d'"),
        (write(f"{CAR}/det_frame1_cam7.txt", "1 2 3 4\n"), "is of camera 7, which has no pictures"),
        (write(f"{CAR}/boxes.txt", ""), r"boxes\.txt has an unexpected name: expected det_frame"),
        (write(f"{BOXES}/cars/a.txt", ""), "cars does not belong here: expected folders gt_files"),
        (write(f"{PICTURES}/left/1.jpg", ""), "left does not belong here: expected folders c0"),
        (write(f"{PICTURES}/c0/a.jpg", ""), r"a\.jpg has an unexpected name: expected FRAME\.jpg"),
        (write(f"{PICTURES}/c0/00000001.jpg", "x"), r"c0/00000001\.jpg is corrupt"),
        (write(f"{PICTURES}/c0/00000009.jpg", "x"), "camera 1 has no picture of 1 frames .*9"),
    ],
)
def test_bad_folders(write_raw: WriteRaw, change: Callable[[Path], None], message: str) -> None:
    root = write_raw(SOME)
    change(root)
    with pytest.raises(InputError, match=message):
        read_raw(root)


def test_missing_and_empty_folders(write_raw: WriteRaw) -> None:
    root = write_raw(SOME)
    (root / BOXES / "gt_files4_person" / "visible_frame").mkdir(parents=True)
    with pytest.raises(InputError, match="visible_frame is empty"):
        read_raw(root)
    (root / BOXES).rename(root / "elsewhere")
    with pytest.raises(InputError, match=f"{BOXES} is missing: expected a folder"):
        read_raw(root)


def test_pictures_of_another_size(write_raw: WriteRaw) -> None:
    root = write_raw(SOME)
    write_picture(root / PICTURES / "c0" / "00000002.jpg", picture(0, 20, 30))
    with pytest.raises(InputError, match=r"has the wrong size: expected 60x40 pixels .* 30x20"):
        read_raw(root)


def test_nothing_to_see(write_raw: WriteRaw) -> None:
    with pytest.raises(InputError, match="no box belongs to a picture"):
        read_raw(write_raw({("car", 9, 0): ["1 2 3 4"]}))
    with pytest.raises(InputError, match="no box has an area inside its picture"):
        read_raw(write_raw({("car", 9, 0): ["1 2 30 4"], ("car", 1, 0): ["1 2 1 4"]}))


def test_several_margins_stand_one_after_another_in_the_channels(write_raw: WriteRaw) -> None:
    root = write_raw(SOME)
    both = read_raw(root, size=6, margin=(1.0, 1.5))
    for place, margin in enumerate((1.0, 1.5)):
        alone = read_raw(root, size=6, margin=margin)
        for name, views in both.samples.inputs.items():
            assert (views[..., 3 * place : 3 * place + 3] == alone.samples.inputs[name]).all()
        assert (both.visible == alone.visible).all()


def test_options_out_of_range(write_raw: WriteRaw) -> None:
    root = write_raw(SOME)
    with pytest.raises(InputError, match="size must be at least 1 pixel; came 0"):
        read_raw(root, size=0)
    for margin in (0.5, np.nan, (1.0, 0.5), ()):
        with pytest.raises(InputError, match="margin must be a number of at least 1"):
            read_raw(root, margin=margin)
