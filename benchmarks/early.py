"""Early exits on the real cameras: payload bytes and accuracy, beside the same model without them.

Thresholds are chosen once, by `ddnn-edge exits`' own search, on train_dir:validation and a model
that was trained on train_dir:train. Reported are models of several seeds trained on train_dir, with
`ddnn train`'s defaults and an exit on every node, on test_dir, which chose nothing. Trained models
are kept in build/accuracy/, so that an interrupted run goes on.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

from ddnn_tf import Topology, datasets
from ddnn_tf.searches.experiments import Experiment, ExperimentStore, spread_of
from edge_runtime.answers.policies import ANSWER_MODES, AnswerMode
from edge_runtime.answers.rule import AnswerRule
from edge_runtime.evaluation.reliability import Reliability, evaluate
from edge_runtime.evaluation.thresholds import Goal, Thresholds, find_thresholds
from edge_runtime.task import Classification
from export.split import KerasRunner

from .accuracy import TEST
from .cameras import SURVIVABILITIES

VALIDATION = "train_dir:validation"
GOALS = (Goal("bytes", 0.5), Goal("accuracy", -0.005))
#: Beside those chosen: below this, hardly a node that sees nothing is sure.
FIXED = 0.1


def main(seeds: int = 3) -> None:
    """Train what has not been trained yet, and print the table."""
    folder = Path(os.environ.get("DDNN_DATA", "../shared/data")) / "mvmc"
    if not folder.is_dir():
        print(f"  skipped: no cameras at {folder}; DDNN_DATA=FOLDER says where they are")
        return
    runs = ExperimentStore("build/accuracy", datasets.load(folder))
    run = Experiment(
        Topology.load("poster-residual").with_exits(),
        train="train_dir",
        report=(TEST,),
        survival={s: s for s in SURVIVABILITIES},
        answer="any",
        sections="conv",
    )
    print("  % at high/medium/low, mean ± half range of", seeds, "seeds, fallback prior;")
    print("  bytes: of those without early exits; answers: handed over an inference")
    part = replace(run, train="train_dir:train", report=(VALIDATION, TEST))
    searching = runs.model(part)
    models = [runs.model(replace(run, seed=seed)) for seed in range(seeds)]
    for answer in ANSWER_MODES:
        without = [_evaluated(runs, model, TEST, answer) for model in models]
        _print(f"{answer}, no early exits", without, without)
        searched = _searched(runs, searching, answer)
        rows = {f"--{goal.kind} {goal.value:g}": searched.best(goal).thresholds for goal in GOALS}
        rows["the same for all"] = dict.fromkeys(run.topology.exits, FIXED)
        for name, early in rows.items():
            with_them = [_evaluated(runs, model, TEST, answer, early) for model in models]
            _print(f"{answer}, {name}", with_them, without)
            print("    early   ", ", ".join(f"{node} {t:g}" for node, t in early.items()))


def _searched(runs: ExperimentStore, model: Any, answer: AnswerMode) -> Thresholds:
    data = runs.split(VALIDATION)
    return find_thresholds(
        model.topology,
        KerasRunner(model, model.topology),
        data,
        Classification(model.class_names, model.prior),
        {s: s for s in SURVIVABILITIES},
        rule=AnswerRule(mode=answer),
    )


def _evaluated(
    runs: ExperimentStore,
    model: Any,
    split: str,
    answer: AnswerMode,
    early: dict[str, float] | None = None,
) -> Reliability:
    data = runs.split(split)
    return evaluate(
        model.topology,
        KerasRunner(model, model.topology),
        data,
        Classification(model.class_names, model.prior),
        {s: s for s in SURVIVABILITIES},
        rule=AnswerRule(mode=answer, early=early or {}),
    )


def _print(name: str, found: list[Reliability], without: list[Reliability]) -> None:
    """One row; each column at all survivabilities, over the seeds."""

    def column(figures: Iterable[list[float]]) -> str:
        return " / ".join(str(spread_of(values)) for values in figures)

    print(f"  {name}")
    print("    accuracy", column([f.expected_accuracy(s) for f in found] for s in SURVIVABILITIES))
    print("    balanced", column([f.balanced_accuracy(s) for f in found] for s in SURVIVABILITIES))
    shares = (
        [
            f.traffic.payload_bytes(s) / w.traffic.payload_bytes(s)
            for f, w in zip(found, without, strict=True)
        ]
        for s in SURVIVABILITIES
    )
    print("    bytes   ", column(shares))
    answers = ([f.traffic.answers(s) for f in found] for s in SURVIVABILITIES)
    print("    answers ", " / ".join(f"{spread_of(x).mean:.2f}" for x in answers))


if __name__ == "__main__":
    main()
