"""A model as devices can compute it: in float32, and with its recurrences written out."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from edge_runtime.errors import InputError

from .graph import functional_of
from .remake import remade

#: Where fewer bits than float32's are computed in; LiteRT has kernels for none of them.
_SHORT = ("float16", "bfloat16", "mixed_float16", "mixed_bfloat16")
#: Samples on which the two are compared.
_COMPARED = 4


@dataclass(frozen=True)
class Portable:
    """A model, and what had to be changed for devices.

    `model`: the same one where nothing had to be. `unrolled`: recurrent layers, each written out
    for the steps that it is called on. `float32`: layers that computed in fewer bits.
    `float32_error`: how far the answers lie from those in fewer bits, relative to the largest.
    """

    model: keras.Model
    unrolled: tuple[str, ...] = ()
    float32: tuple[str, ...] = ()
    float32_error: float = 0.0

    def lines(self) -> list[str]:
        """What was changed, for people."""
        found = []
        if self.unrolled:
            found.append(f"unrolled, for LiteRT has no loops: {', '.join(self.unrolled)}")
        if self.float32:
            found.append(
                f"in float32, for LiteRT has no half precision: {', '.join(self.float32)} (answers "
                f"{self.float32_error:.1e} from the original's, relative)"
            )
        return found

    def to_dict(self) -> dict[str, Any]:
        """Plain values, as `ddnn partition --json` prints them."""
        return {
            "unrolled": list(self.unrolled),
            "float32": list(self.float32),
            "float32_error": self.float32_error,
        }


def portable(model: keras.Model, seed: int = 0) -> Portable:
    """Make of a model what LiteRT can convert, where its layers' options alone prevent it.

    LiteRT has no loop of a recurrent layer, and no half precision. A layer in fewer bits is made
    again in float32, with the weights that it has; it then computes more exactly.

    Raises:
        InputError: for a layer that cannot be made again; it names the layer.
    """
    whole = functional_of(model)
    if whole is None or any(None in x.shape[1:] for x in whole.inputs):
        return Portable(model)  # which cannot be cut, and why is said where graphs are read
    configs = [
        (layer.name, keras.saving.serialize_keras_object(layer))
        for layer in _operations(whole)
        if _concerns(layer)
    ]
    unrolled = tuple(dict.fromkeys(name for name, config in configs if _unrolls(config)))
    full = tuple(dict.fromkeys(name for name, config in configs if _widens(config)))
    # Keras makes a Sequential model that was only ever called for the samples of that call.
    fixed = isinstance(model, keras.Sequential) and any(x.shape[0] for x in whole.inputs)
    if not (unrolled or full or fixed):
        return Portable(model)
    made = remade(whole, edit=_edited)
    return Portable(made, unrolled, full, _difference(whole, made, seed) if full else 0.0)


def _operations(model: Any) -> Iterator[Any]:
    """The layers of a model, those of functional ones in it in their place."""
    for layer in model.layers:
        inner = functional_of(layer)
        if inner is None:
            yield layer
        else:
            yield from _operations(inner)


def _concerns(layer: Any) -> bool:
    """Whether a layer may have to be changed; many could not be written down, nor need to be."""
    inside = layer._flatten_layers()
    return any(isinstance(x, keras.layers.RNN) or x.compute_dtype in _SHORT for x in inside)


def _edited(config: dict[str, Any]) -> None:
    _unrolls(config)
    _widens(config)


def _parts(item: Any) -> Iterator[dict[str, Any]]:
    """The arguments of a layer as written down, and of all that is in it."""
    if isinstance(item, dict):
        if isinstance(item.get("config"), dict):
            yield item["config"]
        for inner in item.values():
            yield from _parts(inner)
    elif isinstance(item, list):
        for inner in item:
            yield from _parts(inner)


def _unrolls(config: dict[str, Any]) -> bool:
    """Have all recurrences in a layer written out, in place; whether there was any."""
    found = False
    for part in _parts(config):
        # A stateful one is refused later, by its name.
        if part.get("unroll") is False and not part.get("stateful"):
            part["unroll"] = found = True
    return found


def _widens(config: dict[str, Any]) -> bool:
    """Have all of a layer computed in float32, in place; whether it was not."""
    found = False
    for part in _parts(config):
        policy = part.get("dtype")
        name = policy.get("config", {}).get("name") if isinstance(policy, dict) else policy
        if name in _SHORT:
            part["dtype"], found = "float32", True
    return found


def _difference(original: Any, made: keras.Model, seed: int) -> float:
    """How far the answers of two models lie apart, relative to the largest."""
    rng = np.random.default_rng(seed)
    given = [
        rng.normal(size=(_COMPARED, *x.shape[1:])).astype(np.float32)
        if keras.backend.is_float_dtype(x.dtype)
        else np.zeros((_COMPARED, *x.shape[1:]), x.dtype)
        for x in made.inputs
    ]

    def answers(model: Any) -> list[Any]:
        own = [keras.ops.cast(x, i.dtype) for x, i in zip(given, model.inputs, strict=True)]
        result = model(keras.tree.pack_sequence_as(model._inputs_struct, own), training=False)
        return [np.asarray(keras.ops.cast(x, "float32")) for x in keras.tree.flatten(result)]

    worst = 0.0
    for got, expected in zip(answers(made), answers(original), strict=True):
        if not np.isfinite(got).all():
            raise InputError(f"model {made.name!r} gives no finite answer in float32")
        finite = np.isfinite(expected)  # half precision ends at 65504
        scale = np.abs(got).max(initial=1e-30)
        worst = max(worst, float(np.abs(got - expected)[finite].max(initial=0.0)) / float(scale))
    return worst
