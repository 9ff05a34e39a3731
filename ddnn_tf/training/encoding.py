"""Views that a pretrained encoder encoded, and a model put together from both."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

import keras
import numpy as np

from edge_runtime.arrays import Array
from edge_runtime.samples import Samples

from ..datasets import Batches
from .augmentation import Augmented

#: Views that an encoder takes at once.
ENCODED = 512


def encode(
    encoder: keras.Model, data: Batches, vary: Callable[[Array], Array], count: int
) -> Samples:
    """What an encoder makes of `count` variations of every view.

    Float32 (samples, count, features) by sensor; zeros where the view does not see the object.
    """
    found = {}
    for (name, views), sees in zip(data.inputs.items(), data.visible.T, strict=True):
        features = np.zeros((len(views), count, encoder.output.shape[-1]), np.float32)
        seen = np.flatnonzero(sees)
        for rows in np.array_split(seen, -(-len(seen) // ENCODED)) if len(seen) else ():
            for variation in range(count):
                features[rows, variation] = encoder(vary(views[rows]), training=False)
        found[name] = features
    return replace(data.samples, inputs=found)


class Drawn(Augmented):
    """Batches of views that were varied and encoded before: each time one of their variations.

    Takes float arrays (batch, variations, features) and gives (batch, features).
    """

    def _vary(self, x: Array) -> Array:
        chosen = self._rng.integers(0, x.shape[1], len(x))
        return np.asarray(x[np.arange(len(x)), chosen])


def assemble(section: keras.Model, encoders: Mapping[str, keras.Model], upper: keras.Model) -> None:
    """Give a section what encoders learned of views, and what `upper` learned on features.

    `encoders`: by sensor, of those that the section hears. `upper`: the same section, built for
    features.
    """
    for sensor, encoder in encoders.items():
        for layer in _learned(encoder):
            # A layer that sensors share bears VIEW in place of a sensor's name.
            own = section.get_layer(f"{sensor}__{layer.name.partition('__')[2]}")
            own.set_weights(layer.get_weights())
    # Only layers that see a sensor have a name with `__`.
    rest = [layer for layer in _learned(section) if "__" not in layer.name]
    for own, layer in zip(rest, _learned(upper), strict=True):
        own.set_weights(layer.get_weights())


def _learned(model: keras.Model) -> list[keras.Layer]:
    return [layer for layer in model.layers if layer.weights]
