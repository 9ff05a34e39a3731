"""What the sensors of a local deployment see."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from ..bundle.manifest import NodeManifest
from ..bundle.sections import read_golden
from ..errors import InputError


def golden_views(bundle: Path, nodes: dict[str, NodeManifest]) -> dict[str, NDArray[Any]]:
    """Views by sensor that export kept to prove a device's numbers; without labels, and few.

    Of a sensor that several nodes read, those of the first.
    """
    views: dict[str, NDArray[Any]] = {}
    for name, node in nodes.items():
        inputs, _ = read_golden(bundle / "nodes" / name, node)
        for link in node.incoming:
            if link.sensor:
                views.setdefault(link.source, inputs[link.source])
    if not views:
        raise InputError(f"{bundle}: no node reads a sensor; give --data FILE.npz")
    count = min(map(len, views.values()))
    return {sensor: x[:count] for sensor, x in views.items()}
