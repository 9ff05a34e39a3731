"""`ddnn-edge` on a machine whose wall clock jumps.

`python -m tests.end_to_end.clocked FILE ARGUMENTS…`: by the seconds that stand in FILE whenever the
clock is read, if it is there. Our code reads the wall clock by `time.time` and `time.time_ns`,
which are replaced before anything else is imported. Zenoh, which is no Python, goes on with the
machine's own clock: its leases do not depend on it, and its timestamps, which do, are off.
"""

import sys
import time
from pathlib import Path

SECOND = 1_000_000_000


def jump(file: Path) -> None:
    """Replace the wall clock of this process."""
    true = time.time_ns

    def time_ns() -> int:
        try:
            return true() + int(file.read_text()) * SECOND
        except FileNotFoundError:
            return true()

    time.time_ns = time_ns
    time.time = lambda: time_ns() / SECOND


if __name__ == "__main__":
    jump(Path(sys.argv[1]))
    from edge_runtime.cli.main import main

    sys.exit(main(sys.argv[2:]))
