"""One model fitted by a recipe."""

from __future__ import annotations

import math
from collections.abc import Sequence

import keras
import numpy as np

from ..datasets import Batches
from ..model import ResilientModel
from .augmentation import Augmented
from .auxiliary import AuxiliaryLossModel
from .checkpoint import Checkpoint
from .recipe import Recipe


def fit(
    model: keras.Model,
    augmented: type[Augmented],
    data: Batches,
    recipe: Recipe,
    seed: int,
    state: Checkpoint | None,
    callbacks: Sequence[keras.callbacks.Callback],
) -> None:
    """Fit a model, from the state that an interrupted training left."""
    steps = math.ceil(len(data.labels) / recipe.batch_size)
    rate = keras.optimizers.schedules.CosineDecay(recipe.learning_rate, recipe.epochs * steps)
    learner = model
    if isinstance(model, ResilientModel) and (recipe.auxiliary or recipe.distil):
        learner = AuxiliaryLossModel(model, auxiliary=recipe.auxiliary, distil=recipe.distil)
        model.prior = data.samples.frequencies()  # else learned by its own `fit`
    learner.compile(
        keras.optimizers.AdamW(
            rate,
            weight_decay=recipe.weight_decay,
            use_ema=recipe.average > 0,
            ema_momentum=recipe.average or 0.99,
        ),
        "sparse_categorical_crossentropy",
        metrics=["accuracy"],
    )
    # Else the first step makes the optimizer's variables, and is traced again for that.
    learner.optimizer.build(learner.trainable_variables)
    done = state.restore(learner) // steps if state else 0
    order, variations = np.random.default_rng((seed, done)).spawn(2)
    learner.fit(
        augmented(
            Batches(data.samples, batch_size=recipe.batch_size, shuffle=True, rng=order),
            variations,
            repeats=recipe.repeats,
            **recipe.variation,
        ),
        epochs=recipe.epochs,
        initial_epoch=done,
        class_weight=class_weights(data, recipe.balance),
        callbacks=[*([state] if state else []), *callbacks],
        verbose=0,
    )


def class_weights(data: Batches, balance: float) -> dict[int, float]:
    """Weight of each class in the loss, see `Recipe.balance`; classes without a sample weigh 1."""
    counts = np.bincount(data.labels, minlength=len(data.class_names))
    return {i: float((counts.max() / n) ** balance) if n else 1.0 for i, n in enumerate(counts)}
