"""A section into a SavedModel, laid out as TensorFlow Serving expects."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from edge_runtime.bundle.litert import EXIT, MESSAGE


def write(section: keras.Model, folder: Path, *, exit: bool = False) -> None:
    """Write a section to `folder`, whose name is the version; signature `serving_default`.

    With `exit`, that gives all outputs but the last, and the signature `exit` gives all.
    """
    if not exit:
        section.export(folder, format="tf_saved_model", verbose=False)
        return
    signature = {x.name: tf.TensorSpec(x.shape, x.dtype, name=x.name) for x in section.inputs}
    archive = keras.export.ExportArchive()
    archive.track(section)
    for name, last in ((MESSAGE, -1), (EXIT, None)):
        archive.add_endpoint(name, _endpoint(section, last), input_signature=[signature])
    archive.write_out(folder, verbose=False)


def _endpoint(section: keras.Model, last: int | None) -> Callable[[Mapping[str, Any]], Any]:
    def call(inputs: Mapping[str, Any]) -> Any:
        several = isinstance(section.input, (list, tuple, dict))
        outputs = section(inputs if several else next(iter(inputs.values())), training=False)
        return tuple(outputs)[:last]

    return call
