"""`ddnn-edge evaluate`: expected score of a bundle over all failures."""

from __future__ import annotations

import argparse
from pathlib import Path

from ..evaluation.bundle import Bundle, evaluate_bundle
from ..evaluation.reliability import Reliability
from ..failures.sampling import Sampling, check_sampling
from ..process.command import print_json
from .options import (
    AddCommand,
    add_answer,
    add_configurations,
    add_data,
    add_fallback,
    add_survivabilities,
    answer_rule,
    samples_for,
)


def add_to(command: AddCommand) -> None:
    """Add `evaluate`."""
    add = command("evaluate", _evaluate, "Expected score of a bundle over all failures.")
    add.add_argument("bundle", type=Path, metavar="BUNDLE", help="the folder that export wrote")
    add_data(add)
    add_survivabilities(add)
    add_fallback(add)
    add_answer(add)
    add_configurations(add)


def print_reliability(found: Reliability) -> None:
    """A table for people."""
    print(
        f"{found.samples} samples, {len(found.configurations)} failure configurations, "
        f"{found.section_evaluations} section evaluations, fallback {found.fallback}"
    )
    if found.rule.mode == "any":
        print(f"any exit answers; of several, by the policy {found.rule.policy}")
    _print_scores(found)
    for name in found.survivabilities:
        if found.rule.mode == "any" or found.rule.early:
            shares = (f"{node} {100 * p:.1f} %" for node, p in found.exits(name).items() if p)
            print(f"{name:<11} answered by {', '.join(shares)}")
        print(
            f"{name:<11} {found.traffic.payload_bytes(name):,.0f} bytes of payload an inference, "
            f"and {found.traffic.answers(name):.2f} answers handed over"
        )
    if found.absent_classes:
        print(f"no samples of {', '.join(found.absent_classes)}: not in the balanced accuracy")


def _print_scores(found: Reliability) -> None:
    """The scores of the task, or of each output of several."""
    if outputs := found.by_output():
        for name, own in outputs.items():
            print(f"output {name}:")
            _print_scores(own)
        return
    score, bounds = found.score, found.bounds()
    if score.name != "accuracy":
        better = "higher" if score.higher_is_better else "lower"
        print(f"{score.name} of a {found.task.kind}, {better} is better")
    print(f"{'all alive':<11} {score.number(found.all_alive):>6} {score.unit}".rstrip())
    for name in found.survivabilities:
        beside = []
        if found.is_balanced:
            beside.append(f"balanced {score.text(found.balanced_accuracy(name))}")
        elif len(found.parts) > 1:
            parts = found.expected_parts(name).items()
            beside += [f"{part} {score.number(value)}" for part, value in parts]
        bound = bounds[name]
        if bound is not None:
            end = "upper" if score.higher_is_better else "lower"
            beside.append(f"{end} bound {score.text(bound)}")
        line = f"{name:<11} {score.number(found.expected_score(name)):>6} {score.unit}".rstrip()
        more = f"   ({', '.join(beside)})" if beside else ""
        print(line + more + found.intervals.text(name))


def _evaluate(options: argparse.Namespace) -> int:
    bundle = Bundle(options.bundle)
    samples = samples_for(bundle.manifest.topology, options.data)
    check_sampling(options.configurations, options.seed)
    found = evaluate_bundle(
        bundle,
        samples,
        options.survival,
        options.fallback,
        rule=answer_rule(options, bundle.manifest),
        sampling=Sampling(configurations=options.configurations, seed=options.seed),
    )
    if options.json:
        print_json(found.to_dict())
    else:
        print_reliability(found)
    return 0
