"""Times of alternatives, taken in turn so that a machine's moods fall on all of them alike."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping


def interleaved(
    alternatives: Mapping[str, Callable[[], object]],
    runs: int,
    *,
    warmup: int = 1,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, list[float]]:
    """Seconds of each run of each alternative, all first runs before all second ones.

    `clock`: `time.process_time` counts what is computed, and not what others do meanwhile.
    """
    times: dict[str, list[float]] = {name: [] for name in alternatives}
    for run in range(-warmup, runs):
        for name, work in alternatives.items():
            start = clock()
            work()
            if run >= 0:
                times[name].append(clock() - start)
    return times


def report(title: str, times: Mapping[str, list[float]], baseline: str) -> None:
    """Print medians, their spread, and the ratio of each median to the baseline's."""
    middle = statistics.median(times[baseline])
    print(f"\n{title}")
    for name, own in times.items():
        median = statistics.median(own)
        ratio = f"{median / middle:.3f}" if median > middle / 20 else f"1/{middle / median:.0f}"
        print(
            f"  {name:<52} {1e3 * median:10.3f} ms  "
            f"({1e3 * min(own):.3f} to {1e3 * max(own):.3f}, {len(own)} runs)  {ratio}"
        )
    print(f"  ratios against: {baseline}")
