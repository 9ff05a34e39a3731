"""A topology and its sections as one ordinary Keras model."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from edge_runtime.arrays import Array
from edge_runtime.bundle.tensors import PRESENT, messages
from edge_runtime.errors import InputError
from edge_runtime.failures.configurations import output_states
from edge_runtime.task import Classification, Fallback, MultiLabel, Several, Task
from edge_runtime.topology import Survival, Topology
from export.original import Original
from export.split import in_order

from .layers import PACKAGE, Answer, Deliveries, Exits, FailureMask, NodeFailure
from .names import SectionName
from .sections import EXIT, SECTIONS, Section, Site, bypassed, has_exit, linear_exit

#: Samples that `simulate` puts through the model at once.
SIMULATED = 256

# Names of our own layers hold `__`, which no node or sensor may have.
FAILURES, DELIVERIES, ANSWER = "ddnn__failures", "ddnn__deliveries", "ddnn__answer"
EXITS = "ddnn__exits"


@keras.saving.register_keras_serializable(PACKAGE)
class ResilientModel(keras.Model):
    """A functional Keras model whose sub-models are the sections of a topology's nodes.

    Everything of `keras.Model` works as usual. Made by `build`; a saved one is self-contained.
    """

    @property
    def topology(self) -> Topology:
        topology: Topology = self.get_layer(FAILURES).topology
        return topology

    @property
    def task(self) -> Task:
        """What its answers mean; may be set to another of the same kind and names.

        What the fallback is made from is unknown until the model has been fitted, and where `fit`
        could not know the targets: from a generator, or from a data set without end.
        """
        task: Task = self.get_layer(ANSWER).task
        return task

    @task.setter
    def task(self, task: Task) -> None:
        own = self.task
        if (task.kind, task.names) != (own.kind, own.names):
            raise InputError(
                f"expected a {own.kind} of {', '.join(own.names)}, got a {task.kind} of "
                f"{', '.join(task.names)}"
            )
        self.get_layer(ANSWER).task = task

    @property
    def original(self) -> Original | None:
        """What the model that this one was cut from answers, until this one is trained."""
        original: Original | None = self.get_layer(ANSWER).original
        return original

    @original.setter
    def original(self, original: Original | None) -> None:
        self.get_layer(ANSWER).original = original

    @property
    def class_names(self) -> tuple[str, ...]:
        """The classes; `InputError` where the task is another."""
        return self._classes.class_names

    @property
    def prior(self) -> tuple[float, ...]:
        """Training frequency of each class, for the fallback; may be set."""
        return self._classes.prior

    @prior.setter
    def prior(self, value: Iterable[float]) -> None:
        self.task = Classification(self.class_names, tuple(float(p) for p in value))

    @property
    def _classes(self) -> Classification:
        if not isinstance(self.task, Classification):
            raise InputError(
                f"this model is for a {self.task.kind}, which has no classes; ask for model.task"
            )
        return self.task

    def draw_failures(self, survival: Sequence[Survival] | None) -> None:
        """Let nodes and links fail in training at these survivabilities, or None for none.

        Each sample draws one of several. Compile the model afterwards.
        """
        self.get_layer(FAILURES).draw_from(survival)

    def fit(self, x: Any = None, y: Any = None, *args: Any, **kwargs: Any) -> Any:
        """`keras.Model.fit`; remembers what the fallback is made of, such as class frequencies."""
        own, known = self.task, getattr(x, "task", None)
        if known is not None:
            self.task = known  # which is refused where it is another
        if not isinstance(known, Classification):
            # Of the model's own task, whose score and units the data need not say.
            targets = _targets(x, y)
            self.task = own if targets is None else own.learned(_plain(targets, own))
        self.original = None
        return super().fit(x, y, *args, **kwargs)

    def compute_loss(
        self,
        x: Any = None,
        y: Any = None,
        y_pred: Any = None,
        sample_weight: Any = None,
        training: bool = True,
    ) -> Any:
        """The compiled loss; in training, also that of each exit, times the exits' weight.

        An exit counts in those samples in which its node is alive and not silent, and the sum is
        taken over all samples, as at the output node (Teerapittayanon et al., ICDCS 2017, section
        III-C, whose exits' weights are one).
        """
        total = super().compute_loss(x, y, y_pred, sample_weight, training)
        return total + self.exits_loss(self.loss, y, sample_weight) if training else total

    def exits_loss(self, loss: Any, y: Any, sample_weight: Any = None) -> Any:
        """What `compute_loss` adds for the exits after a pass in training; `loss`: as compiled."""
        total = 0.0
        if not self.topology.exits:
            return total
        layer = self.get_layer(EXITS)
        own = ExitLoss(loss)
        for probabilities, received, weight in layer.taken():
            weights = (
                received if sample_weight is None else received * ops.cast(sample_weight, "float32")
            )
            total = total + weight * own(y, probabilities, weights)
        return total

    def simulate(
        self, inputs: Mapping[str, Array], mask: Array, *, fallback: Fallback = "prior"
    ) -> Array:
        """Answers under a given failure mask.

        `inputs`: per sensor (samples, …). `mask`: bool (elements,), or (samples, elements) for
        one of its own each. Returns answers, float32 (samples, width), those of several outputs
        one after the other; where nothing reaches the output node they are the fallback's.
        """
        samples = len(next(iter(inputs.values())))
        shape = samples, len(self.topology.elements)
        if np.shape(mask) not in (shape, shape[1:]):
            raise InputError(
                f"expected a mask of shape {shape[1:]} or {shape}, got {np.shape(mask)}"
            )
        masks = np.broadcast_to(np.asarray(mask, bool), shape)
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
        answers[silent] = self.task.fallback(fallback)
        return answers

    def export(self, *args: Any, **kwargs: Any) -> Any:
        """`keras.Model.export`: the whole model in one artifact, with nothing failed.

        For one artifact a node, which know of failures, see `export.export_bundle`. What fails
        links is left out: it does nothing without a failure, and LiteRT cannot run it on bytes.
        """
        with ExitStack() as stack:
            for layer in self.layers:
                if isinstance(layer, NodeFailure):
                    stack.enter_context(layer.left_out())
            return super().export(*args, **kwargs)

    @tf.function(reduce_retracing=True)
    def _under_mask(self, inputs: Mapping[str, Any], mask: Any) -> Any:
        with self.get_layer(FAILURES).given(mask):
            answers = in_order(self(inputs, training=False), self.task)
        return answers[0] if len(answers) == 1 else ops.concatenate(answers, axis=1)


def build(
    topology: Topology,
    sections: SectionName | Section | Mapping[str, Section | keras.Model] = "fc32",
    *,
    classes: Sequence[str] | None = None,
    task: Task | None = None,
    dropout: Sequence[Survival] | None = None,
    merge_weights: Mapping[str, float] | None = None,
    multiplex: bool = False,
    exit_weight: float | Mapping[str, float] = 0.5,
    seed: int | None = None,
) -> ResilientModel:
    """Build a Keras model from a topology and the sections of its nodes.

    Args:
        topology: nodes and links.
        sections: a ready-made set by name (`fc32`, `conv`); a function from a `Site` to a symbolic
            tensor; or, for every node by name, such a function or a Keras model whose inputs are
            named after the senders (and `present` for link-present flags).
        classes: names of the classes, in the order of the labels; or
        task: what answers mean, where they are not one of several classes.
        dropout: survivabilities at which nodes and links fail in training, or None for none. With
            several, each sample draws one.
        merge_weights: weights of links where a section adds them, by link name, default 1; see
            `survival_weights`.
        multiplex: whether sections hear a residual link only where the primary links that it goes
            round do not deliver, in training and at inference alike; else they hear all links.
            Link-present flags, where a section asks for them, tell of every link all the same.
        exit_weight: of the exits' losses in training, of all alike or by node; the output
            node's weighs 1.
        seed: of the failures drawn in training.

    Returns:
        A model with one input a sensor, (batch, *shape), and the output node's answer (batch,
        width), such as class probabilities; of several outputs, a mapping by name. The section of
        a node with an exit has one output more than it sends, the last: its answer.

    Raises:
        InputError: for an unknown set, a node without a section, or a section that does not fit.
    """
    task = _task(topology, classes, task)
    unknown = set(merge_weights or {}) - {link.name for link in topology.links}
    if unknown:
        raise InputError(f"merge weights for unknown links: {', '.join(sorted(unknown))}")
    make = _sections_by_node(topology, sections)
    inputs = {s.name: keras.Input(s.shape, dtype=s.dtype, name=s.name) for s in topology.sensors}
    works = FailureMask(topology, dropout, seed, name=FAILURES)(next(iter(inputs.values())))
    delivers = Deliveries(topology, name=DELIVERIES)(works)

    sent: dict[str, dict[str, Any]] = {name: {name: view} for name, view in inputs.items()}
    exits: list[Any] = []
    for name in topology.order:
        received, columns = _received(topology, name, sent, delivers)
        site = _site(topology, name, received, task, merge_weights or {}, multiplex)
        section = _section(site, make[name])
        if PRESENT in section.input:
            received[PRESENT] = ops.take(delivers, np.array(columns), axis=1)
        output = section(received)
        outputs = tuple(output) if isinstance(output, (list, tuple)) else (output,)
        sent[name] = messages(topology, name, outputs)
        if name in topology.exits:
            exits.append(outputs[-1])
    answer: Any = outputs[0]
    if exits:
        layer = Exits(topology, exit_weight, name=EXITS)
        answer = layer(answer, exits, works=works, delivers=delivers)
    if isinstance(task, Several):
        answer = dict(zip(task.outputs, outputs, strict=True))
    answer = Answer(task, name=ANSWER)(answer)
    # Keras forbids `/` in a name, TensorFlow more; a topology may be called anything.
    name = re.sub("[^A-Za-z0-9]+", "_", topology.name).strip("_") or "model"
    return ResilientModel(inputs, answer, name=name)


def _task(topology: Topology, classes: Sequence[str] | None, task: Task | None) -> Task:
    """What answers mean, said in one of two ways."""
    if (classes is None) == (task is None):
        raise InputError("expected either class names or a task, and one of the two")
    found = Classification(tuple(classes or ())) if task is None else task
    for own in found.outputs.values() if isinstance(found, Several) else [found]:
        if isinstance(own, Classification) and own.width < 2:
            raise InputError(f"expected two or more class names, got {list(own.class_names)}")
    if topology.exits and isinstance(found, Several):
        raise InputError(
            f"exits answer for one output, and this task has {len(found.outputs)}: "
            f"{', '.join(found.outputs)}; leave the exits out"
        )
    return found


def _received(
    topology: Topology, node: str, sent: Mapping[str, Mapping[str, Any]], delivers: Any
) -> tuple[dict[str, Any], list[int]]:
    """What a node hears, by tensor, behind the failures of its links; and their columns."""
    received: dict[str, Any] = {}
    columns = []
    for link in topology.incoming(node):
        columns.append(topology.links.index(link))
        for key, tensor in sent[link.source].items():
            failure = NodeFailure(column=columns[-1], name=f"{key}__to__{node}")
            received[key] = failure(tensor, delivers)
    return received, columns


def _site(
    topology: Topology,
    node: str,
    received: Mapping[str, Any],
    task: Task,
    weights: Mapping[str, float],
    multiplex: bool,
) -> Site:
    """What a section is made from."""
    links = topology.incoming(node)
    return Site(
        node=topology.node(node),
        links=links,
        inputs={k: keras.Input(x.shape[1:], dtype=x.dtype, name=k) for k, x in received.items()},
        sensors=topology.sensor_names,
        weights={x.source: weights.get(x.name, 1.0) for x in links},
        task=task,
        is_output=node == topology.output,
        multiplexed={
            x.source: bypassed(topology, x) for x in links if multiplex and x.kind == "residual"
        },
        has_exit=node in topology.exits,
    )


class ExitLoss(keras.losses.Loss):
    """The loss that a model was compiled with, as something that takes weights by sample."""

    def __init__(self, loss: Any) -> None:
        super().__init__()
        found = keras.losses.get(loss)
        self.of = found.call if isinstance(found, keras.losses.Loss) else found

    def call(self, y_true: Any, y_pred: Any) -> Any:
        return self.of(y_true, y_pred)


def _targets(x: Any, y: Any) -> Any:
    """The targets that `fit` was given; None where they cannot be known beforehand."""
    if isinstance(x, tf.data.Dataset):
        if x.cardinality() == tf.data.INFINITE_CARDINALITY:
            return None
        batches = [batch[1] for batch in x.as_numpy_iterator()]
        return keras.tree.map_structure(lambda *parts: np.concatenate(parts), *batches)
    return getattr(x, "labels", y)


def _plain(targets: Any, task: Task) -> Any:
    """Targets as a task takes them: labels by number where Keras was given them otherwise."""
    if isinstance(task, Several):
        if isinstance(targets, Mapping):
            return {n: _plain(targets[n], own) for n, own in task.outputs.items() if n in targets}
        return targets
    values = np.asarray(targets)
    if isinstance(task, Classification):
        if values.ndim == 2 and values.shape[1] == task.width:
            return values.argmax(axis=1)
        return values.ravel().astype(np.int64)
    return values[:, None] if values.ndim == 1 and isinstance(task, MultiLabel) else values


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


def _called(site: Site, make: keras.Model) -> Any:
    """What a model that was given for a section makes of the site's inputs."""
    if not getattr(make, "inputs", None):
        raise InputError(
            f"section of {site.node.name!r}: expected a Keras model with named inputs, got "
            f"{type(make).__name__} {make.name!r} without; give a functional one, or a function"
        )
    given = {x.name for x in make.inputs}
    if given - {PRESENT} != set(site.inputs):
        raise InputError(
            f"section of {site.node.name!r}: expected inputs named after its senders "
            f"({', '.join(site.inputs)}; {PRESENT} if wanted), got {', '.join(sorted(given))}"
        )
    feed = {n: site.present if n == PRESENT else site.inputs[n] for n in given}
    # In the structure in which the model was made, or Keras warns.
    own = make.inputs[0] if isinstance(make, keras.Sequential) else make.input
    return make(keras.tree.map_structure(lambda x: feed[x.name], own))


