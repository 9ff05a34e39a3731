"""Further losses of a model: auxiliary classifiers and a teacher, which leave nothing in it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras
from keras import layers, ops

from edge_runtime.bundle.tensors import messages

from ..model import FAILURES, ResilientModel


class AuxiliaryLossModel(keras.Model):
    """Trains a model on further losses; the model itself stays as it was built.

    Compile and fit it in the model's place, with a loss for class probabilities. Its own weights,
    those of the auxiliary classifiers, are not part of the model.

    Args:
        student: the model to train.
        auxiliary: weight of the mean loss of linear classifiers, one on the message of each node
            that hears a sensor (deep supervision: Lee et al., AISTATS 2015). Such a node learns
            to tell the class by itself, whoever else works.
        distil: weight of the loss against the answer of the same model with nothing failed, whose
            probabilities say more than the label (Hinton et al., 2015).
    """

    def __init__(
        self, student: ResilientModel, *, auxiliary: float = 0.0, distil: float = 0.0
    ) -> None:
        super().__init__(name="lessons")
        self.student = student
        self.auxiliary = auxiliary
        self.distil = distil
        classes = len(student.class_names)
        auxiliary_outputs = [
            layers.Dense(classes, activation="softmax", name=f"lesson__{node}")(message)
            for node, message in (_messages(student) if auxiliary else {}).items()
        ]
        self._taught = keras.Model(student.inputs, [student.output, *auxiliary_outputs])
        self.built = True  # all its weights are there; only then can they be loaded

    def call(self, inputs: Any, training: bool | None = None) -> Any:
        """The answer, and what each auxiliary classifier tells."""
        return self._taught(inputs, training=training)

    def compute_loss(
        self,
        x: Any = None,
        y: Any = None,
        y_pred: Any = None,
        sample_weight: Any = None,
        training: bool = True,
    ) -> Any:
        """The answer's loss, in training the exits', and each auxiliary one with its weight."""
        answer, *auxiliary = _listed(y_pred)
        loss = super().compute_loss(x, y, answer, sample_weight, training)
        if training:
            loss = loss + self.student.exits_loss(self.loss, y, sample_weight)
        for each in auxiliary:
            own = super().compute_loss(x, y, each, sample_weight, training)
            loss = loss + self.auxiliary / len(auxiliary) * own
        if self.distil:
            # A mean of our own would not know of how many replicas it is one.
            likeness = keras.losses.CategoricalCrossentropy()
            loss = loss + self.distil * likeness(self._teacher_prediction(x), answer, sample_weight)
        return loss

    def compute_metrics(self, x: Any, y: Any, y_pred: Any, sample_weight: Any = None) -> Any:
        """Metrics of the answer alone."""
        return super().compute_metrics(x, y, _listed(y_pred)[0], sample_weight)

    def _teacher_prediction(self, x: Mapping[str, Any]) -> Any:
        """The answers with nothing failed, as a target."""
        samples = ops.shape(next(iter(x.values())))[0]
        works = ops.ones((samples, len(self.student.topology.elements)))
        with self.student.get_layer(FAILURES).given(works):
            return ops.stop_gradient(self.student(x, training=False))


def _listed(outputs: Any) -> list[Any]:
    return list(outputs) if isinstance(outputs, (list, tuple)) else [outputs]


def _messages(model: ResilientModel) -> dict[str, Any]:
    """What each node that hears a sensor sends, (batch, values), by node."""
    topology = model.topology
    found = {}
    for node in topology.order:
        hears = any(x.source in topology.sensor_names for x in topology.incoming(node))
        if not hears or node == topology.output:
            continue
        sender = next(iter(messages(topology, node, tuple(model.get_layer(node).outputs))))
        # The failure layer of a link takes the message, and which links deliver.
        given = model.get_layer(f"{sender}__to__{topology.outgoing(node)[0].target}").input
        message = _listed(given)[0]
        found[node] = message if len(message.shape) == 2 else layers.Flatten()(message)
    return found
