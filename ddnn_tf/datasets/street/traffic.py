"""Who is on the street, and where, frame by frame."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from .mesh import Solid
from .people import Person, person
from .vehicles import bus, car

_FRAME = 5.0  # seconds between frames
_STEP = 0.25  # seconds of a step of the simulation
_WARM_UP = 30.0  # seconds before the first frame
_END = 62.0  # meters from the middle, where vehicles appear and vanish
_LANES = {1: -1.75, -1: 1.75}  # direction of travel along x to y
_STOP_X = {1: -13.0, -1: -8.0}  # where buses of a direction stop
_BAY_Y = 4.7  # the westward stop lies in a bay
_ZEBRA = (4.0, 7.0)
_PARKING = (-19.0, 12.0, 17.6, 23.4)  # middles of the parking places in the bay
_DOORS = (-20.0, -4.0, 10.0, 22.0)
_NORTH, _SOUTH = (7.0, 9.0), (-7.0, -5.0)  # where people walk


@dataclass(frozen=True)
class Placed:
    """Something at a moment.

    Attributes:
        kind: `"car"`, `"bus"`, `"person"`, or `"thing"` for what stands there and has no label.
        number: The same in all frames, different between objects.
        figure: What it looks like.
        x, y: Where its middle stands, meters.
        yaw: Direction, radians from +x towards +y.
        phase: Of a person's step, radians.
        stride: 0 standing to 1 walking.
    """

    kind: str
    number: int
    figure: Solid | Person
    x: float
    y: float
    yaw: float
    phase: float = 0.0
    stride: float = 0.0


@dataclass
class _Vehicle:
    number: int
    kind: str
    figure: Solid
    direction: int
    x: float
    wish: float  # meters per second
    speed: float
    aside: float = 0.0  # 0 in the lane, 1 in the bay
    dwell: float = 0.0  # seconds still to stand at the stop
    stopped: bool = False

    @property
    def length(self) -> float:
        return self.figure.size[0]

    def drive(self, room: float) -> None:
        """Go on for one step, as fast as the room ahead allows, in meters."""
        wish = float(np.clip((room - 1.5) / 1.5, 0, self.wish))
        self.speed = float(np.clip(wish, self.speed - 4 * _STEP * 2, self.speed + 2.5 * _STEP))
        self.x += self.direction * self.speed * _STEP

    def placed(self) -> Placed:
        y = _LANES[self.direction]
        yaw = 0.0 if self.direction > 0 else np.pi
        if 0.0 < self.aside < 1.0:
            yaw += -0.12 * self.direction
        ease = self.aside**2 * (3 - 2 * self.aside)
        return Placed(self.kind, self.number, self.figure, self.x, y + ease * (_BAY_Y - y), yaw)


@dataclass
class _Walker:
    number: int
    figure: Person
    path: list[tuple[float, float, float]]  # x, y, and seconds to stay there
    speed: float
    x: float = 0.0
    y: float = 0.0
    yaw: float = 0.0
    phase: float = 0.0
    wait: float = 0.0

    def __post_init__(self) -> None:
        self.x, self.y, self.wait = self.path.pop(0)

    @property
    def crossing(self) -> bool:
        return abs(self.y) < 3.5

    def step(self) -> None:
        if self.wait > 0:
            self.wait -= _STEP
            return
        x, y, _ = self.path[0]
        way = np.hypot(x - self.x, y - self.y)
        self.yaw = float(np.arctan2(y - self.y, x - self.x))
        move = self.speed * _STEP
        self.phase += move * 4.2
        if way <= move:
            self.x, self.y, self.wait = self.path.pop(0)
            return
        self.x += (x - self.x) * move / way
        self.y += (y - self.y) * move / way

    def placed(self) -> Placed:
        stride = 0.0 if self.wait > 0 else min(1.0, self.speed / 1.5)
        return Placed(
            "person", self.number, self.figure, self.x, self.y, self.yaw, self.phase, stride
        )


@dataclass
class _Street:
    rng: np.random.Generator
    vehicles: list[_Vehicle] = field(default_factory=list)
    walkers: list[_Walker] = field(default_factory=list)
    parked: dict[float, Placed] = field(default_factory=dict)
    parking_until: dict[float, float] = field(default_factory=dict)
    due: dict[str, float] = field(default_factory=dict)
    count: int = 0

    def number(self) -> int:
        self.count += 1
        return self.count

    def step(self, now: float) -> None:
        for kind, mean in (("car+", 11.0), ("car-", 12.0), ("bus+", 84.0), ("bus-", 78.0)):
            due = self.due.setdefault(kind, now + mean * self.rng.uniform(0, 1))
            if now >= due and self._arrive(kind[:-1], 1 if kind.endswith("+") else -1):
                spread = 0.25 if kind.startswith("bus") else 0.45
                self.due[kind] = now + mean * self.rng.uniform(1 - spread, 1 + spread)
        if now >= self.due.setdefault("person", now):
            self._enter()
            self.due["person"] = now + 22.0 * self.rng.uniform(0.5, 1.5)
        self._park(now)
        for direction in _LANES:
            self._drive(direction)
        for walker in self.walkers:
            walker.step()
        self.walkers = [w for w in self.walkers if w.path]
        self.vehicles = [v for v in self.vehicles if abs(v.x) < _END + 1]

    def _arrive(self, kind: str, direction: int) -> bool:
        """Let a vehicle in, if there is room."""
        start = -direction * _END
        if any(v.direction == direction and abs(v.x - start) < 16 for v in self.vehicles):
            return False
        figure = bus(self.rng) if kind == "bus" else car(self.rng)
        wish = self.rng.uniform(5.5, 8.5)
        self.vehicles.append(
            _Vehicle(
                self.number(),
                kind,
                figure,
                direction,
                start,
                wish,
                wish,
                dwell=self.rng.uniform(5, 10) if kind == "bus" else 0.0,
            )
        )
        return True

    def _drive(self, direction: int) -> None:
        lane = [v for v in self.vehicles if v.direction == direction]
        lane.sort(key=lambda v: -direction * v.x)  # the foremost first
        people = any(w.crossing for w in self.walkers)
        ahead: _Vehicle | None = None
        for v in lane:
            room = np.inf
            if ahead is not None:
                room = direction * (ahead.x - v.x) - (ahead.length + v.length) / 2
            nose = direction * v.x + v.length / 2
            line = direction * _ZEBRA[0 if direction > 0 else 1] - 1.0
            if people and nose < line + 0.5:
                room = min(room, line - nose + 1.5)
            v.drive(self._at_stop(v, room))
            if v.aside < 0.5:
                ahead = v

    @staticmethod
    def _at_stop(v: _Vehicle, room: float) -> float:
        """The room that a vehicle has once it heeds its stop: a bus pulls in, stands, pulls out."""
        at_stop = v.direction * (_STOP_X[v.direction] - v.x)
        if v.kind == "bus" and not v.stopped:
            if v.direction < 0 and at_stop < 14:
                v.aside = float(np.clip((14 - at_stop) / 10, 0, 1))
            room = min(room, at_stop + 1.5) if at_stop > -1 else room
            if at_stop < 0.6:
                v.dwell -= _STEP
                v.stopped = v.dwell <= 0
        elif v.aside > 0:
            v.aside = float(np.clip(1 - (-at_stop - 2) / 10, 0, 1)) if at_stop < -2 else v.aside
        return room

    def _park(self, now: float) -> None:
        for x in _PARKING:
            if now < self.parking_until.setdefault(x, now + self.rng.uniform(0, 40)):
                continue
            if x in self.parked:
                del self.parked[x]
                self.parking_until[x] = now + self.rng.uniform(20, 60)
            else:
                yaw = 0.0 if self.rng.random() < 0.15 else np.pi
                y = _BAY_Y + self.rng.uniform(-0.15, 0.15)
                self.parked[x] = Placed("car", self.number(), car(self.rng), x, y, yaw)
                self.parking_until[x] = now + self.rng.uniform(15, 45)

    def _enter(self) -> None:
        rng = self.rng
        side = _NORTH if rng.random() < 0.5 else _SOUTH
        y = rng.uniform(*side)
        direction = int(rng.choice((-1, 1)))
        path = [(-direction * 36.0, y, 0.0)]
        if rng.random() < 0.3:
            path = [(float(rng.choice(_DOORS)), 9.8, 0.0)]
            side, y = _NORTH, rng.uniform(*_NORTH)
            path.append((path[0][0], y, 0.0))
        if rng.random() < 0.45:
            x = rng.uniform(*_ZEBRA)
            other = _SOUTH if side is _NORTH else _NORTH
            path += [(x, y, 0.0), (x, np.sign(y) * 5.5, rng.uniform(0, 3))]
            y = rng.uniform(*other)
            path.append((x, y, 0.0))
        elif side is _NORTH and rng.random() < 0.4:
            path.append((-8.5 + rng.uniform(-1.5, 1.5), 7.0, rng.uniform(8, 20)))
        path.append((direction * 36.0, y, 0.0))
        for companion in range(1 if rng.random() < 0.8 else 2):
            shift = rng.uniform(-0.4, 0.4, 2)
            own = [(a + shift[0] + 0.7 * companion, b + shift[1] * 0.5, c) for a, b, c in path]
            self.walkers.append(_Walker(self.number(), person(rng), own, rng.uniform(0.95, 1.6)))

    def everyone(self) -> list[Placed]:
        moving: list[_Vehicle | _Walker] = [*self.vehicles, *self.walkers]
        return [mover.placed() for mover in moving] + list(self.parked.values())


def traffic(frames: int, rng: np.random.Generator) -> Iterator[list[Placed]]:
    """Everyone on the street in each of `frames` frames, five seconds apart."""
    street = _Street(rng)
    step = 0
    for frame in range(frames):
        until = _WARM_UP + frame * _FRAME
        while step * _STEP < until:
            street.step(step * _STEP)
            step += 1
        yield street.everyone()
