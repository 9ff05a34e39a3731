"""What one training is to do, checked: the part that does not depend on how it is learned."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from typing import Any

import keras
import msgspec

from edge_runtime.errors import InputError
from edge_runtime.topology import Survival, Topology

from ..datasets import Batches
from ..evaluation import named_survivabilities
from ..model import ResilientModel, build
from ..names import MergeWeights, Method, SectionName
from ..sections import Section, survival_weights
from .methods import MERGE_WEIGHTS, METHODS, default_merge_weights
from .recipe import Recipe

Sections = SectionName | Section | Mapping[str, Section | keras.Model]


@dataclass(frozen=True)
class Job:
    """A training that fits together. Its fields are those of `train`, with every default decided.

    `topology`: as trained, for `baseline` without residual links.
    """

    topology: Topology
    data: Batches
    method: Method
    survivabilities: tuple[Survival, ...]
    sections: Sections
    merge_weights: MergeWeights
    recipe: Recipe
    seed: int

    @classmethod
    def of(
        cls,
        topology: Topology,
        data: Batches,
        method: Method,
        survival: str | Sequence[str] | Mapping[str, Survival] | None,
        sections: Sections,
        merge_weights: MergeWeights | None,
        recipe: Recipe | None,
        seed: int,
    ) -> Job:
        """Decide what was left open; raises `InputError` for options that do not fit."""
        if method not in METHODS:
            raise InputError(f"unknown method {method!r}; expected one of {', '.join(METHODS)}")
        if not 0 <= seed < 1 << 32:
            raise InputError(f"expected a seed from 0 to 2^32 - 1, got {seed}")
        recipe = recipe or Recipe()
        _check_losses(recipe, data.task.kind)
        topology = topology.primary() if method == "baseline" else topology
        survivabilities = tuple(named_survivabilities(survival, topology).values())
        if not survivabilities:
            raise InputError("expected at least one survivability to train for, got none")
        merge_weights = merge_weights or default_merge_weights(len(survivabilities))
        _check_merge_weights(merge_weights, sections)
        if recipe.mirror is None and sections == "fc32":
            recipe = replace(recipe, mirror=False)
        return cls(
            topology,
            data,
            method,
            survivabilities,
            sections,
            merge_weights,
            recipe,
            seed,
        )

    @property
    def dropout(self) -> list[Survival] | None:
        """At which survivabilities nodes and links fail; None for no failures."""
        return list(self.survivabilities) if self.method in ("dropout", "multiplexer") else None

    @cached_property
    def _weights(self) -> Mapping[str, float] | None:
        """Of links that are added, by name."""
        if self.merge_weights not in ("survival", "normalized"):
            return None
        normalize = self.merge_weights == "normalized"
        return survival_weights(self.topology, self.survivabilities[0], normalize=normalize)

    def build(self, topology: Topology, sections: Sections) -> ResilientModel:
        """A model to train, on a topology with this one's links."""
        return build(
            topology,
            sections,
            task=self.data.task,
            dropout=self.dropout,
            multiplex=self.method == "multiplexer",
            merge_weights=self._weights,
            exit_weight=self.recipe.exit_weight,
            seed=self.seed,
        )

    def describe(self, goes_on: bool) -> dict[str, Any]:
        """All that decides the result, as plain values; `goes_on`: from a model that is there."""
        own = self.sections if isinstance(self.sections, str) else "own"
        return {
            "topology": self.topology.to_dict(),
            "method": self.method,
            "survival": msgspec.to_builtins(self.survivabilities),
            "sections": "start" if goes_on else own,
            "merge_weights": self.merge_weights,
            "recipe": asdict(self.recipe),
            "seed": self.seed,
            "task": msgspec.to_builtins(self.data.task),
            "samples": len(self.data.labels),
        }


def _check_losses(recipe: Recipe, kind: str) -> None:
    if kind != "classification" and (recipe.auxiliary or recipe.distil):
        raise InputError(
            f"auxiliary and distil are losses of classes, and this is a {kind}; leave them at 0"
        )


def _check_merge_weights(merge_weights: MergeWeights, sections: Sections) -> None:
    if merge_weights not in MERGE_WEIGHTS:
        raise InputError(
            f"unknown merge weights {merge_weights!r}; expected one of {', '.join(MERGE_WEIGHTS)}"
        )
    if merge_weights == "learned" and sections != "fc32":
        raise InputError(
            f"learned merge weights are for sections 'fc32', got {sections!r}; give "
            "FullyConnected(learned_weights=True) where you make sections of your own"
        )
