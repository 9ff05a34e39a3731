"""The generated street as a data set, drawn once and kept."""

from __future__ import annotations

import os
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Unpack

from edge_runtime.errors import InputError

from ..dataset import Dataset
from ..raw import RawOptions, read_raw
from .writing import FRAMES, write_street

VERSION = 1  # a new one whenever a seed draws another street


def cache_folder() -> Path:
    """Where generated streets are kept: `$XDG_CACHE_HOME/ddnn_tf`, or `~/.cache/ddnn_tf`."""
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "ddnn_tf"


def read_street(
    *,
    scene: int = 0,
    frames: int = FRAMES,
    cache: str | os.PathLike[str] | None = None,
    **options: Unpack[RawOptions],
) -> Dataset:
    """Read the generated street; draw it first where it is not in the cache (about 12 s).

    Args:
        scene: The seed of what happens on the street.
        frames: Length of the recording.
        cache: The folder that keeps recordings; `cache_folder()` by default. If that one is not
            writable, the recording is drawn into a temporary folder and not kept.
        options: Those of `read_raw`: `split`, `seed`, `batch_size`, `size`, `margin`, `boxes`.

    Raises:
        InputError: `cache` is given and not writable, the recording in it is damaged, or an
            argument is out of range.
    """
    name = f"street-v{VERSION}-seed{scene}-{frames}"
    given = None if cache is None else Path(cache)
    folder = (cache_folder() if given is None else given) / name
    with tempfile.TemporaryDirectory(prefix="ddnn_tf-") as temporary:
        if not folder.exists():
            try:
                write_street(folder, seed=scene, frames=frames)
            except InputError:
                # Another process may have drawn the same street meanwhile.
                if not folder.exists():
                    if given is not None or frames < 1:
                        raise
                    folder = Path(temporary) / name
                    write_street(folder, seed=scene, frames=frames)
        try:
            data = read_raw(folder, **options)
        except InputError as error:
            raise InputError(
                f"{error}. If the kept recording is damaged, remove {folder} and it is drawn again"
            ) from error
    return replace(data, source=f"street (scene {scene}, {folder})", form="street")
