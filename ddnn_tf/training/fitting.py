"""One model fitted by a recipe."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any

import keras
import numpy as np

from edge_runtime.errors import InputError
from edge_runtime.task import Classification, Custom, Several, Task

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
        model.task = data.samples.learned()  # else learned by its own `fit`
    freeze = recipe.freeze == "bn"
    with frozen_norms(model) if freeze else nullcontext():
        _compile(learner, data.task, recipe, rate)
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
    if freeze:  # else a file would hold the state of an optimizer that knows fewer weights
        _compile(learner, data.task, recipe, rate)


@contextmanager
def frozen_norms(model: keras.Model) -> Iterator[None]:
    """Let batch norm, also of models within, do what it does at inference, and learn nothing."""
    norms = [
        layer
        for layer in model._flatten_layers()
        if isinstance(layer, keras.layers.BatchNormalization) and layer.trainable
    ]
    for layer in norms:
        layer.trainable = False
    try:
        yield
    finally:
        for layer in norms:
            layer.trainable = True


def _compile(learner: keras.Model, task: Task, recipe: Recipe, rate: Any) -> None:
    learner.compile(
        keras.optimizers.AdamW(
            rate,
            weight_decay=recipe.weight_decay,
            use_ema=recipe.average > 0,
            ema_momentum=recipe.average or 0.99,
        ),
        loss_of(task),
        metrics=metrics_of(task),
    )
    # Else the first step makes the optimizer's variables, and is traced again for that.
    learner.optimizer.build(learner.trainable_variables)


def loss_of(task: Task) -> Any:
    """By which a task is learned; of several outputs, by name, each as much as the others.

    Values are learned by their own score: its median for an absolute error, its mean for a squared.
    """
    if isinstance(task, Several):
        return {name: loss_of(own) for name, own in task.outputs.items()}
    if isinstance(task, Custom):
        raise InputError(
            f"the score {task.by!r} is your own, so `train` does not know by which loss it is "
            "learned; compile the model with one and use its `fit`"
        )
    return task.loss


def metrics_of(task: Task) -> Any:
    """What Keras tells of each epoch besides the loss."""
    if isinstance(task, Several):
        return {name: metrics_of(own) for name, own in task.outputs.items()}
    return {"classification": ["accuracy"], "multi-label": ["binary_accuracy"]}.get(task.kind, [])


def class_weights(data: Batches, balance: float) -> dict[int, float] | None:
    """Weight of each class in the loss, see `Recipe.balance`; classes without a sample weigh 1.

    None where there are no classes, or several outputs, which Keras weighs by no class.
    """
    if not isinstance(data.task, Classification):
        return None
    counts = np.bincount(data.labels, minlength=len(data.class_names))
    return {i: float((counts.max() / n) ** balance) if n else 1.0 for i, n in enumerate(counts)}
