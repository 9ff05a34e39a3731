"""How long and how to train: one value."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, get_args

from edge_runtime.errors import InputError

from ..names import Freeze


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
        shift, gain, mirror, zoom: variation of images, see `Augmented`. Of what is None, a new
            model's views are shifted by up to 3 pixels and their brightness varies by 0.3; all are
            mirrored but for `fc32` sections: there every pixel has weights of its own, and half of
            what these could learn would go into the other side. For a model to go on from see
            `going_on`.
        exit_weight: of the exits' losses, of all alike or by node; the output node's weighs 1.
        auxiliary, distil: weights of further losses, see `AuxiliaryLossModel`.
        average: the weights are in the end a moving average with this momentum over the steps.
        variations: of every view that an encoder, where one is given, encodes beforehand.
        freeze: of a model to go on from: `bn`, its batch norm does in training what it does at
            inference, and learns nothing; `none`, all of it learns. See `going_on` for None.
    """

    epochs: int = 150
    batch_size: int = 32
    learning_rate: float = 1e-3
    weight_decay: float = 0.05
    repeats: int = 1
    balance: float = 0.25
    shift: int | None = None
    gain: float | None = None
    mirror: bool | None = None
    exit_weight: float | Mapping[str, float] = 0.5
    zoom: float = 0.0
    auxiliary: float = 0.0
    distil: float = 0.0
    average: float = 0.0
    variations: int = 8
    freeze: Freeze | None = None

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_size", "repeats", "variations"):
            if getattr(self, name) < 1:
                raise InputError(f"expected {name} of at least 1, got {getattr(self, name)}")
        if not (math.isfinite(self.learning_rate) and self.learning_rate > 0):
            raise InputError(f"expected a learning_rate above 0, got {self.learning_rate}")
        if self.freeze not in (None, *get_args(Freeze)):
            raise InputError(f"expected freeze as bn or none, got {self.freeze!r}")
        for name in ("balance", "gain", "zoom"):
            if not 0 <= (getattr(self, name) or 0) <= 1:
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
        if (self.shift or 0) < 0:
            raise InputError(f"expected shift of at least 0 pixels, got {self.shift}")

    @property
    def variation(self) -> dict[str, Any]:
        """The options of `vary`."""
        return {
            "shift": 3 if self.shift is None else self.shift,
            "gain": 0.3 if self.gain is None else self.gain,
            "zoom": self.zoom,
            "mirror": self.mirror is not False,
        }

    def going_on(self) -> Recipe:
        """The same, with what is None decided for a model that has learned already.

        Its batch norm stays as it is, for failures zero its inputs; and views are not varied, for
        it is not known to which variations the model is used.
        """
        return replace(
            self,
            freeze=self.freeze or "bn",
            shift=self.shift or 0,
            gain=self.gain or 0.0,
            mirror=self.mirror or False,
        )

    def check_new(self) -> None:
        """`InputError` where something is asked that only a model to go on from has."""
        if self.freeze == "bn":
            raise InputError(
                "freeze 'bn' is for a model to go on from: a new one has no batch norm that has "
                "learned; give start, or leave it out"
            )
