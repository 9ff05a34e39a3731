"""`ddnn-edge profile`: what sections cost on this machine."""

from __future__ import annotations

import argparse
from pathlib import Path

import msgspec

from ..bundle.manifest import BUNDLE_FILE
from ..evaluation.profile import profile, profile_node
from .options import AddCommand, add_compute, compute_of


def add_to(command: AddCommand) -> None:
    """Add `profile`."""
    add = command("profile", _profile, "Measure what sections cost on this machine.")
    add.add_argument(
        "folder", type=Path, metavar="BUNDLE|NODE_DIR", help="all nodes of a bundle, or one"
    )
    add.add_argument(
        "--out",
        type=Path,
        metavar="FILE.json",
        help="where the result is also written, for `ddnn place`",
    )
    add.add_argument(
        "--runs", type=int, default=100, metavar="COUNT", help="how many inferences are timed"
    )
    add_compute(add)


def _profile(options: argparse.Namespace) -> int:
    if (options.folder / BUNDLE_FILE).is_file():
        found = profile(options.folder, runs=options.runs, compute=compute_of(options))
    else:
        found = profile_node(options.folder, runs=options.runs, compute=compute_of(options))
    if options.out:
        found.save(options.out)
    if options.json:
        print(msgspec.json.encode(found).decode())
        return 0
    print(f"{found.machine}: {found.process_mb:.0f} MB for a process without a section")
    print(f"{'':<12}{'median':>10}{'90 %':>10}{'memory':>10}{'artifact':>12}{'message':>10}")
    for name, section in found.sections.items():
        print(
            f"{name:<12}{section.latency_ms:>7.3f} ms{section.latency_p90_ms:>7.3f} ms"
            f"{section.memory_mb:>7.1f} MB{section.artifact_bytes:>10,} B"
            f"{section.message_bytes:>8,} B"
        )
    for computed_by in dict.fromkeys(x.computed_by for x in found.sections.values()):
        of = [name for name, x in found.sections.items() if x.computed_by == computed_by]
        print(f"{', '.join(of)}: {computed_by}")
    return 0
