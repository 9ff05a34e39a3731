"""What can fail, how probable each case is, and what then still gets through.

A *mask* says which elements of a topology work: bool, shape (cases, elements), in the order of
`Topology.elements`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray

from .errors import InputError
from .files import new_file
from .topology import Survival, Topology

__all__ = [
    "Change",
    "Configurations",
    "FailureTrace",
    "deliveries",
    "draw",
    "enumerate_configurations",
    "mask_without",
    "output_states",
]

Mask = NDArray[np.bool_]

#: 2^20 configurations take about 100 MB; above that, sampling is the better way.
MOST_CONFIGURATIONS = 1 << 20


@dataclass(frozen=True)
class Configurations:
    """Failure configurations and how probable each is under every survivability asked for.

    `masks`: bool (configurations, elements). `fallible`: the columns that vary.
    `survivals`: per survivability, float64 (elements,).
    """

    masks: Mask
    fallible: tuple[int, ...]
    survivals: Mapping[str, NDArray[np.float64]]

    def __len__(self) -> int:
        return len(self.masks)

    def probabilities(self, survivability: str, *, given: int | None = None) -> NDArray[np.float64]:
        """Probability of each configuration, shape (configurations,).

        With `given`, that column's own probability is left out: the weights with which the
        configurations in which it works, or those in which it failed, sum to 1 each.
        """
        columns = [c for c in self.fallible if c != given]
        survival, up = self.survivals[survivability][columns], self.masks[:, columns]
        return np.asarray(np.where(up, survival, 1.0 - survival).prod(axis=1))

    @property
    def failures(self) -> NDArray[np.int64]:
        """How many elements have failed in each configuration, shape (configurations,)."""
        return np.asarray((~self.masks[:, list(self.fallible)]).sum(axis=1))


def enumerate_configurations(
    topology: Topology,
    survivabilities: Mapping[str, Survival],
    *,
    also: Iterable[str] = (),
    limit: int = MOST_CONFIGURATIONS,
) -> Configurations:
    """All 2^n failure configurations, the one without failures first.

    n counts the elements whose survival is below 1 in one of the survivabilities, and those
    named in `also`. Raises `InputError` above `limit` configurations.
    """
    survivals = {name: topology.survival(value) for name, value in survivabilities.items()}
    if not survivals:
        raise InputError("expected at least one survivability, got none; name a preset")
    varies = np.any([s < 1.0 for s in survivals.values()], axis=0)
    varies[[topology.index[name] for name in also]] = True
    fallible = tuple(int(i) for i in np.flatnonzero(varies))
    n = len(fallible)
    if 1 << n > limit:
        raise InputError(
            f"{n} elements of {topology.name!r} can fail, which makes 2^{n} = {1 << n:,} "
            f"configurations, more than the limit of {limit:,}; raise the limit, or set the "
            "survival of elements that hardly ever fail to 1"
        )
    masks = np.ones((1 << n, len(topology.elements)), bool)
    masks[:, fallible] = (np.arange(1 << n)[:, None] >> np.arange(n)) & 1 == 0
    return Configurations(masks, fallible, survivals)


def draw(topology: Topology, survivability: Survival, count: int, rng: np.random.Generator) -> Mask:
    """Draw `count` masks, each element independently; bool (count, elements)."""
    survival = topology.survival(survivability)
    return rng.random((count, len(survival))) < survival


def deliveries(topology: Topology, masks: Mask) -> Mask:
    """Which links deliver: up, and the sender alive and not silent. Shape (cases, links)."""
    masks = np.asarray(masks, bool)
    delivers = np.zeros((len(masks), len(topology.links)), bool)

    def send(name: str, sends: Mask) -> None:
        for link in topology.outgoing(name):
            delivers[:, topology.bits[link.name]] = sends & masks[:, topology.index[link.name]]

    for sensor in topology.sensors:
        send(sensor.name, masks[:, topology.index[sensor.name]])
    for name in topology.order:
        heard = delivers[:, [topology.bits[x.name] for x in topology.incoming(name)]].any(axis=1)
        send(name, heard & masks[:, topology.index[name]])
    return delivers


def output_states(topology: Topology, masks: Mask, node: str | None = None) -> Mask:
    """The delivered-links state of the output node in each case, shape (cases, links).

    Or of another `node`, of which it says what an answer of its exit would be computed from. All
    false where the node is dead or silent: it has no answer.
    """
    top = topology.output if node is None else node
    delivers = deliveries(topology, masks)
    wanted = np.zeros_like(delivers)
    # From the top down: a link belongs to the state if it delivers to a node that is heard.
    heard = {top: np.asarray(masks, bool)[:, topology.index[top]]}
    for name in reversed(topology.order):
        for link in topology.incoming(name) if name in heard else ():
            column = topology.bits[link.name]
            wanted[:, column] = delivers[:, column] & heard[name]
            heard[link.source] = heard.get(link.source, False) | wanted[:, column]
    return wanted


def mask_without(topology: Topology, down: Sequence[str]) -> Mask:
    """The mask, bool (elements,), in which exactly the elements named have failed."""
    mask = np.ones(len(topology.elements), bool)
    for name in down:
        if name not in topology.index:
            raise InputError(
                f"unknown element {name!r}; topology {topology.name!r} has "
                f"{', '.join(topology.elements)}"
            )
        mask[topology.index[name]] = False
    return mask


class Change(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """From `frame` on, exactly the elements in `down` have failed."""

    frame: int
    down: tuple[str, ...]


@dataclass(frozen=True)
class FailureTrace:
    """What had failed at each frame of a run: the changes, in order of frames.

    In a file, one JSON object a line, as in `{"frame": 120, "down": ["fog4", "edge1->fog2"]}`;
    before the first change nothing has failed.
    """

    topology: Topology
    changes: tuple[Change, ...]

    @classmethod
    def of(cls, topology: Topology, masks: Mask) -> FailureTrace:
        """The trace of one mask a frame, bool (frames, elements)."""
        changes: list[Change] = []
        before: tuple[str, ...] = ()
        for frame, mask in enumerate(masks):
            down = tuple(n for n, up in zip(topology.elements, mask, strict=True) if not up)
            if down != before:
                changes.append(Change(frame, down))
            before = down
        return cls(topology, tuple(changes))

    @classmethod
    def load(cls, path: str | Path, topology: Topology) -> FailureTrace:
        """Read a trace; `InputError` names the line of a fault."""
        try:
            lines = Path(path).read_bytes().splitlines()
        except OSError as error:
            raise InputError(f"cannot read the trace {path}: {error.strerror}") from error
        changes: list[Change] = []
        for number, line in enumerate(lines, 1):
            where = f"{path}, line {number}"
            try:
                change = msgspec.json.decode(line, type=Change)
                mask_without(topology, change.down)
            except (msgspec.DecodeError, InputError) as error:
                raise InputError(f"{where}: {error}") from error
            if change.frame < 0 or (changes and change.frame <= changes[-1].frame):
                raise InputError(f"{where}: expected frames in rising order, got {change.frame}")
            changes.append(change)
        return cls(topology, tuple(changes))

    def save(self, path: str | Path) -> None:
        """Write one change a line."""
        with new_file(path) as temporary:
            lines = [msgspec.json.encode(change) + b"\n" for change in self.changes]
            temporary.write_bytes(b"".join(lines))

    def masks(self, frames: int) -> Mask:
        """One mask a frame, bool (frames, elements)."""
        masks = np.ones((frames, len(self.topology.elements)), bool)
        for change in self.changes:
            masks[change.frame :] = mask_without(self.topology, change.down)
        return masks
