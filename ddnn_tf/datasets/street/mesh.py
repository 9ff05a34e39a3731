"""Bodies of flat faces. Colors are blue, green, red, as OpenCV draws them.

A body stands at the origin on z = 0 and looks along +x; y is to its left.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

Color = tuple[float, float, float]
Points = NDArray[np.float64]

_TYRE: Color = (26, 25, 24)
_HUB: Color = (150, 150, 150)


@dataclass(frozen=True, eq=False)
class Solid:
    """A body of convex pieces, the inner ones listed first.

    Attributes:
        vertices: `(v, 3)`, meters.
        faces: Rows of `vertices` of each face, in drawing order.
        normals: `(f, 3)`, outward.
        anchors: `(f, 3)`, a point of each face.
        colors: `(f, 3)`.
        size: Length, width and height, meters.
    """

    vertices: Points
    faces: tuple[NDArray[np.intp], ...]
    normals: Points
    anchors: Points
    colors: Points
    size: tuple[float, float, float]


class Mesh:
    """Collects faces."""

    def __init__(self) -> None:
        self._points: list[Points] = []
        self._colors: list[Color] = []
        self._normals: list[Points] = []

    def add(self, face: Points, color: Color, normal: Points) -> None:
        """A convex face: its corners `(n, 3)` in order, and its outward normal."""
        self._points.append(face)
        self._colors.append(color)
        self._normals.append(normal)

    def frustum(
        self,
        bottom: tuple[float, float, float],
        top: tuple[float, float, float],
        z: tuple[float, float],
        color: Color,
        roof: Color | None = None,
    ) -> dict[str, tuple[Points, Points]]:
        """A block from `(rear x, front x, width)` at z[0] to the same at z[1].

        Returns:
            For each side: its corners, of which the first edge is the lower, and its normal.
        """
        (b0, b1, bw), (t0, t1, tw), (z0, z1) = bottom, top, z
        low = {"rl": (b0, bw / 2, z0), "rr": (b0, -bw / 2, z0)}
        low |= {"fl": (b1, bw / 2, z0), "fr": (b1, -bw / 2, z0)}
        high = {"rl": (t0, tw / 2, z1), "rr": (t0, -tw / 2, z1)}
        high |= {"fl": (t1, tw / 2, z1), "fr": (t1, -tw / 2, z1)}
        inner = np.array([(b0 + b1 + t0 + t1) / 4, 0.0, (z0 + z1) / 2])
        edges = {"left": ("rl", "fl"), "right": ("rr", "fr"), "front": ("fl", "fr")}
        edges |= {"back": ("rl", "rr")}
        corners = {
            side: np.array([low[a], low[b], high[b], high[a]]) for side, (a, b) in edges.items()
        }
        corners["top"] = np.array([high["rl"], high["fl"], high["fr"], high["rr"]])
        sides = {side: (face, _normal(face, inner)) for side, face in corners.items()}
        for side, (face, normal) in sides.items():
            self.add(face, roof if side == "top" and roof is not None else color, normal)
        return sides

    def detail(
        self,
        side: tuple[Points, Points],
        across: tuple[float, float],
        up: tuple[float, float],
        color: Color,
    ) -> None:
        """A patch on a side, in fractions of its edges."""
        (a, b, c, d), normal = side
        patch = [
            (1 - v) * ((1 - u) * a + u * b) + v * ((1 - u) * d + u * c)
            for u, v in (
                (across[0], up[0]),
                (across[1], up[0]),
                (across[1], up[1]),
                (across[0], up[1]),
            )
        ]
        self.add(np.array(patch), color, normal)

    def wheels(self, at: tuple[float, ...], width: float, radius: float) -> None:
        """A pair of wheels at each x in `at`."""
        for y in (width / 2, -width / 2):
            normal = np.array([0.0, np.sign(y), 0.0])
            for x in at:
                for r, color, corners in ((radius, _TYRE, 12), (radius * 0.55, _HUB, 8)):
                    turn = np.arange(corners) * 2 * np.pi / corners
                    disc = [x + r * np.cos(turn), np.full(corners, y), radius + r * np.sin(turn)]
                    self.add(np.stack(disc, axis=1), color, normal)

    def solid(self, size: tuple[float, float, float]) -> Solid:
        """All faces so far."""
        starts = np.cumsum([0] + [len(face) for face in self._points])
        return Solid(
            vertices=np.concatenate(self._points),
            faces=tuple(np.arange(a, b) for a, b in pairwise(starts)),
            normals=np.stack(self._normals),
            anchors=np.stack([face[0] for face in self._points]),
            colors=np.array(self._colors, dtype=np.float64),
            size=size,
        )


def _normal(face: Points, inner: Points) -> Points:
    normal = np.cross(face[1] - face[0], face[2] - face[0])
    normal = normal / np.linalg.norm(normal)
    return np.asarray(normal if normal @ (face[0] - inner) > 0 else -normal)
