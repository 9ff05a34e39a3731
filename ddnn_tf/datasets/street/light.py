"""Sun, sky and sensors: how brightness and color drift over the recording."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .camera import Points


@dataclass(frozen=True, eq=False)
class Light:
    """The light of one frame.

    Attributes:
        sun: Direction to the sun, `(3,)`, length 1.
        strength: 0 under clouds to 1 in full sun.
    """

    sun: Points
    strength: float

    @property
    def cast(self) -> Points:
        """Where the shadow of a one meter pole ends, `(2,)`; short under clouds."""
        return np.asarray(-self.sun[:2] / self.sun[2] * min(1.0, 2.5 * self.strength))

    @property
    def shadow(self) -> float:
        """Brightness of the ground in the shadow, relative to beside it."""
        return 0.72 - 0.22 * self.strength

    def shaded(self, colors: Points, normals: Points) -> list[list[float]]:
        """Colors `(n, 3)` of faces with outward `normals` `(n, 3)`, as OpenCV takes them."""
        sun = np.maximum(normals @ self.sun, 0.0) * (0.15 + 0.45 * self.strength)
        sky = 0.62 + 0.16 * normals[:, 2]
        lit: list[list[float]] = np.clip(colors * (sun + sky)[:, None], 0, 255).tolist()
        return lit


def daylight(position: float, rng: np.random.Generator) -> Light:
    """The light at a position in the recording, 0 to 1; clouds pass at random."""
    azimuth = 0.9 + 1.5 * position
    height = 0.75 + 0.25 * np.sin(np.pi * position)
    flat = np.cos(height)
    sun = np.array([flat * np.cos(azimuth), -flat * np.sin(azimuth), np.sin(height)])
    clouds = 0.55 + 0.45 * np.sin(9.0 * position + 1.0) + rng.normal(0, 0.06)
    return Light(sun, float(np.clip(clouds, 0, 1)))


def tone(light: Light, position: float, camera: int, rng: np.random.Generator) -> NDArray[np.uint8]:
    """A camera's tone curves, `(1, 256, 3)`: its white balance, its exposure and the hour."""
    own = np.random.default_rng([camera, 36028])
    balance = own.uniform(0.95, 1.05, 3) * (1 + 0.07 * (position - 0.5) * np.array([-1, 0, 1]))
    exposure = (1.0 + 0.16 * light.strength) * own.uniform(0.92, 1.08) * rng.normal(1.0, 0.04)
    exposure *= 1.0 - 0.28 * position**2  # towards the evening
    gamma = own.uniform(0.88, 1.05)
    level = np.linspace(0, 1, 256)[None, :, None] ** gamma
    return np.clip(255 * level * balance * exposure, 0, 255).astype(np.uint8)
