"""What a layer knows beside its weights, carried over to a copy of it."""

from __future__ import annotations

import tempfile
from typing import Any

import keras


def copy_state(source: Any, target: Any) -> None:
    """Give a layer or a model the weights of its twin, and what was adapted from data.

    A `Normalization`, say, computes with constants that it makes of its weights when a file is
    read: weights that are set alone leave it as if it had never been adapted. Raises `ValueError`
    where the two have other weights.
    """
    target.set_weights(source.get_weights())
    for ours, theirs in zip(_parts(source), _parts(target), strict=True):
        if not ours.built:
            continue
        if _has_own(ours, "load_own_variables"):
            store: dict[str, Any] = {}
            ours.save_own_variables(store)
            theirs.load_own_variables(store)
        if _has_own(ours, "load_assets"):
            with tempfile.TemporaryDirectory(prefix="ddnn-") as folder:
                ours.save_assets(folder)
                theirs.load_assets(folder)
        # Not in its variables, and in its configuration only where it was given there.
        if isinstance(ours, keras.layers.Discretization):
            theirs.bin_boundaries = ours.bin_boundaries


def _parts(layer: Any) -> list[Any]:
    """A layer and all layers in it; Keras has no public name for them."""
    flat = getattr(layer, "_flatten_layers", None)
    return list(flat()) if flat else []


def _has_own(layer: Any, method: str) -> bool:
    """Whether a class reads a file in a way of its own."""
    return getattr(type(layer), method, None) is not getattr(keras.Layer, method, None)
