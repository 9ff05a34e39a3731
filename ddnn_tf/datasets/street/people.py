"""Pedestrians as jointed figures. Colors are blue, green, red."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Color = tuple[float, float, float]
Points = NDArray[np.float64]

_SKINS: tuple[Color, ...] = ((150, 175, 215), (120, 150, 200), (70, 95, 140), (50, 65, 95))
_HAIRS: tuple[Color, ...] = ((30, 30, 35), (40, 60, 90), (90, 140, 180), (150, 150, 155))
_CLOTHES: tuple[Color, ...] = (
    (45, 42, 40),
    (130, 85, 45),
    (60, 55, 170),
    (210, 210, 212),
    (90, 120, 70),
    (70, 150, 205),
    (110, 110, 115),
    (120, 60, 110),
    (170, 180, 190),
)
JOINTS = ("hip", "neck", "head", "left knee", "left foot", "right knee", "right foot",
          "left elbow", "left hand", "right elbow", "right hand", "bag")  # fmt: skip


@dataclass(frozen=True)
class Person:
    """How a pedestrian looks.

    Attributes:
        height: Metres.
        girth: Width of the body relative to an average one.
        skin, hair, top, legs: Colors.
        coat: Whether the upper garment reaches to the knees.
        bag: Color of a bag on the back, or None.
    """

    height: float
    girth: float
    skin: Color
    hair: Color
    top: Color
    legs: Color
    coat: bool
    bag: Color | None

    @property
    def size(self) -> tuple[float, float, float]:
        """Length, width and height, meters."""
        return (0.5, 0.5, self.height)


def person(rng: np.random.Generator) -> Person:
    """Someone."""

    def pick(colors: tuple[Color, ...]) -> Color:
        blue, green, red = np.clip(
            np.array(colors[rng.integers(len(colors))]) + rng.normal(0, 10, 3), 10, 240
        )
        return (float(blue), float(green), float(red))

    return Person(
        height=float(rng.uniform(1.5, 1.92)),
        girth=float(rng.uniform(0.85, 1.25)),
        skin=pick(_SKINS),
        hair=pick(_HAIRS),
        top=pick(_CLOTHES),
        legs=pick(_CLOTHES),
        coat=bool(rng.random() < 0.3),
        bag=pick(_CLOTHES) if rng.random() < 0.35 else None,
    )


def joints(who: Person, phase: float, stride: float) -> Points:
    """The joints, in the order of `JOINTS`, `(12, 3)`, meters, of a figure that looks along +x.

    Args:
        who: The figure.
        phase: Position within a double step, radians.
        stride: 0 standing to 1 walking briskly.
    """
    h = who.height
    swing = 0.5 * stride * np.sin(phase)
    lift = 0.05 * stride * np.abs(np.cos(phase))
    points = [(0.0, 0.0, 0.50 * h), (0.02, 0.0, 0.82 * h), (0.03, 0.0, 0.92 * h)]
    for side, angle in ((1, swing), (-1, -swing)):
        knee = (0.25 * h * np.sin(angle), side * 0.09, 0.5 * h - 0.25 * h * np.cos(angle))
        bend = angle - 0.5 * stride * max(0.0, -np.sign(angle) * np.cos(phase))
        points += [knee, (knee[0] + 0.25 * h * np.sin(bend), side * 0.09, lift)]
    for side, angle in ((1, -swing), (-1, swing)):
        elbow = (0.17 * h * np.sin(angle), side * 0.24 * who.girth, 0.62 * h)
        reach = angle + 0.35 * stride
        points += [elbow, (elbow[0] + 0.16 * h * np.sin(reach), side * 0.23, 0.47 * h)]
    return np.array([*points, (-0.18, 0.0, 0.70 * h)])
