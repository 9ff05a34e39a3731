"""What each node computes: ready-made sections, and the merges where links meet.

A section is built from Keras' own layers only, so that every converter and every compressor
understands it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import keras
import tensorflow as tf
from keras import layers

from edge_runtime.bundle.tensors import PRESENT
from edge_runtime.errors import InputError
from edge_runtime.failures.distribution import FailureModel
from edge_runtime.task import Classification, Several, Single, Task
from edge_runtime.topology import Link, Node, Sensor, Survival, Topology
from edge_runtime.topology.topology import Tier

Tensor = Any  # a Keras tensor, which has no public type

#: Name of the layer that gives the answer of an exit.
EXIT = "exit"
#: What an encoder calls its input; the layers that see a sensor bear the sensor's name instead.
VIEW = "view"


@dataclass
class Site:
    """Where a section is placed: what reaches it and what is expected of it.

    `inputs`: symbolic tensors by sender; `weights`: of each sender where links are added;
    `task`: of the model; `is_output`: whether this is the output node, whose section ends with
    `answer`. `multiplexed`: for each sender of a residual link, those whose primary links it goes
    round: it is used only where none of theirs delivers. Empty where links are merged as they are.
    `has_exit`: whether the node has an exit. A section may bring its own head for it: as its last
    output, from a layer named `exit`. Where it does not, a linear one is added.
    """

    node: Node
    links: tuple[Link, ...]
    inputs: dict[str, Tensor]
    sensors: frozenset[str]
    weights: Mapping[str, float]
    task: Task
    is_output: bool
    multiplexed: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    has_exit: bool = False

    @property
    def classes(self) -> int | None:
        """How many numbers an answer has, on the output node; else None."""
        return self.task.width if self.is_output else None

    @property
    def exit(self) -> int | None:
        """How many numbers an answer has, where the node has an exit; else None."""
        return self.task.width if self.has_exit else None

    def answer(self, x: Tensor) -> Any:
        """The answer from features, (batch, width): of several outputs, a list with that of each.

        Class probabilities by softmax, those of labels by sigmoid, values as they are.
        """
        if isinstance(self.task, Several):
            return [head(x, own, name) for name, own in self.task.outputs.items()]
        return head(x, self.task)

    @cached_property
    def present(self) -> Tensor:
        """Link-present flags, float32 (batch, incoming links); asked for, they become an input."""
        return keras.Input((len(self.links),), name=PRESENT)

    @property
    def views(self) -> dict[str, Tensor]:
        """The inputs that come from sensors."""
        return {n: x for n, x in self._received.items() if n in self.sensors}

    @property
    def messages(self) -> dict[str, Tensor]:
        """The inputs that come from other nodes' sections."""
        return {n: x for n, x in self._received.items() if n not in self.sensors}

    @cached_property
    def _received(self) -> dict[str, Tensor]:
        """The inputs, those of residual links silenced where they are multiplexed."""
        received = dict(self.inputs)
        for name, tensor in self.inputs.items():
            primary = self.multiplexed.get(name.partition("__")[0])
            if primary:
                # Bytes as floats, which the section then takes as it takes floats.
                received[name] = multiplexed(unit_scale(tensor), missing(self, primary))
        return received


#: Builds one node's section: symbolic inputs to symbolic output.
Section = Callable[[Site], Tensor]


def survival_weights(
    topology: Topology, survivability: Survival, *, normalize: bool = True
) -> dict[str, float]:
    """Weights for adding, by link: how probably the link delivers, from its sender's survival.

    `normalize` divides by the sum over the node's links (the poster's choice). Links from sensors
    keep weight 1. The weights are constants, never renormalized by who is present.
    """
    marginals = FailureModel.of(topology, survivability).element_marginals
    survival = dict(zip(topology.elements, marginals, strict=True))
    weights: dict[str, float] = {}
    for node in topology.nodes:
        links = [x for x in topology.incoming(node.name) if x.source not in topology.sensor_names]
        own = {x.name: float(survival[x.source] * survival[x.name]) for x in links}
        total = sum(own.values()) if normalize else 1.0
        weights |= {name: w / total if total else 0.0 for name, w in own.items()}
    return weights


