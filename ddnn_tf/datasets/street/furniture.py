"""What stands on the pavements."""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from .mesh import Color, Mesh, Solid


def pillar(radius: float, height: float, colors: tuple[Color, Color]) -> Solid:
    """An advertising column: a round post with bands of posters."""
    mesh = Mesh()
    turn = np.arange(9) * 2 * np.pi / 8
    ring = np.stack([radius * np.cos(turn), radius * np.sin(turn)], axis=1)
    for low, high, which in ((0.0, 0.5, 1), (0.5, height - 0.4, 0), (height - 0.4, height, 1)):
        for a, b in pairwise(ring):
            face = np.array([(*a, low), (*b, low), (*b, high), (*a, high)])
            mesh.add(face, colors[which], np.array([*(a + b) / np.linalg.norm(a + b), 0.0]))
    mesh.add(np.array([(*p, height) for p in ring[:-1]]), colors[1], np.array([0.0, 0.0, 1.0]))
    return mesh.solid((2 * radius, 2 * radius, height))


def canopy(rng: np.random.Generator) -> Solid:
    """The leaves of a small tree; its trunk is a thin `pillar`."""
    mesh = Mesh()
    green = np.array(
        ((45, 92, 62), (40, 105, 80), (55, 100, 72))[rng.integers(3)], dtype=np.float64
    )
    for x, y, z, radius in ((0.35, 0.3, 3.4, 1.0), (-0.4, -0.2, 3.6, 1.05), (0.05, 0.0, 4.3, 0.95)):
        wobble = rng.uniform(0.88, 1.12, (4, 8))
        for ring in range(5):
            for turn in range(8):
                corners = []
                for up, around in ((0, 0), (0, 1), (1, 1), (1, 0)):
                    i, j = ring + up, (turn + around) % 8
                    r = radius * (wobble[i - 1, j] if 0 < i < 5 else 1.0)
                    tilt, angle = np.pi * i / 5, np.pi * j / 4
                    flat = r * np.sin(tilt)
                    corners.append((flat * np.cos(angle), flat * np.sin(angle), r * np.cos(tilt)))
                face = np.array(corners)
                normal = face.mean(axis=0) / np.linalg.norm(face.mean(axis=0))
                blue, leaf, red = green * rng.uniform(0.85, 1.15)
                mesh.add(face + np.array([x, y, z]), (float(blue), float(leaf), float(red)), normal)
    return mesh.solid((2.4, 2.4, 5.2))


def shelter() -> Solid:
    """A bus shelter: a roof on a back wall with a poster."""
    mesh = Mesh()
    wall = mesh.frustum((-1.9, 1.9, 0.12), (-1.9, 1.9, 0.12), (0.0, 2.3), (150, 145, 138))
    for side in ("left", "right"):
        mesh.detail(wall[side], (0.04, 0.66), (0.2, 0.94), (175, 165, 150))
        mesh.detail(wall[side], (0.72, 0.96), (0.1, 0.9), (90, 120, 190))
    mesh.frustum((-2.1, 2.1, 1.3), (-2.1, 2.1, 1.3), (2.3, 2.45), (90, 88, 86))
    return mesh.solid((4.2, 1.3, 2.45))
