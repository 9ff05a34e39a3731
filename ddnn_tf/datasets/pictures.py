"""Picture files to arrays. Color order is decided here, once: red, green, blue."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from edge_runtime.errors import InputError

Box = tuple[float, float, float, float]

# A blank view decodes to all zeros; a JPEG writer may leave a little noise.
_BLANK = 8
_JPEG_START = b"\xff\xd8"
_JPEG_END = b"\xff\xd9"


def read_picture(path: Path) -> NDArray[np.uint8]:
    """Decode a JPEG or PNG file.

    Returns:
        `(height, width, 3)`, uint8, red, green, blue.

    Raises:
        InputError: The file cannot be read, or is empty, cut short or not a picture.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}") from error
    # Older decoders fill a truncated JPEG with gray and only print a warning.
    truncated = data.startswith(_JPEG_START) and _JPEG_END not in data[-64:]
    picture = None
    if data and not truncated:
        picture = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    if picture is None:
        raise InputError(
            f"{path} is corrupt: expected a complete JPEG or PNG picture; came {len(data)} bytes "
            "that cannot be decoded. Restore or remove the file"
        )
    return np.asarray(cv2.cvtColor(picture, cv2.COLOR_BGR2RGB), dtype=np.uint8)


def crop(
    picture: NDArray[np.uint8], box: Box, size: tuple[int, int], margins: Sequence[float] = (1.0,)
) -> NDArray[np.uint8] | None:
    """Cut a box out of a picture, with one margin or several, and scale what was cut.

    Coordinates are truncated and the resize is bicubic: so were the poster's crops made.

    Args:
        picture: `(height, width, 3)`.
        box: `xmin, ymin, xmax, ymax` in pixels; may reach past the border, where it is cut off.
        size: Height and width of the result.
        margins: How much wider and higher than the box each cut is, about the same center; 1 is
            the box itself.

    Returns:
        `(*size, 3 * margins)`, the cuts' channels one after another; or None where nothing of the
        box lies in the picture or it has no area.
    """
    height, width = picture.shape[:2]
    if not _covers(box, height, width):
        return None
    return np.concatenate([_cut(picture, box, size, margin) for margin in margins], axis=2)


def cut_size(picture: NDArray[np.uint8], box: Box) -> tuple[int, int]:
    """Height and width in pixels of what `crop` cuts out with margin 1, before it is scaled."""
    left, top, right, bottom = _edges(picture, box, 1.0)
    return bottom - top, right - left


def _edges(picture: NDArray[np.uint8], box: Box, margin: float) -> tuple[int, int, int, int]:
    height, width = picture.shape[:2]
    xmin, ymin, xmax, ymax = box
    x_more, y_more = (xmax - xmin) * (margin - 1) / 2, (ymax - ymin) * (margin - 1) / 2
    left, top = max(int(xmin - x_more), 0), max(int(ymin - y_more), 0)
    right, bottom = min(int(xmax + x_more), width), min(int(ymax + y_more), height)
    return left, top, right, bottom


def _cut(
    picture: NDArray[np.uint8], box: Box, size: tuple[int, int], margin: float
) -> NDArray[np.uint8]:
    left, top, right, bottom = _edges(picture, box, margin)
    cut = picture[top:bottom, left:right]
    scaled = cv2.resize(cut, (size[1], size[0]), interpolation=cv2.INTER_CUBIC)
    return np.asarray(scaled, dtype=np.uint8)


def _covers(box: Box, height: int, width: int) -> bool:
    xmin, ymin, xmax, ymax = box
    return int(min(xmax, width)) > int(max(xmin, 0)) and int(min(ymax, height)) > int(max(ymin, 0))


def is_blank(pictures: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Which of `(N, height, width, 3)` pictures are all black: the object is out of sight."""
    return np.asarray(pictures.reshape(len(pictures), -1).max(axis=1) <= _BLANK)
