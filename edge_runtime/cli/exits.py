"""`ddnn-edge exits`: below which entropy nodes answer early."""

from __future__ import annotations

import argparse
from pathlib import Path

import msgspec

from ..answers.rule import AnswerRule
from ..errors import InputError
from ..evaluation.bundle import Bundle, check_task
from ..evaluation.thresholds import Goal, find_thresholds, lines, write_thresholds
from ..failures.parsing import survivabilities
from ..process.command import print_json
from .options import (
    AddCommand,
    add_answer,
    add_data,
    add_fallback,
    add_survivabilities,
    samples_for,
)


def add_to(command: AddCommand) -> None:
    """Add `exits`."""
    add = command(
        "exits", _exits, "Choose below which entropy nodes answer early, on held-out data."
    )
    add.add_argument("bundle", type=Path, metavar="BUNDLE", help="its thresholds are written")
    add_data(add, text="samples that were not trained on")
    goal = add.add_mutually_exclusive_group()
    goal.add_argument(
        "--byte-share",
        type=float,
        metavar="SHARE",
        help="write the most accurate thresholds with at most this share of the payload without "
        "early exits, such as 0.5",
    )
    goal.add_argument(
        "--accuracy-change",
        type=float,
        metavar="CHANGE",
        help="write those of the fewest bytes that change the accuracy by at least this, such as "
        "-0.005, which allows a loss of half a percentage point",
    )
    add_survivabilities(add, "; the goal holds for each")
    add_fallback(add)
    add_answer(add, early=False)


def _exits(options: argparse.Namespace) -> int:
    goal = _goal(options)
    bundle = Bundle(options.bundle)
    manifest = bundle.manifest
    samples = samples_for(manifest.topology, options.data)
    check_task(samples, manifest.task)
    found = find_thresholds(
        manifest.topology,
        bundle,
        samples,
        manifest.task,
        survivabilities(options.survival, manifest.topology),
        fallback=options.fallback,
        rule=manifest.rule(AnswerRule(options.answer, options.policy)),
    )
    chosen = None if goal is None else found.best(goal)
    if chosen is not None:
        write_thresholds(options.bundle, chosen.thresholds)
    if options.json:
        result = {"without": found.without, "chosen": chosen, "front": found.front()}
        print_json(msgspec.to_builtins(result))
        return 0
    whole = ", ".join(f"{s} {x:,.0f} bytes" for s, x in found.without.bytes.items())
    print(f"{len(samples)} samples, {len(found.tried)} choices of thresholds tried")
    print(f"without early exits: {whole} an inference")
    print(*lines(found, [*found.front(), found.without]), sep="\n")
    if chosen is None:
        print("nothing was written; choose by --byte-share or --accuracy-change")
    else:
        print(f"written to {options.bundle}:", *lines(found, [chosen])[1:], sep="\n")
    return 0


def _goal(options: argparse.Namespace) -> Goal | None:
    if options.byte_share is not None:
        if not 0 <= options.byte_share <= 1:
            raise InputError(
                f"expected --byte-share as a share from 0 to 1, got {options.byte_share}"
            )
        return Goal("bytes", options.byte_share)
    if options.accuracy_change is not None:
        if not -1 <= options.accuracy_change <= 1:
            raise InputError(
                "expected --accuracy-change as a change such as -0.005, got "
                f"{options.accuracy_change}"
            )
        return Goal("accuracy", options.accuracy_change)
    return None
