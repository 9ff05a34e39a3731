"""Artifacts against Keras, numerically."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import keras
import numpy as np

from edge_runtime.arrays import Array
from edge_runtime.evaluation.answering import state_keys
from edge_runtime.evaluation.cache import Runner, SectionCache
from edge_runtime.failures.configurations import Configurations, output_states
from edge_runtime.failures.distribution import Mask
from edge_runtime.task import Task
from edge_runtime.topology import Topology

from .culprit import calls_of
from .split import KerasRunner, in_order

#: `reference(inputs, masks)`: what the whole model answers when sample i fails as `masks[i]` says.
Reference = Callable[[Mapping[str, Array], Mask], Array]

#: Float32 artifacts must agree with Keras to this, times max(1, max|reference|): a few roundings
#: of 2^-24 over some thousand additions in another order.
FLOAT32_TOLERANCE = 1e-5


class ParityError(RuntimeError):
    """An artifact does not compute what the model computes."""


def relative_error(got: Array, reference: Array) -> float:
    """Largest absolute difference over max(1, max|reference|); infinite for unequal shapes."""
    if got.shape != reference.shape or not np.isfinite(got).all():
        return float("inf")
    scale = max(1.0, float(np.abs(reference).max(initial=0.0)))
    return float(np.abs(got.astype(np.float64) - reference).max(initial=0.0)) / scale


def check_chain(
    model: keras.Model, runner: KerasRunner, inputs: Mapping[str, Array], task: Task
) -> None:
    """Check that the sections one after the other compute what the whole model computes.

    What lies between the sections must be the identity at inference. Raises `ParityError` with the
    name of the first node that differs.
    """
    nodes = runner.topology.order
    alive = np.ones((len(next(iter(inputs.values()))), len(runner.topology.elements)), bool)
    traces = runner.trace(inputs, alive)
    # A nested model's own `input` belongs to its inner graph; what it receives as a part of the
    # whole stands in the whole's graph, which Keras keeps under no public name. Inputs are compared
    # and not outputs, in which a saturated softmax or a dead ReLU would hide a difference.
    called = {call.operation.name: call.input_tensors for call in calls_of(model)}
    outputs = in_order(model.output, task)
    probe = keras.Model(model.inputs, [*(list(called[node]) for node in nodes), outputs])
    *received, answer = probe([inputs[x.name] for x in model.inputs], training=False)
    for node, tensors in zip(nodes, received, strict=True):
        for symbol, tensor in zip(runner.sections[node].inputs, tensors, strict=True):
            error = relative_error(traces[node].inputs[symbol.name], np.asarray(tensor))
            if error > FLOAT32_TOLERANCE:
                raise ParityError(
                    f"the sections of {model.name!r}, run one after the other, differ from the "
                    f"whole model first at node {node!r} (relative error {error:.2g}); between "
                    "sections there may be nothing but layers that are the identity at inference"
                )
    output = runner.topology.output
    own = traces[output].outputs
    errors = [relative_error(x, np.asarray(y)) for x, y in zip(own, answer, strict=False)]
    if len(own) != len(answer) or max(errors) > FLOAT32_TOLERANCE:
        raise ParityError(
            f"the output of {model.name!r} is not that of its output node {output!r}; "
            f"move what follows it into the sub-model {output!r}"
        )


@dataclass(frozen=True)
class BundleParity:
    """A bundle against the reference, over failure configurations.

    `configurations`: how many were compared; `max_error`: see `relative_error`;
    `label_agreement`: by survivability, how probably both answer the same class, or the same
    labels; none of values. Where nothing reaches the output node they do: both give the fallback.
    """

    configurations: int
    max_error: float
    label_agreement: dict[str, float]


def whole(
    topology: Topology,
    runner: Runner,
    reference: Reference,
    inputs: Mapping[str, Array],
    configurations: Configurations,
    task: Task,
) -> BundleParity:
    """Compare a bundle's answers with the reference under every configuration that answers.

    `inputs`: per sensor, samples first; a few are enough, as every configuration sees them all.
    """
    cache = SectionCache(topology, runner, inputs)
    samples = len(next(iter(inputs.values())))
    states, inverse = state_keys(output_states(topology, configurations.masks))
    error, compared, agreeing = 0.0, 0, np.ones(len(configurations))
    tells = task.agree(np.zeros((1, task.width)), np.zeros((1, task.width))) is not None
    for i, mask in enumerate(configurations.masks):
        if state := states[inverse[i]]:
            expected = reference(inputs, np.tile(mask, (samples, 1)))
            got = cache.answer(state)
            error = max(error, relative_error(got, expected))
            same = task.agree(got, expected)
            agreeing[i] = 0.0 if same is None else same.mean()
            compared += 1
    agreement = {
        name: float(np.average(agreeing, weights=weights))
        for name, weights in (configurations.weights.items() if tells else ())
    }
    return BundleParity(compared, error, agreement)
