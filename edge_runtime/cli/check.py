"""`ddnn-edge check`: a node's artifact gives its golden numbers on this machine."""

from __future__ import annotations

import argparse
from pathlib import Path

from ..bundle.sections import check_node
from ..process.command import print_json
from .options import AddCommand, node_folder


def add_to(command: AddCommand) -> None:
    """Add `check`."""
    add = command("check", _check, "Prove that a node computes on this machine what was exported.")
    add.add_argument("node", type=Path, metavar="NODE_DIR", help="the folder of one node")


def _check(options: argparse.Namespace) -> int:
    found = check_node(node_folder(options.node))
    if options.json:
        print_json(
            {
                "node": found.node,
                "passed": found.passed,
                "samples": found.samples,
                "max_error": found.max_error,
                "tolerance": found.tolerance,
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
            f"(relative error {found.max_error:.2g}, allowed {found.tolerance:g})"
        )
    return 0 if found.passed else 1
