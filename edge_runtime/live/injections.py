"""Faults asked for on the command line: what is done to which node, and when."""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Literal, NamedTuple, get_args

from ..errors import InputError

__all__ = ["FAULTS", "Fault", "Injection", "parse_injection", "parse_seconds"]

#: SIGKILL, SIGSTOP, and what undoes either.
Fault = Literal["fail", "hang", "restore"]
FAULTS: tuple[Fault, ...] = get_args(Fault)

_TIME = re.compile(r"(\d{1,7}(?:\.\d{1,6})?)(ms|s|)")


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


def parse_seconds(option: str, text: str) -> float:
    """Seconds of `1.5s`, `500ms` or `2`; `InputError`, which names `option`, for anything else."""
    match = _TIME.fullmatch(text)
    if match is None:
        raise InputError(f"{option}: expected a time such as 5s or 500ms, got {text!r}")
    return float(match[1]) / (1000 if match[2] == "ms" else 1)
