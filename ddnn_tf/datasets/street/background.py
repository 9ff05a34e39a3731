"""What a camera sees of the empty street: one ray per pixel onto a few planes."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from .camera import Camera, Points

FACADES = {1: 10.2, -1: -8.9}  # y of the house fronts, north and south
_FAR = 75.0  # x of what closes the view along the street
_STREET = 3.5  # half the width of the road
_BAY = 6.0  # y where the northern bay ends
_SKY = np.array([232.0, 214.0, 196.0])
_HOUSES = np.array(
    [(150, 180, 205), (120, 140, 175), (175, 190, 200), (110, 125, 150), (160, 165, 165),
     (100, 130, 185), (185, 200, 212), (125, 150, 160)], dtype=np.float64,
)  # fmt: skip


def background(camera: Camera, scale: int, rng: np.random.Generator) -> NDArray[np.uint8]:
    """The empty scene, `(height, width, 3)` times `scale`, blue, green, red.

    Cameras that are given generators of the same state see the same street.
    """
    grain = _grain(rng)
    houses = {side: _Houses(rng) for side in FACADES}
    rays = camera.rays(scale)
    origin = np.array(camera.position)
    picture = _SKY + (rays[..., 2:] * -60.0) + np.zeros_like(rays)
    nearest = np.full(rays.shape[:2], np.inf)
    with np.errstate(divide="ignore", invalid="ignore"):
        reach = [
            (np.where(rays[..., 2] < -1e-6, -origin[2] / rays[..., 2], np.inf), None),
            *(
                (np.where(side * rays[..., 1] > 1e-6, (y - origin[1]) / rays[..., 1], np.inf), side)
                for side, y in FACADES.items()
            ),
            (np.abs((np.sign(rays[..., 0]) * _FAR - origin[0]) / rays[..., 0]), 0),
        ]
        for distance, side in reach:
            closer = distance < nearest
            points = origin + rays[closer] * distance[closer, None]
            if side is None:
                color, solid = _ground(points, grain), np.ones(len(points), dtype=bool)
            elif side == 0:
                color, solid = _distance(points), points[:, 2] < 9.0
            else:
                color, solid = houses[side].color(points, grain)
            closer[closer] = solid
            haze = 1 - np.exp(-distance[closer, None] / 260.0)
            picture[closer] = color[solid] * (1 - haze) + _SKY * haze
            nearest[closer] = distance[closer]
    return np.clip(picture, 0, 255).astype(np.uint8)


def _grain(rng: np.random.Generator) -> Points:
    """A texture of several scales around zero, `(256, 256)`."""
    grain = np.zeros((256, 256))
    for size, weight in ((8, 1.0), (32, 0.7), (128, 0.6), (256, 0.9)):
        grain += weight * cv2.resize(
            rng.normal(0, 1, (size, size)), (256, 256), interpolation=cv2.INTER_CUBIC
        )
    return grain


def _sampled(grain: Points, a: Points, b: Points, per_meter: float) -> Points:
    return np.asarray(
        grain[(a * per_meter).astype(np.int64) % 256, (b * per_meter).astype(np.int64) % 256]
    )


def _ground(points: Points, grain: Points) -> Points:
    x, y = points[:, 0], points[:, 1]
    texture = _sampled(grain, x + 500, y + 500, 9.0)[:, None]
    color = np.array([88.0, 87.0, 86.0]) + 4.5 * texture

    def paint(
        where: NDArray[np.bool_], what: tuple[float, float, float], rough: float = 4.0
    ) -> None:
        color[where] = np.array(what) + rough * texture[where]

    paved = (y < -_STREET) | (y > _BAY) | ((y > _STREET) & ((x > 1.0) & (x < 9.5) | (x < -29)))
    paint(paved, (138, 146, 152))
    joints = paved & (((x % 0.9) < 0.06) | ((y % 0.9) < 0.06))
    paint(joints, (112, 118, 124))
    kerb = (np.abs(y + _STREET) < 0.14) | (np.abs(y - _BAY) < 0.14)
    kerb |= (np.abs(y - _STREET) < 0.14) & paved
    paint(kerb, (178, 180, 182))
    white = (205, 208, 210)
    crossing = (x > 4.0) & (x < 7.0) & (np.abs(y) < _STREET - 0.2)
    paint((np.abs(y) < 0.07) & (x % 6 < 3) & ~crossing, white, 8.0)
    paint(crossing & (y % 1.0 < 0.5), white, 8.0)
    paint((np.abs(y - _STREET) < 0.06) & (x % 2 < 1) & ~paved, white, 8.0)
    bay = (y > _STREET) & (y < _BAY) & (x > 9.5)
    paint(bay & ((x - 9.2) % 5.7 < 0.1), white, 8.0)
    stop = (y > 3.8) & (y < 5.7) & (x > -15) & (x < -2)
    paint(
        stop & ((np.abs(y - 3.9) < 0.08) | (np.abs(x + y * 1.0 + 5) % 3.2 < 0.12)),
        (60, 190, 225),
        8,
    )
    manhole = (x + 11) ** 2 + (y + 1.2) ** 2 < 0.2
    paint(manhole | ((x - 14) ** 2 + (y - 2) ** 2 < 0.2), (62, 62, 64))
    return color


def _distance(points: Points) -> Points:
    """Houses far away, without detail."""
    shade = 12.0 * np.sin(points[:, 1:2] * 0.7) + 8.0 * np.sin(points[:, 2:] * 2.1)
    return np.asarray(np.array([165.0, 165.0, 165.0]) + shade)


class _Houses:
    """One side's house fronts."""

    def __init__(self, rng: np.random.Generator) -> None:
        self._edges = np.cumsum(rng.uniform(8.0, 15.0, 20)) - 100.0
        self._paint = _HOUSES[rng.integers(len(_HOUSES), size=21)] + rng.normal(0, 8, (21, 3))
        self._heights = rng.uniform(8.5, 15.0, 21)
        self._awnings = rng.uniform(60, 210, (21, 3))
        self._windows = rng.uniform(1.9, 2.8, 21)

    def color(self, points: Points, grain: Points) -> tuple[Points, NDArray[np.bool_]]:
        """Colors of points on the front, and which of them are below the roof."""
        x, z = points[:, 0], points[:, 2]
        house = np.searchsorted(self._edges, x)
        color = self._paint[house] + 3.0 * _sampled(grain, x + 500, z + 500, 12.0)[:, None]
        across = (x - self._edges[np.minimum(house, 19)]) % self._windows[house]
        across = across / self._windows[house]
        up = (z - 3.6) % 3.0 / 3.0
        upper = z > 3.6
        frame = upper & (np.abs(across - 0.5) < 0.29) & (up > 0.2) & (up < 0.82)
        pane = upper & (np.abs(across - 0.5) < 0.23) & (up > 0.25) & (up < 0.77)
        color[frame] = color[frame] * 0.4 + 130
        color[pane & (np.abs(across - 0.5) > 0.02)] = (105, 92, 82)
        shop = (z < 3.0) & (z > 0.5) & (across > 0.08) & (across < 0.92)
        color[shop] = (88, 80, 74)
        door = (z < 2.5) & (across > 0.38) & (across < 0.62) & (house % 2 == 0)
        color[door] = (60, 74, 96)
        awning = (z > 2.8) & (z < 3.3)
        color[awning] = self._awnings[house][awning]
        color[(z > 3.3) & (z < 3.45)] *= 0.75
        color[np.abs(z - self._heights[house] + 0.25) < 0.25] *= 0.7
        return color, z < self._heights[house]
