"""This process, and others like it."""

from __future__ import annotations

import os
import sys
from pathlib import Path

__all__ = ["command", "environment", "resident_mb"]


def command(*arguments: str) -> list[str]:
    """What starts `ddnn-edge` with these arguments, in `environment`."""
    return [sys.executable, "-m", str(__package__), *arguments]


def environment() -> dict[str, str]:
    """This process's own, in which a new process finds this very copy of the package."""
    home = str(Path(__file__).resolve().parents[1])
    path = os.pathsep.join(filter(None, [home, os.environ.get("PYTHONPATH")]))
    return {**os.environ, "PYTHONPATH": path}


def resident_mb() -> float:
    """Resident memory of this process, in 10^6 bytes."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6
