"""Expected accuracy on validation data, while a model is trained."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import keras

from edge_runtime.errors import InputError
from edge_runtime.topology import Survival

from ..evaluation import expected_score, named_survivabilities
from .auxiliary import AuxiliaryLossModel


class ExpectedAccuracy(keras.callbacks.Callback):
    """Logs the expected score on validation data, as `expected_accuracy_<survivability>`.

    Of other tasks than classification as `expected_score_<survivability>`.

    Args:
        data: what `expected_accuracy` takes; a pair is (x, y).
        survival: presets, or survivabilities by name; None for all that the topology has.
        every: epochs between two measurements; the last one is always measured.
    """

    def __init__(
        self,
        data: Any,
        survival: str | Sequence[str] | Mapping[str, Survival] | None = None,
        *,
        every: int = 10,
    ) -> None:
        super().__init__()
        self.data = data if isinstance(data, tuple) else (data,)
        self.survival = survival
        if every < 1:
            raise InputError(f"expected every of at least 1 epoch, got {every}")
        self.every = every

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Measure and log."""
        if (epoch + 1) % self.every and epoch + 1 != self.params["epochs"]:
            return
        model = self.model.student if isinstance(self.model, AuxiliaryLossModel) else self.model
        wanted = named_survivabilities(self.survival, model.topology)
        found = expected_score(model, *self.data, survival=wanted)
        if logs is not None:
            for name in wanted:
                key = found.score.key("expected")
                logs[f"{key}_{name}"] = found.expected_score(name)
