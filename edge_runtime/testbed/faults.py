"""Faults asked for on the command line: what is done to which node, and when."""

from __future__ import annotations

from collections.abc import Collection
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
