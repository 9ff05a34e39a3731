"""What `--version` says."""

from __future__ import annotations

import argparse
from typing import Any, NoReturn

from ..process.command import version_text


class ShowVersion(argparse.Action):
    """Print the version, and end."""

    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> NoReturn:
        """Print it."""
        print(version_text(parser.prog))
        parser.exit()
