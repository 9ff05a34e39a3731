"""What a node's answers of some frames say together: pure logic, no I/O, no clock of its own.

Only where these frames show one object, as a region that a tracker follows does. Such an answer has
seen more than its own frame, so it is never compared with what is known of stateless answers: the
reliability table, the bound, the replay; see docs/explanation/runtime.md.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError
from ..task import Classification, Task

#: Probabilities below it count as this: no frame may outvote all others for good.
LEAST = 1e-6


class Smoother:
    """The class of one object by all of a node's answers so far, the older the less.

    A Bayes filter of a class that does not change, with stabilized forgetting (Kulhavy and Zarrop,
    *On a general concept of forgetting*, Int. J. Control 58(4), 1993): between two frames the
    belief, as log-odds over the prior, loses half of itself in every half-life; then what the
    frame's answer says beyond the prior is added. So a first answer is passed on as it is; one that
    says no more than the prior, such as a fallback, adds nothing; and where nothing comes the
    belief falls back to the prior, which is the fallback. What it keeps is one number a class and
    one time.

    As frames of one object are alike, and are counted as if each were news, the probabilities grow
    surer than they are right; which one is the greatest does not depend on that.

    Args:
        prior: training frequency of each class; it decides what a fallback is.
        half_life_ns: after which an answer counts half, in nanoseconds or in whatever unit the
            times are given.

    Raises `InputError` for a half-life that is not above 0.
    """

    def __init__(self, prior: Sequence[float], half_life_ns: float) -> None:
        if not 0 < half_life_ns < math.inf:
            raise InputError(f"expected a half-life above 0 to smooth by, got {half_life_ns}")
        self._prior = _logarithm(prior)
        self._half_life = half_life_ns
        self._belief = np.zeros(len(prior))
        self._newest: float | None = None

    def add(
        self, probabilities: Sequence[float] | NDArray[np.floating] | None, captured_ns: float
    ) -> NDArray[np.float64] | None:
        """What is believed once a frame has been answered, float64 (classes,), summing up to one.

        `probabilities`: the answer's, or None for a fallback. `captured_ns`: when the frame was
        captured. One captured before the newest so far is left out, and has no smoothed answer:
        what is believed at a time then depends on the answers up to it, whatever their order.
        """
        if self._newest is not None:
            if captured_ns < self._newest:
                return None
            self._belief *= 2.0 ** ((self._newest - captured_ns) / self._half_life)
        self._newest = captured_ns
        if probabilities is not None:
            self._belief += _logarithm(probabilities) - self._prior
        found = self._prior + self._belief
        weights = np.exp(found - found.max())
        return np.asarray(weights / weights.sum())


def smoothed_task(task: Task | None) -> Classification:
    """The task, where its answers can be smoothed; `InputError` for other than classes."""
    if not isinstance(task, Classification):
        kind = "node that does not answer" if task is None else task.kind
        raise InputError(
            f"only answers of one class among several are smoothed, got a {kind}; leave out "
            "--smooth"
        )
    return task


def check_smoothing(smooth: float | None, *, only_output: bool) -> None:
    """`InputError` where answers are to be smoothed that are not the output node's alone."""
    if smooth is not None and not only_output:
        raise InputError(
            "only the output node's answers are smoothed: which of several nodes answers changes "
            "from frame to frame; leave out --smooth, or --answer any and --early"
        )


def _logarithm(probabilities: Sequence[float] | NDArray[np.floating]) -> NDArray[np.float64]:
    return np.log(np.clip(np.asarray(probabilities, np.float64), LEAST, 1.0))
