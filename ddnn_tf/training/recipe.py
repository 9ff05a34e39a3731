"""How long and how to train: one value."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from edge_runtime.errors import InputError


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
        auxiliary, distil: weights of further losses, see `AuxiliaryLossModel`.
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
