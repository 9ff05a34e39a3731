"""Expected accuracy on the real cameras: poster's links and edge-skip links, both sets of sections.

Trained on train_dir with `ddnn train`'s defaults, which were chosen on train_dir:validation;
reported on test_dir, which chose nothing. One model serves all three survivabilities. Each trained
model's figures are kept in build/accuracy/, so that an interrupted run goes on.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np

from ddnn_tf import Topology, datasets, expected_accuracy, train
from ddnn_tf.names import SectionName
from edge_runtime.files import new_file
from edge_runtime.reliability import reachability_bound

SURVIVABILITIES = ("high", "medium", "low")
ROWS: tuple[tuple[SectionName, str], ...] = (
    ("fc32", "poster-residual"),
    ("conv", "poster-residual"),
    ("conv", "poster-edge-skip"),
)
RESULTS = Path("build/accuracy")


def main(seeds: int = 3) -> None:
    """Train what has not been trained yet, and print the table."""
    folder = Path(os.environ.get("DDNN_DATA", "../shared/data")) / "mvmc"
    if not folder.is_dir():
        print(f"  skipped: no cameras at {folder}; DDNN_DATA=FOLDER says where they are")
        return
    RESULTS.mkdir(parents=True, exist_ok=True)
    print("  % at high/medium/low, mean ± half range of", seeds, "seeds, fallback prior")
    for sections, name in ROWS:
        topology = Topology.load(name)
        test = datasets.load(folder).split("test_dir")
        bound = reachability_bound(
            topology, test.visible, test.labels, {s: s for s in SURVIVABILITIES}
        )
        found = [_result(folder, sections, topology, seed) for seed in range(seeds)]
        print(f"  {sections:<5} {name:<17} " + " / ".join(_spread(found, "expected_accuracy")))
        print(f"  {'':<23} balanced " + " / ".join(_spread(found, "balanced_accuracy")))
        print(f"  {'':<23} bound " + " / ".join(f"{100 * b:.2f}" for b in bound.values()))
        for s in SURVIVABILITIES:
            if max(f["expected_accuracy"][s] for f in found) > bound[s] + 1e-9:
                raise RuntimeError(f"{name} at {s} is above its bound: a fault until explained")


def _result(folder: Path, sections: SectionName, topology: Topology, seed: int) -> dict[str, Any]:
    """One model's figures, from an earlier run or from training it now."""
    path = RESULTS / f"{sections}-{topology.name}-{seed}.json"
    if not path.is_file():
        cameras = datasets.load(folder, seed=seed)
        model = train(
            topology, cameras.split("train_dir", shuffle=True), sections=sections, seed=seed
        )
        found = expected_accuracy(model, cameras.split("test_dir"), SURVIVABILITIES)
        with new_file(path) as temporary:
            temporary.write_text(json.dumps(found.to_dict()))
    result: dict[str, Any] = json.loads(path.read_text())
    return result


def _spread(found: list[dict[str, Any]], figure: str) -> list[str]:
    columns = [[100 * f[figure][s] for f in found] for s in SURVIVABILITIES]
    return [f"{np.mean(c):.2f} ± {(max(c) - min(c)) / 2:.2f}" for c in columns]


if __name__ == "__main__":
    main()
