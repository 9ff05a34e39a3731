"""The poster's methods as one function: what fails in training, and how the weights are found."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal, get_args

import keras
import msgspec
import numpy as np

from edge_runtime.errors import InputError
from edge_runtime.evaluation.reliability import Reliability
from edge_runtime.files import new_file
from edge_runtime.topology import Survival, Topology

from .augmentation import Augmented, vary
from .datasets import Batches
from .evaluation import expected_accuracy, named_survivabilities
from .lessons import Lessons
from .model import ResilientModel, build
from .names import MergeWeights, Method, SectionName
from .sections import SECTIONS, VIEW, Convolutional, FullyConnected, Section, survival_weights
from .shared import SharedViews
from .views import Drawn, assemble, encode, single_views, viewer

METHODS: tuple[Method, ...] = get_args(Method)
POSTER_METHODS: tuple[Method, ...] = ("baseline", "residual", "dropout")
MERGE_WEIGHTS: tuple[MergeWeights, ...] = get_args(MergeWeights)


@dataclass(frozen=True)
class Recipe:
    """How long and how to train.

    Args:
        epochs: passes over the data.
        batch_size: samples at once, before repeats.
        learning_rate: of AdamW at the start; it falls to zero along a cosine.
        weight_decay: of AdamW, times the learning rate; few pictures tempt a wide first layer to
            learn them by heart.
        repeats: how often each sample stands in a batch, each time varied and failing otherwise.
        balance: classes weigh (most frequent / own frequency) ** balance: 0 for all alike, 1 for
            every class together alike.
        shift, gain, mirror, zoom: variation of images, see `Augmented`. Unless `mirror` is said,
            all are mirrored but for `fc32` sections: there every pixel has weights of its own, and
            half of what these could learn would go into the other side.
        exit_weight: of the exits' losses, of all alike or by node; the output node's weighs 1.
        auxiliary, distil: weights of further losses, see `Lessons`.
        average: the weights are in the end a moving average with this momentum over the steps.
        variations: of every view that an encoder, where one is given, encodes beforehand.
    """

    epochs: int = 150
    batch_size: int = 32
    learning_rate: float = 1e-3
    weight_decay: float = 0.05
    repeats: int = 1
    balance: float = 0.25
    shift: int = 3
    gain: float = 0.3
    mirror: bool | None = None
    exit_weight: float | Mapping[str, float] = 0.5
    zoom: float = 0.0
    auxiliary: float = 0.0
    distil: float = 0.0
    average: float = 0.0
    variations: int = 8

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_size", "repeats", "variations"):
            if getattr(self, name) < 1:
                raise InputError(f"expected {name} of at least 1, got {getattr(self, name)}")
        if not (math.isfinite(self.learning_rate) and self.learning_rate > 0):
            raise InputError(f"expected a learning_rate above 0, got {self.learning_rate}")
        for name in ("balance", "gain", "zoom"):
            if not 0 <= getattr(self, name) <= 1:
                raise InputError(f"expected {name} from 0 to 1, got {getattr(self, name)}")
        weights = self.exit_weight
        for weight in weights.values() if isinstance(weights, Mapping) else (weights,):
            if not 0 <= weight < math.inf:
                raise InputError(f"expected exit_weight of at least 0, got {weight}")
        for name in ("weight_decay", "auxiliary", "distil"):
            if not 0 <= getattr(self, name) < math.inf:
                raise InputError(f"expected {name} of at least 0, got {getattr(self, name)}")
        if not 0 <= self.average < 1:
            raise InputError(f"expected average from 0 to below 1, got {self.average}")
        if self.shift < 0:
            raise InputError(f"expected shift of at least 0 pixels, got {self.shift}")

    @property
    def variation(self) -> dict[str, Any]:
        """The options of `vary`."""
        options = {name: getattr(self, name) for name in ("shift", "gain", "zoom")}
        return {**options, "mirror": self.mirror is not False}


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
    state = _Checkpoint(Path(checkpoint), training) if checkpoint else None
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
        _fit(learner, Augmented, data, replace(recipe, repeats=1), seed, state, callbacks)
        _assemble(model, encoders, upper)
    elif encoder is None:
        learned = merge_weights == "learned"
        model = start or built(
            topology, FullyConnected(learned_weights=True) if learned else sections
        )
        _fit(model, Augmented, data, recipe, seed, state, callbacks)
    else:
        own = _convolutional(sections)
        encoders = dict.fromkeys(data.inputs, encoder)
        model, upper = _in_two(built, topology, own, encoders)
        rng = np.random.default_rng(seed)
        features = encode(
            encoder, data, partial(vary, rng=rng, **recipe.variation), recipe.variations
        )
        _fit(upper, Drawn, Batches(features), recipe, seed, state, callbacks)
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
    state = _Checkpoint(Path(checkpoint), training) if checkpoint else None
    learner = viewer(encoder, len(data.class_names))
    _fit(learner, Augmented, views, recipe, seed, state, callbacks)
    if state:
        clear_checkpoint(state.folder)
    return encoder


def _fit(
    model: keras.Model,
    augmented: type[Augmented],
    data: Batches,
    recipe: Recipe,
    seed: int,
    state: _Checkpoint | None,
    callbacks: Sequence[keras.callbacks.Callback],
) -> None:
    """Fit a model, from the state that an interrupted training left."""
    steps = math.ceil(len(data.labels) / recipe.batch_size)
    rate = keras.optimizers.schedules.CosineDecay(recipe.learning_rate, recipe.epochs * steps)
    learner = model
    if isinstance(model, ResilientModel) and (recipe.auxiliary or recipe.distil):
        learner = Lessons(model, auxiliary=recipe.auxiliary, distil=recipe.distil)
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
    # Else the first step makes the optimizer's variables, and is traced anew for that.
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


def default_merge_weights(survivabilities: int) -> MergeWeights:
    """The poster's choice for one survivability; for several there is none that fits them all."""
    return "normalised" if survivabilities == 1 else "one"


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


