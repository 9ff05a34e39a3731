"""`ddnn-edge check`: a node's artifact gives its golden numbers on this machine."""

from __future__ import annotations

import argparse
from pathlib import Path

from ..bundle.sections import check_node
from ..process.command import print_json
from .options import AddCommand, add_compute, compute_of, node_folder


def add_to(command: AddCommand) -> None:
    """Add `check`."""
    add = command("check", _check, "Prove that a node computes on this machine what was exported.")
    add.add_argument("node", type=Path, metavar="NODE_DIR", help="the folder of one node")
    add_compute(add)


def _check(options: argparse.Namespace) -> int:
    found = check_node(node_folder(options.node), compute_of(options))
    if options.json:
        print_json(
            {
                "node": found.node,
                "passed": found.passed,
                "samples": found.samples,
                "max_error": found.max_error,
                "tolerance": found.tolerance,
                "computed_by": found.computed_by,
            }
        )
    else:
        verdict = (
            "the numbers it was exported with"
            if found.passed
            else "not the numbers it was exported with"
        )
        print(
            f"{found.node}: {verdict} on {found.samples} golden samples "
            f"(relative error {found.max_error:.2g}, allowed {found.tolerance:g}), computed by "
            f"{found.computed_by}"
        )
    return 0 if found.passed else 1
