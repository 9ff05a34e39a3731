"""Draws one camera's picture, and measures what it shows of each object.

Objects are drawn from back to front at twice the resolution, blue, green, red.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

from .camera import HEIGHT, NEAR, WIDTH, Camera, Points
from .light import Light
from .mesh import Solid
from .order import back_to_front
from .people import JOINTS, Person, joints
from .traffic import Placed

SCALE = 2
_SHIFT = 3  # fractional bits of the coordinates given to OpenCV
_LIMBS = (
    ("right knee", "right foot", 0.11, "legs"),
    ("hip", "right knee", 0.15, "legs"),
    ("left knee", "left foot", 0.11, "legs"),
    ("hip", "left knee", 0.15, "legs"),
    ("right elbow", "right hand", 0.08, "skin"),
    ("neck", "right elbow", 0.10, "top"),
)
_NEAR_ARM = (("left elbow", "left hand", 0.08, "skin"), ("neck", "left elbow", 0.10, "top"))

Canvas = NDArray[np.uint8]
_Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class Seen:
    """What a picture shows of an object.

    Attributes:
        box: Its whole extent, `xmin, ymin, xmax, ymax` in pixels; may reach past the border.
        share: How much of its outline is inside the picture and not hidden, 0 to 1.
    """

    box: _Box
    share: float


def draw(
    camera: Camera, empty: Canvas, objects: Sequence[Placed], light: Light
) -> tuple[Canvas, dict[int, Seen]]:
    """Draw `objects` over the empty street.

    Args:
        camera: Who looks.
        empty: The background at `SCALE`; not changed.
        objects: What stands there.
        light: Sun and sky.

    Returns:
        The picture, `(HEIGHT, WIDTH, 3)`, and what it shows, by the objects' numbers.
    """
    canvas = empty.copy()
    _shadows(canvas, camera, objects, light)
    owner = np.zeros((HEIGHT, WIDTH), dtype=np.uint8)
    outlines: dict[int, tuple[int, _Box, float]] = {}
    ordered = back_to_front(objects, camera)
    for index, thing in enumerate(ordered, start=1):
        if isinstance(thing.figure, Person):
            outline = _draw_person(canvas, camera, thing, thing.figure, light)
        else:
            outline = _draw_solid(canvas, camera, thing, thing.figure, light)
        if outline is None:
            continue
        hull = cv2.convexHull(outline.astype(np.float32))
        cv2.fillConvexPoly(owner, np.round(hull).astype(np.int32), index)
        (left, top), (right, bottom) = outline.min(axis=0), outline.max(axis=0)
        box = (float(left), float(top), float(right), float(bottom))
        if thing.kind != "thing":
            outlines[index] = (thing.number, box, max(float(cv2.contourArea(hull)), 1.0))
    counts = np.bincount(owner.ravel(), minlength=len(ordered) + 1)
    seen = {
        number: Seen(box, min(1.0, float(counts[index]) / area))
        for index, (number, box, area) in outlines.items()
    }
    small = cv2.resize(canvas, (WIDTH, HEIGHT), interpolation=cv2.INTER_AREA)
    return np.asarray(small, dtype=np.uint8), seen


def _fixed(pixels: Points) -> NDArray[np.int32]:
    """Pixels as OpenCV draws them: SCALE-fold, with _SHIFT fractional bits."""
    # Far outside, OpenCV would overflow.
    fine = np.clip((pixels + 0.5) * SCALE - 0.5, -8000, 8000) * (1 << _SHIFT)
    return np.asarray(fine.astype(np.int32))


def _fill(canvas: Canvas, pixels: Points, color: Sequence[float]) -> None:
    cv2.fillConvexPoly(canvas, _fixed(pixels), color, cv2.LINE_8, _SHIFT)


def _turned(yaw: float) -> Points:
    c, s = np.cos(yaw), np.sin(yaw)
    return np.array([[c, -s, 0.0], [s, c, 0.0], [0.0, 0.0, 1.0]])


def _in_view(camera: Camera, viewed: Points) -> bool:
    """Whether any of the points may be in the picture; generous."""
    z = viewed[:, 2]
    if z.max() < NEAR:
        return False
    depth = np.maximum(z, NEAR)
    x, y = viewed[:, 0] * camera.focal / depth, viewed[:, 1] * camera.focal / depth
    return bool(
        x.max() > -WIDTH / 2
        and x.min() < WIDTH / 2
        and y.max() > -HEIGHT / 2
        and y.min() < HEIGHT / 2
    )


def _cut(viewed: Points) -> Points:
    """A face without what lies behind the near plane; may be empty."""
    kept: list[Points] = []
    for a, b in zip(viewed, np.roll(viewed, -1, axis=0), strict=True):
        if a[2] >= NEAR:
            kept.append(a)
        if (a[2] >= NEAR) != (b[2] >= NEAR):
            kept.append(a + (b - a) * (NEAR - a[2]) / (b[2] - a[2]))
    return np.array(kept).reshape(-1, 3)


@lru_cache(maxsize=512)
def _world(thing: Placed) -> Points:
    """Points that span the object, `(n, 3)`, meters."""
    if isinstance(thing.figure, Solid):
        points = thing.figure.vertices
    else:
        sides = np.array([(0.2, 0.2), (0.2, -0.2), (-0.2, -0.2), (-0.2, 0.2)])
        points = np.array([(*side, z) for z in (0.0, thing.figure.height) for side in sides])
    return np.asarray(points @ _turned(thing.yaw).T + (thing.x, thing.y, 0.0))


@dataclass(frozen=True, eq=False)
class _Projected:
    """A solid in a camera's picture: all but its colors, which change with the light."""

    faces: list[NDArray[np.int32]]
    rows: NDArray[np.intp]
    normals: Points
    outline: Points


