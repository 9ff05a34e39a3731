"""A Keras model into its sections, and the sections as something that can be run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from edge_runtime.arrays import Array, TensorSpec
from edge_runtime.bundle.tensors import PRESENT, complete, messages
from edge_runtime.errors import InputError
from edge_runtime.failures.configurations import deliveries
from edge_runtime.task import Several, Task
from edge_runtime.topology import Topology


def split(model: keras.Model, topology: Topology) -> dict[str, keras.Model]:
    """The sub-model of every node, by name, in the order in which they run.

    Raises `InputError` where a node has no sub-model, or one whose inputs are not its senders', or
    where the last output of a node with an exit is not class probabilities.
    """
    sections: dict[str, keras.Model] = {}
    sends = {s.name: {s.name: TensorSpec(s.shape, s.dtype)} for s in topology.sensors}
    names = {layer.name for layer in model.layers}
    for node in topology.order:
        section = model.get_layer(node) if node in names else None
        if not isinstance(section, keras.Model):
            raise InputError(
                f"model {model.name!r} has no sub-model for node {node!r}; "
                "name a nested keras.Model after each node of the topology"
            )
        if isinstance(section.output, dict):
            raise InputError(
                f"sub-model {node!r}: expected a tensor or a list of them as output, got a mapping "
                f"with {', '.join(section.output)}; receivers know tensors by their place"
            )
        senders = [link.source for link in topology.incoming(node)]
        _check_inputs(section, {n: spec for sender in senders for n, spec in sends[sender].items()})
        if node in topology.exits:
            _check_exit(section, model.outputs[0])
        sections[node] = section
        sends[node] = messages(topology, node, tuple(_spec(x) for x in section.outputs))
    return sections


def _check_inputs(section: keras.Model, sent: Mapping[str, TensorSpec]) -> None:
    """A section takes what its senders send, by their names, and nothing else."""
    got = {x.name: _spec(x) for x in section.inputs if x.name != PRESENT}
    if set(got) != set(sent):
        raise InputError(
            f"sub-model {section.name!r}: expected inputs named after its senders "
            f"({', '.join(sent)}), got {', '.join(x.name for x in section.inputs)}"
        )
    for name, spec in got.items():
        if sent[name] != spec:
            raise InputError(
                f"sub-model {section.name!r}: its input {name!r} is {spec.dtype} "
                f"{list(spec.shape)}, but {sent[name].dtype} {list(sent[name].shape)} is sent; "
                "make the two agree"
            )


def _check_exit(section: keras.Model, answer: Any) -> None:
    shapes = [tuple(x.shape) for x in section.outputs]
    if len(shapes) < 2 or shapes[-1] != tuple(answer.shape):
        raise InputError(
            f"sub-model {section.name!r} has an exit: expected what it sends, and last class "
            f"probabilities of shape {tuple(answer.shape)}; got {', '.join(map(str, shapes))}"
        )


class KerasRunner:
    """Runs the sections of a Keras model: a `Runner` for `edge_runtime.evaluation`."""

    def __init__(self, model: keras.Model, topology: Topology) -> None:
        self.topology = topology
        self.sections = split(model, topology)
        self._senders = {
            node: tuple(x.source for x in topology.incoming(node)) for node in topology.order
        }
        self._specs = {
            node: {x.name: _spec(x) for x in section.inputs}
            for node, section in self.sections.items()
        }
        self._functions = {node: _function(section) for node, section in self.sections.items()}

    def run(self, node: str, inputs: Mapping[str, Array]) -> Array | tuple[Array, ...]:
        """One node's section on what was delivered to it; see `Runner.run`."""
        outputs = self.call(node, complete(inputs, self._specs[node], self._senders[node]))
        return outputs if len(outputs) > 1 else outputs[0]

    def call(self, node: str, inputs: Mapping[str, Array]) -> tuple[Array, ...]:
        """One node's section on all its inputs."""
        outputs = self._functions[node](dict(inputs))
        several = isinstance(outputs, (list, tuple))
        return tuple(np.asarray(x) for x in (outputs if several else [outputs]))

    def trace(self, inputs: Mapping[str, Array], masks: NDArray[np.bool_]) -> dict[str, NodeTrace]:
        """What every node receives and sends when each sample fails in its own way.

        `inputs`: per sensor, (samples, …); `masks`: bool (samples, elements).
        """
        delivers = deliveries(self.topology, masks)
        sent: dict[str, Array] = dict(inputs)
        traces: dict[str, NodeTrace] = {}
        for node in self.topology.order:
            links = self.topology.incoming(node)
            flags = delivers[:, [self.topology.bits[x.name] for x in links]]
            up = dict(zip(self._senders[node], flags.T, strict=True))
            received = {
                name: flags.astype(np.float32)
                if name == PRESENT
                else _zeroed(sent[name], up[name.partition("__")[0]])
                for name in self._specs[node]
            }
            outputs = self.call(node, received)
            sent.update(messages(topology=self.topology, sender=node, outputs=outputs))
            traces[node] = NodeTrace(received, outputs, np.asarray(~flags.any(axis=1)))
        return traces


@dataclass(frozen=True)
class NodeTrace:
    """A section's inputs, by name, and outputs, samples first; `silent`: bool (samples,)."""

    inputs: dict[str, Array]
    outputs: tuple[Array, ...]
    silent: NDArray[np.bool_]


def in_order(outputs: Any, task: Task) -> list[Any]:
    """What a model gives, as a list in the order of its task's outputs.

    Keras puts what is in a mapping into the order of its keys.
    """
    if isinstance(outputs, Mapping) and isinstance(task, Several):
        return [outputs[name] for name in task.outputs]
    return list(keras.tree.flatten(outputs))


def _spec(tensor: Any) -> TensorSpec:
    return TensorSpec(tuple(tensor.shape[1:]), keras.backend.standardize_dtype(tensor.dtype))


def _zeroed(tensor: Array, up: NDArray[np.bool_]) -> Array:
    return np.where(up.reshape(-1, *[1] * (tensor.ndim - 1)), tensor, tensor.dtype.type(0))


def _function(section: keras.Model) -> Any:
    signature = {x.name: tf.TensorSpec(x.shape, x.dtype, name=x.name) for x in section.inputs}

    def call(inputs: Mapping[str, Any]) -> Any:
        # A model made from a single tensor does not take a mapping.
        several = isinstance(section.input, (list, tuple, dict))
        return section(inputs if several else next(iter(inputs.values())), training=False)

    # Concrete, because TensorFlow takes a function for each section for one traced too often.
    concrete = tf.function(call).get_concrete_function(signature)
    return lambda inputs: concrete({name: tf.constant(x) for name, x in inputs.items()})
