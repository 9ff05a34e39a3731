"""`ddnn place`: which machine computes which part of a model."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from edge_runtime.process.command import print_json

from ..placement.choosing import binding, front, place
from ..placement.devices import read_network
from ..placement.network import Network
from ..placement.placement import Aim, Limits, Placement
from .options import JsonOption

UNITS = {"latency": "ms", "bytes": "bytes", "accuracy": "expected accuracy"}


def place_command(
    bundle: Annotated[Path, typer.Argument(help="of a chain, cut wherever it may be cut")],
    devices: Annotated[Path, typer.Option(help="devices and wires, .yaml or .json")],
    least: Annotated[Aim, typer.Option(help="what to have the least of; the most of accuracy")] = (
        "latency"
    ),
    latency: Annotated[float | None, typer.Option(help="at most so many ms")] = None,
    most_bytes: Annotated[float | None, typer.Option("--bytes", help="at most so many")] = None,
    accuracy: Annotated[float | None, typer.Option(help="at least this, expected")] = None,
    against: Annotated[Aim | None, typer.Option(help="show the front against this")] = None,
    json: JsonOption = False,
) -> None:
    """Place the blocks of a bundle on devices, within limits."""
    network = read_network(devices, bundle)
    limits = Limits(latency, most_bytes, accuracy)
    found = place(network, least, limits)
    held = binding(network, least, limits)
    points = front(network, least, against, limits) if against else []
    if json:
        print_json(
            {
                "least": least,
                **_plain(network, found),
                "binding": held,
                "front": [_plain(network, point) for point in points],
            }
        )
        return
    for name, blocks in _blocks(network, found).items():
        print(f"  {name:<12} {', '.join(blocks) or 'passes on'}")
    print(_figures(found))
    for limit, value in held.items():
        print(f"  the {limit} binds: without that limit {value:g} {UNITS[least]}")
    if points:
        print(f"front of {least} against {against}:")
    for point in points:
        runs = "; ".join(f"{d}: {len(b)}" for d, b in _blocks(network, point).items())
        print(f"{_figures(point)}   blocks by device: {runs}")


def _blocks(network: Network, found: Placement) -> dict[str, list[str]]:
    return {
        device: [block.name for block in network.blocks[start:end]]
        for device, (start, end) in found.runs.items()
    }


def _figures(found: Placement) -> str:
    return (
        f"  {found.latency_ms:.3f} ms, {found.bytes:,} bytes, expected accuracy "
        f"{100 * found.accuracy:.2f} %"
    )


def _plain(network: Network, found: Placement) -> dict[str, Any]:
    return {
        "placement": _blocks(network, found),
        "latency_ms": found.latency_ms,
        "bytes": found.bytes,
        "expected_accuracy": found.accuracy,
    }
