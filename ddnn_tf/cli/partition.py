"""`ddnn partition`: an existing Keras model, cut."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import typer

from edge_runtime.errors import InputError
from edge_runtime.files import new_file
from edge_runtime.process.command import print_json
from edge_runtime.topology import Topology

from .importing import import_files
from .loader import load_data, quiet_tensorflow, say, words
from .options import (
    AtOption,
    BalanceOption,
    ByteRangeOption,
    ClassesOption,
    HeadOption,
    ImportOption,
    JsonOption,
    MergeOption,
    NodesOption,
    PartitionDataOption,
    PartitionModelOption,
    PartitionOutOption,
    PartitionTopologyOption,
    PriorOption,
    ResidualOption,
    ShapeOption,
    TaskOption,
)

partition_app = typer.Typer()


@partition_app.command("partition")
def partition_command(
    model: PartitionModelOption,
    out: PartitionOutOption,
    nodes: NodesOption = "",
    topology: PartitionTopologyOption = "",
    at: AtOption = "",
    residual: ResidualOption = "",
    merge: MergeOption = "add",
    byte_range: ByteRangeOption = "",
    balance: BalanceOption = None,
    task: TaskOption = "",
    head: HeadOption = "",
    classes: ClassesOption = "",
    prior: PriorOption = "",
    data: PartitionDataOption = None,
    shape: ShapeOption = None,
    imports: ImportOption = None,
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
    shapes = _shapes(shape or ())
    quiet_tensorflow()
    import_files(imports)
    from ..cutting.input_shapes import with_shapes
    from ..cutting.loading import read_model
    from ..cutting.partition import partition as cut

    read = read_model(model)
    whole = with_shapes(read.model, shapes)
    source = None if data is None else load_data(data)

    found = cut(
        whole,
        chain,
        at=ends,
        residual=links,
        merge=merge,
        byte_range=low_high,
        balance=balance,
        task=_by_output("--task", task),
        head=_by_output("--head", head),
        classes=_names(classes),
        prior=_numbers("--prior", words(prior)) or None,
        loss=read.loss,
        data=None if source is None else source.train,
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


def _nodes(text: str) -> dict[str, float | list[float]]:
    """Parse `--nodes`: survival by node, 1 where none is given, or several with slashes."""
    found: dict[str, float | list[float]] = {}
    for word in words(text):
        name, given, survival = word.partition(":")
        if name in found:
            raise InputError(f"--nodes: {name!r} is there twice; give each node a name of its own")
        chances = _numbers("--nodes", survival.split("/")) if given else [1.0]
        found[name] = chances if len(chances) > 1 else chances[0]
    return found


def _at(text: str) -> dict[str, str] | list[str] | None:
    """Parse `--at`: layers by node, or in the order of the nodes."""
    given = words(text)
    pairs = [word.partition("=") for word in given]
    named = [bool(equals) for _, equals, _ in pairs]
    if any(named) and not all(named):
        raise InputError(f"--at {text}: expected NODE=LAYER for every node, or for none")
    return {node: layer for node, _, layer in pairs} if any(named) else given or None


def _by_output(option: str, text: str) -> Any:
    """Parse `--task` or `--head`: a word, or several by output."""
    given = words(text)
    pairs = [word.partition("=") for word in given]
    named = [bool(equals) for _, equals, _ in pairs]
    if len(given) > 1 and not all(named):
        raise InputError(f"{option} {text}: expected a word, or OUTPUT=WORD for each output")
    return {name: word for name, _, word in pairs} if any(named) else text.strip() or None


def _names(text: str) -> Any:
    """Parse `--classes`: names, or those of several outputs with `+`, by output."""
    given = words(text)
    if not any("=" in word for word in given):
        return given or None
    found = _by_output("--classes", text)
    return {output: names.split("+") for output, names in found.items()}


def _shapes(given: Sequence[str]) -> dict[str, tuple[int, ...]]:
    """Parse `--shape`: sizes by input, under an empty name where none is given."""
    found: dict[str, tuple[int, ...]] = {}
    for text in given:
        name, _, sizes = text.rpartition("=")
        if name in found:
            raise InputError(f"--shape: {name or 'the only input'} is there twice")
        try:
            found[name] = tuple(int(size) for size in sizes.split(","))
        except ValueError as error:
            raise InputError(
                f"--shape {text}: expected NAME=SIZES, such as x=128,3 for 128 steps of 3 values"
            ) from error
    return found


def _range(text: str) -> tuple[float, float] | None:
    """Parse `--byte-range`, `LOW:HIGH`."""
    if not text:
        return None
    found = _numbers("--byte-range", text.split(":"))
    if len(found) != 2:
        raise InputError(f"--byte-range {text}: expected LOW:HIGH, such as -1:1")
    return found[0], found[1]


def _link(text: str) -> tuple[str, str]:
    """Parse one link, `edge-cloud` or `edge->cloud`."""
    source, dash, target = text.replace("->", "-").partition("-")
    if not (source and dash and target):
        raise InputError(f"--residual: expected links such as edge-cloud, got {text!r}")
    return source, target