def bypassed(topology: Topology, link: Link) -> tuple[str, ...]:
    """The senders of primary links to a residual link's target that it goes round.

    They are those that the link's own source reaches; where it reaches none, all of them.
    """
    primary = [x.source for x in topology.incoming(link.target) if x.kind == "primary"]
    above, frontier = {link.source}, [link.source]
    while frontier:
        targets = {x.target for x in topology.outgoing(frontier.pop()) if x != link}
        frontier += targets - above
        above |= targets
    return tuple(x for x in primary if x in above) or tuple(primary)


# -- merges --------------------------------------------------------------------------------------


def missing(site: Site, senders: tuple[str, ...], name: str | None = None) -> Tensor:
    """1 where the links of none of these senders deliver, else 0: float32 (batch, 1).

    `name`: what the layers' names begin with.
    """
    order = [link.source for link in site.links]

    def called(what: str) -> str | None:
        return name and f"{name}_{what}"

    flags = layers.Reshape((len(order), 1), name=called("flags"))(site.present)
    received = [
        layers.Cropping1D(
            (order.index(s), len(order) - 1 - order.index(s)), name=called(f"heard_{s}")
        )(flags)
        for s in senders
    ]
    either = received[0] if len(received) == 1 else layers.Maximum(name=called("either"))(received)
    flat = layers.Flatten(name=called("heard"))(either)
    return layers.Rescaling(-1.0, offset=1.0, name=called("missing"))(flat)


def multiplexed(tensor: Tensor, when: Tensor, name: str | None = None) -> Tensor:
    """A tensor where `when`, (batch, 1), is 1; zeros where it is 0."""
    shape = (1,) * (len(tensor.shape) - 1)
    if len(shape) > 1:
        when = layers.Reshape(shape, name=name and f"{name}_when")(when)
    return layers.Multiply(name=name and f"{name}_multiplexed")([tensor, when])


def weighted_add(
    tensors: Mapping[str, Tensor], weights: Mapping[str, float], *, learned: bool = False
) -> Tensor:
    """Sum of the senders' tensors, which must agree in shape, each times its weight (default 1).

    `learned`: the weights are where training starts, one number a sender.
    """
    shapes = {name: tuple(x.shape[1:]) for name, x in tensors.items()}
    if len(set(shapes.values())) > 1:
        raise InputError(
            f"links that are added must carry one shape, got {shapes}; "
            "give the senders equal units, or concatenate"
        )
    if learned and len(tensors) > 1:
        terms = [_learned_scale(x, weights.get(name, 1.0)) for name, x in tensors.items()]
    else:
        terms = [
            x if weights.get(name, 1.0) == 1.0 else layers.Rescaling(weights[name])(x)
            for name, x in tensors.items()
        ]
    return terms[0] if len(terms) == 1 else layers.Add()(terms)


def _learned_scale(x: Tensor, start: float) -> Tensor:
    """A tensor times one trained number: a dense layer of one weight on a last axis of size one."""
    shape = tuple(x.shape[1:])
    weight = layers.Dense(1, use_bias=False, kernel_initializer=keras.initializers.Constant(start))
    return layers.Reshape(shape)(weight(layers.Reshape((*shape, 1))(x)))


def concatenate(tensors: Mapping[str, Tensor], present: Tensor | None = None) -> Tensor:
    """The senders' tensors side by side, and link-present flags as further channels if given."""
    parts = list(tensors.values())
    if present is not None:
        parts.append(_as_channels(present, tuple(parts[0].shape[1:])))
    return parts[0] if len(parts) == 1 else layers.Concatenate()(parts)


