"""A whole bundle in one process."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .files import read_checked
from .gather import complete
from .interpreter import LiteRTSection
from .manifest import MODEL_FILE, NodeManifest, read_bundle

__all__ = ["Bundle", "load_section"]

Array = NDArray[Any]


def load_section(folder: str | Path, manifest: NodeManifest) -> LiteRTSection:
    """A node's artifact, its hash checked before LiteRT sees a byte."""
    path = Path(folder) / MODEL_FILE
    return LiteRTSection(read_checked(path, manifest.files[MODEL_FILE]), where=path)


class Bundle:
    """An exported bundle, run by LiteRT; a `Runner` for `reliability`."""

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        self.manifest, self.nodes = read_bundle(folder)
        self._sections = {
            name: load_section(self.folder / "nodes" / name, node)
            for name, node in self.nodes.items()
        }

    def run(self, node: str, inputs: Mapping[str, Array]) -> Array | tuple[Array, ...]:
        """One node's section on what was delivered to it; see `Runner.run`."""
        section = self._sections[node]
        outputs = section(complete(inputs, section.inputs, self.nodes[node].senders))
        return outputs if len(outputs) > 1 else outputs[0]
