"""What `--version` says."""

from __future__ import annotations

import argparse
from typing import Any, NoReturn


def version_text(program: str) -> str:
    """The program and the version that is installed; that none is known, where none is."""
    from importlib.metadata import PackageNotFoundError, version  # which takes its time

    try:
        return f"{program} {version('ddnn-tf')}"
    except PackageNotFoundError:
        return f"{program}: version unknown; ddnn-tf is not installed here, its folder was copied"


class ShowVersion(argparse.Action):
    """Print the version, and end."""

    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> NoReturn:
        """Print it."""
        print(version_text(parser.prog))
        parser.exit()
