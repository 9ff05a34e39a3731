"""Expected accuracy on the real cameras where what is to come is learned from what was, and back.

Edge-skip links, pixels only: views of 48 pixels, each cut twice, tight and 1.5 times as wide. One
model serves all survivabilities. Settings were chosen on time:validation (an encoder first) and on
parts of time:train by time (a shared encoder); the test parts chose nothing. Last, what was chosen
is trained once more on the frames of train and validation. Figures and models are kept in
build/cameras/.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from .cameras import SURVIVABILITIES, TOGETHER, Setting, bound, cameras, figures, spreads

#: Also of the ablation, which trains one model that this trains.
RESULTS = Path("build/cameras")
SHARED = Setting(views="shared", rest=TOGETHER, rare=8)
#: How it is trained, and on which part.
WAYS = {
    "encoder first": (Setting(), "train"),
    "shared encoder": (SHARED, "train"),
    "shared, both parts": (SHARED, "train+validation"),
}
SPLITS = ("time", "time-backward")


def main(seeds: int = 3) -> None:
    """Train what has not been trained yet, and print the table."""
    if not cameras():
        print("  skipped: no cameras; DDNN_DATA=FOLDER says where they are")
        return
    RESULTS.mkdir(parents=True, exist_ok=True)
    print(f"  % at {'/'.join(SURVIVABILITIES)}, mean ± half range of {seeds} seeds, fallback prior")
    for split in SPLITS:
        on = f"{split}:test"
        for way, (trained, part) in WAYS.items():
            setting = replace(trained, split=f"{split}:{part}")
            found = [figures(setting, seed, on, RESULTS) for seed in range(seeds)]
            print(f"  {on:<19}{way:<20}{spreads(found, 'expected_accuracy')}", flush=True)
            print(f"  {'':<26}balanced {spreads(found, 'balanced_accuracy')}", flush=True)
        best = bound(setting, on).values()
        print(f"  {'':<29}bound " + " / ".join(f"{100 * b:.2f}" for b in best))


if __name__ == "__main__":
    main()
