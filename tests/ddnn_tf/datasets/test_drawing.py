"""Geometry of the generated street: projection, occlusion, and traffic that keeps its distance."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from ddnn_tf.datasets.street.camera import CAMERAS, HEIGHT, WIDTH, Camera
from ddnn_tf.datasets.street.drawing import SCALE, draw
from ddnn_tf.datasets.street.light import daylight
from ddnn_tf.datasets.street.order import back_to_front
from ddnn_tf.datasets.street.people import person
from ddnn_tf.datasets.street.traffic import Placed, traffic
from ddnn_tf.datasets.street.vehicles import bus, car

CAMERA = Camera((0.0, -8.0, 3.0), (0.0, 0.0, 1.0), 300.0)
LIGHT = daylight(0.2, np.random.default_rng(0))
EMPTY = np.full((HEIGHT * SCALE, WIDTH * SCALE, 3), 90, np.uint8)


def placed(kind: str, number: int, x: float, y: float, yaw: float = 0.0) -> Placed:
    rng = np.random.default_rng(number)
    figure = person(rng) if kind == "person" else bus(rng) if kind == "bus" else car(rng)
    return Placed(kind, number, figure, x, y, yaw)


@pytest.mark.parametrize("camera", CAMERAS)
def test_a_camera_looks_at_its_target(camera: Camera) -> None:
    pixels = camera.project(camera.view(np.array([camera.target])))
    assert pixels[0] == pytest.approx([(WIDTH - 1) / 2, (HEIGHT - 1) / 2])
    assert camera.rotation @ camera.rotation.T == pytest.approx(np.eye(3))
    # Higher is further up in the picture, and rays go where points are projected.
    above = camera.view(np.array([camera.target]) + np.array([0.0, 0.0, 1.0]))
    assert camera.project(above)[0, 1] < pixels[0, 1]
    ray = camera.rays(1)[40, 300]
    assert camera.project(camera.view(ray[None] * 7 + camera.position))[0] == pytest.approx(
        [300, 40]
    )


def test_what_is_in_front_is_drawn_last() -> None:
    far, near = placed("bus", 1, 0.0, 3.0), placed("person", 2, 5.0, 0.0)
    # The bus's nearest point is nearer than the person, who nevertheless hides its end.
    for objects in ([far, near], [near, far]):
        assert back_to_front(objects, CAMERA) == [far, near]
    assert back_to_front([], CAMERA) == []


def test_boxes_and_hidden_objects() -> None:
    hidden, front, outside = (
        placed("person", 1, 0.0, 5.0),
        placed("bus", 2, 0.0, 2.0),
        placed("car", 3, 90.0, 0.0),
    )
    picture, seen = draw(CAMERA, EMPTY, [hidden, front, outside], LIGHT)
    assert picture.shape == (HEIGHT, WIDTH, 3)
    assert seen[1].share < 0.1
    assert seen[2].share == pytest.approx(1.0, abs=0.05)
    assert 3 not in seen
    _, alone = draw(CAMERA, EMPTY, [hidden], LIGHT)
    assert alone[1].share > 0.9
    left, top, right, bottom = alone[1].box
    assert left < WIDTH / 2 < right
    assert bottom - top > 2 * (right - left) > 0


def test_near_objects_are_cut_off() -> None:
    _, seen = draw(CAMERA, EMPTY, [placed("bus", 1, 2.0, -8.5, 1.0)], LIGHT)
    assert all(np.isfinite(s.box).all() and s.share <= 1 for s in seen.values())


def test_vehicles_in_a_lane_keep_their_distance() -> None:
    kinds = set()
    for everyone in traffic(60, np.random.default_rng(1)):
        kinds |= {thing.kind for thing in everyone}
        assert len({thing.number for thing in everyone}) == len(everyone)
        for lane in (-1.75, 1.75):
            line = sorted((t for t in everyone if abs(t.y - lane) < 0.1), key=lambda t: t.x)
            vehicles = [t for t in line if t.kind in ("car", "bus")]
            for a, b in pairwise(vehicles):
                assert b.x - a.x > (a.figure.size[0] + b.figure.size[0]) / 2
    assert kinds == {"car", "bus", "person"}
