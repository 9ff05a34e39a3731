"""Training images in random variations."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from ..datasets import Batches


class Augmented(keras.utils.PyDataset):
    """The batches of a split, varied, each view its own way.

    Views are shifted, scaled, mirrored, and made brighter or darker.
    Only byte images (batch, height, width, channels) are varied; other sensors pass as they are. A
    blank view stays blank.

    Args:
        batches: what to vary.
        rng: source of the variations.
        repeats: how often each sample stands in its batch, each time varied and failing otherwise.
        shift: the most pixels of a shift, in both directions.
        gain: brightness is multiplied by 1 ± at most this.
        mirror: whether to mirror half of the views left to right.
        zoom: a view is scaled by e ** ± at most this, about its center.
    """

    def __init__(
        self,
        batches: Batches,
        rng: np.random.Generator,
        *,
        repeats: int = 1,
        shift: int = 3,
        gain: float = 0.3,
        mirror: bool = True,
        zoom: float = 0.0,
    ) -> None:
        super().__init__()
        self.batches = batches
        self.labels = batches.labels
        self.task = batches.task
        self._rng = rng
        self._repeats = repeats
        self._how: dict[str, Any] = {"shift": shift, "gain": gain, "mirror": mirror, "zoom": zoom}

    def __len__(self) -> int:
        return len(self.batches)

    def __getitem__(self, index: int) -> tuple[dict[str, NDArray[Any]], Any]:
        inputs, targets = self.batches[index]
        varied = {
            name: self._vary(np.repeat(x, self._repeats, axis=0)) for name, x in inputs.items()
        }
        repeated = keras.tree.map_structure(lambda y: np.repeat(y, self._repeats, axis=0), targets)
        return varied, repeated

    def on_epoch_end(self) -> None:
        """Let the split change its order."""
        self.batches.on_epoch_end()

    def _vary(self, x: NDArray[Any]) -> NDArray[Any]:
        return vary(x, self._rng, **self._how)


def vary(
    x: NDArray[Any],
    rng: np.random.Generator,
    *,
    shift: int = 3,
    gain: float = 0.3,
    mirror: bool = True,
    zoom: float = 0.0,
) -> NDArray[Any]:
    """Variations of byte images, see `Augmented`, which all its options are of."""
    if x.ndim != 4 or x.dtype != np.uint8:
        return x
    batch, height, width, channels = x.shape
    scale = np.exp(rng.uniform(-zoom, zoom, (batch, 1))) if zoom else 1.0
    rows, columns = (
        np.clip(
            np.rint((np.arange(size) - (size - 1) / 2) * scale + (size - 1) / 2).astype(np.intp)
            + rng.integers(-shift, shift + 1, (batch, 1)),
            0,
            size - 1,
        )
        for size in (height, width)
    )
    if mirror:
        mirrored = rng.random(batch) < 0.5
        columns[mirrored] = columns[mirrored, ::-1]
    # One flat index a pixel is several times faster than indexing three axes, and a translation of
    # bytes than looking the levels up.
    pixel = (np.arange(batch)[:, None, None] * height + rows[:, :, None]) * width
    moved = x.reshape(-1, channels).take(pixel + columns[:, None, :], axis=0)
    factor = rng.uniform(1 - gain, 1 + gain, (batch, 1))
    levels = np.clip(np.arange(256) * factor, 0, 255).astype(np.uint8)
    pairs = zip(moved, levels, strict=True)
    views = bytearray().join(view.tobytes().translate(level.tobytes()) for view, level in pairs)
    return np.frombuffer(views, np.uint8).reshape(x.shape)
