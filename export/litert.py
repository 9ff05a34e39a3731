"""A section into a `.tflite`."""

from __future__ import annotations

import functools
import operator
import tempfile
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from tensorflow.lite.python.convert_phase import ConverterError

from edge_runtime.arrays import Array
from edge_runtime.bundle.litert import EXIT, MESSAGE
from edge_runtime.bundle.manifest import Quantization
from edge_runtime.errors import InputError
from edge_runtime.process.stderr import suppress_native_stderr

from . import saved_model
from .state import copy_state
from .trim import trimmed

#: Terms of a sum that LiteRT adds up in one go. It rounds after every one of them, and over the
#: thousands that a dense layer takes from a whole picture that exceeds what parity allows; Keras
#: adds in blocks too.
BLOCK = 512


class _Blocked(keras.layers.Dense):
    """A dense layer that computes the same in sums of `BLOCK` terms."""

    def call(self, inputs: Any, training: bool | None = None) -> Any:
        """Add the blocks up."""
        starts = range(0, inputs.shape[-1], BLOCK)
        parts = [inputs[..., i : i + BLOCK] @ self.kernel[i : i + BLOCK] for i in starts]
        if self.use_bias:
            parts.append(self.bias)
        whole = functools.reduce(operator.add, parts)
        return whole if self.activation is None else self.activation(whole)


def convert(
    section: keras.Model,
    quantization: Quantization = "none",
    *,
    representative: Mapping[str, Array] | None = None,
    exit: bool = False,
) -> bytes:
    """Convert a section, with a batch axis that can be resized and built-in operations only.

    Args:
        section: inputs named; the names become the signature's.
        quantization: `float16` stores weights in 16 bits, `dynamic` weights in 8; `int8` computes
            in 8 bits throughout. Inputs and outputs keep their types.
        representative: for `int8`: inputs as they occur, by name, samples first; their ranges fix
            the scales, so they should include what failures bring about.
        exit: the last output is what the node's exit answers. The artifact then has two
            signatures, which share their weights: one without it, for a node that only sends, and
            `exit` with all outputs.
    """
    options: dict[str, Any] = {
        "target_spec": {"supported_ops": [tf.lite.OpsSet.TFLITE_BUILTINS]},
    }
    if quantization != "none":
        options["optimizations"] = [tf.lite.Optimize.DEFAULT]
    if quantization == "float16":
        options["target_spec"]["supported_types"] = [tf.float16]
    if quantization == "int8":
        if not representative:
            raise InputError(
                f"int8 of section {section.name!r} needs representative inputs; "
                "give calibration data"
            )
        signatures = (MESSAGE, EXIT) if exit else ()
        options["representative_dataset"] = lambda: _one_by_one(representative, signatures)
    if quantization in ("none", "float16"):
        section = _in_blocks(section)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "section.tflite"
        # The calibrator uses TensorFlow's own interpreter, which warns that it is deprecated.
        with suppress_native_stderr(), warnings.catch_warnings(action="ignore"):
            try:
                if exit:
                    return _convert_both(section, Path(folder) / "1", options)
                section.export(path, format="litert", verbose=False, **options)
            except ConverterError as error:
                raise InputError(
                    f"section {section.name!r} cannot be converted with LiteRT's built-in "
                    f"operations alone: {str(error).splitlines()[0]}; use other layers there"
                ) from error
        return trimmed(path.read_bytes())


def _in_blocks(section: keras.Model) -> keras.Model:
    """The same section, its long sums in blocks; itself where it has none."""

    def is_long(layer: Any) -> bool:
        return type(layer) is keras.layers.Dense and layer.kernel.shape[0] > BLOCK

    def copy(layer: Any) -> Any:
        return (_Blocked if is_long(layer) else type(layer)).from_config(layer.get_config())

    if not any(map(is_long, _layers(section))):
        return section
    blocked = keras.models.clone_model(section, clone_function=copy, recursive=True)
    copy_state(section, blocked)
    return blocked


def _layers(model: keras.Model) -> Iterator[Any]:
    for layer in model.layers:
        if isinstance(layer, keras.Model):
            yield from _layers(layer)
        else:
            yield layer


def _convert_both(section: keras.Model, folder: Path, options: Mapping[str, Any]) -> bytes:
    """As Keras' own exporter does it, but for two signatures."""
    saved_model.write(section, folder, exit=True)
    return convert_saved(folder, [MESSAGE, EXIT], options)


def convert_saved(folder: Path, signatures: Sequence[str], options: Mapping[str, Any]) -> bytes:
    """Convert signatures of a SavedModel, with a converter's attributes."""
    converter = tf.lite.TFLiteConverter.from_saved_model(
        str(folder), signature_keys=list(signatures)
    )
    for name, value in options.items():
        if name == "target_spec":
            for key, choice in value.items():
                setattr(converter.target_spec, key, choice)
        else:
            setattr(converter, name, value)
    return trimmed(converter.convert())


def _one_by_one(inputs: Mapping[str, Array], signatures: Sequence[str] = ()) -> Any:
    """One sample after the other; where there are several signatures, for each of them."""
    samples = len(next(iter(inputs.values())))
    for i in range(samples):
        sample = {name: np.ascontiguousarray(x[i : i + 1]) for name, x in inputs.items()}
        yield from [(key, sample) for key in signatures] if signatures else [sample]
