"""Slow, obvious definitions, written apart from the code that they test.

A set of names stands for what works; everything else of a topology has failed.
"""

import math
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import numpy as np

from edge_runtime.answers.rule import AnswerRule
from edge_runtime.arrays import Array, LabeledArrays
from edge_runtime.evaluation.cache import Runner
from edge_runtime.evaluation.reliability import Reliability, evaluate
from edge_runtime.task import Classification, Fallback
from edge_runtime.topology import Link, Node, Sensor, Survival, Topology
from tests.strategies import samples

Sections = TypeVar("Sections", bound=Runner)
CLASSES = ("car", "person", "bus")
PRIOR = (0.5, 0.3, 0.2)


def small_topology(**changes: Any) -> Topology:
    """left and right read a camera each; top hears both, and left's camera directly."""
    fields: dict[str, Any] = {
        "name": "small",
        "sensors": (Sensor("cam0", (3,), "float32"), Sensor("cam1", (3,), "float32")),
        "nodes": (Node("left", "edge"), Node("right", "edge"), Node("top", "cloud")),
        "links": (
            Link("cam0", "left"),
            Link("cam1", "right"),
            Link("left", "top"),
            Link("right", "top"),
            Link("cam0", "top", "residual"),
        ),
        "survivabilities": {"low": {"left": 0.6, "right": 0.7}, "high": {"left": 0.9}},
    }
    return Topology(**{**fields, **changes})


def chain_topology(**changes: Any) -> Topology:
    """left and right read a camera each, middle hears both, top hears middle."""
    fields: dict[str, Any] = {
        "name": "chain",
        "sensors": (Sensor("cam0", (3,), "float32"), Sensor("cam1", (3,), "float32")),
        "nodes": (
            Node("left", "edge"),
            Node("right", "edge"),
            Node("middle", "fog"),
            Node("top", "cloud"),
        ),
        "links": (
            Link("cam0", "left"),
            Link("cam1", "right"),
            Link("left", "middle"),
            Link("right", "middle"),
            Link("middle", "top"),
        ),
        "survivabilities": {
            "low": {"left": 0.6, "right": 0.7, "middle": 0.8},
            "high": {"left": 0.9, "right": 0.95, "middle": 0.97},
        },
    }
    return Topology(**{**fields, **changes})


def working(topology: Topology, mask: Array) -> set[str]:
    return {name for name, up in zip(topology.elements, mask, strict=True) if up}


def sends(topology: Topology, up: set[str], name: str) -> bool:
    """Alive and, unless a sensor, hearing something."""
    if name not in up:
        return False
    if any(sensor.name == name for sensor in topology.sensors):
        return True
    return any(delivers(topology, up, link) for link in topology.links if link.target == name)


def delivers(topology: Topology, up: set[str], link: Link) -> bool:
    return link.name in up and sends(topology, up, link.source)


def heard(topology: Topology, up: set[str], name: str) -> set[str]:
    """A node's delivered-links state: its own links together with those of its inputs."""
    state: set[str] = set()
    for link in topology.links:
        if link.target == name and delivers(topology, up, link):
            state |= {link.name} | heard(topology, up, link.source)
    return state


def output_state(topology: Topology, up: set[str]) -> set[str]:
    return heard(topology, up, topology.output) if topology.output in up else set()


def exit_states(topology: Topology, up: set[str]) -> dict[str, set[str]]:
    """Delivered-links state of every node that has an answer of its own."""
    answering = [n.name for n in topology.nodes if n.exit or n.name == topology.output]
    states = {name: heard(topology, up, name) for name in answering if name in up}
    return {name: state for name, state in states.items() if state}


def taken(
    topology: Topology, states: Mapping[str, set[str]], confidence: Mapping[str, float]
) -> str:
    """Of the exits whose state no other one's contains, the most confident."""
    maximal = [n for n in states if not any(states[n] < other for other in states.values())]
    return max(maximal, key=lambda name: confidence[name])


