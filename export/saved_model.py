"""A section into a SavedModel, laid out as TensorFlow Serving expects."""

from __future__ import annotations

from pathlib import Path

import keras

__all__ = ["write"]


def write(section: keras.Model, folder: Path) -> None:
    """Write a section to `folder`, whose name is the version; signature `serving_default`."""
    section.export(folder, format="tf_saved_model", verbose=False)
