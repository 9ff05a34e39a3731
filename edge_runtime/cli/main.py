"""`ddnn-edge`: what a device, or any machine without TensorFlow, does with a bundle."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence

from ..process.command import guarded
from . import check, evaluate, exits, profile, reach, run, simulate, up, watch
from .options import Parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code: 0 done, 1 proved wrong, 2 bad input, 130 stopped."""

    def command() -> int:
        options = _parser().parse_args(arguments)
        return int(options.command(options))

    return guarded("ddnn-edge", command)


def _parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog="ddnn-edge", description="Run, check and evaluate exported bundles with LiteRT."
    )
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
        return found

    for module in (evaluate, reach, exits, check, profile, simulate, run, up, watch):
        module.add_to(command)
    return parser
