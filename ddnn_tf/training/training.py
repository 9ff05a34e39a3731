"""The poster's methods as one function: what fails in training, and how the weights are found."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

import keras
import msgspec
import numpy as np

from edge_runtime.errors import InputError
from edge_runtime.topology import Survival, Topology

from ..datasets import Batches
from ..evaluation import named_survivabilities
from ..model import ResilientModel, build
from ..names import MergeWeights, Method, SectionName
from ..sections import SECTIONS, VIEW, Convolutional, FullyConnected, Section, survival_weights
from .augmentation import Augmented, vary
from .checkpoint import Checkpoint, clear_checkpoint
from .encoding import Drawn, assemble, encode, single_views, viewer
from .fitting import fit
from .methods import MERGE_WEIGHTS, METHODS, default_merge_weights
from .recipe import Recipe
from .shared_encoder import SharedViews


def train(
    topology: Topology,
    data: Batches,
    *,
    method: Method = "dropout",
    survival: str | Sequence[str] | Mapping[str, Survival] = ("high", "medium", "low"),
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
        survival: presets, or survivabilities by name. `dropout` draws its failures from all.
        sections: see `build`.
        merge_weights: of links that are added, see `MergeWeights`; None means `normalised` where
            `survival` is a single one, else `one`. Survival is that of the first survivability.
            `learned` is for the `fc32` sections.
        recipe: how; the default suits a few thousand small images.
        start: a model of this topology to go on from, such as a cut one; it is trained itself, and
            `sections` are not used. Its method is `residual` or `dropout`: how its links merge is
            settled.
        encoder: of `learn_views`, for a model that starts anew. The views of `Convolutional`
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
    if method not in METHODS:
        raise InputError(f"unknown method {method!r}; expected one of {', '.join(METHODS)}")
    if not 0 <= seed < 1 << 32:
        raise InputError(f"expected a seed from 0 to 2^32 - 1, got {seed}")
    recipe = recipe or Recipe()
    survivabilities = list(named_survivabilities(survival).values())
    if not survivabilities:
        raise InputError("expected at least one survivability to train for, got none")
    if method == "baseline":
        topology = topology.primary()
    merge_weights = merge_weights or default_merge_weights(len(survivabilities))
    if merge_weights not in MERGE_WEIGHTS:
        raise InputError(
            f"unknown merge weights {merge_weights!r}; expected one of {', '.join(MERGE_WEIGHTS)}"
        )
    if merge_weights == "learned" and sections != "fc32":
        raise InputError(
            f"learned merge weights are for sections 'fc32', got {sections!r}; give "
            "FullyConnected(learned_weights=True) where you make sections of your own"
        )
    if recipe.mirror is None and sections == "fc32":
        recipe = replace(recipe, mirror=False)
    weighted = merge_weights in ("survival", "normalised")
    dropout = survivabilities if method in ("dropout", "multiplexer") else None
    built = partial(
        build,
        classes=data.class_names,
        dropout=dropout,
        multiplex=method == "multiplexer",
        merge_weights=survival_weights(
            topology, survivabilities[0], normalise=merge_weights == "normalised"
        )
        if weighted
        else None,
        exit_weight=recipe.exit_weight,
        seed=seed,
    )
    training = {
        "topology": topology.to_dict(),
        "method": method,
        "survival": msgspec.to_builtins(survivabilities),
        "sections": "start" if start else sections if isinstance(sections, str) else "own",
        "merge_weights": merge_weights,
        "recipe": asdict(recipe),
        "seed": seed,
        "class_names": list(data.class_names),
        "samples": len(data.labels),
    }
    keras.utils.set_random_seed(seed)
    state = Checkpoint(Path(checkpoint), training) if checkpoint else None
    if start is not None:
        _check_start(start, topology, data, method, encoder)
        start.draw_failures(dropout)
    if encoder == "shared":
        own = _convolutional(sections)
        if recipe.distil:
            raise InputError(f"a shared encoder does not distil, got distil {recipe.distil}")
        encoders = own.encoders(topology.sensors)
        model, upper = _in_two(built, topology, own, encoders)
        upper.prior = data.samples.frequencies()
        learner = SharedViews(encoders, upper, repeats=recipe.repeats, auxiliary=recipe.auxiliary)
        fit(learner, Augmented, data, replace(recipe, repeats=1), seed, state, callbacks)
        _assemble(model, encoders, upper)
    elif encoder is None:
        learned = merge_weights == "learned"
        model = start or built(
            topology, FullyConnected(learned_weights=True) if learned else sections
        )
        fit(model, Augmented, data, recipe, seed, state, callbacks)
    else:
        own = _convolutional(sections)
        encoders = dict.fromkeys(data.inputs, encoder)
        model, upper = _in_two(built, topology, own, encoders)
        rng = np.random.default_rng(seed)
        features = encode(
            encoder, data, partial(vary, rng=rng, **recipe.variation), recipe.variations
        )
        fit(upper, Drawn, Batches(features), recipe, seed, state, callbacks)
        _assemble(model, encoders, upper)
    if state and not keep_checkpoint:
        clear_checkpoint(state.folder)
    return model


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
    keras.utils.set_random_seed(seed)
    views = Batches(single_views(data))
    pictures = views.inputs[VIEW]
    encoder = (sections or Convolutional()).encoder(pictures.shape[1:], str(pictures.dtype))
    training = {"views": pictures.shape, "recipe": asdict(recipe), "seed": seed}
    state = Checkpoint(Path(checkpoint), training) if checkpoint else None
    learner = viewer(encoder, len(data.class_names))
    fit(learner, Augmented, views, recipe, seed, state, callbacks)
    if state:
        clear_checkpoint(state.folder)
    return encoder


def _in_two(
    built: Callable[[Topology, Convolutional], ResilientModel],
    topology: Topology,
    own: Convolutional,
    encoders: Mapping[str, keras.Model],
) -> tuple[ResilientModel, ResilientModel]:
    """A model, and the same without encoders: it hears what they make of views."""
    model = built(topology, own)
    shapes = {name: tuple(x.output.shape[1:]) for name, x in encoders.items()}
    return model, built(topology.with_sensors(shapes, "float32"), replace(own, encoded=True))


def _assemble(
    model: ResilientModel, encoders: Mapping[str, keras.Model], upper: ResilientModel
) -> None:
    """Give a model what its encoders and `upper` learned."""
    topology = model.topology
    for node in topology.order:
        senders = [x.source for x in topology.incoming(node)]
        heard = {name: encoders[name] for name in senders if name in topology.sensor_names}
        assemble(model.get_layer(node), heard, upper.get_layer(node))
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


def _check_start(
    start: ResilientModel,
    topology: Topology,
    data: Batches,
    method: Method,
    encoder: keras.Model | Literal["shared"] | None,
) -> None:
    if encoder is not None:
        raise InputError(
            "an encoder is for a model that starts anew, and here is one to go on from; give "
            "encoder or start, not both"
        )
    if start.topology != topology:
        raise InputError(
            f"expected to go on from a model of topology {topology.name!r}, got one of "
            f"{start.topology.name!r}; give the model's own"
        )
    if start.class_names != tuple(data.class_names):
        raise InputError(
            f"the model to go on from knows {', '.join(start.class_names)}, the data have "
            f"{', '.join(data.class_names)}; make the classes agree, in this order"
        )
    if method not in ("residual", "dropout"):
        raise InputError(
            f"method {method!r} decides how links merge, which is settled in the model to go on "
            "from; expected residual or dropout"
        )
