"""What each part of resilient training is worth on the real cameras, one part changed at a time.

Trained on time:train, reported on time:validation, which is there to choose on. Edge-skip links,
one model for every survivability. Encoders, models and figures are kept in build/ablation/, so that
an interrupted run goes on, and rows that share an encoder learn it once.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from ddnn_tf import Convolutional

from .cameras import REST, SURVIVABILITIES, VIEWS, Setting, bound, cameras, figures, spreads

RESULTS = Path("build/ablation")
ON = "time:validation"
BASE = Setting()


def _rest(**changes: Any) -> Setting:
    return replace(BASE, rest=replace(REST, **changes))


def _views(**changes: Any) -> Setting:
    return replace(BASE, views=replace(VIEWS, **changes))


ROWS: dict[str, Setting] = {
    "as it is": BASE,
    "no presence flags": replace(BASE, sections=Convolutional(flags=False)),
    # As many steps of an eighth of the failures each.
    "one failure mask a sample": _rest(repeats=1),
    "medium survivability alone": replace(BASE, survival=("medium",)),
    "with auxiliary losses": _rest(auxiliary=0.3),
    "with distillation": _rest(distil=0.5),
    "with averaged weights": _rest(average=0.99),
    "8 units a link": replace(BASE, sections=Convolutional(units=8)),
    "views all alike in weight": _views(balance=0.0),
    "views not scaled": _views(zoom=0.0),
    "tight crop alone": replace(BASE, margins=(1.0,)),
    "crops of 32 pixels": replace(BASE, size=32),
    "all trained together": replace(BASE, views=None, rest=replace(REST, repeats=1)),
}


def main(seeds: int = 3) -> None:
    """Train what has not been trained yet, and print the table."""
    if not cameras():
        print("  skipped: no cameras; DDNN_DATA=FOLDER says where they are")
        return
    RESULTS.mkdir(parents=True, exist_ok=True)
    print(f"  {ON}, % at {'/'.join(SURVIVABILITIES)}, mean ± half range of {seeds} seeds")
    print("  no model can beat " + " / ".join(f"{100 * b:.2f}" for b in bound(BASE, ON).values()))
    for name, setting in ROWS.items():
        found = [figures(setting, seed, ON, RESULTS) for seed in range(seeds)]
        print(f"  {name:<28}{spreads(found, 'expected_accuracy')}", flush=True)
        print(f"  {'':<19}balanced {spreads(found, 'balanced_accuracy')}", flush=True)


if __name__ == "__main__":
    main()
