"""`python -m benchmarks [NAME…]`."""

from __future__ import annotations

import sys
from importlib import import_module

NAMES = (
    "evaluation",
    "training_step",
    "device",
    "hop",
    "deployment",
    "presence",
    "partition",
    "placement",
    "accuracy",
    "splits",
    "boxes",
    "smoothing",
    "mobile",
    "early",
    "ablation",
    "compression",
)


def main(names: list[str]) -> int:
    """Run the benchmarks named, or all; 2 for an unknown name."""
    unknown = sorted(set(names) - set(NAMES))
    if unknown:
        print(f"unknown: {', '.join(unknown)}; expected {', '.join(NAMES)}", file=sys.stderr)
        return 2
    for name in names or NAMES:
        module = import_module(f".{name}", __package__)
        print(f"\n== {name}: {(module.__doc__ or '').partition(chr(10))[0]}")
        module.main()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
