"""Which of two objects hides the other."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .camera import Camera
from .traffic import Placed


def back_to_front(objects: Sequence[Placed], camera: Camera) -> list[Placed]:
    """The objects in an order in which none is drawn over what hides it.

    A line along the street or across it that separates two footprints, with the camera on one's
    side, proves that the other cannot hide that one. Distance decides what this leaves open,
    and circles.
    """
    if not objects:
        return []
    middle = np.array([(o.x, o.y) for o in objects])
    half = np.array([_half(o) for o in objects])
    low, high = middle - half, middle + half
    eye = np.array(camera.position[:2])
    distance = np.linalg.norm(np.maximum(np.maximum(low - eye, eye - high), 0), axis=1)
    # cannot[i, j]: i cannot hide j.
    after = (low[:, None] >= high[None]) & (eye < low[:, None])
    before = (high[:, None] <= low[None]) & (eye > high[:, None])
    cannot = (after | before).any(axis=2)
    must_wait = cannot.T & ~cannot  # i may hide j: i waits until j is drawn
    order: list[Placed] = []
    left = list(np.argsort(-distance, kind="stable"))
    while left:
        free = next((i for i in left if not must_wait[i, left].any()), left[0])
        left.remove(free)
        order.append(objects[free])
    return order


def _half(thing: Placed) -> tuple[float, float]:
    length, width, _ = thing.figure.size
    c, s = abs(np.cos(thing.yaw)), abs(np.sin(thing.yaw))
    if length == width:
        return length / 2, width / 2
    return (c * length + s * width) / 2, (s * length + c * width) / 2
