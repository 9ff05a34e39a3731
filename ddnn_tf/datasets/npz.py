"""A user's own data: an `.npz` file."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from edge_runtime.samples import Samples

from .dataset import Dataset
from .pictures import is_blank
from .splits import Table

FORM = "npz"


def read_npz(
    source: str | os.PathLike[str],
    *,
    split: str | None = None,
    seed: int = 0,
    batch_size: int = 64,
) -> Dataset:
    """Read an `.npz` of the form of `edge_runtime.samples.Samples`.

    A picture counts as not visible where it is all black, a float array where it is all zero.
    Without further knowledge the file is divided 70/15/15 (`npz:train`, …); `all` is all of it.

    Args:
        source: The file.
        split: The splits that `train`, `validation` and `test` stand for: `npz` (the default),
            or `all` for the whole file each time.
        seed: Seed of the order of the training samples.
        batch_size: Samples per batch.

    Raises:
        InputError: See `Samples.load_npz`; or there is no such split.
    """
    samples = Samples.load_npz(source)
    visible = [
        ~is_blank(values)
        if values.dtype == np.uint8
        else (values.reshape(len(values), -1) != 0).any(axis=1)
        for values in samples.inputs.values()
    ]
    return Dataset(
        samples=samples,
        visible=np.stack(visible, axis=1),
        table=Table(labels=samples.labels),
        source=str(Path(source)),
        form=FORM,
        family="npz" if split is None else split,
        seed=seed,
        batch_size=batch_size,
    )
