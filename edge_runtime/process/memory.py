"""Memory of this process."""

from __future__ import annotations

import os


def resident_mb() -> float:
    """Resident memory of this process, in 10^6 bytes."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6