# What stands still, and six cameras; what moves is new in every frame and soon forgotten.
@lru_cache(maxsize=512)
def _projected(camera: Camera, thing: Placed) -> _Projected | None:
    solid = thing.figure
    assert isinstance(solid, Solid)  # people are drawn from joints
    turn = _turned(thing.yaw)
    viewed = camera.view(_world(thing))
    if not _in_view(camera, viewed):
        return None
    eye = (np.array(camera.position) - (thing.x, thing.y, 0.0)) @ turn
    facing = np.flatnonzero(((eye - solid.anchors) * solid.normals).sum(axis=1) > 0)
    if viewed[:, 2].min() >= NEAR:
        outline = camera.project(viewed)
        fixed = _fixed(outline)
        faces = [fixed[solid.faces[row]] for row in facing]
    else:
        parts = [_cut(viewed[solid.faces[row]]) for row in facing]
        facing = facing[[len(part) > 2 for part in parts]]
        if not len(facing):
            return None
        seen = [camera.project(part) for part in parts if len(part) > 2]
        faces = [_fixed(part) for part in seen]
        outline = np.clip(np.concatenate(seen), -2000, 2000)
    return _Projected(faces, facing, solid.normals[facing] @ turn.T, outline)


def _draw_solid(
    canvas: Canvas, camera: Camera, thing: Placed, solid: Solid, light: Light
) -> Points | None:
    projected = _projected(camera, thing)
    if projected is None:
        return None
    colors = light.shaded(solid.colors[projected.rows], projected.normals)
    for corners, color in zip(projected.faces, colors, strict=True):
        cv2.fillConvexPoly(canvas, corners, color, cv2.LINE_8, _SHIFT)
    return projected.outline