class DenseSections:
    """A random dense section per node, with biases and link flags; a `Runner` in numpy.

    A leaking bias, a tensor that should have been zero or a wrong flag changes every answer.
    """

    def __init__(self, topology: Topology, seed: int, *, units: int = 3, classes: int = 3) -> None:
        rng = np.random.default_rng(seed)
        self.topology = topology
        self.calls: list[tuple[str, frozenset[str]]] = []
        width = {s.name: int(np.prod(s.shape)) for s in topology.sensors}
        self.weights: dict[str, dict[str, Array]] = {}
        self.exits: dict[str, Array] = {}
        for node in topology.order:
            width[node] = classes if node == topology.output else units
            senders = [x.source for x in topology.incoming(node)]
            if node in topology.exits:
                self.exits[node] = rng.normal(size=(units, classes))
            self.weights[node] = {
                **{s: rng.normal(size=(width[s], width[node])) for s in senders},
                "flags": rng.normal(size=(len(senders), width[node])),
                "bias": rng.normal(size=width[node]) + 1.0,
            }

    def run(self, node: str, inputs: Mapping[str, Array]) -> Any:
        self.calls.append((node, frozenset(inputs)))
        assert inputs, "a silent node was run"
        weights = self.weights[node]
        senders = [x.source for x in self.topology.incoming(node)]
        assert set(inputs) <= set(senders)
        total = weights["bias"] + np.array([s in inputs for s in senders], float) @ weights["flags"]
        for sender, tensor in inputs.items():
            total = total + np.reshape(tensor, (len(tensor), -1)) @ weights[sender]
        if node == self.topology.output:
            return np.asarray(total)
        message = np.maximum(total, 0)
        return (message, message @ self.exits[node]) if node in self.exits else message


def answer(
    topology: Topology,
    sections: Any,
    inputs: Mapping[str, Array],
    up: set[str],
    node: str | None = None,
) -> Array | None:
    """What the whole network answers, from the output node down; None where it is silent.

    Or what `node`'s exit answers.
    """
    top = node or topology.output

    def value(name: str) -> Any:
        if name in inputs:
            return inputs[name]
        links = [x for x in topology.links if x.target == name and delivers(topology, up, x)]
        found = sections.run(name, {link.source: value(link.source) for link in links})
        return found[name == top] if isinstance(found, tuple) else found

    return value(top) if sends(topology, up, top) else None


def with_groups(topology: Topology, up: set[str]) -> set[str]:
    """What works of what works by itself: all but the members of groups that have failed."""
    failed = [group for group in topology.groups if group.name not in up]
    return up - {name for group in failed for name in group.elements}


def all_masks(topology: Topology, fallible: list[str]) -> list[set[str]]:
    """Every set of components that work by themselves when those of `fallible` may fail."""
    always = set(topology.components) - set(fallible)
    cases = range(1 << len(fallible))
    return [always | {n for i, n in enumerate(fallible) if case >> i & 1} for case in cases]


def probability(up: set[str], survival: Mapping[str, float]) -> float:
    """Of one configuration, `survival` naming every element that can fail."""
    product = 1.0
    for name, p in survival.items():
        product *= p if name in up else 1 - p
    return product


def entropy(probabilities: Array) -> float:
    """Of one sample's class probabilities, 0 to 1."""
    total = sum(float(p) * math.log(p) for p in probabilities if p > 0)
    return -total / math.log(len(probabilities))


def sure(
    topology: Topology,
    sections: Any,
    inputs: Mapping[str, Array],
    up: set[str],
    thresholds: Mapping[str, float],
) -> tuple[set[str], set[str]]:
    """Of one sample: the nodes that answer early, and those that pass on that another did."""

    def early(node: str) -> bool:
        if node not in thresholds or passes(node):
            return False
        own = answer(topology, sections, inputs, up, node)
        return own is not None and entropy(own[0]) < thresholds[node]

    def passes(node: str) -> bool:
        nodes = {n.name for n in topology.nodes}
        return any(
            delivers(topology, up, x) and (early(x.source) or passes(x.source))
            for x in topology.links
            if x.target == node and x.source in nodes
        )

    return {n for n in topology.order if early(n)}, {n for n in topology.order if passes(n)}


def measured(
    sections: Callable[[Topology, int], Sections],
    topology: Topology,
    survival: Survival,
    count: int = 12,
    seed: int = 0,
    *,
    labels: Array | None = None,
    fallback: Fallback = "prior",
    rule: AnswerRule = AnswerRule(),
) -> tuple[Reliability, Sections, dict[str, Array], Array]:
    """What `evaluate` finds of random sections and data, in the survivability `s`, and these."""
    runner = sections(topology, seed)
    inputs = samples(topology, count, seed)
    if labels is None:
        labels = np.random.default_rng(seed).integers(0, len(CLASSES), count)
    found = evaluate(
        topology,
        runner,
        LabeledArrays(inputs, labels),
        Classification(CLASSES, PRIOR),
        {"s": survival},
        fallback=fallback,
        rule=rule,
    )
    return found, runner, inputs, labels
