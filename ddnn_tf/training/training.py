"""The poster's methods as one function: what fails in training, and how the weights are found."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

import keras

from edge_runtime.errors import InputError
from edge_runtime.topology import Survival, Topology

from ..datasets import Batches
from ..model import ResilientModel
from ..names import MergeWeights, Method, SectionName
from ..sections import Section
from .checkpoint import Checkpoint, clear_checkpoint
from .job import Job
from .learners import learn_on_features, learn_shared, learn_whole
from .recipe import Recipe


def train(
    topology: Topology,
    data: Batches,
    *,
    method: Method = "dropout",
    survival: str | Sequence[str] | Mapping[str, Survival] | None = None,
    sections: SectionName | Section | Mapping[str, Section | keras.Model] = "fc32",
    merge_weights: MergeWeights | None = None,
    recipe: Recipe | None = None,
    start: ResilientModel | None = None,
    encoder: keras.Model | Literal["shared"] | None = None,
    seed: int = 0,
    checkpoint: str | Path | None = None,
    keep_checkpoint: bool = False,
    callbacks: Sequence[keras.callbacks.Callback] = (),
) -> ResilientModel:
    """Build and train one model.

    Args:
        topology: with its residual links; `baseline` leaves them out.
        data: the training split; it is taken in an order of its own and in the recipe's batches.
        method: what is trained, see `Method`.
        survival: presets, or survivabilities by name; None for all presets of the topology, or its
            own values where it has none. `dropout` draws its failures from all.
        sections: see `build`.
        merge_weights: of links that are added, see `MergeWeights`; None means `normalized` where
            `survival` is a single one, else `one`. Survival is that of the first survivability.
            `learned` is for the `fc32` sections.
        recipe: how; the default suits a few thousand small images.
        start: a model of this topology to go on from, such as a cut one; it is trained itself, and
            `sections` are not used. What the recipe leaves open is decided for a model that has
            learned, see `Recipe.going_on`. Its method is `residual` or `dropout`: how its links
            merge is settled.
        encoder: of `learn_views`, for a model that starts again. The views of `Convolutional`
            sections then go through it; it stays as it is, and all else learns from what it makes
            of the views. Or "shared": the views of all sensors go through the same layers but for
            their norms, which learn together with all else.
        seed: of weights, order, variations and failures.
        checkpoint: folder for the state after each epoch. A training that was interrupted goes on
            from there when called again in the same way, with other random draws than it would
            have had; the state is removed at the end.
        keep_checkpoint: leave the last epoch's state there instead. The same call then gives the
            same model at once, as one of several trainings wants it until all are done.
        callbacks: of `fit`. With an encoder they see a model for features, not for views.

    Returns:
        The trained model, with the training prior.

    Raises:
        InputError: for options or data that do not fit, and for a checkpoint that is damaged,
            cannot be written or belongs to another training.
    """
    if start is not None:
        recipe = (recipe or Recipe()).going_on()
    elif recipe is not None:
        recipe.check_new()
    job = Job.of(topology, data, method, survival, sections, merge_weights, recipe, seed)
    keras.utils.set_random_seed(seed)
    state = Checkpoint(Path(checkpoint), job.describe(start is not None)) if checkpoint else None
    if start is not None:
        _check_start(start, job, encoder)
        start.draw_failures(job.dropout)
    if encoder is not None and job.data.task.kind != "classification":
        raise InputError(
            f"an encoder learns to tell classes, and this is a {job.data.task.kind}; leave it out"
        )
    if encoder == "shared":
        model = learn_shared(job, state, callbacks)
    elif encoder is None:
        model = learn_whole(job, start, state, callbacks)
    else:
        model = learn_on_features(job, encoder, state, callbacks)
    if state and not keep_checkpoint:
        clear_checkpoint(state.folder)
    return model


def _check_start(
    start: ResilientModel, job: Job, encoder: keras.Model | Literal["shared"] | None
) -> None:
    if encoder is not None:
        raise InputError(
            "an encoder is for a model that starts again, and here is one to go on from; give "
            "encoder or start, not both"
        )
    if start.topology != job.topology:
        raise InputError(
            f"expected to go on from a model of topology {job.topology.name!r}, got one of "
            f"{start.topology.name!r}; give the model's own"
        )
    own, given = start.task, job.data.task
    if (own.kind, own.names) != (given.kind, given.names):
        raise InputError(
            f"the model to go on from is for a {own.kind} of {', '.join(own.names)}, the data for "
            f"a {given.kind} of {', '.join(given.names)}; make the two agree, in this order"
        )
    if job.method not in ("residual", "dropout"):
        raise InputError(
            f"method {job.method!r} decides how links merge, which is settled in the model to "
            "go on from; expected residual or dropout"
        )
