"""How one process of `ddnn-edge` starts another."""

from __future__ import annotations

import os
import sys
from pathlib import Path

PACKAGE = __name__.partition(".")[0]


def command(*arguments: str) -> list[str]:
    """What starts `ddnn-edge` with these arguments, in `environment`."""
    return [sys.executable, "-m", PACKAGE, *arguments]


def environment() -> dict[str, str]:
    """This process's own, in which a new process finds this very copy of the package."""
    home = str(Path(__file__).resolve().parents[2])
    path = os.pathsep.join(filter(None, [home, os.environ.get("PYTHONPATH")]))
    return {**os.environ, "PYTHONPATH": path}
