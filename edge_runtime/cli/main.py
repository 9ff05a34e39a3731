"""`ddnn-edge`: what a device, or any machine without TensorFlow, does with a bundle."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping, Sequence

from ..process.command import guarded
from . import check, completion, evaluate, exits, profile, reach, run, simulate, up, watch
from .options import Parser, refuse_renamed
from .version import ShowVersion


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code: 0 done, 1 proved wrong, 2 bad input, 130 stopped."""

    def command() -> int:
        words = sys.argv[1:] if arguments is None else arguments
        parser, _ = make_parser()
        options = parser.parse_args(up.one_fault_an_option(words))
        return int(options.command(options))

    return guarded("ddnn-edge", command)


def make_parser() -> tuple[Parser, Mapping[str, argparse.ArgumentParser]]:
    """The whole parser, and that of each command."""
    parser = Parser(
        prog="ddnn-edge", description="Run, check and evaluate exported bundles with LiteRT."
    )
    parser.add_argument("--version", action=ShowVersion, nargs=0, help="show the version, and exit")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def command(
        name: str,
        action: Callable[[argparse.Namespace], int],
        text: str,
        json: str = "print one JSON object",
    ) -> argparse.ArgumentParser:
        found = commands.add_parser(name, help=text, description=text)
        found.set_defaults(command=action)
        found.add_argument("--json", action="store_true", help=json)
        refuse_renamed(found, name)
        return found

    for module in (evaluate, reach, exits, check, profile, simulate, run, up, watch):
        module.add_to(command)
    completion.add_to(command, commands.choices)
    return parser, commands.choices
