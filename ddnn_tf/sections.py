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
from keras import layers

from edge_runtime.errors import InputError
from edge_runtime.gather import PRESENT
from edge_runtime.topology import Link, Node, Survival, Tier, Topology

__all__ = [
    "SECTIONS",
    "Convolutional",
    "FullyConnected",
    "Section",
    "Site",
    "concatenate",
    "survival_weights",
    "weighted_add",
]

Tensor = Any  # a Keras tensor, which has no public type

#: Name of the layer that gives the answer of an exit.
EXIT = "exit"


@dataclass
class Site:
    """Where a section is placed: what reaches it and what is expected of it.

    `inputs`: symbolic tensors by sender; `weights`: of each sender where links are added;
    `classes`: number of classes on the output node, else None; `exit`: number of classes where the
    node has an exit, else None. A section may bring its own classifier for the exit: as its last
    output, from a layer named `exit`. Where it does not, one linear classifier is added.
    """

    node: Node
    links: tuple[Link, ...]
    inputs: dict[str, Tensor]
    sensors: frozenset[str]
    weights: Mapping[str, float]
    classes: int | None
    exit: int | None = None

    @cached_property
    def present(self) -> Tensor:
        """Link-present flags, float32 (batch, incoming links); asked for, they become an input."""
        return keras.Input((len(self.links),), name=PRESENT)

    @property
    def views(self) -> dict[str, Tensor]:
        """The inputs that come from sensors."""
        return {n: x for n, x in self.inputs.items() if n in self.sensors}

    @property
    def messages(self) -> dict[str, Tensor]:
        """The inputs that come from other nodes' sections."""
        return {n: x for n, x in self.inputs.items() if n not in self.sensors}


#: Builds one node's section: symbolic inputs to symbolic output.
Section = Callable[[Site], Tensor]


def survival_weights(
    topology: Topology, survivability: Survival, *, normalise: bool = True
) -> dict[str, float]:
    """Weights for adding, by link: how probably the link delivers, from its sender's survival.

    `normalise` divides by the sum over the node's links (the poster's choice). Links from sensors
    keep weight 1. The weights are constants, never renormalised by who is present.
    """
    survival = dict(zip(topology.elements, topology.survival(survivability), strict=True))
    weights: dict[str, float] = {}
    for node in topology.nodes:
        links = [x for x in topology.incoming(node.name) if x.source not in topology.sensor_names]
        own = {x.name: float(survival[x.source] * survival[x.name]) for x in links}
        total = sum(own.values()) if normalise else 1.0
        weights |= {name: w / total if total else 0.0 for name, w in own.items()}
    return weights


# -- merges --------------------------------------------------------------------------------------


def weighted_add(tensors: Mapping[str, Tensor], weights: Mapping[str, float]) -> Tensor:
    """Sum of the senders' tensors, which must agree in shape, each times its weight (default 1)."""
    shapes = {name: tuple(x.shape[1:]) for name, x in tensors.items()}
    if len(set(shapes.values())) > 1:
        raise InputError(
            f"links that are added must carry one shape, got {shapes}; "
            "give the senders equal units, or concatenate"
        )
    terms = [
        x if weights.get(name, 1.0) == 1.0 else layers.Rescaling(weights[name])(x)
        for name, x in tensors.items()
    ]
    return terms[0] if len(terms) == 1 else layers.Add()(terms)


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


# -- sets of sections ----------------------------------------------------------------------------


def unit_scale(view: Tensor) -> Tensor:
    """A sensor's tensor as float32; stored bytes 0..255 become 0..1. The one place of scaling."""
    if view.dtype == "uint8":
        return layers.Rescaling(1.0 / 255.0, dtype="float32")(view)
    return view


def classifier(x: Tensor, classes: int, name: str = "probabilities") -> Tensor:
    """Class probabilities, float32 (batch, classes)."""
    return layers.Dense(classes, activation="softmax", name=name)(x)


def has_exit(outputs: Sequence[Tensor]) -> bool:
    """Whether the last of a section's outputs is what its own exit answers."""
    return len(outputs) > 1 and outputs[-1]._keras_history.operation.name == EXIT


