"""Cars and buses."""

from __future__ import annotations

import numpy as np

from .mesh import Color, Mesh, Solid

_GLASS: Color = (62, 52, 44)
_PAINTS: tuple[Color, ...] = (
    (225, 226, 228),
    (48, 46, 44),
    (168, 166, 160),
    (110, 108, 105),
    (38, 34, 165),
    (130, 70, 36),
    (62, 92, 44),
    (60, 190, 225),
    (70, 90, 130),
    (185, 150, 90),
    (40, 110, 205),
)
_LIVERIES: tuple[tuple[Color, Color], ...] = (
    ((40, 40, 190), (225, 225, 225)),
    ((225, 226, 226), (40, 40, 185)),
    ((60, 185, 225), (70, 60, 60)),
    ((150, 85, 40), (225, 225, 220)),
    ((90, 140, 60), (225, 228, 228)),
    ((228, 228, 228), (150, 90, 40)),
)


def car(rng: np.random.Generator) -> Solid:
    """A car of some make: hatchback, saloon, off-roader, van or minibus."""
    paint = _varied(_PAINTS[rng.integers(len(_PAINTS))], rng)
    make = rng.choice(
        ["hatchback", "saloon", "off-roader", "van", "minibus"], p=[0.32, 0.3, 0.16, 0.12, 0.1]
    )
    length, width, height, rear, front, rear_slope, front_slope, waist = {
        "hatchback": (3.9, 1.70, 1.48, 0.03, 0.70, 0.35, 0.75, 0.86),
        "saloon": (4.6, 1.78, 1.43, 0.18, 0.70, 0.65, 0.80, 0.86),
        "off-roader": (4.5, 1.86, 1.72, 0.02, 0.70, 0.20, 0.60, 1.0),
        "van": (5.2, 1.95, 2.25, 0.01, 0.84, 0.05, 0.60, 1.1),
        "minibus": (5.4, 1.98, 2.30, 0.01, 0.88, 0.06, 0.55, 1.1),
    }[str(make)]
    length, height = length * rng.uniform(0.95, 1.06), height * rng.uniform(0.97, 1.04)
    mesh = Mesh()
    x0, x1 = -length / 2, length / 2
    body = mesh.frustum((x0, x1, width), (x0 + 0.05, x1 - 0.12, width * 0.97), (0.26, waist), paint)
    for side in ("left", "right"):
        mesh.detail(body[side], (0, 1), (0, 0.16), (45, 45, 45))
    for side, lamp in (("front", (235, 245, 250)), ("back", (40, 35, 190))):
        for across in ((0.04, 0.24), (0.76, 0.96)):
            mesh.detail(body[side], across, (0.55, 0.82), lamp)
        mesh.detail(body[side], (0.36, 0.64), (0.18, 0.36), (220, 222, 222))
    mesh.detail(body["front"], (0.28, 0.72), (0.42, 0.75), (40, 40, 40))
    mesh.wheels((x0 * 0.63, x1 * 0.65), width, 0.33 if height < 1.9 else 0.36)
    cabin = mesh.frustum(
        (x0 + rear * length, x0 + front * length, width * 0.95),
        (x0 + rear * length + rear_slope, x0 + front * length - front_slope, width * 0.80),
        (waist, height),
        paint,
    )
    panes = {"van": ((0.74, 0.95),), "minibus": ((0.05, 0.32), (0.36, 0.64), (0.68, 0.94))}
    for side in ("left", "right"):
        for pane in panes.get(str(make), ((0.08, 0.47), (0.52, 0.92))):
            mesh.detail(cabin[side], pane, (0.1, 0.84), _GLASS)
    mesh.detail(cabin["front"], (0.06, 0.94), (0.06, 0.90), _GLASS)
    if make != "van":
        mesh.detail(cabin["back"], (0.1, 0.9), (0.15, 0.85), _GLASS)
    if make == "saloon" and rng.random() < 0.2:
        middle = x0 + (rear + front) / 2 * length
        mesh.frustum(
            (middle - 0.1, middle + 0.15, 0.6),
            (middle - 0.1, middle + 0.15, 0.6),
            (height, height + 0.2),
            (60, 200, 240),
        )
    return mesh.solid((length, width, height))


def bus(rng: np.random.Generator) -> Solid:
    """A city bus with rows of windows and doors on the right."""
    paint, stripe = _LIVERIES[rng.integers(len(_LIVERIES))]
    paint, stripe = _varied(paint, rng), _varied(stripe, rng)
    length, width, height = rng.uniform(9.5, 12.0), 2.5, rng.uniform(2.9, 3.2)
    mesh = Mesh()
    x0, x1 = -length / 2, length / 2
    body = mesh.frustum(
        (x0, x1, width),
        (x0 + 0.05, x1 - 0.15, width * 0.98),
        (0.32, height),
        paint,
        roof=_varied((215, 215, 212), rng),
    )
    panes = int(rng.integers(6, 9))
    for side in ("left", "right"):
        mesh.detail(body[side], (0, 1), (0.0, 0.08), (50, 50, 50))
        mesh.detail(body[side], (0, 1), (0.30, 0.40), stripe)
        for pane in range(panes):
            across = ((pane + 0.12) / (panes + 0.2), (pane + 0.96) / (panes + 0.2))
            mesh.detail(body[side], across, (0.47, 0.84), _GLASS)
    for across in ((0.86, 0.95), (0.44, 0.55)):
        mesh.detail(body["right"], across, (0.04, 0.86), (92, 86, 80))
    mesh.detail(body["front"], (0.06, 0.94), (0.34, 0.82), _GLASS)
    mesh.detail(body["front"], (0.2, 0.8), (0.86, 0.97), (30, 30, 30))
    mesh.detail(body["front"], (0.28, 0.72), (0.89, 0.94), (60, 190, 250))
    mesh.detail(body["back"], (0.12, 0.88), (0.5, 0.82), _GLASS)
    for side, lamp in (("front", (235, 245, 250)), ("back", (40, 35, 190))):
        for across in ((0.05, 0.2), (0.8, 0.95)):
            mesh.detail(body[side], across, (0.1, 0.2), lamp)
    mesh.wheels((x0 * 0.55, x1 * 0.62), width, 0.48)
    mesh.frustum(
        (x0 * 0.5, x1 * 0.1, 1.5),
        (x0 * 0.48, x1 * 0.05, 1.4),
        (height, height + 0.25),
        _varied((190, 190, 188), rng),
    )
    return mesh.solid((length, width, height))


def _varied(color: Color, rng: np.random.Generator) -> Color:
    blue, green, red = np.clip(
        np.array(color) * rng.uniform(0.85, 1.1) + rng.normal(0, 5, 3), 8, 240
    )
    return (float(blue), float(green), float(red))
