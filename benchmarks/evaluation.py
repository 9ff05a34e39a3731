"""Exact evaluation over all 256 configurations against the authors' way of doing it.

Their way (github.com/sdevic's code to the poster): for each configuration, set the weights of the
dead nodes' layers to zero, `predict`, and put the weights back.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import keras
import numpy as np

from ddnn_tf import Topology, build, expected_accuracy
from edge_runtime.evaluation.bundle import Bundle
from edge_runtime.evaluation.reliability import evaluate
from edge_runtime.failures.configurations import enumerate_configurations
from edge_runtime.task import Classification
from export import export_bundle
from export.split import split

from .measure import interleaved, report

SURVIVABILITIES = {"high": "high", "medium": "medium", "low": "low"}
CLASSES = ("bus", "car", "person")


class Data:
    """As many random pictures as the poster's holdout has samples: what they show costs nothing."""

    def __init__(self, topology: Topology, samples: int = 123) -> None:
        rng = np.random.default_rng(0)
        self.inputs = {
            s.name: rng.integers(0, 256, (samples, *s.shape)).astype(s.dtype)
            for s in topology.sensors
        }
        self.labels = rng.integers(0, len(CLASSES), samples)


def plain(model: keras.Model, topology: Topology) -> keras.Model:
    """The same sections without any failure layer, as the authors' model is."""
    sections = split(model, topology)
    inputs = {s.name: keras.Input(s.shape, dtype=s.dtype, name=s.name) for s in topology.sensors}
    sent: dict[str, Any] = dict(inputs)
    for node in topology.order:
        sent[node] = sections[node]({x.source: sent[x.source] for x in topology.incoming(node)})
    return keras.Model(inputs, sent[topology.output])


def authors_way(model: keras.Model, topology: Topology, data: Data) -> list[np.ndarray]:
    """One `predict` a configuration, dead nodes' weights zeroed meanwhile."""
    answers = []
    masks = enumerate_configurations(topology, SURVIVABILITIES).masks
    weights: Mapping[str, Any] = {n: model.get_layer(n).get_weights() for n in topology.order}
    for mask in masks:
        dead = [n for n in topology.order if not mask[topology.index[n]]]
        for node in dead:
            model.get_layer(node).set_weights([0 * w for w in weights[node]])
        answers.append(model.predict(data.inputs, verbose=0))
        for node in dead:
            model.get_layer(node).set_weights(weights[node])
    return answers


def main(runs: int = 3) -> None:
    """Measure all three link variants."""
    for name in ("poster-baseline", "poster-residual", "poster-edge-skip"):
        topology = Topology.load(name)
        model = build(topology, "fc32", classes=CLASSES)
        model.prior = (0.1, 0.6, 0.3)
        data = Data(topology)
        with tempfile.TemporaryDirectory() as folder:
            export_bundle(model, Path(folder) / "bundle", data)
            bundle = Bundle(Path(folder) / "bundle")
        theirs = plain(model, topology)

        def with_litert(bundle: Bundle = bundle, data: Data = data) -> Any:
            return evaluate(
                bundle.manifest.topology,
                bundle,
                data,
                Classification(CLASSES, (0.1, 0.6, 0.3)),
                SURVIVABILITIES,
            )

        baseline = "the authors' way: zero weights, predict, 256 times"
        times = interleaved(
            {
                baseline: partial(authors_way, theirs, topology, data),
                "exact, Keras sections (tracing included)": partial(expected_accuracy, model, data),
                "exact, LiteRT artifacts": with_litert,
            },
            runs,
        )
        found = with_litert()
        report(
            f"{name}: {len(found.configurations)} configurations, "
            f"{found.section_evaluations} section evaluations, {len(data.labels)} samples",
            times,
            baseline,
        )


if __name__ == "__main__":
    main()
