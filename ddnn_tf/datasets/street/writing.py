"""The recording as files, in the raw form that `read_raw` reads."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from edge_runtime.errors import InputError
from edge_runtime.files import new_folder

from ..pictures import Box
from ..raw import BOXES, PICTURES
from .background import background
from .camera import CAMERAS, HEIGHT, WIDTH
from .drawing import SCALE, Seen, draw
from .furniture import canopy, pillar, shelter
from .light import daylight, tone
from .traffic import Placed, traffic

FRAMES = 242
_ABOUT = "street.json"
_KINDS = ("bus", "car", "person")
_QUALITY = 90
_ZONE = 20.0  # meters from the middle along the street; what is farther has no box
_MIN_SHARE = 0.5  # an object of which less is seen counts as not seen
_MIN_SIDE = (7.0, 13.0)  # pixels
_NOISE = 4.0  # gray levels
_BOX_ERROR = 0.045  # of the side
_COLUMNS = ((-12.5, 6.9), (-10.0, -4.5))
_TREES = ((-3.0, -4.7), (3.0, -4.7), (9.0, 7.4), (-16.0, 9.4), (18.5, 9.4))


def write_street(target: str | os.PathLike[str], *, seed: int = 0, frames: int = FRAMES) -> None:
    """Draw the recording and write it; the folder appears, complete, by a rename.

    Six cameras of 360x288 pixels see one street; every five seconds a frame. Each object of a
    frame has the same row in every camera's box file; where a camera does not see it, the row is
    `0 0 0 0`. The same seed gives the same street. `street.json` has the cameras' calibration.

    Args:
        target: A folder that does not exist, is empty, or was written by this function.
        seed: What happens on the street.
        frames: Length of the recording, at least 1.

    Raises:
        InputError: `target` holds something else or cannot be written, or `frames` is below 1.
    """
    if frames < 1:
        raise InputError(f"frames must be at least 1; came {frames}")
    try:
        with new_folder(Path(target), replaces=_ABOUT) as folder:
            _write(folder, seed, frames)
    except OSError as error:
        raise InputError(
            f"cannot write {target}: {error.strerror or error}. Choose a folder with room"
        ) from error


def _things(rng: np.random.Generator) -> list[Placed]:
    """What stands on the pavements, the same in every frame."""
    bark, posters = (60, 72, 86), ((150, 120, 190), (90, 180, 220))
    things = [Placed("thing", -1, shelter(), -8.5, 8.6, 0.0)]
    for number, (x, y) in enumerate(_COLUMNS):
        column = pillar(0.65, 3.2, (posters[number], (62, 70, 62)))
        things.append(Placed("thing", -2, column, x, y, 0.0))
    for x, y in _TREES:
        things.append(Placed("thing", -3, pillar(0.14, 2.9, (bark, bark)), x, y, 0.0))
        things.append(Placed("thing", -4, canopy(rng), x, y, float(rng.uniform(0, np.pi))))
    return things


def _write(folder: Path, seed: int, frames: int) -> None:
    about = {"seed": seed, "frames": frames, "cameras": [asdict(camera) for camera in CAMERAS]}
    (folder / _ABOUT).write_text(json.dumps(about, indent=2), encoding="ascii")
    what, noise_rng, light_rng, box_rng = np.random.default_rng(seed).spawn(4)
    for number in range(len(CAMERAS)):
        (folder / PICTURES / f"c{number}").mkdir(parents=True)
    for kind in _KINDS:
        (folder / BOXES / f"gt_files{frames}_{kind}" / "visible_frame").mkdir(parents=True)
    things = _things(np.random.default_rng([seed, 2]))
    empty = [background(c, SCALE, np.random.default_rng([seed, 1])) for c in CAMERAS]
    noise = noise_rng.normal(0, _NOISE, (HEIGHT + 64, WIDTH + 64, 3)).astype(np.int16)
    for frame, everyone in enumerate(traffic(frames, what), start=1):
        position = (frame - 1) / FRAMES
        light = daylight(position, light_rng)
        seen: list[dict[int, Box]] = []
        for number, camera in enumerate(CAMERAS):
            picture, shown = draw(camera, empty[number], [*everyone, *things], light)
            toned = cv2.LUT(picture, tone(light, position, number, light_rng))
            dy, dx = light_rng.integers(64, size=2)
            grain = noise[dy : dy + HEIGHT, dx : dx + WIDTH]
            noisy = cv2.add(toned, grain, dtype=cv2.CV_8U)
            _save(folder / PICTURES / f"c{number}" / f"{frame:08d}.jpg", noisy)
            boxes = {n: _measured(s.box, box_rng) for n, s in shown.items() if _counts(s)}
            seen.append(boxes)
        for kind in _KINDS:
            rows = [o.number for o in everyone if o.kind == kind and abs(o.x) <= _ZONE]
            where = folder / BOXES / f"gt_files{frames}_{kind}" / "visible_frame"
            _write_boxes(where, frame, sorted(rows), seen)


def _write_boxes(
    folder: Path, frame: int, objects: Sequence[int], seen: Sequence[Mapping[int, Box]]
) -> None:
    """The box files of one class and frame; a row for each object that some camera sees."""
    rows = [number for number in objects if any(number in boxes for boxes in seen)]
    for number, boxes in enumerate(seen):
        if any(row in boxes for row in rows):
            lines = [_line(boxes.get(row)) for row in rows]
            path = folder / f"det_frame{frame}_cam{number}.txt"
            path.write_text("".join(lines), encoding="ascii")


def _counts(seen: Seen) -> bool:
    left, top, right, bottom = seen.box
    left, right = max(left, 0), min(right, WIDTH)
    top, bottom = max(top, 0), min(bottom, HEIGHT)
    large = right - left >= _MIN_SIDE[0] and bottom - top >= _MIN_SIDE[1]
    return large and seen.share >= _MIN_SHARE


def _measured(box: Box, rng: np.random.Generator) -> Box:
    """The box as a hand or a detector would draw it."""
    left, top, right, bottom = box
    wide, high = _BOX_ERROR * (right - left), _BOX_ERROR * (bottom - top)
    a, b, c, d = rng.normal(0, 1, 4).clip(-2, 2)
    return (left + a * wide, top + b * high, right + c * wide, bottom + d * high)


def _line(box: Box | None) -> str:
    return " ".join(f"{value:.2f}" for value in box or (0.0, 0.0, 0.0, 0.0)) + "\n"


def _save(path: Path, picture: NDArray[Any]) -> None:
    done, data = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])
    if not done:
        raise OSError("the picture could not be encoded")
    path.write_bytes(data.tobytes())
