"""Small folders in the forms that the readers accept, and one generated street."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from ddnn_tf.datasets import Dataset, read_street

#: (folder, class, object, frame) to the cameras that see it; the others are black.
CROPS: Mapping[tuple[str, str, int, int], tuple[int, ...]] = {
    **{("train_dir", "car", n, f): (0, 1, 2) for n in (0, 1) for f in range(1, 9)},
    **{("train_dir", "bus", 0, f): (1,) for f in (3, 4)},
    **{("test_dir", "car", 0, f): (0, 2) for f in (9, 10)},
    ("test_dir", "bus", 0, 9): (2,),
}


def picture(seed: int, height: int = 8, width: int = 8) -> NDArray[np.uint8]:
    """A smooth one, which survives JPEG."""
    small = np.random.default_rng(seed).integers(40, 250, (2, 2, 3), dtype=np.uint8)
    return np.asarray(cv2.resize(small, (width, height)), dtype=np.uint8)


def write_picture(path: Path, content: NDArray[Any]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), content)
    return path


def crop_path(root: Path, key: tuple[str, str, int, int], camera: int) -> Path:
    folder, label, number, frame = key
    return root / folder / f"{label}_images" / f"c{camera}_{number}_{frame:08d}.jpg"


@pytest.fixture
def crops(tmp_path: Path) -> Path:
    """19 samples of three cameras, in the poster's form."""
    root = tmp_path / "crops"
    for row, (key, cameras) in enumerate(CROPS.items()):
        for camera in range(3):
            seen = camera in cameras
            content = picture(10 * row + camera) if seen else np.zeros((8, 8, 3), np.uint8)
            write_picture(crop_path(root, key, camera), content)
    return root


WriteRaw = Callable[..., Path]


@pytest.fixture
def write_raw(tmp_path: Path) -> WriteRaw:
    """Writes two cameras in the raw form: boxes by (class, frame, camera)."""

    def write(
        boxes: Mapping[tuple[str, int, int], Iterable[str]], frames: Iterable[int] = range(1, 5)
    ) -> Path:
        root = tmp_path / "raw"
        for frame in frames:
            for camera in range(2):
                write_picture(
                    root / "multiclass_ground_truth_images" / f"c{camera}" / f"{frame:08d}.jpg",
                    picture(10 * frame + camera, 40, 60),
                )
        for (label, frame, camera), lines in boxes.items():
            folder = root / "bounding_boxes_EPFL_cross" / f"gt_files4_{label}" / "visible_frame"
            folder.mkdir(parents=True, exist_ok=True)
            path = folder / f"det_frame{frame}_cam{camera}.txt"
            path.write_text("".join(f"{line}\n" for line in lines))
        return root

    return write


@pytest.fixture(scope="session")
def street_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("streets")


@pytest.fixture(scope="session")
def street(street_cache: Path) -> Dataset:
    """The default street, whole."""
    return read_street(cache=street_cache)
