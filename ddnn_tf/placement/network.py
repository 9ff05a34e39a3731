"""A chain of blocks, and the devices that may compute them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from edge_runtime.errors import InputError


class Block(NamedTuple):
    """A part of the model that is never cut: its message is `bytes` long, an inference."""

    name: str
    bytes: int


@dataclass(frozen=True)
class Device:
    """A machine that may compute blocks.

    `latency_ms`, `memory_mb` and `storage_mb` are per block, as measured on it; `most_memory_mb`
    and `most_storage_mb` are what its run of blocks may add up to. `survival`: the probability that
    it works.
    """

    name: str
    latency_ms: tuple[float, ...]
    memory_mb: tuple[float, ...]
    storage_mb: tuple[float, ...]
    most_memory_mb: float = math.inf
    most_storage_mb: float = math.inf
    survival: float = 1.0


class DeviceLink(NamedTuple):
    """A connection between two devices: megabits a second, delay in ms, and its survival."""

    source: str
    target: str
    mbps: float
    delay_ms: float = 0.0
    survival: float = 1.0

    def ms(self, count: int) -> float:
        """How long `count` bytes take, in milliseconds."""
        return self.delay_ms + 8 * count / (1000 * self.mbps)


@dataclass(frozen=True)
class Network:
    """A chain of blocks, and the devices that may compute them.

    The first device has the sensor, which gives `input_bytes` an inference. The answer is given by
    `output`, or where the last block happens to be. `alive` and `fallback` are the accuracy while
    all devices and wires in use work, and once one does not.

    Raises `InputError` at construction.
    """

    blocks: tuple[Block, ...]
    input_bytes: int
    devices: tuple[Device, ...]
    wires: tuple[DeviceLink, ...]
    output: str | None = None
    alive: float = 1.0
    fallback: float = 0.0

    def __post_init__(self) -> None:
        _check(self)

    def left(self, done: int) -> int:
        """Bytes that are passed on once `done` blocks are computed."""
        return self.blocks[done - 1].bytes if done else self.input_bytes


def _check(network: Network) -> None:
    count = len(network.blocks)
    if not count or not network.devices:
        raise InputError("expected at least one block and one device, got none")
    names = [device.name for device in network.devices]
    for name in names:
        if names.count(name) > 1:
            raise InputError(f"device {name!r} is a duplicate; rename one of the two")
    for device in network.devices:
        _check_device(device, count)
    if not network.devices[0].survival > 0:
        raise InputError(f"device {names[0]!r} has the sensor and never works; nothing can run")
    for thing, survival in [
        *((f"device {d.name!r}", d.survival) for d in network.devices),
        *((f"wire {w.source}->{w.target}", w.survival) for w in network.wires),
    ]:
        if not 0 <= survival <= 1:
            raise InputError(f"{thing}: expected a survival from 0 to 1, got {survival}")
    _check_links(network.wires, names)
    if network.output is not None and network.output not in names:
        raise InputError(f"unknown output {network.output!r}; expected {', '.join(names)}")
    if not 0 <= network.fallback <= network.alive <= 1:
        raise InputError(
            f"expected 0 <= fallback <= alive <= 1, got {network.fallback} and {network.alive}"
        )


def _check_device(device: Device, count: int) -> None:
    for figure in ("latency_ms", "memory_mb", "storage_mb"):
        values = getattr(device, figure)
        if len(values) != count or not all(math.isfinite(v) and v >= 0 for v in values):
            raise InputError(
                f"device {device.name!r}: expected {figure} of {count} blocks, each a number "
                f"of at least 0, got {list(values)}"
            )
    for figure in ("most_memory_mb", "most_storage_mb"):
        if not getattr(device, figure) >= 0:
            raise InputError(
                f"device {device.name!r}: expected {figure} of at least 0, got "
                f"{getattr(device, figure)}"
            )


def _check_links(links: Sequence[DeviceLink], names: Sequence[str]) -> None:
    """Refuse links between unknown devices, back towards the sensor, or twice over."""
    seen = set()
    for wire in links:
        for end in (wire.source, wire.target):
            if end not in names:
                raise InputError(f"unknown device {end!r} on a wire; expected {', '.join(names)}")
        if names.index(wire.source) >= names.index(wire.target):
            raise InputError(
                f"wire {wire.source}->{wire.target} leads back; list the devices in the order "
                "from the sensor to the answer"
            )
        if (wire.source, wire.target) in seen:
            raise InputError(f"wire {wire.source}->{wire.target} is a duplicate; remove one")
        seen.add((wire.source, wire.target))
        if not (wire.mbps > 0 and wire.delay_ms >= 0):
            raise InputError(
                f"wire {wire.source}->{wire.target}: expected mbps above 0 and a delay of at least "
                f"0, got {wire.mbps} and {wire.delay_ms}"
            )