def linear_exit(outputs: Sequence[Tensor], classes: int) -> Tensor:
    """Class probabilities of a linear classifier on all that a section sends."""
    flat = [x if len(x.shape) == 2 else layers.Flatten()(x) for x in outputs]
    return classifier(flat[0] if len(flat) == 1 else layers.Concatenate()(flat), classes, EXIT)


#: The poster's number of layers by tier, and on the one node that has fewer than its tier.
TIER_LAYERS: Mapping[Tier, int] = {"iot": 1, "edge": 1, "fog": 2, "cloud": 3}
NODE_LAYERS: Mapping[str, int] = {"fog2": 1}


@dataclass(frozen=True)
class FullyConnected:
    """The poster's sections: dense ReLU layers of one width.

    Views are added element-wise and flattened; messages are added with the site's weights.
    `tiers`: number of layers on the nodes of a tier; `nodes`: on nodes that differ from it.
    """

    units: int = 32
    tiers: Mapping[Tier, int] = field(default_factory=lambda: TIER_LAYERS)
    nodes: Mapping[str, int] = field(default_factory=lambda: NODE_LAYERS)

    def __call__(self, site: Site) -> Tensor:
        depth = self.nodes.get(site.node.name, self.tiers[site.node.tier])
        merged: dict[str, Tensor] = dict(site.messages)
        if site.views:
            views = {name: unit_scale(view) for name, view in site.views.items()}
            pixels = layers.Flatten()(weighted_add(views, {}))
            if not merged:
                merged[""] = pixels
            else:
                # Messages of other nodes join after the first layer, where the widths agree.
                merged[""] = layers.Dense(self.units, activation="relu")(pixels)
                depth -= 1
        x = weighted_add(merged, site.weights)
        for _ in range(depth):
            x = layers.Dense(self.units, activation="relu")(x)
        return x if site.classes is None else classifier(x, site.classes)


@dataclass(frozen=True)
class Convolutional:
    """A small convolutional set for images.

    Each view goes through three strided convolutions beside a *visible* bit that tells a blank
    view from a seen one. Messages are concatenated with link-present flags.

    Args:
        filters: of the convolutions.
        units: a message has this many float32 values.
        hidden: width of the layers above the edge.
    """

    filters: tuple[int, ...] = (16, 32, 48)
    units: int = 32
    hidden: int = 64

    def __call__(self, site: Site) -> Tensor:
        parts = {name: self._encode(name, view) for name, view in site.views.items()}
        x = concatenate({**parts, **site.messages}, site.present if len(site.links) > 1 else None)
        if site.classes is not None:
            x = layers.Dense(self.hidden, activation="relu")(x)
            return classifier(x, site.classes)
        if site.messages:
            x = layers.Dense(self.hidden, activation="relu")(x)
        return layers.Dense(self.units, activation="relu")(x)

    def _encode(self, name: str, view: Tensor) -> Tensor:
        if len(view.shape) != 4:
            raise InputError(
                f"sensor {name!r}: convolutional sections expect images (height, width, channels), "
                f'got shape {tuple(view.shape[1:])}; use sections="fc32" or sections of your own'
            )
        visible = _visible(view)
        x = unit_scale(view)
        for filters in self.filters:
            x = layers.Conv2D(filters, 3, strides=2, padding="same", use_bias=False)(x)
            # The usual momentum of 0.99 needs more steps than a short training has.
            x = layers.ReLU()(layers.BatchNormalization(momentum=0.9)(x))
        x = layers.Dense(self.units, activation="relu")(layers.Flatten()(x))
        return layers.Concatenate()([layers.Multiply()([x, visible]), visible])


def _visible(view: Tensor) -> Tensor:
    """1 where any pixel of a view is above zero, else 0: float32 (batch, 1)."""
    brightest = layers.GlobalMaxPooling2D()(layers.Rescaling(1.0, dtype="float32")(view))
    brightest = layers.Reshape((brightest.shape[-1], 1))(brightest)
    brightest = layers.GlobalMaxPooling1D()(brightest)
    # Bytes are whole numbers; floats of a unit range may be small, hence the factor.
    factor = 1.0 if view.dtype == "uint8" else 1e6
    return layers.ReLU(max_value=1.0)(layers.Rescaling(factor)(brightest))


#: The sets that `build` and the command line know by name; called, each gives a new set.
SECTIONS: Mapping[str, Callable[[], Section]] = {"conv": Convolutional, "fc32": FullyConnected}