def _draw_person(
    canvas: Canvas, camera: Camera, thing: Placed, who: Person, light: Light
) -> Points | None:
    turn = _turned(thing.yaw)
    place = np.array([thing.x, thing.y, 0.0])
    body = joints(who, thing.phase, thing.stride)
    viewed = camera.view(body @ turn.T + place)
    if viewed[:, 2].min() < 2 * NEAR or not _in_view(camera, viewed):
        return None
    at = dict(zip(JOINTS, camera.project(viewed), strict=True))
    meter = camera.focal / float(viewed[:, 2].mean())
    # The shoulders, seen from the side, are narrower: by the angle between view and heading.
    to_camera = np.array(camera.position) - place
    heading = turn[:, 0]
    sight = to_camera[:2] / np.linalg.norm(to_camera[:2])
    along = abs(float(sight @ heading[:2]))
    half = (0.12 + 0.10 * along) * who.girth * meter
    flat = light.shaded(
        np.array([who.legs, who.skin, who.top, who.hair]), np.array([[*sight, 0.0]])
    )
    colors = dict(zip(("legs", "skin", "top", "hair"), flat, strict=True))

    def limb(start: str, end: str, width: float, what: str) -> None:
        ends = np.round((np.stack([at[start], at[end]]) + 0.5) * SCALE).astype(int)
        thick = max(1, round(width * who.girth * meter * SCALE))
        a, b = (tuple(map(int, p)) for p in ends)
        cv2.line(canvas, a, b, colors[what], thick, cv2.LINE_AA)

    for start, end, width, what in _LIMBS:
        limb(start, end, width, what)
    hip, neck, head = at["hip"], at["neck"], at["head"]
    hem = hip + (hip - neck) * (0.75 if who.coat else 0.1)
    wide = half * (1.05 if who.coat else 0.8)
    across = np.array([1.0, 0.0])
    torso = [neck - half * across, neck + half * across, hem + wide * across, hem - wide * across]
    _fill(canvas, np.array(torso), colors["top"])
    if who.bag is not None:
        bag = at["bag"]
        size = np.array([(-0.14, -0.2), (0.14, -0.2), (0.14, 0.2), (-0.14, 0.2)]) * meter
        if float(sight @ heading[:2]) < 0.5:  # else the body hides it
            _fill(
                canvas, bag + size, light.shaded(np.array([who.bag]), np.array([[*sight, 0.0]]))[0]
            )
    for start, end, width, what in _NEAR_ARM:
        limb(start, end, width, what)
    radius = 0.125 * meter
    faces_us = float(sight @ heading[:2]) > -0.2
    for color, shift, r in (("hair", -0.15, 1.0), ("skin", 0.25, 0.78 if faces_us else 0.0)):
        center = tuple(int(v) for v in np.round((head + (0, shift * radius) + 0.5) * SCALE))
        if r:
            cv2.circle(
                canvas, center, max(1, round(radius * r * SCALE)), colors[color], -1, cv2.LINE_AA
            )
    feet = np.stack([at["left foot"], at["right foot"]])
    soles = feet + np.array([0.0, 0.03 * meter])
    outline = [soles, feet - 0.06 * meter * across, feet + 0.06 * meter * across]
    elbows = np.stack([at["left elbow"], at["right elbow"], at["left hand"], at["right hand"]])
    outline += [elbows, np.array(torso), head + radius * np.array([(-1, -1.15), (1, -1.15)])]
    return np.concatenate(outline)


def _shadows(canvas: Canvas, camera: Camera, objects: Sequence[Placed], light: Light) -> None:
    """Darken the ground where something keeps the sun away."""
    mask = np.zeros(canvas.shape[:2], dtype=np.uint8)
    for thing in objects:
        points = _world(thing)
        fallen = points[:, :2] + light.cast * points[:, 2:]
        hull = cv2.convexHull(fallen.astype(np.float32))[:, 0]
        viewed = camera.view(np.column_stack([hull, np.zeros(len(hull))]))
        if not _in_view(camera, viewed):
            continue
        part = _cut(viewed) if viewed[:, 2].min() < NEAR else viewed
        if len(part) > 2:
            _fill(mask, camera.project(part), (255,))
    dark = cv2.convertScaleAbs(canvas, alpha=light.shadow)
    cv2.copyTo(dark, mask, canvas)
