"""An hour of a deployment without an end, as long as DDNN_SOAK says: its memory stays flat."""

import json
import os
import signal
import statistics
import subprocess
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

from tests.commands import Deployed
from tests.end_to_end.live import LIMIT, command, descendants

SECONDS = float(os.environ.get("DDNN_SOAK", "0"))
#: Seconds between two readings.
EVERY = 5.0
#: Of one process, in 10^6 bytes, between two quarters of the run. An allocator settles; a leak of a
#: few bytes a frame is more than this within the hour.
MOST_GROWTH = 2.0


def growth(readings: Sequence[float]) -> float:
    """By how much memory grew from the second quarter to the last; the first is for warming up."""
    quarter = len(readings) // 4
    return statistics.median(readings[-quarter:]) - statistics.median(
        readings[quarter : 2 * quarter]
    )


def test_a_leak_is_told_from_an_allocator_that_settles() -> None:
    rng = np.random.default_rng(0)
    minutes = np.linspace(0, 60, 720)
    noise = rng.normal(0, 0.3, len(minutes))
    settles = 60 + 8 * (1 - np.exp(-minutes / 3)) + noise
    assert abs(growth(settles.tolist())) < MOST_GROWTH
    a_frame = 50 * 30 * 60 / 1e6  # fifty bytes, thirty times a second
    assert growth((settles + a_frame * minutes).tolist()) > MOST_GROWTH


def resident_mb(pid: int) -> float | None:
    """None once it is gone."""
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    except (FileNotFoundError, ProcessLookupError):
        return None
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


@pytest.mark.skipif(not SECONDS, reason="takes an hour; DDNN_SOAK=3600 says how many seconds")
def test_memory_stays_flat(poster_deployed: Callable[[str], Deployed]) -> None:
    it = poster_deployed("poster-residual")
    # A hung node comes back early on, so that rejoining is within what has to stay flat.
    faults = ("--hang", "fog4@5s", "--restore", "fog4@8s")
    readings: dict[int, list[float]] = {}
    with command("up", it.bundle, "--data", it.test, "--fps", "30", *faults, "--json") as up:
        end = time.monotonic() + SECONDS
        while time.monotonic() < end:
            with suppress(subprocess.TimeoutExpired):
                up.wait(EVERY)
            assert up.poll() is None, up.communicate()
            for pid in (up.pid, *descendants(up.pid)):
                found = resident_mb(pid)
                if found is not None:
                    readings.setdefault(pid, []).append(found)
        up.send_signal(signal.SIGINT)
        out, err = up.communicate(timeout=2 * LIMIT)
    assert err == ""
    found = json.loads(out)
    print(json.dumps(found))
    assert found["crashes"] == []
    assert (found["agreement"], found["mixed_frames"], found["duplicates"]) == (1.0, 0, 0)
    assert found["frames"] > 0.8 * 30 * SECONDS
    assert found["unanswered"] <= 0.01 * found["answerable"]
    whole = {pid: series for pid, series in readings.items() if len(series) > SECONDS / EVERY / 2}
    assert len(whole) == 10, "nine nodes, and what looks on"
    grown = {pid: round(growth(series), 2) for pid, series in whole.items()}
    print({pid: (round(series[-1], 1), grown[pid]) for pid, series in whole.items()})
    assert max(grown.values()) < MOST_GROWTH, grown
