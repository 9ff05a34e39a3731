"""Survivabilities as they are written on a command line."""

from __future__ import annotations

from pathlib import Path

import msgspec

from ..errors import InputError
from ..topology import Survival, Topology, Uptime
from .trace import FailureTrace

#: How the topology's own values are called where it has no preset of that name.
OWN = "own"


def all_survivabilities(topology: Topology) -> dict[str, Survival]:
    """All of the topology's presets, or its own values where it has none."""
    return {name: name for name in topology.survivabilities} or {OWN: None}


def survivability_of(name: str, topology: Topology) -> Survival:
    """What a name stands for: a preset, or `own`. Raises `InputError` for any other."""
    if name == OWN and OWN not in topology.survivabilities:
        return None
    topology.survival(name)
    return name


def survivabilities(text: str | None, topology: Topology) -> dict[str, Survival]:
    """Parse `--survival`, with commas: presets, .json files of survival by element, .jsonl traces.

    Without it, or for `all`: all of the topology's presets, or its own values where it has none;
    these alone are called `own`.
    """
    if text is None or (text == "all" and "all" not in topology.survivabilities):
        return all_survivabilities(topology)
    found: dict[str, Survival] = {}
    for word in filter(None, (part.strip() for part in text.split(","))):
        if word.endswith(".json"):
            try:
                table = msgspec.json.decode(Path(word).read_bytes(), type=dict[str, float | Uptime])
            except (OSError, msgspec.DecodeError) as error:
                raise InputError(f"--survival {word}: {error}; expected probabilities") from error
            topology.survival(table)
            found[Path(word).stem] = table
        elif word.endswith(".jsonl"):
            try:
                found[Path(word).stem] = FailureTrace.load(word, topology).shares()
            except InputError as error:
                raise InputError(f"--survival {word}: {error}") from error
        else:
            found[word] = survivability_of(word, topology)
    if not found:
        raise InputError("--survival is empty; name a preset such as high, or a file")
    return found


def one_survivability(text: str, topology: Topology) -> Survival:
    """Parse a `--survival` from which configurations are drawn."""
    found = survivabilities(text, topology)
    if len(found) != 1:
        raise InputError(f"expected one survivability to draw from, got {', '.join(found)}")
    return next(iter(found.values()))
