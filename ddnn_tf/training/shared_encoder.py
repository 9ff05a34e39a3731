"""Learning to see and to survive at once, with one encoder for the views of all cameras."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras
import tensorflow as tf
from keras import layers, ops

from ..model import ResilientModel


class SharedEncoder(keras.Model):
    """Trains encoders that share layers, together with a model that hears what they make of views.

    A view is encoded once a step, and what came of it then stands in the batch `repeats` times,
    each time under other failures: many failures a sample cost little. Views that are blank are
    not encoded and reach no norm.

    Compile and fit it with a loss for class probabilities, on batches of views.

    Args:
        encoders: by sensor, see `Convolutional.encoders`.
        upper: the model for what these encode; it is trained too.
        repeats: how often each sample fails in a batch, each time otherwise.
        auxiliary: weight of the mean loss of one linear classifier on every encoded view (deep
            supervision: Lee et al., AISTATS 2015).
    """

    #: How many views a sensor sees changes with every batch.
    supports_jit = False

    def __init__(
        self,
        encoders: Mapping[str, keras.Model],
        upper: ResilientModel,
        *,
        repeats: int = 1,
        auxiliary: float = 0.0,
    ) -> None:
        super().__init__(name="shared_views")
        self.encoders = dict(encoders)
        self.upper = upper
        self.repeats = repeats
        self.auxiliary = auxiliary
        self._auxiliary = None
        if auxiliary:
            self._auxiliary = layers.Dense(
                len(upper.class_names), activation="softmax", name="told"
            )
            self._auxiliary.build((None, *upper.inputs[0].shape[1:]))
        self.built = True  # all its weights are there; only then can they be loaded

    def call(self, inputs: Mapping[str, Any], training: bool | None = None) -> Any:
        """The answers, (batch * repeats, classes), and the auxiliary outputs of views by sensor.

        The latter are (batch, classes), zeros for a blank view; none where nothing is auxiliary.
        """
        features = {
            name: _of_seen(encoder, inputs[name], training)
            for name, encoder in self.encoders.items()
        }
        repeated = {name: ops.repeat(x, self.repeats, axis=0) for name, x in features.items()}
        answer = self.upper(repeated, training=training)
        if self._auxiliary is None:
            return answer, {}
        # The visible bit comes last.
        return answer, {name: self._auxiliary(x) * x[:, -1:] for name, x in features.items()}

    def compute_loss(
        self,
        x: Any = None,
        y: Any = None,
        y_pred: Any = None,
        sample_weight: Any = None,
        training: bool = True,
    ) -> Any:
        """The answers' loss, in training those of the exits, and that of the views' classifier."""
        answer, auxiliary = y_pred
        y_each, weight_each = self._repeated(y), self._repeated(sample_weight)
        loss = super().compute_loss(x, y_each, answer, weight_each, training)
        if training:
            loss = loss + self.upper.exits_loss(self.loss, y_each, weight_each)
        if auxiliary:
            views = ops.concatenate(list(auxiliary.values()))
            labels = ops.tile(ops.reshape(y, (-1,)), (len(auxiliary),))
            weights = ops.cast(ops.any(views > 0, axis=-1), views.dtype)
            seen = ops.maximum(ops.sum(weights), 1.0)
            if sample_weight is not None:
                own = ops.cast(ops.reshape(sample_weight, (-1,)), views.dtype)
                weights = weights * ops.tile(own, (len(auxiliary),))
            each = keras.losses.sparse_categorical_crossentropy(labels, views)
            loss = loss + self.auxiliary * ops.sum(weights * each) / seen
        return loss

    def compute_metrics(self, x: Any, y: Any, y_pred: Any, sample_weight: Any = None) -> Any:
        """Metrics of the answers alone."""
        return super().compute_metrics(
            x, self._repeated(y), y_pred[0], self._repeated(sample_weight)
        )

    def _repeated(self, x: Any) -> Any:
        return None if x is None else ops.repeat(x, self.repeats, axis=0)


def _of_seen(encoder: keras.Model, views: Any, training: bool | None) -> Any:
    """What an encoder makes of the views that are not blank, and zeros for the others."""
    seen = tf.reduce_any(tf.reshape(views != 0, (tf.shape(views)[0], -1)), axis=1)
    # Where all are blank, one of them is encoded all the same: no norm knows a batch of none.
    seen = seen | (~tf.reduce_any(seen) & (tf.range(tf.shape(views)[0]) == 0))
    rows = tf.where(seen)
    encoded = encoder(tf.gather_nd(views, rows), training=training)
    shape = tf.shape(views, out_type=rows.dtype)[:1]
    return tf.scatter_nd(rows, encoded, tf.concat([shape, encoded.shape[1:]], axis=0))
