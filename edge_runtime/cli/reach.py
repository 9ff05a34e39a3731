"""`ddnn-edge reach`: how probably information reaches the output node."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np

from ..bundle.manifest import read_bundle
from ..failures.configurations import output_states
from ..failures.parsing import survivabilities
from ..failures.reachability import reach_probability
from ..failures.sampling import LEVEL, check_sampling, sample_configurations
from ..process.command import print_json
from ..topology import Topology
from .options import AddCommand, add_configurations, add_survivabilities


def add_to(command: AddCommand) -> None:
    """Add `reach`."""
    add = command(
        "reach", _reach, "Probability that information reaches the output node; needs no model."
    )
    add.add_argument(
        "topology", metavar="TOPOLOGY", help="a topology file, a shipped one's name, or a bundle"
    )
    add_survivabilities(add)
    add_configurations(add)


def _reach(options: argparse.Namespace) -> int:
    check_sampling(options.configurations, options.seed)
    place = Path(options.topology)
    topology = read_bundle(place)[0].topology if place.is_dir() else Topology.load(place)
    asked = survivabilities(options.survival, topology)
    result: dict[str, Any]
    if options.configurations is None:
        found = {name: reach_probability(topology, s) for name, s in asked.items()}
        result = {"reach_probability": found, "method": "exact"}
        intervals = dict.fromkeys(found, "")
    else:
        drawn = sample_configurations(topology, asked, options.configurations, seed=options.seed)
        reached = np.asarray(output_states(topology, drawn.masks).any(axis=1), np.float64)
        found = {name: float(drawn.probabilities(name) @ reached) for name in asked}
        bounds = {name: list(drawn.interval(name, reached)) for name in asked}
        result = {
            "reach_probability": found,
            "method": drawn.method,
            "interval": {"level": LEVEL, "reach_probability": bounds},
        }
        intervals = {
            name: f"   {100 * LEVEL:g} % sure: {100 * low:.7f} to {100 * high:.7f} %"
            for name, (low, high) in bounds.items()
        }
    if options.json:
        print_json(result)
    else:
        for name, value in found.items():
            print(f"{name:<11} {100 * value:.7f} %{intervals[name]}")
    return 0
