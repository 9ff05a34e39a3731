"""How failure masks are distributed: the one form in which all else takes a survivability.

A *mask* says which elements of a topology work: bool, shape (cases, elements), in the order of
`Topology.elements`. It follows from which *components* work, bool, shape (cases, components).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError
from ..topology import Share, Survival, Topology

Mask = NDArray[np.bool_]

#: Shares of the time come from divisions, and from files with few digits.
ROUNDING = 1e-6


def working(topology: Topology, components: Mask) -> Mask:
    """Which elements work, bool (cases, elements): by themselves, and with them their groups."""
    masks = components[:, : len(topology.elements)]
    if topology.groups:
        masks = masks.copy()
        for group in topology.groups:
            members = [topology.index[name] for name in group.elements]
            masks[:, members] &= components[:, topology.index[group.name], None]
    return masks


def mask_without(topology: Topology, down: Sequence[str]) -> Mask:
    """The mask, bool (elements,), in which exactly what is named has failed; groups as well."""
    components = np.ones(len(topology.components), bool)
    for name in down:
        if name not in topology.index:
            raise InputError(
                f"unknown element {name!r}; topology {topology.name!r} has "
                f"{', '.join(topology.components)}"
            )
        components[topology.index[name]] = False
    return np.asarray(working(topology, components[None])[0])


@dataclass(frozen=True)
class FailureModel:
    """A mixture: a case is drawn, and in it each component works independently of the others.

    Independent elements and groups are one case. What was `recorded` is one for each mask that
    occurred, in which nothing is left to chance: each survival is 0 or 1.

    `shares`: float64 (cases,), how probable each is; they sum to 1.
    `survival`: float64 (cases, components), the probability that each component works.
    """

    topology: Topology
    shares: NDArray[np.float64]
    survival: NDArray[np.float64]
    recorded: bool = False

    @classmethod
    def of(cls, topology: Topology, survivability: Survival) -> FailureModel:
        """From any survivability; `InputError` where it does not fit the topology."""
        if survivability is None or isinstance(survivability, (str, Mapping)):
            return cls(topology, np.ones(1), topology.survival(survivability)[None])
        recorded = [share for share in survivability if isinstance(share, Share)]
        if len(recorded) < len(survivability):
            topology.survival(survivability)  # which says what it expected
        times = np.array([share.share for share in recorded])
        if (times < 0).any() or not abs(times.sum() - 1) < ROUNDING:
            raise InputError(
                "expected shares of the time from 0 to 1 that sum to 1, got a sum of "
                f"{times.sum()}; record the trace again, or divide each by their sum"
            )
        masks = np.stack([mask_without(topology, share.down) for share in recorded])
        distinct, which = np.unique(masks, axis=0, return_inverse=True)
        survival = np.ones((len(distinct), len(topology.components)))
        survival[:, : len(topology.elements)] = distinct
        shares = np.bincount(which.ravel(), times) / times.sum()
        return cls(topology, shares, survival, recorded=True)

    @property
    def marginals(self) -> NDArray[np.float64]:
        """Probability that each component works, shape (components,)."""
        return np.asarray(self.shares @ self.survival)

    @property
    def element_marginals(self) -> NDArray[np.float64]:
        """Probability that each element works, and with it its groups, shape (elements,)."""
        survival = self.survival[:, : len(self.topology.elements)].copy()
        for group in self.topology.groups:
            members = [self.topology.index[name] for name in group.elements]
            survival[:, members] *= self.survival[:, self.topology.index[group.name], None]
        return np.asarray(self.shares @ survival)

    def draw(self, count: int, rng: np.random.Generator) -> Mask:
        """Draw `count` masks, bool (count, elements)."""
        survival = self.survival
        if len(self.shares) > 1:
            survival = survival[rng.choice(len(self.shares), count, p=self.shares)]
        return working(self.topology, rng.random((count, survival.shape[1])) < survival)
