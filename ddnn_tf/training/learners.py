"""The learners, one for each way of training: whole, with a shared encoder, on features."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import keras
import numpy as np

from edge_runtime.errors import InputError

from ..datasets import Batches
from ..model import ResilientModel
from ..sections import SECTIONS, Convolutional, FullyConnected
from .augmentation import Augmented, vary
from .checkpoint import Checkpoint
from .encoding import Drawn, assemble, encode
from .fitting import fit
from .job import Job
from .shared_encoder import SharedEncoder

Callbacks = Sequence[keras.callbacks.Callback]


def learn_whole(
    job: Job, start: ResilientModel | None, state: Checkpoint | None, callbacks: Callbacks
) -> ResilientModel:
    """Train all of a model at once: a new one, or `start` further."""
    learned = job.merge_weights == "learned"
    sections = FullyConnected(learned_weights=True) if learned else job.sections
    model = start or job.build(job.topology, sections)
    fit(model, Augmented, job.data, job.recipe, job.seed, state, callbacks)
    return model


def learn_shared(job: Job, state: Checkpoint | None, callbacks: Callbacks) -> ResilientModel:
    """Train a model whose sensors share an encoder, which learns together with all else."""
    recipe = job.recipe
    own = _convolutional(job.sections)
    if recipe.distil:
        raise InputError(f"a shared encoder does not distil, got distil {recipe.distil}")
    encoders = own.encoders(job.topology.sensors)
    model, upper = _in_two(job, own, encoders)
    upper.prior = job.data.samples.frequencies()
    learner = SharedEncoder(encoders, upper, repeats=recipe.repeats, auxiliary=recipe.auxiliary)
    fit(learner, Augmented, job.data, replace(recipe, repeats=1), job.seed, state, callbacks)
    _assemble(model, encoders, upper)
    return model


def learn_on_features(
    job: Job, encoder: keras.Model, state: Checkpoint | None, callbacks: Callbacks
) -> ResilientModel:
    """Train a model on what a pretrained encoder, which stays as it is, makes of the views."""
    data, recipe = job.data, job.recipe
    own = _convolutional(job.sections)
    encoders = dict.fromkeys(data.inputs, encoder)
    model, upper = _in_two(job, own, encoders)
    rng = np.random.default_rng(job.seed)
    features = encode(encoder, data, partial(vary, rng=rng, **recipe.variation), recipe.variations)
    fit(upper, Drawn, Batches(features), recipe, job.seed, state, callbacks)
    _assemble(model, encoders, upper)
    return model


def _in_two(
    job: Job, own: Convolutional, encoders: Mapping[str, keras.Model]
) -> tuple[ResilientModel, ResilientModel]:
    """A model, and the same without encoders: it hears what they make of views."""
    model = job.build(job.topology, own)
    shapes = {name: tuple(x.output.shape[1:]) for name, x in encoders.items()}
    upper = job.topology.with_sensors(shapes, "float32")
    return model, job.build(upper, replace(own, encoded=True))


def _assemble(
    model: ResilientModel, encoders: Mapping[str, keras.Model], upper: ResilientModel
) -> None:
    """Give a model what its encoders and `upper` learned."""
    topology = model.topology
    for node in topology.order:
        senders = [x.source for x in topology.incoming(node)]
        received = {name: encoders[name] for name in senders if name in topology.sensor_names}
        assemble(model.get_layer(node), received, upper.get_layer(node))
    model.prior = upper.prior


def _convolutional(sections: Any) -> Convolutional:
    """The sections that views reach through an encoder."""
    own = SECTIONS[sections]() if isinstance(sections, str) and sections in SECTIONS else sections
    if not isinstance(own, Convolutional):
        raise InputError(
            f"an encoder needs convolutional sections, got {sections!r}; train without it, or give "
            "'conv' or a Convolutional"
        )
    return own
