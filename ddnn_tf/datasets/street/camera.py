"""Pinhole cameras and where they hang.

The world is in meters: x along the street, y across it (north), z up; the road's center line is
y = 0. Pixels are those of a 360x288 picture, the center of the first at (0, 0).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

WIDTH, HEIGHT = 360, 288
NEAR = 0.4  # meters; what is closer is cut off

Points = NDArray[np.float64]


@dataclass(frozen=True)
class Camera:
    """A calibrated camera without distortion.

    Attributes:
        position: Where it hangs, meters.
        target: A point it looks at, meters.
        focal: Focal length in pixels.
    """

    position: tuple[float, float, float]
    target: tuple[float, float, float]
    focal: float

    @cached_property
    def rotation(self) -> Points:
        """World to camera, `(3, 3)`: rows are right, down, forward."""
        forward = np.subtract(self.target, self.position)
        forward = forward / np.linalg.norm(forward)
        right = np.cross(forward, (0.0, 0.0, 1.0))
        right = right / np.linalg.norm(right)
        return np.stack([right, np.cross(forward, right), forward])

    def view(self, points: Points) -> Points:
        """World points `(n, 3)` in the camera's axes: right, down, forward, meters."""
        return np.asarray((points - self.position) @ self.rotation.T)

    def project(self, viewed: Points) -> Points:
        """Points `(n, 3)` in the camera's axes, all in front of it, to pixels `(n, 2)`."""
        center = ((WIDTH - 1) / 2, (HEIGHT - 1) / 2)
        return np.asarray(viewed[:, :2] * (self.focal / viewed[:, 2:]) + center)

    def rays(self, scale: int) -> Points:
        """Directions through the pixels of a picture `scale` times as fine, `(h, w, 3)`."""
        columns, rows = np.meshgrid(np.arange(WIDTH * scale), np.arange(HEIGHT * scale))
        u = ((columns + 0.5) / scale - WIDTH / 2) / self.focal
        v = ((rows + 0.5) / scale - HEIGHT / 2) / self.focal
        return np.asarray(np.stack([u, v, np.ones_like(u)], axis=-1) @ self.rotation)


CAMERAS = (
    Camera((-27.0, -7.6, 4.6), (-14.0, -0.5, 1.0), 330.0),
    Camera((25.0, 8.8, 4.4), (10.0, -0.5, 0.8), 330.0),
    Camera((-2.0, 9.6, 5.6), (5.5, -1.5, 0.2), 200.0),
    Camera((8.0, -8.2, 5.4), (7.0, 2.0, 0.6), 215.0),
    Camera((-24.0, 9.2, 5.0), (-8.0, -0.6, 0.6), 270.0),
    Camera((22.0, -7.8, 4.6), (6.0, 1.2, 0.6), 275.0),
)
