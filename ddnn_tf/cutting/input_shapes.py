"""A model whose inputs may have any size, for one size of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras

from edge_runtime.errors import InputError

from .graph import functional_of
from .remake import remade

Shape = tuple[int, ...]


def with_shapes(model: keras.Model, shapes: Mapping[str, Shape]) -> keras.Model:
    """The same model for inputs of fixed shapes, with copies of its weights.

    Args:
        model: functional or Sequential; without a graph it is given back for `partition` to refuse.
        shapes: without the batch axis, by input; an empty name is a model's only input.

    Raises:
        InputError: for an input that is not there, a shape that the model does not take, or a layer
            that cannot be called on it; it names them.
    """
    whole = functional_of(model)
    if whole is None or not shapes:
        return model
    names = [x._keras_history.operation.name for x in whole.inputs]
    wanted = dict(shapes)
    if "" in wanted and len(names) == 1:
        wanted[names[0]] = wanted.pop("")
    for name in wanted:
        if name not in names:
            said = f"{name!r}" if name else "a shape without a name"
            raise InputError(
                f"--shape: model {model.name!r} has no input for {said}; it has "
                f"{', '.join(names)}: say NAME=SIZES, such as {names[0]}=128,3"
            )
    shapes_ = [
        _fitting(name, tuple(x.shape[1:]), wanted.get(name))
        for name, x in zip(names, whole.inputs, strict=True)
    ]
    if all(shape == tuple(x.shape[1:]) for shape, x in zip(shapes_, whole.inputs, strict=True)):
        return model
    return remade(whole, shapes_, why="--shape: ")


def _fitting(name: str, has: tuple[int | None, ...], wanted: Shape | None) -> Any:
    """The shape that an input gets; `InputError` where it cannot."""
    if wanted is None:
        return has
    fits = len(wanted) == len(has) and all(a in (None, b) for a, b in zip(has, wanted, strict=True))
    if not fits or min(wanted, default=1) < 1:
        raise InputError(
            f"--shape: input {name!r} takes {_said(has)}, got {_said(wanted)}; give all sizes of "
            "one sample, the fixed ones as they are"
        )
    return wanted


def _said(shape: tuple[int | None, ...]) -> str:
    return ",".join("any" if d is None else str(d) for d in shape) or "one number"
