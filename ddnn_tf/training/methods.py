"""What is trained and how links merge, by name."""

from __future__ import annotations

from typing import get_args

from ..names import MergeWeights, Method

METHODS: tuple[Method, ...] = get_args(Method)
POSTER_METHODS: tuple[Method, ...] = ("baseline", "residual", "dropout")
MERGE_WEIGHTS: tuple[MergeWeights, ...] = get_args(MergeWeights)


def default_merge_weights(survivabilities: int) -> MergeWeights:
    """The poster's choice for one survivability; for several there is none that fits them all."""
    return "normalized" if survivabilities == 1 else "one"