def _with_exit(site: Site, make: Any, output: Any) -> list[Any]:
    """What a node with an exit sends, and last its answer: the section's own, or a linear one."""
    assert not isinstance(site.task, Several)  # by `build`
    outputs = list(output) if isinstance(output, (list, tuple)) else [output]
    # What a model gives where it is called does not say which of its layers it came from.
    if not has_exit(make.outputs if isinstance(make, keras.Model) else outputs):
        outputs.append(linear_exit(outputs, site.task))
    if tuple(outputs[-1].shape) != (None, site.exit):
        raise InputError(
            f"section of {site.node.name!r}: expected its layer {EXIT!r} to give an answer, "
            f"{_meaning(site.task)}, of shape (batch, {site.exit}), got {tuple(outputs[-1].shape)}"
        )
    return outputs


def _section(site: Site, make: Any) -> keras.Model:
    """One node's section as a sub-model named after the node."""
    output = _called(site, make) if isinstance(make, keras.Model) else make(site)
    inputs = dict(site.inputs)
    if "present" in vars(site):
        inputs[PRESENT] = site.present
    if isinstance(output, Mapping):
        raise InputError(
            f"section of {site.node.name!r}: expected a tensor or a list of tensors, got a mapping "
            f"with {', '.join(output)}; its receivers know tensors by their place"
        )
    if site.has_exit:
        output = _with_exit(site, make, output)
    try:
        section = keras.Model(inputs, output, name=site.node.name)
    except ValueError as error:
        raise InputError(
            f"section of {site.node.name!r} makes no Keras model: {error}; use the site's inputs "
            "only, and name no layer as a sender, or the sender otherwise"
        ) from error
    if site.is_output:
        _check_answer(site, section)
    return section


def _check_answer(site: Site, section: keras.Model) -> None:
    """`InputError` unless the output node's section gives what the task asks for."""
    task = site.task
    outputs = task.outputs.values() if isinstance(task, Several) else [task]
    widths = [own.width for own in outputs]
    shapes = [tuple(x.shape) for x in section.outputs]
    if shapes != [(None, width) for width in widths]:
        expected = " and ".join(f"(batch, {width})" for width in widths)
        raise InputError(
            f"section of the output node {site.node.name!r}: expected {_meaning(task)} of shape "
            f"{expected}, got {' and '.join(map(str, shapes))}"
        )


def _meaning(task: Task) -> str:
    if isinstance(task, Several):
        return f"an output for each of {', '.join(task.outputs)}"
    return "probabilities" if isinstance(task, (Classification, MultiLabel)) else "values"
