"""The answer when nothing reaches a node that answers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, get_args

import numpy as np

from ..arrays import Vector
from ..errors import InputError

Fallback = Literal["prior", "prior-random", "uniform"]


FALLBACKS: tuple[Fallback, ...] = get_args(Fallback)


def fallback_answer(fallback: Fallback, prior: Sequence[float]) -> Vector:
    """Probability with which the fallback answers each class, shape (classes,).

    `prior` is the training frequency of each class. `prior-random` is kept as a distribution, so
    that what follows from it is an expectation and not a draw.
    """
    p = np.asarray(prior, np.float64)
    if fallback == "prior":
        return np.asarray(np.eye(len(p))[p.argmax()])
    if fallback == "prior-random":
        return np.asarray(p / p.sum())
    if fallback == "uniform":
        return np.full(len(p), 1.0 / len(p))
    raise InputError(f"unknown fallback {fallback!r}; expected one of {', '.join(FALLBACKS)}")
