"""Encoder pretraining: learning to see before learning to survive.

One encoder learns the class from single views, those of all cameras together: what one camera saw
of a rare class then serves them all. After that the nodes learn to merge what the encoder makes of
the views, under many failures; that costs next to nothing, since no picture is looked at again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import keras
import numpy as np

from edge_runtime.errors import InputError
from edge_runtime.samples import Samples

from ..datasets import Batches
from ..sections import VIEW, Convolutional
from .augmentation import Augmented
from .checkpoint import Checkpoint, clear_checkpoint
from .fitting import fit
from .recipe import Recipe


def learn_views(
    data: Batches,
    *,
    sections: Convolutional | None = None,
    recipe: Recipe | None = None,
    seed: int = 0,
    checkpoint: str | Path | None = None,
    callbacks: Sequence[keras.callbacks.Callback] = (),
) -> keras.Model:
    """Train one encoder to tell the class from any single view; `train` takes it.

    Args:
        data: the training split, of sensors that are alike.
        sections: whose encoder, as given to `train`.
        recipe: how.
        seed: of weights, order and variations.
        checkpoint: see `train`.
        callbacks: of `fit`.

    Returns:
        A model from views to (batch, features), float32.
    """
    recipe = recipe or Recipe()
    recipe.check_new()
    keras.utils.set_random_seed(seed)
    views = Batches(single_views(data))
    pictures = views.inputs[VIEW]
    encoder = (sections or Convolutional()).encoder(pictures.shape[1:], str(pictures.dtype))
    training = {"views": pictures.shape, "recipe": asdict(recipe), "seed": seed}
    state = Checkpoint(Path(checkpoint), training) if checkpoint else None
    learner = pretraining_model(encoder, len(data.class_names))
    fit(learner, Augmented, views, recipe, seed, state, callbacks)
    if state:
        clear_checkpoint(state.folder)
    return encoder


def single_views(data: Batches) -> Samples:
    """Every view that sees its object, as a sample of its own."""
    shapes = {x.shape[1:] for x in data.inputs.values()}
    if len(shapes) > 1:
        raise InputError(
            f"one encoder needs sensors of one shape, got {', '.join(map(str, sorted(shapes)))}; "
            "train without views"
        )
    seen = [
        (x[sees], data.labels[sees])
        for x, sees in zip(data.inputs.values(), data.visible.T, strict=True)
    ]
    views, labels = (np.concatenate(parts) for parts in zip(*seen, strict=True))
    return Samples({VIEW: views}, labels, data.class_names)


def pretraining_model(encoder: keras.Model, classes: int) -> keras.Model:
    """A classifier of single views, on the encoder that is to learn from it."""
    answer = keras.layers.Dense(classes, activation="softmax")(encoder.output)
    return keras.Model(encoder.inputs, answer, name="viewer")
