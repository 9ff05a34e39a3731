"""What layer-wise dropout adds to a training step."""

from __future__ import annotations

import keras
import numpy as np

from ddnn_tf import Topology, build

from .evaluation import CLASSES, Data, plain
from .measure import interleaved, report

STEPS, BATCH = 100, 64


def main(runs: int = 9) -> None:
    """Train the same sections with and without failures on the same batches."""
    for sections in ("fc32", "conv"):
        steps = STEPS if sections == "fc32" else 20
        topology = Topology.load("poster-residual")
        data = Data(topology, samples=steps * BATCH)
        idle = build(topology, sections, classes=CLASSES, seed=1)
        models = {
            "all links, failure layers idle": idle,
            "dropout at high, medium and low": build(
                topology, sections, classes=CLASSES, dropout=["high", "medium", "low"], seed=1
            ),
        }
        if sections == "fc32":  # conv sections ask for link-present flags
            models = {"without any failure layer": plain(idle, topology), **models}
        for model in models.values():
            model.compile("adam", "sparse_categorical_crossentropy")

        def epoch(model: keras.Model, data: Data = data) -> None:
            model.fit(data.inputs, data.labels, batch_size=BATCH, shuffle=False, verbose=0)

        alternatives = {name: lambda m=m: epoch(m) for name, m in models.items()}
        times = interleaved(alternatives, runs)
        per_step = {name: list(np.array(t) / steps) for name, t in times.items()}
        report(f"a training step of {BATCH} samples, {sections}", per_step, next(iter(models)))


if __name__ == "__main__":
    main()
