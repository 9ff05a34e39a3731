"""`ddnn-edge evaluate`: expected accuracy of a bundle over all failures."""

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
    add = command("evaluate", _evaluate, "Expected accuracy of a bundle over all failures.")
    add.add_argument("bundle", type=Path, metavar="BUNDLE", help="the folder that export wrote")
    add_data(add)
    add_survivabilities(add)
    add_fallback(add)
    add_answer(add)
    add_configurations(add)


def print_reliability(found: Reliability) -> None:
    """A table for people."""
    print(
        f"{found.counts.sum()} samples, {len(found.configurations)} failure configurations, "
        f"{found.section_evaluations} section evaluations, fallback {found.fallback}"
    )
    if found.rule.mode == "any":
        print(f"any exit answers; of several, by the policy {found.rule.policy}")
    print(f"all alive   {100 * found.all_alive:6.2f} %")
    bounds = found.bounds()
    for name in found.survivabilities:
        bound = bounds[name]
        print(
            f"{name:<11} {100 * found.expected_accuracy(name):6.2f} %   "
            f"(balanced {100 * found.balanced_accuracy(name):.2f} %"
            + ("" if bound is None else f", upper bound {100 * bound:.2f} %")
            + f"){found.intervals.text(name)}"
        )
        if found.rule.mode == "any" or found.rule.early:
            shares = (f"{node} {100 * p:.1f} %" for node, p in found.exits(name).items() if p)
            print(f"{'':<11} answered by {', '.join(shares)}")
        print(
            f"{'':<11} {found.traffic.payload_bytes(name):,.0f} bytes of payload an inference, and "
            f"{found.traffic.answers(name):.2f} answers handed over"
        )
    if found.absent_classes:
        print(f"no samples of {', '.join(found.absent_classes)}: not in the balanced accuracy")


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
