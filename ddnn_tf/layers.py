"""Failure as Keras layers: one draws, one says what then delivers, one applies it to a link.

All are the identity at inference, and none of them is left in an exported section. Failure is an
explicit mask throughout; it is never read off a tensor that happens to be zero.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import keras
import msgspec
import numpy as np
from keras import ops

from edge_runtime.errors import InputError
from edge_runtime.failures.distribution import FailureModel
from edge_runtime.task import Classification, Task
from edge_runtime.topology import Survival, Topology
from edge_runtime.topology.survival import survival_from_plain
from export.original import Original

PACKAGE = "ddnn_tf"


class ReplicaSeeds(keras.random.SeedGenerator):
    """Seeds that differ between the replicas of `tf.distribute`, which share the state.

    Keras names the state after the class, and no SavedModel holds a name that begins with `_`.
    """

    def next(self, ordered: bool = True) -> Any:
        seed = super().next(ordered)
        if keras.backend.backend() != "tensorflow":
            return seed
        import tensorflow as tf

        context = tf.distribute.get_replica_context()
        replica = context.replica_id_in_sync_group if context else 0
        return seed + ops.cast(replica, seed.dtype)


@keras.saving.register_keras_serializable(PACKAGE)
class FailureMask(keras.layers.Layer):
    """Draws which elements of a topology work, for every sample again.

    Call it on any tensor of the batch; the result has shape (batch, elements) and holds 1 where an
    element works and 0 where it failed. In training, each element is drawn from its own stream
    with its survival probability; at inference all work. Within `given(mask)` that mask holds
    instead, in training and at inference alike.

    Args:
        topology: a `Topology`, or its plain form.
        survival: survivabilities to draw from: names of presets, mappings of element to
            probability, or recorded shares. With several, each sample draws one of them, which
            all elements share. None draws no failures.
        seed: of the random stream.
    """

    def __init__(
        self,
        topology: Topology | Mapping[str, Any],
        survival: Sequence[Survival] | None = None,
        seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.topology = topology if isinstance(topology, Topology) else Topology.from_dict(topology)
        self.draw_from(survival)
        self.seed = seed
        self.seed_generator = ReplicaSeeds(seed)
        self._given: Any = None

    def draw_from(self, survival: Sequence[Survival] | None) -> None:
        """Draw from other survivabilities; a training that is compiled must be compiled again."""
        if survival is not None and (isinstance(survival, str) or not len(survival)):
            raise InputError(
                f"expected a list of survivabilities or None, got {survival!r}; "
                'give at least one, such as ["high"]'
            )
        self.survival = None if survival is None else [survival_from_plain(s) for s in survival]
        models = [FailureModel.of(self.topology, s) for s in self.survival or ()]
        self._table = (
            np.concatenate([m.survival for m in models]).astype("float32") if models else None
        )
        # Cumulated, so that one uniform number chooses: the last case is what is above the others.
        shares = np.concatenate([m.shares for m in models]) / len(models) if models else np.ones(1)
        self._bounds = shares.cumsum()[:-1].astype("float32")

    @contextmanager
    def given(self, mask: Any) -> Iterator[None]:
        """Let `mask`, (batch, elements), hold for every call within the `with` block."""
        before, self._given = self._given, mask
        try:
            yield
        finally:
            self._given = before

    def call(self, inputs: Any, training: bool | None = None) -> Any:
        if self._given is not None:
            return ops.cast(self._given, "float32")
        batch = ops.shape(inputs)[0]
        if not training or self._table is None:
            return ops.ones((batch, len(self.topology.elements)))
        survival: Any = self._table
        if len(self._table) > 1:
            case = keras.random.uniform((batch,), seed=self.seed_generator)
            survival = ops.take(
                self._table, ops.searchsorted(self._bounds, case, side="right"), axis=0
            )
        shape = (batch, len(self.topology.components))
        draw = keras.random.uniform(shape, seed=self.seed_generator)
        return self._working(ops.cast(draw < survival, "float32"))

    def _working(self, components: Any) -> Any:
        """As `failures.distribution.working`: an element fails with each of its groups."""
        t = self.topology
        masks = components[:, : len(t.elements)]
        for group in t.groups:
            outside = np.array([name not in group.elements for name in t.elements], "float32")
            masks *= ops.maximum(components[:, t.index[group.name], None], outside)
        return masks

    def compute_output_shape(self, input_shape: tuple[Any, ...]) -> tuple[Any, ...]:
        return (input_shape[0], len(self.topology.elements))

    def get_config(self) -> dict[str, Any]:
        own = {
            "topology": self.topology.to_dict(),
            "survival": msgspec.to_builtins(self.survival),
            "seed": self.seed,
        }
        return {**super().get_config(), **own}


@keras.saving.register_keras_serializable(PACKAGE)
class Deliveries(keras.layers.Layer):
    """Which links deliver, given which elements work: (batch, elements) to (batch, links).

    The same rule as `edge_runtime.failures.deliveries`: a link delivers when it is up and its
    sender is alive and not silent.
    """

    def __init__(self, topology: Topology | Mapping[str, Any], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.topology = topology if isinstance(topology, Topology) else Topology.from_dict(topology)

    def call(self, inputs: Any) -> Any:
        t = self.topology
        works = dict(zip(t.elements, ops.unstack(inputs, len(t.elements), axis=1), strict=True))
        sends = {sensor.name: works[sensor.name] for sensor in t.sensors}
        delivers: dict[str, Any] = {}
        for node in t.order:
            for link in t.incoming(node):
                delivers[link.name] = works[link.name] * sends[link.source]
            received = [delivers[link.name] for link in t.incoming(node)]
            anything = received[0] if len(received) == 1 else ops.max(ops.stack(received), axis=0)
            sends[node] = works[node] * anything
        return ops.stack([delivers[link.name] for link in t.links], axis=1)

    def compute_output_shape(self, input_shape: tuple[Any, ...]) -> tuple[Any, ...]:
        return (input_shape[0], len(self.topology.links))

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "topology": self.topology.to_dict()}


@keras.saving.register_keras_serializable(PACKAGE)
class NodeFailure(keras.layers.Layer):
    """Layer-wise dropout: a whole output, not single units, is zero when its sender fails.

    The *failout* of Yousefpour et al., *ResiliNet: Failure-Resilient Inference in Distributed
    Neural Networks* (2020), section 3; nothing is rescaled, as a failed machine's absence is not
    made up for by the others. Given a mask of shape (batch, columns) as second input, it applies
    its `column` of it, in training and at inference alike. Used alone, it draws for itself in
    training and is the identity at inference.

    Args:
        survival: probability that the sender works, 0 to 1; used when no mask is given.
        column: of the mask.
        seed: of the random stream used without a mask.
    """

    def __init__(
        self, survival: float = 1.0, column: int = 0, seed: int | None = None, **kwargs: Any
    ) -> None:
        # What is sent keeps its type, such as the float16 of a model of mixed precision.
        super().__init__(**{"autocast": False, **kwargs})
        if not 0 <= survival <= 1:
            raise InputError(
                f"expected a survival probability from 0 to 1, got survival={survival}"
            )
        self.survival = survival
        self.column = column
        self.seed = seed
        self.seed_generator = ReplicaSeeds(seed)
        self._left_out = False

    @contextmanager
    def left_out(self) -> Iterator[None]:
        """Be the identity within the `with` block, whatever the mask says."""
        before, self._left_out = self._left_out, True
        try:
            yield
        finally:
            self._left_out = before

    def call(self, inputs: Any, works: Any = None, training: bool | None = None) -> Any:
        if self._left_out:
            return inputs
        if works is not None:
            return self._apply(inputs, works[:, self.column])
        if not training or self.survival == 1:
            return inputs
        draw = keras.random.uniform((ops.shape(inputs)[0],), seed=self.seed_generator)
        return self._apply(inputs, draw < self.survival)

    def _apply(self, inputs: Any, works: Any) -> Any:
        works = ops.reshape(works, (-1,) + (1,) * (len(inputs.shape) - 1))
        if not keras.backend.is_float_dtype(inputs.dtype):
            return inputs * ops.cast(works, inputs.dtype)
        # A product would turn a NaN of a dead sender into a NaN; a choice, though slower, does not.
        return ops.where(ops.cast(works, "bool"), inputs, ops.zeros((), inputs.dtype))

    def compute_output_spec(self, inputs: Any, works: Any = None, training: Any = None) -> Any:
        return keras.KerasTensor(inputs.shape, inputs.dtype)  # bytes stay bytes

    def get_config(self) -> dict[str, Any]:
        own = {"survival": self.survival, "column": self.column, "seed": self.seed}
        return {**super().get_config(), **own}


@keras.saving.register_keras_serializable(PACKAGE)
class Exits(keras.layers.Layer):
    """The identity on the answer; lets the loss see what the exits answered in the same pass.

    Called on the answer, the probabilities of each exit in the topology's order, which elements
    work and which links deliver. In training it keeps what `taken` then hands over: the model has
    one output, and Keras gives a loss no other.

    Args:
        topology: a `Topology` with exits, or its plain form.
        weight: of the exits' losses, of all alike or by node; the output node's weighs 1.
    """

    def __init__(
        self,
        topology: Topology | Mapping[str, Any],
        weight: float | Mapping[str, float] = 0.5,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.topology = topology if isinstance(topology, Topology) else Topology.from_dict(topology)
        exits = self.topology.exits
        self.weights_of = dict(
            weight if isinstance(weight, Mapping) else dict.fromkeys(exits, weight)
        )
        if set(self.weights_of) != set(exits):
            raise InputError(
                f"expected a weight of the loss of each exit ({', '.join(exits)}), got those of "
                f"{', '.join(self.weights_of) or 'none'}"
            )
        for node, own in self.weights_of.items():
            if not 0 <= own < float("inf"):
                raise InputError(
                    f"expected a weight of the exits' loss of at least 0, got {own} for {node!r}"
                )
        # Each replica of `tf.distribute` runs in a thread of its own.
        self._pass = threading.local()

    def call(
        self,
        inputs: Any,
        probabilities: Sequence[Any],
        works: Any,
        delivers: Any,
        training: bool | None = None,
    ) -> Any:
        if training and any(self.weights_of.values()):
            t = self.topology
            received = []
            for node in t.exits:
                columns = np.array([t.bits[link.name] for link in t.incoming(node)])
                anything = ops.max(ops.take(delivers, columns, axis=1), axis=1)
                received.append(works[:, t.index[node]] * anything)
            weights = [self.weights_of[node] for node in t.exits]
            self._pass.taken = list(zip(probabilities, received, weights, strict=True))
        return inputs

    def taken(self) -> list[tuple[Any, Any, float]]:
        """Of the last pass in training, once: each exit's probabilities, for which samples, weight.

        (batch, classes), and (batch,) of 1 where the node was alive and received something, else 0.
        """
        found: list[tuple[Any, Any, float]] = getattr(self._pass, "taken", [])
        self._pass.taken = []
        return found

    def compute_output_spec(self, inputs: Any, *args: Any, **kwargs: Any) -> Any:
        return keras.KerasTensor(inputs.shape, inputs.dtype)

    def get_config(self) -> dict[str, Any]:
        own = {"topology": self.topology.to_dict(), "weight": self.weights_of}
        return {**super().get_config(), **own}


@keras.saving.register_keras_serializable(PACKAGE)
class Answer(keras.layers.Layer):
    """The identity on the answer, or on those of several outputs; carries what they mean.

    Args:
        task: a `Task`, or its plain form.
        original: what the model that this one was cut from answers, see `Original`; or its plain
            form, or None.
        class_names, prior: in place of `task`, of a model that an older version saved.
    """

    def __init__(
        self,
        task: Task | Mapping[str, Any] | None = None,
        original: Original | Mapping[str, Any] | None = None,
        class_names: Sequence[str] | None = None,
        prior: Sequence[float] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if task is None:
            task = Classification(tuple(class_names or ()), tuple(prior or ()))
        self.task: Task = msgspec.convert(task, Task) if isinstance(task, Mapping) else task
        given = isinstance(original, Mapping)
        self.original = msgspec.convert(original, Original) if given else original

    def call(self, inputs: Any) -> Any:
        return inputs

    def compute_output_spec(self, inputs: Any) -> Any:
        return keras.tree.map_structure(lambda x: keras.KerasTensor(x.shape, x.dtype), inputs)

    def get_config(self) -> dict[str, Any]:
        own = {"task": self.task, "original": self.original}
        return {**super().get_config(), **msgspec.to_builtins(own)}
