"""Expected accuracy on the real cameras: poster's links and edge-skip links, both sets of sections.

Trained on train_dir with `ddnn train`'s defaults, which were chosen on train_dir:validation;
reported on test_dir, which chose nothing. One model serves all three survivabilities. Each trained
model's figures are kept in build/accuracy/, so that an interrupted run goes on.

The last row has messages of 8 values, and each is rounded to int8 as the wire rounds it.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from ddnn_tf import Convolutional, Recipe, Topology, datasets
from ddnn_tf.names import SectionName
from ddnn_tf.searches.experiments import Experiment, ExperimentStore, Measured, spread_of
from edge_runtime.answers.policies import AnswerMode

from .cameras import SURVIVABILITIES, Setting, figures, spreads

#: Sections, topology, and who answers: with `any`, every node has an exit.
ROWS: tuple[tuple[SectionName, str, AnswerMode], ...] = (
    ("fc32", "poster-residual", "output"),
    ("conv", "poster-residual", "output"),
    ("conv", "poster-edge-skip", "output"),
    ("fc32", "poster-residual", "any"),
    ("conv", "poster-residual", "any"),
)
NARROW = Setting(
    form="mvmc",
    split="train_dir",
    size=32,
    margins=(1.0,),
    sections=Convolutional(units=8),
    views=None,
    rest=Recipe(),
)
TEST = "test_dir"
KEPT = Path("build/accuracy")


def main(seeds: int = 3) -> None:
    """Train what has not been trained yet, and print the table."""
    folder = Path(os.environ.get("DDNN_DATA", "../shared/data")) / "mvmc"
    if not folder.is_dir():
        print(f"  skipped: no cameras at {folder}; DDNN_DATA=FOLDER says where they are")
        return
    runs = ExperimentStore(KEPT, datasets.load(folder))
    print("  % at high/medium/low, mean ± half range of", seeds, "seeds, fallback prior")
    for sections, name, answer in ROWS:
        topology = Topology.load(name)
        run = Experiment(
            topology.with_exits() if answer == "any" else topology,
            train="train_dir",
            report=(TEST,),
            survival={s: s for s in SURVIVABILITIES},
            answer=answer,
            sections=sections,
        )
        found = runs.over_seeds(run, range(seeds))
        print(f"  {sections:<5} {name:<17} {answer:<6} {_row(found)}")
        print(f"  {'':<30} balanced {_row(found, balanced=True)}")
        bounds = found[0].bounds[TEST]
        print(f"  {'':<30} bound " + " / ".join(f"{100 * bounds[s]:.2f}" for s in bounds))
    narrow = [figures(NARROW, seed, TEST, KEPT, "int8") for seed in range(seeds)]
    print(f"  conv, 8 units, int8     output {spreads(narrow, 'expected_accuracy')}")
    print(f"  {'':<30} balanced {spreads(narrow, 'balanced_accuracy')}")


def _row(found: Sequence[Measured], *, balanced: bool = False) -> str:
    figures = ([m.accuracy(TEST, s, balanced=balanced) for m in found] for s in SURVIVABILITIES)
    return " / ".join(str(spread_of(values)) for values in figures)


if __name__ == "__main__":
    main()
