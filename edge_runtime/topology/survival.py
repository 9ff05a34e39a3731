"""The ways in which a user can say how probably things work."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import numpy as np

from ..errors import InputError


class Uptime(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Survival given by how long things work and how long they take to repair.

    `mtbf`: mean time from a repair to the next failure; `mttr`: mean time from a failure to its
    repair; in hours, or any other unit that all of a topology's uptimes share.
    """

    mtbf: float
    mttr: float

    def __post_init__(self) -> None:
        for name, least in (("mtbf", "above 0"), ("mttr", "of at least 0")):
            value = getattr(self, name)
            if not math.isfinite(value) or value < 0 or (value == 0 and name == "mtbf"):
                raise InputError(f"expected {name} {least}, got {value}; give a mean time")

    @property
    def survival(self) -> float:
        """The share of the time in which it works: the steady-state availability."""
        return self.mtbf / (self.mtbf + self.mttr)


class Share(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The share of the time, 0 to 1, in which exactly what `down` names had failed."""

    down: tuple[str, ...]
    share: float


#: A survivability: the name of a preset, probabilities or uptimes by element or group, what was
#: recorded (see `FailureTrace.shares`), or None for the topology's own.
Survival = str | Mapping[str, float | Uptime] | Sequence[Share] | None


def survival_from_plain(survival: Any) -> Survival:
    """A survivability that a layer's configuration holds; any other is given back as it came.

    Raises `InputError` for an uptime or a share of another form.
    """
    try:
        if isinstance(survival, Mapping):
            return {
                name: msgspec.convert(x, Uptime) if isinstance(x, Mapping) else x
                for name, x in survival.items()
            }
        if isinstance(survival, (list, tuple)):
            return tuple(msgspec.convert(share, Share) for share in survival)
    except msgspec.ValidationError as error:
        raise InputError(f"not a survivability: {error}") from error
    return survival  # type: ignore[no-any-return]


def probability(chance: float | Uptime) -> float:
    """The survival that a probability or an uptime stands for."""
    return chance.survival if isinstance(chance, Uptime) else chance


def check_chance(value: Any, path: str) -> None:
    """`InputError` unless it is an `Uptime` or a probability; `path` says where it stands."""
    if isinstance(value, Uptime):
        return  # which has checked itself
    if isinstance(value, bool) or not isinstance(value, (int, float, np.number)):
        raise InputError(f"expected a probability, got {value!r} (at {path}); give 0 to 1")
    if math.isnan(value) or not 0 <= value <= 1:
        raise InputError(
            f"expected a survival probability from 0 to 1, got {value} (at {path}); "
            "give the probability that it works"
        )
