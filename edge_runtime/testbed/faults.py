"""Faults asked for on the command line: what is done to which node, and when."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Literal, NamedTuple, get_args

from ..clock import parse_seconds
from ..errors import InputError

#: SIGKILL, SIGSTOP, and what undoes either.
Fault = Literal["fail", "hang", "restore"]


FAULTS: tuple[Fault, ...] = get_args(Fault)


class Injection(NamedTuple):
    """Something done to a node, `at_s` seconds after the first frame that counts."""

    at_s: float
    fault: Fault
    node: str


def parse_injection(fault: Fault, text: str, nodes: Collection[str]) -> Injection:
    """An injection from `fog4@5s`; `InputError` for anything else."""
    node, at, when = text.partition("@")
    if not at:
        raise InputError(f"--{fault} {text}: expected a node and a time, as in fog4@5s")
    if node not in nodes:
        raise InputError(f"--{fault} {text}: no such node; there are {', '.join(nodes)}")
    return Injection(parse_seconds(f"--{fault} {text}", when), fault, node)


def check_injections(injections: Iterable[Injection], end_s: float | None = None) -> None:
    """`InputError` for one that would do nothing.

    Those are one after the run's end, `end_s` seconds after the first frame that counts, and one
    that its node is not in a state for: what runs cannot be restored, what was killed cannot fail.
    """
    states: dict[str, Fault] = {}
    for injection in sorted(injections, key=lambda one: one.at_s):
        at_s, fault, node = injection
        said = f"--{fault} {node}@{at_s:g}s"
        if end_s is not None and at_s >= end_s:
            raise InputError(
                f"{said}: the run ends {end_s:g} s after its first frame; give an earlier time, or "
                "more --frames"
            )
        state = states.get(node, "restore")
        if fault == "restore" and state == "restore":
            raise InputError(
                f"{said}: node {node!r} runs at that time; there is nothing to restore"
            )
        if state == "fail" and fault != "restore":
            raise InputError(f"{said}: node {node!r} was killed before; --restore it first")
        if state == "hang" and fault == "hang":
            raise InputError(f"{said}: node {node!r} hangs already; --restore it first")
        states[node] = fault
