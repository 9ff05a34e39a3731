"""Expected accuracy on the real cameras where what is to come is learned from what was, and back.

Edge-skip links, pixels only: views of 48 pixels, each cut twice, tight and 1.5 times as wide. One
model serves all survivabilities. The settings are those of a first study, tried on parts of
time:train alone; the test parts chose nothing. Figures and models are kept in build/cameras/.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from .cameras import SURVIVABILITIES, TOGETHER, Setting, bound, cameras, figures, spreads

#: Also of the ablation, which trains one model that this trains.
RESULTS = Path("build/cameras")
FORWARD = Setting(views="shared", rest=TOGETHER, rare=8)
#: What is reported, and how it is trained.
ROWS: dict[str, Setting] = {
    "time:test": FORWARD,
    "time-backward:test": replace(FORWARD, split="time-backward:train"),
}


def main(seeds: int = 3) -> None:
    """Train what has not been trained yet, and print the table."""
    if not cameras():
        print("  skipped: no cameras; DDNN_DATA=FOLDER says where they are")
        return
    RESULTS.mkdir(parents=True, exist_ok=True)
    print(f"  % at {'/'.join(SURVIVABILITIES)}, mean ± half range of {seeds} seeds, fallback prior")
    for on, setting in ROWS.items():
        found = [figures(setting, seed, on, RESULTS) for seed in range(seeds)]
        print(f"  {on:<19}{spreads(found, 'expected_accuracy')}", flush=True)
        print(f"  {'':<19}balanced {spreads(found, 'balanced_accuracy')}")
        print(
            f"  {'':<19}bound " + " / ".join(f"{100 * b:.2f}" for b in bound(setting, on).values())
        )


if __name__ == "__main__":
    main()
