"""Five models of keras.applications, cut in 2, 3 and 4, against themselves; and what cutting costs.

Weights are random and batch norm's statistics random around those that it meets (`lively`), so that
outputs differ between pictures by far more than what is tolerated. `DDNN_MODELS=MobileNetV2,…`
takes fewer.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import keras
import numpy as np

from ddnn_tf.cutting.graph import Call, Graph, read_graph
from ddnn_tf.cutting.partition import Partition, partition
from edge_runtime.arrays import Array
from edge_runtime.bundle.litert import LiteRTSection
from edge_runtime.bundle.tensors import named
from edge_runtime.topology import Topology
from export.litert import convert
from export.split import split
from tests.models import lively, scenes

from .measure import interleaved, report

MODELS = ("MobileNetV2", "MobileNetV3Small", "ResNet50", "EfficientNetB0", "DenseNet121")
NODES = {
    2: ("edge", "cloud"),
    3: ("edge", "fog", "cloud"),
    4: ("iot", "edge", "fog", "cloud"),
}
SHAPE = (96, 96, 3)
TOLERANCE = 1e-4
RUNS = 200


def application(name: str) -> keras.Model:
    """One of keras.applications with random weights, which gives logits."""
    keras.utils.clear_session()
    make = getattr(keras.applications, name)
    return lively(make(input_shape=SHAPE, weights=None, classes=100, classifier_activation=None))


def places(graph: Graph, count: int) -> list[Call]:
    """Calls within blocks, near equal shares of the compute: after each, several tensors cross."""
    total = sum(c.work for c in graph.calls)
    found: list[Call] = []
    candidates = []
    for call in graph.calls:
        below = graph.closure([call])
        crossing = [
            v
            for v, takers in graph.consumers.items()
            if v.call in below and any(c not in below for c in takers)
        ]
        if len(crossing) > 1:
            candidates.append((sum(c.work for c in below) / total, call))
    for k in range(1, count):
        left = [x for x in candidates if not found or found[-1] in graph.closure([x[1]]) - {x[1]}]
        found.append(min(left, key=lambda x: abs(x[0] - k / count))[1])
    return found


class Chain:
    """A cut model's artifacts, run one after the other in this process; it gives logits."""

    def __init__(self, cut: Partition) -> None:
        self.topology: Topology = cut.model.topology
        sections = split(cut.model, self.topology)
        last = sections[self.topology.output]
        logits = last.get_layer("ddnn__probabilities").input
        sections[self.topology.output] = keras.Model(last.inputs, logits, name=last.name)
        self.sections = {n: LiteRTSection(convert(s), where=n) for n, s in sections.items()}
        self.sensor = self.topology.sensors[0].name

    def __call__(self, pictures: Array) -> Array:
        sent: dict[str, Array] = {self.sensor: pictures}
        outputs: tuple[Array, ...] = ()
        for node, section in self.sections.items():
            outputs = section({name: sent[name] for name in section.inputs})
            sent.update(named(node, outputs))
        return outputs[0]


@dataclass(frozen=True)
class Row:
    """One cut model; errors are relative to the largest logit, `spread` is between pictures."""

    model: str
    kind: str
    cuts: tuple[str, ...]
    bytes: Mapping[str, int]
    keras_error: float
    litert_error: float
    spread: float

    def __str__(self) -> str:
        sizes = ", ".join(f"{size:,}" for size in self.bytes.values())
        cells = (
            self.model,
            f"{len(self.cuts) + 1}, {self.kind}",
            ", ".join(f"`{c}`" for c in self.cuts),
            sizes,
            f"{self.keras_error:.1e}",
            f"{self.litert_error:.1e}",
            f"{self.spread:.2f}",
        )
        return f"| {' | '.join(cells)} |"


def rows(name: str) -> Iterator[Row]:
    """One model, cut in 2, 3 and 4 where least crosses and within blocks."""
    model = application(name)
    graph = read_graph(model)
    pictures = scenes(SHAPE, 6, seed=9)
    expected = np.asarray(model(pictures, training=False))
    scale = np.abs(expected).max()
    spread = float(np.ptp(expected, axis=0).max() / scale)
    for count, nodes in NODES.items():
        inside = [call.name for call in places(graph, count)]
        for kind, at in (("clean", None), ("in block", inside)):
            cut = partition(model, nodes, at=at, task="classification")
            difference = np.abs(Chain(cut)(pictures) - expected).max()
            yield Row(
                name,
                kind,
                cut.cuts,
                cut.link_bytes,
                cut.max_relative_error,
                float(difference / scale),
                spread,
            )


def cost() -> None:
    """A MobileNetV2 in one interpreter against its parts, one picture at a time."""
    model = application("MobileNetV2")
    picture = scenes(SHAPE, 1, seed=9)
    whole = LiteRTSection(convert(model))
    (sensor,) = whole.inputs
    alternatives: dict[str, Any] = {"whole": partial(whole, {sensor: picture})}
    for count, nodes in NODES.items():
        inside = [call.name for call in places(read_graph(model), count)]
        for kind, at in (("clean", None), ("in block", inside)):
            chain = Chain(partition(model, nodes, at=at, task="classification"))
            alternatives[f"cut in {count}, {kind}"] = partial(chain, picture)
    times = interleaved(alternatives, RUNS, warmup=5, clock=time.process_time)
    report("MobileNetV2, 96x96, LiteRT float32, one thread, one picture: CPU time", times, "whole")


def main() -> None:
    """Print docs/results/cut-models.md's table; raises where a cut model is not the original."""
    chosen = os.environ.get("DDNN_MODELS", ",".join(MODELS)).split(",")
    print("| model | sections | cut after | bytes a frame | Keras | LiteRT | spread |")
    print("|---|---|---|---|---|---|---|")
    for name in chosen:
        start = time.perf_counter()
        for row in rows(name):
            print(row, flush=True)
            worst = max(row.keras_error, row.litert_error)
            if worst > TOLERANCE or row.spread < 100 * TOLERANCE:
                raise RuntimeError(f"not the original, or not shown to be: {row}")
        print(f"<!-- {name}: {time.perf_counter() - start:.0f} s -->")
    cost()


if __name__ == "__main__":
    main()
