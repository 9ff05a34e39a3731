"""Models from `.keras` files, ours and others'."""

from __future__ import annotations

import json
import re
import zipfile
import zlib
from pathlib import Path
from typing import Any

import keras

from edge_runtime.errors import InputError

from .model import ResilientModel

# What Keras, zipfile and h5py raise for a damaged file.
_DAMAGED = (ValueError, OSError, KeyError, TypeError, RuntimeError, zipfile.BadZipFile, zlib.error)


def load_model(path: str | Path) -> ResilientModel:
    """Read a model that `save` wrote.

    As `keras.models.load_model`, which knows the classes of a saved model only once this module
    has been imported; that happens when something of `ddnn_tf` is first used.

    Raises:
        InputError: for a file that is missing, damaged, or holds a model without a topology.
    """
    model = read_keras(path)
    if not isinstance(model, ResilientModel):
        raise InputError(
            f"{path}: a {type(model).__name__} without a topology; "
            "expected a model from `ddnn train` or ddnn_tf.build"
        )
    return model


def read_keras(path: str | Path) -> keras.Model:
    """Read any Keras model.

    Raises:
        InputError: for a file that is missing or damaged, or a layer whose class is not known.
    """
    try:
        return keras.models.load_model(path)
    except _DAMAGED as error:
        said = " ".join(str(error).split())
        unknown = re.search(r"Could not locate (?:class|function) '(\w+)'", said)
        kind = unknown[1] if unknown else "Lambda" if "`Lambda`" in said else ""
        if kind:
            raise InputError(
                f"{path}: {_layers_of(path, kind)} of class {kind}, which a file does not hold; "
                "write a layer class of your own, register it with "
                "@keras.saving.register_keras_serializable(), and call ddnn_tf from that program"
            ) from error
        raise InputError(
            f"{path}: not a Keras model that this version reads ({error}); train it again"
        ) from error


def _layers_of(path: str | Path, kind: str) -> str:
    """The layers of one class in a saved model, for an error."""
    found: list[str] = []

    def walk(item: Any) -> None:
        if isinstance(item, dict):
            if item.get("class_name") == kind and isinstance(item.get("config"), dict):
                found.append(repr(item.get("name") or item["config"].get("name")))
            for inner in item.values():
                walk(inner)
        elif isinstance(item, list):
            for inner in item:
                walk(inner)

    with zipfile.ZipFile(path) as file:
        walk(json.loads(file.read("config.json")))
    names = list(dict.fromkeys(found))
    if not names:
        return "a layer"
    return f"layer {names[0]}" if len(names) == 1 else f"layers {', '.join(names)}, each"
