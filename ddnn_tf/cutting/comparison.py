"""A cut model against the one that it was made from, on inputs drawn at random."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from edge_runtime.arrays import Array
from edge_runtime.bundle.tensors import PRESENT, named
from edge_runtime.errors import InputError
from export.original import TOLERANCE, Original, relative_to_each
from export.split import in_order, split

from ..model import ResilientModel
from .graph import Graph, Value, functional_of
from .head import Head
from .ids import drawn as drawn_ids
from .places import Cuts

#: Of each kind of input that the two are compared on, normal and like bytes: what lies outside a
#: model's own range may saturate it.
CHECKED = 3
#: By how much an answer may differ between a sample alone and among others, relative: kernels sum
#: in another order, which for a sample of small numbers can show.
ALONE = 1e-2


@dataclass(frozen=True)
class Probe:
    """Inputs, and what the original model makes of them.

    `given`: by sensor, as the sensors give them; `taken`: by input, as the model takes them.
    `sent`: every tensor of its graph; `outputs`: what the model itself gives, called as it is.
    """

    given: dict[str, Array]
    taken: dict[Value, Array]
    sent: Mapping[Value, Any]
    outputs: dict[Value, Array]

    @classmethod
    def of(
        cls,
        model: keras.Model,
        graph: Graph,
        sensors: Mapping[Value, str],
        byte_range: tuple[float, float] | None,
        seed: int,
        samples: Mapping[str, Array],
    ) -> Probe:
        """Run the model on inputs drawn at random, and on some samples of data by sensor.

        Raises `InputError` where its layers, one after the other, give another output than it
        does, and where it gives another for the same input each time, or for a sample alone.
        """
        given, taken = _inputs(graph, sensors, byte_range, np.random.default_rng(seed), samples)
        tensors = {v: keras.ops.convert_to_tensor(x) for v, x in taken.items()}
        sent = graph.run(tensors)
        outputs = _outputs(model, graph, taken)
        _check_repeatable(graph, taken, sent)
        _check_alone(model, graph, taken, outputs)
        for value, output in outputs.items():
            _check(np.asarray(sent[value]), output, f"the output of {model.name!r}")
        return cls(given, taken, sent, outputs)


def compare(
    probe: Probe, made: ResilientModel, cuts: Cuts, heads: Sequence[Head]
) -> tuple[float, Original]:
    """Largest relative error of all tensors sent and of the answers, and what the original answers.

    The answers are those of the whole cut model, with all that was put over the original's outputs;
    what they should be comes from the original's outputs by arithmetic of its own. Raises
    `InputError` where an error is too large.
    """
    topology, count = made.topology, len(next(iter(probe.given.values())))
    worst = 0.0
    sent: dict[str, Any] = {n: keras.ops.convert_to_tensor(x) for n, x in probe.given.items()}
    for node, section in split(made, topology).items():
        if node == topology.output:
            break  # whose answers are those of the whole, below
        received = {
            x.name: keras.ops.ones((count, x.shape[1])) if x.name == PRESENT else sent[x.name]
            for x in section.inputs
        }
        outputs = tuple(keras.tree.flatten(section(received, training=False)))
        for value, got in zip(cuts.sends[node], outputs, strict=True):
            where = f"layer {value.name!r} on node {node!r}"
            worst = max(worst, _check(np.asarray(got), np.asarray(probe.sent[value]), where))
        sent.update(named(node, outputs))
    expected = [head.expected(probe.outputs[head.output]) for head in heads]
    whole = in_order(made(probe.given, training=False), made.task)
    for head, got, right in zip(heads, whole, expected, strict=True):
        where = f"the answer{f' {head.name!r}' if head.name else ''}"
        worst = max(worst, _check(np.asarray(got), right, where))
    return worst, Original.of(probe.given, np.concatenate(expected, axis=1))


def _outputs(model: keras.Model, graph: Graph, taken: Mapping[Value, Array]) -> dict[Value, Array]:
    """What the model itself gives, called in the structure in which it was made."""
    plain = functional_of(model)
    by_id = {id(x): taken[v] for x, v in zip(plain.inputs, graph.inputs, strict=True)}
    structure = getattr(plain, "_inputs_struct", plain.inputs)
    whole = model(keras.tree.map_structure(lambda x: by_id[id(x)], structure), training=False)
    found = [np.asarray(x) for x in keras.tree.flatten(whole)]
    return dict(zip(graph.outputs, found, strict=True))


def _check_alone(
    model: keras.Model,
    graph: Graph,
    taken: Mapping[Value, Array],
    outputs: Mapping[Value, Array],
) -> None:
    """Refuse a model that answers a sample otherwise alone than among others: a frame is alone."""
    for value, alone in _outputs(model, graph, {v: x[:1] for v, x in taken.items()}).items():
        if relative_to_each(alone, outputs[value][:1]) > ALONE:
            raise InputError(
                f"the output of {model.name!r}, of layer {value.name!r}, is another for a sample "
                "alone than for the same one among others; a layer mixes the samples of a batch, "
                "such as a softmax over axis 0: let it work on each sample by itself"
            )


def _check_repeatable(
    graph: Graph, taken: Mapping[Value, Array], first: Mapping[Value, Any]
) -> None:
    """Refuse a layer that gives two answers to one input, as one that draws at inference does."""
    again = graph.run({v: keras.ops.convert_to_tensor(x) for v, x in taken.items()})
    for call in graph.calls:
        for value in call.outputs:
            if not np.array_equal(first[value], again[value], equal_nan=value.dtype != "bool"):
                raise InputError(
                    f"layer {call.name!r} ({type(call.operation).__name__}) gives another output "
                    "for the same input each time; a layer that draws at random, or that changes "
                    "its own state, has no place in a model that answers"
                )


def _check(got: Array, expected: Array, where: str) -> float:
    """Relative to the largest value of each sample, for one may be far larger than another."""
    error = relative_to_each(got, expected)
    # An output that hardly depends on its input agrees with anything to some digits.
    values = expected.astype(np.float64)
    scale = max(float(np.abs(values).max()), float(np.finfo(np.float32).tiny))
    spread = float(np.ptp(values, axis=0).max()) / scale
    if not error <= TOLERANCE or (error > 1e-6 and error > spread):
        raise InputError(
            f"{where} is not computed as the model does it (relative error {error:.2g}); a layer "
            "there does more than its graph and its weights say"
        )
    return error


def _inputs(
    graph: Graph,
    sensors: Mapping[Value, str],
    byte_range: tuple[float, float] | None,
    rng: np.random.Generator,
    samples: Mapping[str, Array],
) -> tuple[dict[str, Array], dict[Value, Array]]:
    """Samples as the sensors give them, and as the model takes them: random, and some of data."""
    given: dict[str, Array] = {}
    taken: dict[Value, Array] = {}
    for value, sensor in sensors.items():
        shape = (CHECKED, *(int(d or 0) for d in value.shape))
        as_bytes = rng.integers(0, 256, (2 * CHECKED, *shape[1:]), dtype=np.uint8)
        drawn: Array = as_bytes
        if value.dtype in ("int32", "int64"):
            drawn = drawn_ids(graph, value, 2 * CHECKED, rng)
        elif value.dtype != "uint8" and byte_range is None:
            normal = rng.normal(size=shape).astype(np.float32)
            drawn = np.concatenate([normal, as_bytes[:CHECKED].astype(np.float32)])
        given[sensor] = np.concatenate([drawn, samples.get(sensor, drawn[:0])])
        taken[value] = given[sensor].astype(value.dtype)
        if value.dtype == "float32" and byte_range is not None:
            low, high = byte_range
            scale = np.float32((high - low) / 255.0)
            taken[value] = given[sensor].astype(np.float32) * scale + np.float32(low)
    return given, taken
