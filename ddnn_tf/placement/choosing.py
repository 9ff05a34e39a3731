"""The best placement, those of which none is better in both aims, and what limits bind."""

from __future__ import annotations

import math
from dataclasses import replace

from edge_runtime.errors import InputError

from .network import Network
from .placement import AIMS, SLACK, Aim, Limits, Placement
from .program import Program, fitting

NO_LIMITS = Limits()


def place(network: Network, least: Aim = "latency", limits: Limits = NO_LIMITS) -> Placement:
    """The placement with the least latency or bytes, or the greatest accuracy, within limits.

    Raises `InputError` where there is none, with what can be reached.
    """
    if least not in AIMS:
        raise InputError(f"unknown aim {least!r}; expected one of {', '.join(AIMS)}")
    program = Program(network)
    found = program.solve(least, limits)
    if found is None:
        raise InputError(_why_not(network, program, limits))
    return found


def front(
    network: Network,
    least: Aim = "latency",
    against: Aim = "bytes",
    limits: Limits = NO_LIMITS,
    *,
    most: int = 20,
) -> list[Placement]:
    """Placements of which none is better in both aims, from the best in `least` on.

    Exact: each next one is the best in `least` among those that are better in `against` than the
    one before. At most `most` of them.
    """
    first = place(network, least, limits)
    program = Program(network)
    found: list[Placement] = []
    candidate: Placement | None = first
    while candidate is not None and len(found) < most:
        # Among equals in the one aim, the best in the other.
        equal = _limited(limits, least, candidate.value(least))
        best = program.solve(against, equal) or candidate
        found.append(best)
        candidate = program.solve(least, _beyond(limits, against, best.value(against)))
    return found


def binding(network: Network, least: Aim, limits: Limits) -> dict[str, float]:
    """Which limits hold the best placement back, and what could be reached without each.

    The keys are `latency`, `bytes`, `accuracy`, and `memory of DEVICE` or `storage of DEVICE`.
    """
    best = place(network, least, limits).value(least)
    without: dict[str, float] = {}

    def try_without(name: str, relaxed: Network, others: Limits) -> None:
        found = Program(relaxed).solve(least, others)
        assert found is not None  # fewer limits than a placement was found with
        gain = (found.value(least) - best) * (1 if least == "accuracy" else -1)
        if gain > SLACK * max(1.0, abs(best)):
            without[name] = found.value(least)

    for aim in AIMS:
        if getattr(limits, aim) is not None:
            try_without(aim, network, replace(limits, **{aim: None}))
    for i, device in enumerate(network.devices):
        for resource, free in (
            ("memory", replace(device, most_memory_mb=math.inf)),
            ("storage", replace(device, most_storage_mb=math.inf)),
        ):
            if (fitting(free) != fitting(device)).any():
                devices = (*network.devices[:i], free, *network.devices[i + 1 :])
                roomy = replace(network, devices=devices)
                try_without(f"{resource} of {device.name}", roomy, limits)
    return without


def _limited(limits: Limits, aim: Aim, value: float) -> Limits:
    """As good in one aim as that, or better."""
    slack = SLACK * max(1.0, abs(value))
    return replace(limits, **{aim: value - slack if aim == "accuracy" else value + slack})


def _beyond(limits: Limits, aim: Aim, value: float) -> Limits:
    """Better in one aim than that, by more than a rounding."""
    if aim == "bytes":
        return replace(limits, bytes=value - 1)
    step = 1e-6 * max(1e-6, abs(value))
    return replace(limits, **{aim: value + step if aim == "accuracy" else value - step})


def _why_not(network: Network, program: Program, limits: Limits) -> str:
    asked = {aim: getattr(limits, aim) for aim in AIMS if getattr(limits, aim) is not None}
    reached = {aim: program.solve(aim, Limits()) for aim in AIMS}
    if any(found is None for found in reached.values()):
        sizes = ", ".join(
            f"{d.name} (memory {d.most_memory_mb:g} MB, storage {d.most_storage_mb:g} MB)"
            for d in network.devices
        )
        return (
            f"no placement: the {len(network.blocks)} blocks do not fit into {sizes} in the order "
            "in which the wires join them; raise a limit, compress the model, or add a device"
        )
    best = ", ".join(_figure(aim, found.value(aim)) for aim, found in reached.items() if found)
    wanted = ", ".join(_figure(aim, value) for aim, value in asked.items())
    return (
        f"no placement keeps {wanted}; each by itself, what can be reached is {best}: "
        "loosen a limit"
    )


def _figure(aim: Aim, value: float) -> str:
    return f"{aim} {100 * value:g} %" if aim == "accuracy" else f"{aim} {value:g}"
