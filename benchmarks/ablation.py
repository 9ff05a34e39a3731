"""What each part of resilient training is worth on the real cameras, one part changed at a time.

Trained on time:train, reported on time:validation, which is there to choose on. Edge-skip links,
one model for every survivability. Encoders, models and figures are kept in build/cameras/, so that
an interrupted run goes on, and rows that share an encoder learn it once. What a row is worth is its
gain over the first row, seed by seed: rows that share an encoder then differ in nothing else.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from ddnn_tf import Convolutional

from .cameras import REST, SURVIVABILITIES, VIEWS, Setting, bound, cameras, figures, spreads
from .splits import RESULTS, SHARED

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
    # With auxiliary losses, the rarest class repeated, and 60 epochs.
    "one encoder, all together": SHARED,
    "own encoders, all together": replace(BASE, views=None, rest=replace(REST, repeats=1)),
}


def main(seeds: int = 3) -> None:
    """Train what has not been trained yet, and print the table."""
    if not cameras():
        print("  skipped: no cameras; DDNN_DATA=FOLDER says where they are")
        return
    RESULTS.mkdir(parents=True, exist_ok=True)
    print(f"  {ON}, % at {'/'.join(SURVIVABILITIES)}, mean ± half range of {seeds} seeds")
    print("  no model can beat " + " / ".join(f"{100 * b:.2f}" for b in bound(BASE, ON).values()))
    first = [figures(BASE, seed, ON, RESULTS) for seed in range(seeds)]
    for name, setting in ROWS.items():
        found = [figures(setting, seed, ON, RESULTS) for seed in range(seeds)]
        for figure, title in {"expected_accuracy": name, "balanced_accuracy": "balanced"}.items():
            print(f"  {title:<28}{spreads(found, figure)}", flush=True)
            print(f"  {'gain':>26}  {spreads(_gains(found, first, figure), figure)}", flush=True)


def _gains(
    found: Sequence[Mapping[str, Any]], first: Sequence[Mapping[str, Any]], figure: str
) -> list[dict[str, Any]]:
    """Each seed's figure above the same seed's in the first row."""
    return [
        {figure: {s: mine[figure][s] - base[figure][s] for s in SURVIVABILITIES}}
        for mine, base in zip(found, first, strict=True)
    ]


if __name__ == "__main__":
    main()