class _Checkpoint(keras.callbacks.Callback):
    """The state after each epoch, whole or absent, beside a description of the training.

    Not Keras' BackupAndRestore, which goes on with the state of any training whose weights fit,
    cannot read what an interruption left half-written, and removes the folder with all in it.
    """

    DESCRIPTION = "training.json"
    STATE = "training.weights.h5"

    def __init__(self, folder: Path, training: Mapping[str, Any]) -> None:
        super().__init__()
        self.folder = folder
        self.description = folder / self.DESCRIPTION
        self.state = folder / self.STATE
        self.training = json.dumps(training, indent=1)

    def restore(self, model: keras.Model) -> int:
        """Give the model the state that is there; returns after how many steps it was saved."""
        remedy = f"remove {self.folder} to start anew, or name another folder"
        if not self.state.is_file():
            with new_file(self.description) as temporary:
                temporary.write_text(self.training, encoding="utf-8")
            return 0
        try:
            if self.description.read_text(encoding="utf-8") != self.training:
                raise InputError(
                    f"{self.folder} holds the state of another training, see "
                    f"{self.description.name} there; train in the same way, or {remedy}"
                )
            model.optimizer.build(model.trainable_variables)
            model.load_weights(self.state)
        except InputError:
            raise
        except (OSError, ValueError, KeyError, RuntimeError) as error:
            raise InputError(f"{self.state} is damaged ({error}); {remedy}") from error
        return int(model.optimizer.iterations)

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Save."""
        with new_file(self.state) as temporary:
            self.model.save_weights(temporary)


def clear_checkpoint(folder: Path) -> None:
    """Remove a training's state, and the folder where nothing else is in it."""
    for name in (_Checkpoint.DESCRIPTION, _Checkpoint.STATE):
        (folder / name).unlink(missing_ok=True)
    if not any(folder.iterdir()):
        folder.rmdir()


def class_weights(data: Batches, balance: float) -> dict[int, float]:
    """Weight of each class in the loss, see `Recipe.balance`; classes without a sample weigh 1."""
    counts = np.bincount(data.labels, minlength=len(data.class_names))
    return {i: float((counts.max() / n) ** balance) if n else 1.0 for i, n in enumerate(counts)}


class ExpectedAccuracy(keras.callbacks.Callback):
    """Logs expected accuracy on validation data, as `expected_accuracy_<survivability>`.

    Args:
        data: with `inputs` and `labels`.
        survival: presets, or survivabilities by name.
        every: epochs between two measurements; the last one is always measured.
    """

    def __init__(
        self,
        data: Any,
        survival: str | Sequence[str] | Mapping[str, Survival] = ("high", "medium", "low"),
        *,
        every: int = 10,
    ) -> None:
        super().__init__()
        self.data = data
        self.survival = named_survivabilities(survival)
        if every < 1:
            raise InputError(f"expected every of at least 1 epoch, got {every}")
        self.every = every

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Measure and log."""
        if (epoch + 1) % self.every and epoch + 1 != self.params["epochs"]:
            return
        model = self.model.student if isinstance(self.model, Lessons) else self.model
        found = expected_accuracy(model, self.data, self.survival)
        if logs is not None:
            for name in self.survival:
                logs[f"expected_accuracy_{name}"] = found.expected_accuracy(name)


@dataclass(frozen=True)
class Spread:
    """A figure over several seeds: mean, and half the distance from least to greatest."""

    mean: float
    half_range: float
    count: int

    def __str__(self) -> str:
        """In percent; how far the seeds lie apart where there are several."""
        mean = f"{100 * self.mean:.2f}"
        return mean if self.count == 1 else f"{mean} ± {100 * self.half_range:.2f}"


def spread(reports: Sequence[Reliability], survivability: str, *, balanced: bool = False) -> Spread:
    """Expected (or balanced) accuracy of one method's models, trained from several seeds."""
    values = [
        r.balanced_accuracy(survivability) if balanced else r.expected_accuracy(survivability)
        for r in reports
    ]
    return Spread(float(np.mean(values)), float(max(values) - min(values)) / 2, len(values))
