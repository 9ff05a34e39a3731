"""A topology and its sections as one ordinary Keras model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras import ops
from numpy.typing import NDArray

from edge_runtime.errors import InputError
from edge_runtime.failures import output_states
from edge_runtime.gather import PRESENT
from edge_runtime.reliability import Fallback, fallback_answer
from edge_runtime.topology import Survival, Topology

from .layers import PACKAGE, Answer, Deliveries, FailureMask, NodeFailure
from .sections import SECTIONS, Section, SectionName, Site

__all__ = ["ResilientModel", "build"]

Array = NDArray[Any]

#: Samples that `simulate` puts through the model at once.
SIMULATED = 256


@keras.saving.register_keras_serializable(PACKAGE)
class ResilientModel(keras.Model):
    """A functional Keras model whose sub-models are the sections of a topology's nodes.

    Everything of `keras.Model` works as usual. Made by `build`; a saved one is self-contained.
    """

    @property
    def topology(self) -> Topology:
        topology: Topology = self.get_layer("failures").topology
        return topology

    @property
    def class_names(self) -> tuple[str, ...]:
        names: tuple[str, ...] = self.get_layer("answer").class_names
        return names

    @property
    def prior(self) -> tuple[float, ...]:
        """Training frequency of each class; uniform until the model has been fitted."""
        prior: tuple[float, ...] | None = self.get_layer("answer").prior
        classes = len(self.class_names)
        return prior or (1.0 / classes,) * classes

    @prior.setter
    def prior(self, value: Sequence[float]) -> None:
        self.get_layer("answer").prior = tuple(float(p) for p in value)

    def fit(self, x: Any = None, y: Any = None, **kwargs: Any) -> Any:
        """`keras.Model.fit`; remembers the frequency of each class for the fallback."""
        labels = getattr(x, "labels", y)
        if labels is not None:
            counts = np.bincount(np.asarray(labels).ravel(), minlength=len(self.class_names))
            self.prior = counts / counts.sum()
        return super().fit(x, y, **kwargs)

    def simulate(
        self, inputs: Mapping[str, Array], mask: Array, *, fallback: Fallback = "prior"
    ) -> Array:
        """Answers under a given failure mask.

        `inputs`: per sensor (samples, …). `mask`: bool (elements,), or (samples, elements) for
        one of its own each. Returns probabilities, float32 (samples, classes); where nothing
        reaches the output node they are the fallback's.
        """
        samples = len(next(iter(inputs.values())))
        masks = np.broadcast_to(np.asarray(mask, bool), (samples, len(self.topology.elements)))
        answers = np.concatenate(
            [
                self._under_mask(
                    {name: x[i : i + SIMULATED] for name, x in inputs.items()},
                    masks[i : i + SIMULATED],
                )
                for i in range(0, samples, SIMULATED)
            ]
        )
        silent = ~output_states(self.topology, masks).any(axis=1)
        answers[silent] = fallback_answer(fallback, self.prior)
        return answers

    @tf.function(reduce_retracing=True)
    def _under_mask(self, inputs: Mapping[str, Any], mask: Any) -> Any:
        with self.get_layer("failures").given(mask):
            return self(inputs, training=False)


def build(
    topology: Topology,
    sections: SectionName | Section | Mapping[str, Section | keras.Model] = "fc32",
    *,
    classes: Sequence[str],
    dropout: Sequence[Survival] | None = None,
    merge_weights: Mapping[str, float] | None = None,
    seed: int | None = None,
) -> ResilientModel:
    """Build a Keras model from a topology and the sections of its nodes.

    Args:
        topology: nodes and links.
        sections: a ready-made set by name (`fc32`, `conv`); a function from a `Site` to a symbolic
            tensor; or, for every node by name, such a function or a Keras model whose inputs are
            named after the senders (and `present` for link-present flags).
        classes: names of the classes, in the order of the labels.
        dropout: survivabilities at which nodes and links fail in training, or None for none. With
            several, each sample draws one.
        merge_weights: weights of links where a section adds them, by link name, default 1; see
            `survival_weights`.
        seed: of the failures drawn in training.

    Returns:
        A model with one input a sensor, (batch, *shape), and class probabilities (batch, classes).

    Raises:
        InputError: for an unknown set, a node without a section, or a section that does not fit.
    """
    if len(classes) < 2 or len(set(classes)) < len(classes):
        raise InputError(f"expected two or more distinct class names, got {list(classes)}")
    unknown = set(merge_weights or {}) - set(topology.index)
    if unknown:
        raise InputError(f"merge weights for unknown links: {', '.join(sorted(unknown))}")
    make = _sections_by_node(topology, sections)
    inputs = {s.name: keras.Input(s.shape, dtype=s.dtype, name=s.name) for s in topology.sensors}
    works = FailureMask(topology, dropout, seed, name="failures")(next(iter(inputs.values())))
    delivers = Deliveries(topology, name="deliveries")(works)

    sent: dict[str, Any] = dict(inputs)
    for name in topology.order:
        received: dict[str, Any] = {}
        columns = []
        for link in topology.incoming(name):
            columns.append(topology.links.index(link))
            for key, tensor in _named(link.source, sent[link.source]).items():
                failure = NodeFailure(column=columns[-1], name=f"{key}__to__{name}")
                received[key] = failure(tensor, delivers)
        weights = merge_weights or {}
        site = Site(
            node=topology.node(name),
            links=topology.incoming(name),
            inputs={k: keras.Input(x.shape[1:], dtype=x.dtype, name=k) for k, x in received.items()},
            sensors=topology.sensor_names,
            weights={x.source: weights.get(x.name, 1.0) for x in topology.incoming(name)},
            classes=len(classes) if name == topology.output else None,
        )
        section = _section(site, make[name])
        if PRESENT in section.input:
            received[PRESENT] = ops.take(delivers, np.array(columns), axis=1)
        sent[name] = section(received)
    answer = Answer(tuple(classes), name="answer")(sent[topology.output])
    return ResilientModel(inputs, answer, name=topology.name.replace("-", "_"))


def _named(sender: str, tensors: Any) -> dict[str, Any]:
    """A sender's tensors under the names by which receivers know them."""
    if not isinstance(tensors, (list, tuple)):
        return {sender: tensors}
    return {f"{sender}__{k}": tensor for k, tensor in enumerate(tensors)}


