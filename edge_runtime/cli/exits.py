"""`ddnn-edge exits`: below which entropy nodes answer early."""

from __future__ import annotations

import argparse
from pathlib import Path

import msgspec

from ..answers.classification import Classification
from ..answers.fallback import FALLBACKS
from ..answers.rule import AnswerRule
from ..errors import InputError
from ..evaluation.bundle import Bundle, check_classes
from ..evaluation.thresholds import Goal, find_thresholds, lines, write_thresholds
from ..failures.parsing import survivabilities
from ..process.command import print_json
from .options import AddCommand, add_answer, samples_for


def add_to(command: AddCommand) -> None:
    """Add `exits`."""
    add = command(
        "exits", _exits, "Choose below which entropy nodes answer early, on held-out data."
    )
    add.add_argument("bundle", type=Path, metavar="BUNDLE")
    add.add_argument("--data", type=Path, required=True, metavar="VALIDATION.npz")
    goal = add.add_mutually_exclusive_group()
    goal.add_argument(
        "--bytes", type=float, help="at most this share of the payload without early exits, as 0.5"
    )
    goal.add_argument(
        "--accuracy", type=float, help="at most so much worse than without them, as -0.005"
    )
    add.add_argument("--survival", help="as of evaluate; the goal holds for each")
    add.add_argument("--fallback", choices=FALLBACKS, default="prior")
    add_answer(add, early=False)


def _exits(options: argparse.Namespace) -> int:
    goal = _goal(options)
    bundle = Bundle(options.bundle)
    manifest = bundle.manifest
    samples = samples_for(manifest.topology, options.data)
    check_classes(samples, manifest.class_names)
    found = find_thresholds(
        manifest.topology,
        bundle,
        samples,
        Classification(manifest.class_names, manifest.prior, options.fallback),
        survivabilities(options.survival, manifest.topology),
        rule=manifest.rule(AnswerRule(options.answer, options.policy)),
    )
    chosen = None if goal is None else found.best(goal)
    if chosen is not None:
        write_thresholds(options.bundle, chosen.thresholds)
    if options.json:
        told = {"without": found.without, "chosen": chosen, "front": found.front()}
        print_json(msgspec.to_builtins(told))
        return 0
    whole = ", ".join(f"{s} {x:,.0f} bytes" for s, x in found.without.bytes.items())
    print(f"{len(samples)} samples, {len(found.tried)} choices of thresholds tried")
    print(f"without early exits: {whole} an inference")
    print(*lines(found, [*found.front(), found.without]), sep="\n")
    if chosen is None:
        print("nothing was written; choose one by --bytes or --accuracy")
    else:
        print(f"written to {options.bundle}:", *lines(found, [chosen])[1:], sep="\n")
    return 0


def _goal(options: argparse.Namespace) -> Goal | None:
    if options.bytes is not None:
        if not 0 <= options.bytes <= 1:
            raise InputError(f"expected --bytes as a share from 0 to 1, got {options.bytes}")
        return Goal("bytes", options.bytes)
    if options.accuracy is not None:
        if not -1 <= options.accuracy <= 1:
            raise InputError(
                f"expected --accuracy as a change such as -0.005, got {options.accuracy}"
            )
        return Goal("accuracy", options.accuracy)
    return None
