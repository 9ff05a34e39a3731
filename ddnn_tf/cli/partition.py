"""`ddnn partition`: an existing Keras model, cut."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from edge_runtime.errors import InputError
from edge_runtime.files import new_file
from edge_runtime.process.command import print_json
from edge_runtime.topology import Topology

from ..names import Merge
from .options import JsonOption, check_file, say, words


def partition_command(
    model: Annotated[Path, typer.Argument(help="a .keras file: any functional Keras model")],
    out: Annotated[Path, typer.Option(help="the .keras file to write")],
    nodes: Annotated[
        str, typer.Option(help="a chain, lowest first, with survival if wanted: edge:0.9,cloud")
    ] = "",
    topology: Annotated[str, typer.Option(help="instead of --nodes: a topology file")] = "",
    at: Annotated[
        str,
        typer.Option(help="layers that end the sections, as A,B+C or fog=B; else least traffic"),
    ] = "",
    residual: Annotated[str, typer.Option(help="residual links, as edge-cloud,fog1-fog3")] = "",
    merge: Merge = "add",
    byte_range: Annotated[
        str, typer.Option("--bytes", help="sensors give bytes that stand for LOW:HIGH, as -1:1")
    ] = "",
    balance: Annotated[
        float | None, typer.Option(min=0, max=1, help="least compute, part of an equal share")
    ] = None,
    classes: Annotated[str, typer.Option(help="names with commas, in the order of scores")] = "",
    prior: Annotated[str, typer.Option(help="training frequency of each class")] = "",
    json: JsonOption = False,
) -> None:
    """Cut an existing Keras model into the sections of nodes; it computes what it did."""
    if out.suffix != ".keras":
        raise InputError(f"expected --out to end in .keras, got {out}")
    if bool(nodes) == bool(topology):
        raise InputError("expected --nodes or --topology, one of the two")
    chain = _nodes(nodes) if nodes else Topology.load(topology)
    ends = _at(at)
    links = [_link(word) for word in words(residual)]
    low_high = _range(byte_range)
    check_file(model)
    from ..cutting.partition import partition as cut
    from ..saved import read_keras

    whole = read_keras(model)

    found = cut(
        whole,
        chain,
        at=ends,
        residual=links,
        merge=merge,
        byte_range=low_high,
        balance=balance,
        classes=words(classes) or None,
        prior=_numbers("--prior", words(prior)) or None,
    )
    with new_file(out) as temporary:
        found.model.save(temporary)
    say(f"wrote {out}")
    if json:
        print_json(found.to_dict())
    else:
        print(found)


def _numbers(option: str, given: Sequence[str]) -> list[float]:
    """Numbers, or `InputError` with the option's name."""
    try:
        return [float(x) for x in given]
    except ValueError as error:
        raise InputError(f"{option}: expected numbers, got {', '.join(given)}") from error


def _nodes(text: str) -> dict[str, float]:
    """Parse `--nodes`: survival by node, 1 where none is given."""
    found: dict[str, float] = {}
    for word in words(text):
        name, given, survival = word.partition(":")
        if name in found:
            raise InputError(f"--nodes: {name!r} is there twice; give each node a name of its own")
        found[name] = _numbers("--nodes", [survival])[0] if given else 1.0
    return found


def _at(text: str) -> dict[str, str] | list[str] | None:
    """Parse `--at`: layers by node, or in the order of the nodes."""
    given = words(text)
    pairs = [word.partition("=") for word in given]
    named = [bool(equals) for _, equals, _ in pairs]
    if any(named) and not all(named):
        raise InputError(f"--at {text}: expected NODE=LAYER for every node, or for none")
    return {node: layer for node, _, layer in pairs} if any(named) else given or None


def _range(text: str) -> tuple[float, float] | None:
    """Parse `--bytes`, `LOW:HIGH`."""
    if not text:
        return None
    found = _numbers("--bytes", text.split(":"))
    if len(found) != 2:
        raise InputError(f"--bytes {text}: expected LOW:HIGH, such as -1:1")
    return found[0], found[1]


def _link(text: str) -> tuple[str, str]:
    """Parse one link, `edge-cloud` or `edge->cloud`."""
    source, dash, target = text.replace("->", "-").partition("-")
    if not (source and dash and target):
        raise InputError(f"--residual: expected links such as edge-cloud, got {text!r}")
    return source, target