def _sections_by_node(topology: Topology, sections: Any) -> dict[str, Any]:
    nodes = [n.name for n in topology.nodes]
    if isinstance(sections, str):
        if sections not in SECTIONS:
            raise InputError(
                f"unknown sections {sections!r}; expected {', '.join(SECTIONS)}, or your own"
            )
        sections = SECTIONS[sections]()
    if not isinstance(sections, Mapping):
        return dict.fromkeys(nodes, sections)
    wrong = sorted(set(nodes) ^ set(sections))
    if wrong:
        raise InputError(
            f"expected one section for each node ({', '.join(nodes)}); "
            f"missing or unknown: {', '.join(wrong)}"
        )
    return dict(sections)


def _section(site: Site, make: Any) -> keras.Model:
    """One node's section as a sub-model named after the node."""
    if isinstance(make, keras.Model):
        given = {x.name for x in make.inputs}
        if given - {PRESENT} != set(site.inputs):
            raise InputError(
                f"section of {site.node.name!r}: expected inputs named after its senders "
                f"({', '.join(site.inputs)}; {PRESENT} if wanted), got {', '.join(sorted(given))}"
            )
        feed = {n: site.present if n == PRESENT else site.inputs[n] for n in given}
        output = make([feed[x.name] for x in make.inputs])
    else:
        output = make(site)
    inputs = dict(site.inputs)
    if "present" in vars(site):
        inputs[PRESENT] = site.present
    section = keras.Model(inputs, output, name=site.node.name)
    if site.classes is not None and tuple(section.output_shape) != (None, site.classes):
        raise InputError(
            f"section of the output node {site.node.name!r}: expected probabilities of shape "
            f"(batch, {site.classes}), got {section.output_shape}"
        )
    return section
