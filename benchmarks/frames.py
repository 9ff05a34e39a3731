"""Whole frames of the street: which kinds of objects are there, how many, and both at once.

Six cameras, each frame small; frames up to 165 train, 171 to 195 choose, 201 on are reported.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from ddnn_tf.datasets.pictures import read_picture
from ddnn_tf.datasets.raw import PICTURES, listed_boxes
from edge_runtime.samples import Samples
from edge_runtime.task import MultiLabel, Regression, Several, Task

#: Height and width of a picture.
SIZE = (36, 45)
#: The first frame of each part of time but the first, which begins at 0; between them lies a gap.
PARTS = {"1 early": (0, 165), "2 middle": (171, 195), "3 late": (201, 10**9)}
KINDS = MultiLabel(("bus", "car", "person"))
COUNT = Regression(("count",), ("objects",))
TASKS: dict[str, Task] = {
    "kinds": KINDS,
    "count": COUNT,
    "both": Several({"kinds": KINDS, "count": COUNT}),
}


def frames_of(root: Path, task: str) -> Samples:
    """Every frame of the raw EPFL set that lies in a part of time, as a sample of a task.

    The group is the part of time, so that `group:train`, `group:validation` and `group:test` are
    in this order.
    """
    folders = sorted((root / PICTURES).glob("c*"))
    cameras = {int(folder.name[1:]): folder for folder in folders}
    boxes = listed_boxes(root, set(cameras))
    names = [{int(file.stem): file for file in folder.glob("*.jpg")} for folder in cameras.values()]
    frames = sorted(set.intersection(*map(set, names)))
    part = {f: p for f in frames for p, (a, b) in PARTS.items() if a <= f <= b}
    frames = [f for f in frames if f in part]
    views = {
        f"cam{camera}": np.stack([_small(files[f]) for f in frames])
        for camera, files in zip(cameras, names, strict=True)
    }
    seen = {(kind, frame) for kind, frame, _ in boxes}
    present = [[(kind, f) in seen for kind in KINDS.names] for f in frames]
    count = [[sum(at == f for _, at, _ in boxes)] for f in frames]
    targets: dict[str, Any] = {
        "kinds": np.array(present, np.uint8),
        "count": np.array(count, np.float32),
    }
    own = TASKS[task]
    labels = own.checked(targets) if isinstance(own, Several) else own.checked(targets[task])
    return Samples(views, labels, own, np.array([part[f] for f in frames]))


def _small(file: Path) -> NDArray[np.uint8]:
    picture = read_picture(file)
    return np.asarray(cv2.resize(picture, SIZE[::-1], interpolation=cv2.INTER_AREA), np.uint8)
