"""Bundles of untrained models: what a node answers costs nothing, only that it does."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


@contextmanager
def exported(topology: str, sections: Any = "fc32", samples: int = 32) -> Iterator[Path]:
    """A bundle's folder, there as long as the block."""
    # Not above: the processes that a benchmark starts read its module, and need no TensorFlow.
    from ddnn_tf import Topology, build
    from export import export_bundle

    from .evaluation import CLASSES, Data

    described = Topology.load(topology)
    with tempfile.TemporaryDirectory(prefix="ddnn-") as folder:
        bundle = Path(folder) / "bundle"
        model = build(described, sections, classes=CLASSES)
        export_bundle(model, bundle, Data(described, samples))
        yield bundle
