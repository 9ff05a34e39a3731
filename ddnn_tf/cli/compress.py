"""How `ddnn export` is told to make sections smaller."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from edge_runtime.errors import InputError

# The package imports Keras, which takes seconds.
if TYPE_CHECKING:
    from export import Budget, Compression


T = TypeVar("T")

CompressOption = Annotated[
    list[str] | None,
    typer.Option(
        metavar="NODES=HOW",
        help="make these nodes' sections smaller, such as edge*=pruned:0.8+clustered:16+int8; may "
        "be repeated",
        show_default="none",
    ),
]
BudgetOption = Annotated[
    list[str] | None,
    typer.Option(
        metavar="NODES=SIZE",
        help="largest .tflite of each of these nodes, such as edge*=128KB; may be repeated",
        show_default="none",
    ),
]
PackedOption = Annotated[
    bool, typer.Option(help="--budget counts the .tflite as zstd packs it, not as it is")
]
StepsOption = Annotated[
    int, typer.Option(metavar="COUNT", help="training steps after each part of a --compress")
]


def chosen(
    compress: Sequence[str] | None, budget: Sequence[str] | None, packed: bool, steps: int
) -> tuple[dict[str, Compression], Budget | None]:
    """What the options say, by pattern; `InputError` for one that cannot be read."""
    from dataclasses import replace

    from export import Budget, Compression
    from export.compression import parse_size

    if packed and not budget:
        raise InputError("--packed is how budgets count; give a --budget")
    how = _pairs("--compress", compress, Compression.parse)
    sizes = _pairs("--budget", budget, parse_size)
    return (
        {pattern: replace(one, steps=steps) for pattern, one in how.items()},
        Budget(sizes, "zstd" if packed else "raw") if sizes else None,
    )


def _pairs(option: str, given: Sequence[str] | None, parse: Callable[[str], T]) -> dict[str, T]:
    found: dict[str, T] = {}
    for text in given or ():
        pattern, equals, value = text.partition("=")
        if not (pattern and equals and value):
            raise InputError(f"expected {option} NODES=VALUE, got {text!r}; see its help")
        found[pattern.strip()] = parse(value)
    return found
