"""How all commands of `ddnn` read models and data, and how they talk to people."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from edge_runtime.bundle.manifest import BUNDLE_FILE
from edge_runtime.errors import InputError
from edge_runtime.process.stderr import suppress_native_stderr
from edge_runtime.topology import Topology

from .crash import hint_at_crash
from .importing import import_files

# TensorFlow takes seconds to import, so what needs it imports it itself.
if TYPE_CHECKING:
    from ..datasets import Batches, Dataset
    from ..model import ResilientModel


#: People's output goes to stderr, so that stdout is free for `--json`.
console = Console(stderr=True)


def say(text: str) -> None:
    """Tell people something: unlike rich, without breaking lines within a path."""
    print(text, file=sys.stderr)


def words(text: str) -> list[str]:
    """What stands between commas."""
    return [word.strip() for word in text.split(",") if word.strip()]


def load_data(data: str, topology: Topology | None = None, *, seed: int = 0) -> Dataset:
    """Read data and check them against the topology's sensors, by which boxes are read or not."""
    from .. import datasets
    from ..datasets.boxes import boxes_of
    from ..datasets.npz import is_npz

    boxes = None if topology is None else boxes_of(topology)
    with console.status(f"reading {data}"):
        source = datasets.load(data, seed=seed, boxes=None if is_npz(Path(data)) else boxes)
    if topology is not None:
        source.samples.check({s.name: (s.shape, s.dtype) for s in topology.sensors})
    return source


def split_of(source: Dataset, split: str | None) -> Batches:
    """The split named, or the one to report."""
    return source.split(split) if split else source.test


def leaks_of(source: Dataset, *reported: str, trained: str | None = None) -> dict[str, list[str]]:
    """Say which splits leak, a line each; the same for `--json`, if any.

    `trained`: what is trained on; by default what belongs to each split that is reported.
    """
    found = [source.leak(name, trained) for name in dict.fromkeys(reported)]
    leaks = [f"split {line}" for line in found if line is not None]
    for line in leaks:
        say(line)
    return {"leaks": leaks} if leaks else {}


def load_model(path: Path, imports: Sequence[Path] | None = None) -> ResilientModel:
    """Read a model that `ddnn train` wrote; `InputError` for anything else.

    `imports`: files that register its layers, see `import_files`.
    """
    check_file(path)
    import_files(imports)
    from ..saved import load_model as load

    return load(path)


def check_file(path: Path) -> None:
    """`InputError` where there is no file to read a model from."""
    if not path.is_file():
        raise InputError(
            f"{path}: expected a .keras file or a bundle (a folder with {BUNDLE_FILE})"
        )
    quiet_tensorflow()


def quiet_tensorflow() -> None:
    """Import TensorFlow without its page of notices; a failed import shows them."""
    if "tensorflow" in sys.modules:
        return
    hint_at_crash()
    with suppress_native_stderr():
        import tensorflow as tf

        tf.config.list_logical_devices()  # looks for GPUs, and says so
