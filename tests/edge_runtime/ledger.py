"""The truth about every output of a simulated deployment, kept beside it, and the checks of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from edge_runtime.arrays import Array
from edge_runtime.bundle.tensors import PRESENT
from edge_runtime.node.assembler import ReadyFrame
from edge_runtime.topology import Topology


class InvariantError(AssertionError):
    """An invariant does not hold; the message says which, when and where."""


def ensure(holds: bool, what: str) -> None:
    if not holds:
        raise InvariantError(what)


@dataclass(frozen=True)
class Computation:
    """What really went into one output. `parts`: the computation used of each node, itself too."""

    node: str
    frame: int
    views: frozenset[tuple[str, int]]
    state: int
    parts: Mapping[str, int]


class Ledger:
    """Every computation by number, and the checks of what enters one."""

    def __init__(self, topology: Topology) -> None:
        self.topology = topology
        self.entries: list[Computation] = []
        self._computed: dict[tuple[str, int], object] = {}
        self._bit = {link.name: 1 << i for i, link in enumerate(topology.links)}
        self._sensors = [s.name for s in topology.sensors]

    def view(self, sensor: str, frame: int) -> Array:
        """What a sensor sees, from which the frame and the sensor can be read again."""
        return np.array([self._sensors.index(sensor) + 1, frame + 1], np.int64)

    def compute(
        self, node: str, process: object, ready: ReadyFrame, inputs: Mapping[str, Array]
    ) -> int:
        """Enter what a node's process computes; `InvariantError` where it may not. Its number."""
        where = f"{node}, frame {ready.frame}"
        before = self._computed.get((node, ready.frame))
        by = "itself" if before is process else "its predecessor"
        ensure(before is None, f"{where}: was computed before, by {by}")
        self._computed[node, ready.frame] = process
        views: set[tuple[str, int]] = set()
        parts: dict[str, int] = {}
        state = 0
        for name, tensor in inputs.items():
            if name == PRESENT or not tensor.any():
                continue
            sender, _, _ = name.partition("__")
            state |= self._bit[f"{sender}->{node}"]
            if sender in self._sensors:
                sensor, frame = (int(x) - 1 for x in tensor[0])
                ensure(self._sensors[sensor] == sender, f"{where}: {sender} is another's view")
                views.add((sender, frame))
                continue
            number = abs(int(tensor[0, 0])) - 1
            ensure(number < len(self.entries), f"{where}: {sender} delivered an impostor's output")
            entry = self.entries[number]
            ensure(entry.node == sender, f"{where}: {sender} delivered {entry.node}'s output")
            ensure(entry.frame == ready.frame, f"{where}: combined with frame {entry.frame}")
            views |= entry.views
            state |= entry.state
            for part, used in entry.parts.items():
                ensure(
                    parts.setdefault(part, used) == used,
                    f"{where}: combines two outputs of {part} for one frame",
                )
        if PRESENT in inputs:
            senders = [link.source for link in self.topology.incoming(node)]
            heard = {name.partition("__")[0] for name, x in inputs.items() if x.any()}
            flags = [float(sender in heard) for sender in senders]
            ensure(inputs[PRESENT].tolist() == [flags], f"{where}: flags are not {flags}")
        frames = {frame for _, frame in views}
        ensure(frames <= {ready.frame}, f"{where}: combines views of frames {sorted(frames)}")
        ensure(state == ready.state, f"{where}: claims {ready.state:#x}, used {state:#x}")
        ensure(bool(views) != ready.silent, f"{where}: silent {ready.silent} with {sorted(views)}")
        parts[node] = len(self.entries)
        self.entries.append(Computation(node, ready.frame, frozenset(views), state, parts))
        return parts[node]

    def close(self, node: str, process: object, frame: int) -> None:
        """A node's process is done with a frame that it does not compute, and never will."""
        before = self._computed.get((node, frame))
        ensure(before is None, f"{node}, frame {frame}: passed on, and computed before")
        self._computed[node, frame] = process

    def check_replay(self, number: int) -> None:
        """An answer's state, taken by itself, says what each node used, as a replay takes it."""
        answer = self.entries[number]
        used: dict[str, int] = {}
        for node in self.topology.order:
            used[node] = 0
            for link in self.topology.incoming(node):
                if answer.state & self._bit[link.name]:
                    used[node] |= self._bit[link.name] | used.get(link.source, 0)
        for node, part in answer.parts.items():
            own = self.entries[part].state
            ensure(
                used[node] == own,
                f"{answer.node}, frame {answer.frame}: replayed, {node} uses {used[node]:#x}, "
                f"and used {own:#x}",
            )
