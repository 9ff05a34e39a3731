"""`ddnn place`: which machine computes which part of a model."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from edge_runtime.clock import parse_seconds
from edge_runtime.process.command import print_json

from ..placement.choosing import binding, front, place
from ..placement.devices import read_network
from ..placement.network import Network
from ..placement.placement import Aim, Limits, Placement
from .options import JsonOption

place_app = typer.Typer()


@place_app.command("place")
def place_command(
    bundle: Annotated[
        Path,
        typer.Argument(metavar="BUNDLE", help="of a chain of nodes, which may be cut between any"),
    ],
    devices: Annotated[
        Path,
        typer.Option(metavar="FILE", help="the devices and the wires between them, .yaml or .json"),
    ],
    objective: Annotated[
        Aim,
        typer.Option(help="what is made best: least latency, fewest bytes, or highest accuracy"),
    ] = "latency",
    max_latency: Annotated[
        str | None,
        typer.Option(metavar="TIME", help="longest latency, such as 50ms", show_default="any"),
    ] = None,
    max_bytes: Annotated[
        float | None,
        typer.Option(
            metavar="COUNT", help="most bytes between devices an inference", show_default="any"
        ),
    ] = None,
    min_accuracy: Annotated[
        float | None,
        typer.Option(
            metavar="SHARE", help="least expected accuracy, such as 0.9", show_default="any"
        ),
    ] = None,
    against: Annotated[
        Aim | None,
        typer.Option(
            help="also list the best placements at every value of this", show_default="none"
        ),
    ] = None,
    json: JsonOption = False,
) -> None:
    """Place the blocks of a bundle on devices, within limits."""
    latency = None if max_latency is None else _milliseconds(max_latency)
    network = read_network(devices, bundle)
    limits = Limits(latency, max_bytes, min_accuracy)
    found = place(network, objective, limits)
    held = binding(network, objective, limits)
    points = front(network, objective, against, limits) if against else []
    if json:
        print_json(
            {
                "least": objective,
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
        print(f"  the {limit} binds: without that limit {formatted(objective, value)}")
    if points:
        print(f"best {objective} at each value of {against}:")
    for point in points:
        runs = "; ".join(f"{d}: {len(b)}" for d, b in _blocks(network, point).items())
        print(f"{_figures(point)}   blocks by device: {runs}")


def _milliseconds(text: str) -> float:
    """What `--max-latency` says."""
    return round(1000 * parse_seconds("--max-latency", text, "ms"), 6)


def formatted(objective: Aim, value: float) -> str:
    """A value of what is made best, with its unit."""
    if objective == "accuracy":
        return f"expected accuracy {100 * value:.2f} %"
    return f"{value:g} {'ms' if objective == 'latency' else 'bytes'}"


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
