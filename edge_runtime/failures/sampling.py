"""Failure configurations where there are too many to enumerate: stratified importance sampling.

A stratum holds the configurations with one number of failures. How probable it is, is exact, and
so is the estimate in strata small enough to be enumerated. The others get draws by their
probability and evenly in equal parts: rare ones are drawn far more often than they occur, each
draw weighing so much less. So survivals such as 0.9999 show what their failures cost.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..arrays import Vector
from ..errors import InputError
from ..topology import Survival, Topology
from .configurations import (
    MOST_CONFIGURATIONS,
    Configurations,
    enumerate_configurations,
    failure_models,
    uncertain_components,
)
from .distribution import FailureModel, Mask

#: With at least this probability an interval holds the true value.
LEVEL = 0.99
#: Numbers of failures less probable than this are left out: double precision cannot tell them.
NEGLIGIBLE = 1e-15
#: Configurations drawn for each survivability unless told otherwise.
CONFIGURATIONS = 10_000
#: Configurations in which it is tried what each single failure costs.
REPRESENTATIVES = 200


@dataclass(frozen=True)
class SampledConfigurations(Configurations):
    """Some failure configurations, weighted so that sums over them estimate sums over all.

    `strata`: per survivability, int64 (configurations,), the stratum of each drawn configuration;
    -1 for one that stands for itself alone, as all do in a stratum that was enumerated.
    """

    strata: Mapping[str, NDArray[np.int64]]

    @property
    def method(self) -> str:
        """How the weights came about."""
        return "stratified"

    def occurring(self, survivability: str) -> tuple[NDArray[np.intp], Vector]:
        """As of all configurations; at most `REPRESENTATIVES`, as often as they weigh."""
        rows, weights = super().occurring(survivability)
        if len(rows) <= REPRESENTATIVES:
            return rows, weights
        places = (np.arange(REPRESENTATIVES) + 0.5) / REPRESENTATIVES
        chosen = np.searchsorted(weights.cumsum() / weights.sum(), places)
        kept, times = np.unique(rows[chosen], return_counts=True)
        return kept, times / REPRESENTATIVES

    def interval(self, survivability: str, values: Vector) -> tuple[float, float]:
        """Where the expectation of `values` lies with probability `LEVEL` or more.

        `values`: of each configuration, from 0 to 1. It holds for any number of draws, without an
        appeal to normality: Bernstein's inequality, with the variance within the strata bounded by
        the one seen (Maurer and Pontil, *Empirical Bernstein Bounds and Sample-Variance
        Penalization*, 2009, theorems 3, 7 and 10, for a weighted sum). It errs on the wide side.
        """
        weights, strata = self.weights[survivability], self.strata[survivability]
        drawn = strata >= 0
        certain = float(weights[~drawn] @ values[~drawn])
        left_out = max(0.0, 1.0 - float(weights.sum()))
        if not drawn.any():
            return certain, min(1.0, certain + left_out)
        w, k, v = weights[drawn], strata[drawn], values[drawn]
        counts = np.bincount(k)
        means = np.bincount(k, v) / np.maximum(counts, 1)
        unbiased = counts[k] / (counts[k] - 1)
        variance = float((w**2 * (v - means[k]) ** 2 * unbiased).sum())
        # Three bounds that may each fail: the variance's, and the sum's on either side.
        log = math.log(3 / (1 - LEVEL))
        half = math.sqrt(2 * variance * log)
        half += float(w.max()) * log * (2 * math.sqrt(unbiased.max()) + 1 / 3)
        estimate = certain + float(w @ v)
        low = max(estimate - half, certain)
        high = min(estimate + half, certain + float(w.sum())) + left_out
        return low, min(1.0, high)


class Sampling(NamedTuple):
    """Whether configurations are enumerated or drawn.

    `limit`: the most that are enumerated, which gives exact numbers. Above it, or where
    `configurations` says how many, they are drawn from `seed`, and every estimate has an interval.
    """

    limit: int = MOST_CONFIGURATIONS
    configurations: int | None = None
    seed: int = 0


def check_sampling(configurations: int | None, seed: int) -> None:
    """`InputError` for options that no sampling can have."""
    if configurations is not None and configurations < 1:
        raise InputError(f"expected --configurations of at least 1, got {configurations}")
    if seed < 0:
        raise InputError(f"expected --seed of at least 0, got {seed}")


def find_configurations(
    topology: Topology, survivabilities: Mapping[str, Survival], sampling: Sampling = Sampling()
) -> Configurations:
    """All configurations, or some, see `Sampling`."""
    limit, wanted, seed = sampling
    fallible = uncertain_components(failure_models(topology, survivabilities))
    if wanted is None and 1 << int(fallible.sum()) <= limit:
        return enumerate_configurations(topology, survivabilities, limit=limit)
    return sample_configurations(topology, survivabilities, wanted or CONFIGURATIONS, seed=seed)


def sample_configurations(
    topology: Topology,
    survivabilities: Mapping[str, Survival],
    wanted: int = CONFIGURATIONS,
    *,
    seed: int = 0,
) -> SampledConfigurations:
    """Draw configurations, at most `wanted` for each survivability.

    The first is the one without failures. What was recorded is taken as it is. Raises `InputError`
    where `wanted` are too few for the numbers of failures that can occur.
    """
    rng = np.random.default_rng(seed)
    models = failure_models(topology, survivabilities)
    found = {
        name: _recorded(model) if model.recorded else _drawn(model, wanted, rng)
        for name, model in models.items()
    }
    alive = np.ones((1, len(topology.components)), bool)
    components = np.concatenate([alive, *(part.components for part in found.values())])
    weights, strata = {}, {}
    first = 1
    for name, part in found.items():
        rows = slice(first, first + len(part.components))
        weights[name], strata[name] = np.zeros(len(components)), np.full(len(components), -1)
        weights[name][rows], strata[name][rows] = part.weights, part.strata
        first = rows.stop
    return SampledConfigurations(
        topology=topology,
        components=components,
        fallible=tuple(int(i) for i in np.flatnonzero(~components.all(axis=0))),
        weights=weights,
        models=models,
        strata=strata,
    )


class _Part(NamedTuple):
    """The configurations of one survivability."""

    components: Mask
    weights: Vector
    strata: NDArray[np.int64]


def _recorded(model: FailureModel) -> _Part:
    return _Part(model.survival == 1, model.shares, np.full(len(model.shares), -1))


def _drawn(model: FailureModel, wanted: int, rng: np.random.Generator) -> _Part:
    (survival,) = model.survival
    varies = (survival > 0) & (survival < 1)
    table = failure_counts(survival[varies])
    plan = _allocate(table[0], wanted)
    n = int(varies.sum())
    works, weights, strata = [], [], []
    for failures, count in plan.items():
        if count == math.comb(n, failures):
            failed = np.array(list(combinations(range(n), failures)), int).reshape(count, failures)
            rows = np.ones((count, n), bool)
            rows[np.arange(count)[:, None], failed] = False
            p = np.where(rows, survival[varies], 1 - survival[varies]).prod(axis=1)
            stratum = -1
        else:
            rows = draw_with_failures(survival[varies], table, np.full(count, failures), rng)
            p = np.full(count, table[0, failures] / count)
            stratum = failures
        works.append(rows)
        weights.append(p)
        strata.append(np.full(count, stratum))
    components = np.tile(survival > 0, (sum(map(len, works)), 1))
    components[:, varies] = np.concatenate(works)
    return _Part(components, np.concatenate(weights), np.concatenate(strata))


def _allocate(chances: Vector, wanted: int) -> dict[int, int]:
    """How many configurations to take, by number of failures: all that there are, or draws.

    Half of the draws go by the probability of a number of failures, half evenly to all numbers.
    """
    sizes = [math.comb(len(chances) - 1, failures) for failures in range(len(chances))]
    plan: dict[int, int] = {}
    waiting = [k for k, chance in enumerate(chances) if chance > NEGLIGIBLE]
    while waiting:
        left = wanted - sum(plan.values())
        shares = chances[waiting] / chances[waiting].sum() / 2 + 0.5 / len(waiting)
        counts = {k: int(left * share) for k, share in zip(waiting, shares, strict=True)}
        whole = [k for k in waiting if sizes[k] <= counts[k]]
        if not whole:
            if min(counts.values()) < 2:
                raise InputError(
                    f"expected more than {wanted} configurations for {len(chances) - 1} "
                    f"elements that can fail; ask for {wanted + 4 * len(waiting)} or more"
                )
            return plan | counts
        plan |= {k: sizes[k] for k in whole}
        waiting = [k for k in waiting if k not in plan]
    return plan


def failure_counts(survival: Vector) -> Vector:
    """How probable each number of failures is: Poisson binomial, by convolution.

    Row i, column k: that of components i, i + 1, ... exactly k fail; shape (components + 1,
    components + 1).
    """
    n = len(survival)
    table = np.zeros((n + 1, n + 1))
    table[n, 0] = 1.0
    for i in reversed(range(n)):
        table[i] = survival[i] * table[i + 1]
        table[i, 1:] += (1.0 - survival[i]) * table[i + 1, :-1]
    return table


def draw_with_failures(
    survival: Vector, table: Vector, failures: NDArray[np.int64], rng: np.random.Generator
) -> Mask:
    """Which components work in case i, given that exactly `failures[i]` fail; (cases, components).

    One component after the other, from `failure_counts`; no draw is rejected.
    """
    left = failures.copy()
    works = np.ones((len(failures), len(survival)), bool)
    for i, p in enumerate(survival):
        chance = p * table[i + 1, left] / table[i, left]
        # Exactly as many as wanted, whatever is lost to rounding.
        works[:, i] = (rng.random(len(left)) < chance) | (left == 0)
        works[left == len(survival) - i, i] = False
        left -= ~works[:, i]
    return works
