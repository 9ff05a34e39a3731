"""Models from `.keras` files that `save` wrote."""

from __future__ import annotations

from pathlib import Path

from edge_runtime.errors import InputError

from .cutting.loading import read_model
from .model import ResilientModel


def load_model(path: str | Path) -> ResilientModel:
    """Read a model that `save` wrote.

    As `keras.models.load_model`, which knows the classes of a saved model only once this module
    has been imported; that happens when something of `ddnn_tf` is first used.

    Raises:
        InputError: for a file that is missing, damaged, or holds a model without a topology.
    """
    model = read_model(path, compile=True).model
    if not isinstance(model, ResilientModel):
        raise InputError(
            f"{path}: a {type(model).__name__} without a topology; "
            "expected a model from `ddnn train` or ddnn_tf.build"
        )
    return model
