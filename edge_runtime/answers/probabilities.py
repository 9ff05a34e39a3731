"""Class probabilities: as an answer gives them, how confident, how uncertain."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..arrays import Array

#: Digits of the probabilities in an answer, by which answers are compared.
DIGITS = 6


def confidence(probabilities: Array) -> NDArray[np.float64]:
    """Greatest of the probabilities along the last axis, as an answer tells it."""
    return np.asarray(np.round(probabilities.max(axis=-1).astype(np.float64), DIGITS))


def rounded_probabilities(probabilities: Array) -> tuple[float, ...]:
    """Probabilities of shape (classes,) as an answer tells them."""
    return tuple(round(float(p), DIGITS) for p in probabilities)


def entropy(probabilities: Array) -> NDArray[np.float64]:
    """Normalized entropy, 0 to 1, of probabilities of shape (..., classes), shape (...,)."""
    p = np.asarray(probabilities, np.float64)
    logs = np.log(p, out=np.zeros_like(p), where=p > 0)
    return np.asarray(-(p * logs).sum(axis=-1) / np.log(p.shape[-1]))
