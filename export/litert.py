"""A section into a `.tflite`."""

from __future__ import annotations

import functools
import operator
import re
import tempfile
import warnings
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from tensorflow.lite.python.convert_phase import ConverterError

from edge_runtime.arrays import Array
from edge_runtime.bundle.litert import EXIT, MESSAGE, LiteRTSection
from edge_runtime.bundle.manifest import Quantization
from edge_runtime.errors import InputError
from edge_runtime.process.stderr import suppress_native_stderr

from . import saved_model
from .culprit import first_failing
from .state import copy_state
from .trim import trimmed

#: What the converter and its calibration raise where they fail.
FAILURES = (ConverterError, RuntimeError, ValueError, NotImplementedError, TypeError)

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
    options = _options(section, quantization, representative, exit)
    try:
        content = _converted(section, quantization, options, exit)
        _run(content, representative)
    except FAILURES as error:
        raise _refusal(section, quantization, representative, error) from error
    return content


def _options(
    section: keras.Model,
    quantization: Quantization,
    representative: Mapping[str, Array] | None,
    exit: bool,
) -> dict[str, Any]:
    """The converter's attributes."""
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
    return options


def _converted(
    section: keras.Model, quantization: Quantization, options: Mapping[str, Any], exit: bool
) -> bytes:
    """The artifact; raises one of `FAILURES`, without a line of the converter's own."""
    if quantization in ("none", "float16"):
        section = _in_blocks(section)
    failure: Exception
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "section.tflite"
        # The calibrator uses TensorFlow's own interpreter, which warns that it is deprecated.
        with suppress_native_stderr(), warnings.catch_warnings(action="ignore"):
            try:
                if exit:
                    return _convert_both(section, Path(folder) / "1", options)
                section.export(path, format="litert", verbose=False, **options)
                return trimmed(path.read_bytes())
            except FAILURES as error:
                failure = error  # raised below: what is held back is shown where this block fails
    raise failure


def _run(content: bytes, inputs: Mapping[str, Array] | None) -> None:
    """Load an artifact and run it on an input: some fail only then."""
    with suppress_native_stderr():
        try:
            made = LiteRTSection(content)
        except InputError as error:
            if error.__cause__ is None:
                return  # of its names, which whoever uses it tells
            raise
        if inputs:
            made.with_exit({name: np.ascontiguousarray(x[:1]) for name, x in inputs.items()})


def _refusal(
    section: keras.Model,
    quantization: Quantization,
    representative: Mapping[str, Array] | None,
    error: Exception,
) -> InputError:
    """Which layer cannot be converted, and what to do about it."""

    def fails(part: keras.Model) -> bool:
        own = {x.name: representative[x.name] for x in part.inputs} if representative else None
        try:
            options = _options(section, quantization, own, exit=False)
            _run(_converted(part, quantization, options, exit=False), own)
        except FAILURES:
            return True
        return False

    layer = first_failing(section, fails) or section
    # Without the places in TensorFlow's own graph that MLIR names.
    places = r"<unknown>:0: error: |loc\(.*?\]\)+: |Could not translate MLIR to FlatBuffer\."
    cause = error.__cause__ if isinstance(error, InputError) else error
    said = re.sub(places, "", str(cause)).strip()
    said = (said.splitlines() or [type(error).__name__])[0][:200]
    how = "" if quantization == "none" else f" to {quantization}"
    return InputError(
        f"section {section.name!r} cannot be converted{how} with LiteRT's built-in operations "
        f"alone: layer {layer.name!r} ({type(layer).__name__}) cannot ({said}); "
        f"{_remedy(layer, quantization)}"
    )


def _remedy(layer: Any, quantization: Quantization) -> str:
    inside = layer._flatten_layers() if isinstance(layer, keras.Layer) else []
    if any(isinstance(x, keras.layers.RNN) and not x.unroll for x in inside):
        return "make it with unroll=True"
    if getattr(layer, "compute_dtype", "float32") not in ("float32", "float64"):
        return "make it with dtype='float32'"
    if quantization == "int8":
        return "leave this node in float32 or dynamic, or use another layer there"
    return "use another layer there"


def check_convertible(sections: Mapping[str, keras.Model], exits: Collection[str] = ()) -> None:
    """Convert every section once, in float32, and throw the artifacts away.

    `exits`: nodes whose section's last output is what their exit answers. Raises `InputError` for a
    section that cannot be converted or loaded; it names the layer.
    """
    for node, section in sections.items():
        convert(section, exit=node in exits)


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
