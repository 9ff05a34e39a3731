"""What the size of the boxes is worth on the real cameras: a track of its own, beside pixels alone.

Forward in time, edge-skip links, tight crops of 32 pixels, `conv` sections that all learn together
in one and the same way in all three rows: nothing was chosen for any of them, and pixels alone do
better where an encoder learns first (`benchmarks splits`). The boxes were made by hand; that their
size nearly solves the task says as much of the data as of a model. Figures and models are kept in
build/cameras/, so that an interrupted run goes on.
"""

from __future__ import annotations

from dataclasses import replace

from .cameras import REST, SURVIVABILITIES, Setting, bound, cameras, figures, spreads
from .splits import RESULTS

ON = "time:test"
PIXELS = Setting(size=32, margins=(1.0,), views=None, rest=replace(REST, repeats=1))
WAYS = {
    "pixels alone": PIXELS,
    "boxes alone": replace(PIXELS, boxes="alone"),
    "pixels and boxes": replace(PIXELS, boxes="beside"),
}


def main(seeds: int = 3) -> None:
    """Train what has not been trained yet, and print the table."""
    if not cameras():
        print("  skipped: no cameras; DDNN_DATA=FOLDER says where they are")
        return
    RESULTS.mkdir(parents=True, exist_ok=True)
    print(f"  % at {'/'.join(SURVIVABILITIES)}, mean ± half range of {seeds} seeds, fallback prior")
    for way, setting in WAYS.items():
        found = [figures(setting, seed, ON, RESULTS) for seed in range(seeds)]
        print(f"  {way:<18}{spreads(found, 'expected_accuracy')}", flush=True)
        print(f"  {'balanced':>16}  {spreads(found, 'balanced_accuracy')}", flush=True)
    best = bound(PIXELS, ON).values()
    print("  no model can beat " + " / ".join(f"{100 * b:.2f}" for b in best))


if __name__ == "__main__":
    main()