def _as_channels(flags: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Flags (batch, k) as constant channels beside tensors of `shape`."""
    if len(shape) == 1:
        return flags
    if len(shape) == 2:
        return layers.RepeatVector(shape[0])(flags)
    if len(shape) == 3:
        return layers.UpSampling2D(shape[:2])(layers.Reshape((1, 1, flags.shape[-1]))(flags))
    raise InputError(f"flags go beside vectors, series and maps, not tensors of shape {shape}")


#: The usual 0.99 needs more steps than a short training has.
MOMENTUM = 0.9

# -- sets of sections ----------------------------------------------------------------------------


def unit_scale(view: Tensor, name: str | None = None) -> Tensor:
    """A sensor's tensor as float32; stored bytes 0..255 become 0..1. `name`: of the layer."""
    if keras.backend.is_float_dtype(view.dtype):
        return view
    scale = 1.0 / 255.0 if view.dtype == "uint8" else 1.0
    return layers.Rescaling(scale, dtype="float32", name=name)(view)


def standardized(view: Tensor, name: str | None = None) -> Tensor:
    """A sensor's tensor as float32, scaled; the one place of scaling. `name`: of the layer.

    Bytes become 0..1, and a float image stays as it is. Each channel of a float vector or series,
    which may come in any unit, is brought to mean 0 and variance 1 over the training data, as
    training goes on.
    """
    if view.dtype == "uint8" or len(view.shape) == 4:
        return unit_scale(view, name)
    floats = unit_scale(view, name and f"{name}_floats")
    return _norm(center=False, scale=False, name=name)(floats)


def _norm(**options: Any) -> layers.Layer:
    """Batch norm; its batch is that of all replicas of `tf.distribute`, where there are several."""
    several = tf.distribute.get_strategy().num_replicas_in_sync > 1
    return layers.BatchNormalization(momentum=MOMENTUM, synchronized=several, **options)


#: What a head's numbers go through, by the kind of task; else nothing.
ACTIVATIONS: Mapping[str, str] = {"classification": "softmax", "multi-label": "sigmoid"}


def head(x: Tensor, task: Single, name: str = "answer") -> Tensor:
    """The numbers of an answer by a linear layer, float32 (batch, width)."""
    if isinstance(task, Classification):
        name = {"answer": "probabilities"}.get(name, name)
    return layers.Dense(task.width, activation=ACTIVATIONS.get(task.kind), name=name)(x)


def has_exit(outputs: Sequence[Tensor]) -> bool:
    """Whether the last of a section's outputs is what its own exit answers."""
    return len(outputs) > 1 and outputs[-1]._keras_history.operation.name == EXIT


def linear_exit(outputs: Sequence[Tensor], task: Single) -> Tensor:
    """The answer of a linear head on all that a section sends."""
    flat = [x if len(x.shape) == 2 else layers.Flatten()(x) for x in outputs]
    return head(flat[0] if len(flat) == 1 else layers.Concatenate()(flat), task, EXIT)


#: The poster's number of layers by tier, and on the one node that has fewer than its tier.
TIER_LAYERS: Mapping[Tier, int] = {"iot": 1, "edge": 1, "fog": 2, "cloud": 3}
NODE_LAYERS: Mapping[str, int] = {"fog2": 1}


@dataclass(frozen=True)
class FullyConnected:
    """The poster's sections: dense ReLU layers of one width.

    Views are added element-wise and flattened; messages are added with the site's weights.
    `tiers`: number of layers on the nodes of a tier; `nodes`: on nodes that differ from it;
    `learned_weights`: the weights of the messages are trained, and the site's are the start.
    """

    units: int = 32
    tiers: Mapping[Tier, int] = field(default_factory=lambda: TIER_LAYERS)
    nodes: Mapping[str, int] = field(default_factory=lambda: NODE_LAYERS)
    learned_weights: bool = False

    def __call__(self, site: Site) -> Tensor:
        depth = self.nodes.get(site.node.name, self.tiers[site.node.tier])
        merged: dict[str, Tensor] = dict(site.messages)
        if site.views:
            views = {name: standardized(view) for name, view in site.views.items()}
            pixels = layers.Flatten()(weighted_add(views, {}))
            if not merged:
                merged[""] = pixels
            else:
                # Messages of other nodes join after the first layer, where the widths agree.
                merged[""] = layers.Dense(self.units, activation="relu")(pixels)
                depth -= 1
        x = weighted_add(merged, site.weights, learned=self.learned_weights)
        for _ in range(depth):
            x = layers.Dense(self.units, activation="relu")(x)
        return site.answer(x) if site.is_output else x


@dataclass(frozen=True)
class Convolutional:
    """A small convolutional set for images, series and vectors, mixed as they come.

    Each view goes through three strided convolutions, over two axes or one, or through three dense
    layers where it is a vector; beside it a *visible* bit tells a blank view from a seen one.
    Messages are concatenated with link-present flags.

    Args:
        filters: of the convolutions.
        units: a message has this many float32 values.
        hidden: width of the layers above the edge.
        features: numbers that a view becomes, beside its visible bit.
        flags: whether nodes with several links are told which of them delivered.
        encoded: the sensors' tensors are what `encoder` makes of views; for training alone.
    """

    filters: tuple[int, ...] = (16, 32, 48)
    units: int = 32
    hidden: int = 64
    features: int = 32
    flags: bool = True
    encoded: bool = False

    def __call__(self, site: Site) -> Tensor:
        parts = {
            name: view if self.encoded else self._encode(name, view)
            for name, view in site.views.items()
        }
        flags = site.present if self.flags and len(site.links) > 1 else None
        x = concatenate({**parts, **site.messages}, flags)
        if site.is_output:
            return site.answer(layers.Dense(self.hidden, activation="relu")(x))
        if site.messages:
            x = layers.Dense(self.hidden, activation="relu")(x)
        return layers.Dense(self.units, activation="relu")(x)

    def encoder(self, shape: tuple[int, ...], dtype: str = "uint8") -> keras.Model:
        """What every view goes through, as a model of its own.

        From a batch of views to float32 (batch, features + 1), the visible bit last; all zeros for
        a blank view. Its layers are called as those by which a section sees a sensor, with VIEW
        in place of the sensor's name.
        """
        view = keras.Input(shape, dtype=dtype, name=VIEW)
        return keras.Model(view, self._encode(VIEW, view), name="encoder")

    def encoders(self, sensors: Sequence[Sensor]) -> dict[str, keras.Model]:
        """An encoder for each of several sensors that are alike, which share what they learn.

        Only the norms are each sensor's own: cameras differ in color, light and distance.
        """
        shapes = {sensor.shape for sensor in sensors}
        if len(shapes) > 1:
            raise InputError(
                "encoders that share their layers need sensors of one shape, got "
                f"{', '.join(map(str, sorted(shapes)))}; train without them"
            )
        common: dict[str, keras.Layer] = {}
        found = {}
        for sensor in sensors:
            view = keras.Input(sensor.shape, dtype=sensor.dtype, name=VIEW)
            encoded = self._encode(sensor.name, view, common)
            found[sensor.name] = keras.Model(view, encoded, name=f"{sensor.name}__encoder")
        return found

    def _encode(
        self, name: str, view: Tensor, common: dict[str, keras.Layer] | None = None
    ) -> Tensor:
        """A view's features and visible bit; `common` holds the layers that sensors share."""
        shared, owner = ({}, name) if common is None else (common, VIEW)
        layer = _LAYERS.get(len(view.shape))
        if layer is None:
            raise InputError(
                f"sensor {name!r}: convolutional sections expect images (height, width, channels), "
                f"series (time, channels) or vectors, got shape {tuple(view.shape[1:])}; reshape "
                "it, or give sections of your own"
            )
        visible = _visible(view)
        x = standardized(view, f"{name}__scale")
        for i, filters in enumerate(self.filters):
            strided = shared.setdefault(f"filters{i}", layer(filters, f"{owner}__filters{i}"))
            x = _norm(name=f"{name}__norm{i}")(strided(x))
            x = layers.ReLU()(x)
        x = layers.Flatten()(x) if len(view.shape) > 2 else x
        dense = layers.Dense(self.features, activation="relu", name=f"{owner}__features")
        x = shared.setdefault("features", dense)(x)
        return layers.Concatenate()([layers.Multiply()([x, visible]), visible])


#: A step of the encoder from its width and name, by how many axes a batch of views has.
_LAYERS: Mapping[int, Callable[[int, str], keras.Layer]] = {
    2: lambda n, name: layers.Dense(n, use_bias=False, name=name),
    3: lambda n, name: layers.Conv1D(n, 3, strides=2, padding="same", use_bias=False, name=name),
    4: lambda n, name: layers.Conv2D(n, 3, strides=2, padding="same", use_bias=False, name=name),
}


def _visible(view: Tensor) -> Tensor:
    """1 where anything of a view differs from zero, else 0: float32 (batch, 1)."""
    x = layers.Rescaling(1.0, dtype="float32")(view)
    # Bytes are whole numbers; floats may be negative, and small: hence the factor. Not the square,
    # which int8 artifacts round to zero where other values are much larger.
    signed = view.dtype != "uint8"
    x = layers.Maximum()([x, layers.Rescaling(-1.0)(x)]) if signed else x
    if len(x.shape) == 4:
        x = layers.GlobalMaxPooling2D()(x)
    elif len(x.shape) == 3:
        x = layers.GlobalMaxPooling1D()(x)
    x = layers.GlobalMaxPooling1D()(layers.Reshape((x.shape[-1], 1))(x))
    return layers.ReLU(max_value=1.0)(layers.Rescaling(1e6 if signed else 1.0)(x))


#: The sets that `build` and the command line know by name; called, each gives a new set.
SECTIONS: Mapping[str, Callable[[], Section]] = {"conv": Convolutional, "fc32": FullyConnected}
