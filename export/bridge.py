"""A Keras 3 section rebuilt in tf_keras, which is what tensorflow-model-optimization takes."""

from __future__ import annotations

import inspect
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from edge_runtime.arrays import Array
from edge_runtime.errors import InputError

from .parity import FLOAT32_TOLERANCE, relative_error

#: What decides how weights start and are held: a section that is trained already needs none of it.
_DROPPED = ("_initializer", "_regularizer", "_constraint")
#: What the names of wrappers begin with that round weights and activations.
QUANTIZED = "quant_"
#: Arguments that have another name there, by class.
_RENAMED: Mapping[str, Mapping[str, str]] = {"LeakyReLU": {"negative_slope": "alpha"}}


@dataclass(frozen=True)
class Counterpart:
    """A section in tf_keras.

    `model`: takes the section's inputs as a list, in the order of `section.inputs`, bytes as
    floats, and gives what the section gives; nested models are opened. `ours`: the section's
    layers, by their names in `model`; `weights`: what those call their weights, in our order.
    """

    section: keras.Model
    model: Any
    ours: Mapping[str, Any]
    weights: Mapping[str, tuple[str, ...]]

    def read_back(self, model: Any) -> None:
        """Give the section the weights of a model with these layers, or wrappers of them."""
        theirs = {layer.name.removeprefix(QUANTIZED): layer for layer in model.layers}
        for name, layer in self.ours.items():
            found = {_last(w): w.numpy() for w in theirs[name].weights}
            layer.set_weights([found[weight] for weight in self.weights[name]])


def _last(weight: Any) -> str:
    """`kernel`, of `quant_dense/kernel:0`."""
    name: str = weight.name
    return name.rpartition("/")[2].partition(":")[0]


def legacy() -> tuple[Any, Any]:
    """The packages tf_keras and tensorflow_model_optimization, which take seconds to import.

    Raises `InputError` with the install line where they are missing.
    """
    # Importing the second sets a variable that would turn `tf.keras` into tf_keras, here and in
    # every process started from here; so `tf.keras` is loaded first, and the variable put back.
    before = os.environ.get("TF_USE_LEGACY_KERAS")
    getattr(tf.keras, "layers", None)
    try:
        import tensorflow_model_optimization
        import tf_keras
    except ModuleNotFoundError as error:
        raise InputError(
            "pruning, clustering and quantization-aware training need "
            'tensorflow-model-optimization: pip install "ddnn-tf[compress]"'
        ) from error
    finally:
        if before is None:
            os.environ.pop("TF_USE_LEGACY_KERAS", None)
        else:
            os.environ["TF_USE_LEGACY_KERAS"] = before
    return tf_keras, tensorflow_model_optimization


def counterpart(section: keras.Model, probe: Mapping[str, Array]) -> Counterpart:
    """Rebuild a section from the configurations and weights of its layers.

    Args:
        section: functional, of layers that tf_keras has too.
        probe: some inputs, by name, on which every layer must compute the same in both.

    Raises:
        InputError: for a layer that tf_keras does not have, or that computes something else there.
    """
    old, _ = legacy()
    built: dict[int, Any] = {}
    ours: dict[str, Any] = {}

    def made(operation: Any) -> Any:
        if id(operation) not in built:
            name, count = operation.name, 1
            while name in ours:  # in another nested model
                name, count = f"{operation.name}_{count}", count + 1
            built[id(operation)] = _layer(section, operation, name, old)
            ours[name] = operation
        return built[id(operation)]

    inputs = [old.Input(x.shape[1:], dtype="float32", name=x.name) for x in section.inputs]
    # Arguments such as `training` and `mask` change nothing of what is computed at inference.
    outputs = _through(section, inputs, lambda operation: lambda *x, **_: made(operation)(*x))
    model = old.Model(inputs, keras.tree.flatten(outputs), name=section.name)
    for name, operation in ours.items():
        layer = model.get_layer(name)
        layer.set_weights(operation.get_weights())
        if hasattr(layer, "finalize_state"):  # what a Normalization makes of its weights
            layer.finalize_state()

    def compared(operation: Any) -> Any:
        def call(*x: Any, **_: Any) -> Any:
            own = operation(*x)
            theirs = keras.tree.flatten(made(operation)(*x))
            pairs = zip(keras.tree.flatten(own), theirs, strict=True)
            # An activation, say, may bear one name and be two functions.
            if max(relative_error(np.asarray(b), np.asarray(a)) for a, b in pairs) > (
                FLOAT32_TOLERANCE
            ):
                raise foreign(section, operation, "computes something else in tf_keras")
            return own

        return call

    _through(section, [tf.constant(probe[x.name]) for x in section.inputs], compared)
    weights = {name: tuple(_last(w) for w in model.get_layer(name).weights) for name in ours}
    return Counterpart(section, model, ours, weights)


def _through(model: keras.Model, inputs: list[Any], call: Any) -> Any:
    """Values through a functional model's graph, nested ones opened, by a call of one's own."""

    def either(operation: Any) -> Any:
        if not isinstance(operation, keras.Model):
            return call(operation)
        return lambda *x, **_: _through(operation, keras.tree.flatten(x), call)

    if not hasattr(model, "_run_through_graph"):
        if isinstance(model, keras.Sequential):
            return _through(model._functional, inputs, call)
        raise foreign(model, model, "is a model without a graph of layers")
    return model._run_through_graph(inputs, operation_fn=either)


def _layer(section: keras.Model, operation: Any, name: str, old: Any) -> Any:
    kind = type(operation).__name__
    known = getattr(old.layers, kind, None)
    if known is None or getattr(keras.layers, kind, None) is not type(operation):
        raise foreign(section, operation, "is a layer that tf_keras does not have")
    renamed = _RENAMED.get(kind, {})
    taken = {
        parameter
        for base in known.__mro__
        if "__init__" in vars(base)
        for parameter in inspect.signature(base.__init__).parameters
    }
    config = {
        renamed.get(key, key): value
        for key, value in operation.get_config().items()
        if not key.endswith(_DROPPED) and renamed.get(key, key) in taken
    }
    # Frozen in an earlier training it is free to learn in this one; the tools find no weights else.
    own = {"dtype": operation.compute_dtype, "name": name, "trainable": True}
    try:
        return known.from_config({**config, **own})
    except (TypeError, ValueError) as error:
        said = " ".join(str(error).split())
        raise foreign(section, operation, f"cannot be made in tf_keras ({said})") from error


def foreign(section: keras.Model, operation: Any, what: str) -> InputError:
    """The error for a layer that tensorflow-model-optimization cannot work on."""
    return InputError(
        f"section {section.name!r}: {type(operation).__name__} {operation.name!r} {what}, so the "
        "section cannot be pruned, clustered or trained for quantization; use another layer, or "
        "quantize this node after training alone"
    )
