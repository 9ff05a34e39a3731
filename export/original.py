"""What the model that another was cut from answers: kept beside it, and compared at export."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping

import keras
import msgspec
import numpy as np

from edge_runtime.arrays import Array

from .parity import ParityError
from .split import in_order

#: Samples that are kept; their inputs travel in the model's file.
KEPT = 2
#: The cut model agrees with the original to this, relative to the largest value of each sample:
#: the same kernels on the same numbers, but for what a compiler reorders.
TOLERANCE = 1e-4


class Original(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Answers of an original model to a few inputs.

    `inputs`: an npz with an array for each sensor, samples first, in base64. `answers`: of each
    sample, (width,), with what was put over the original's outputs, such as a softmax.
    """

    inputs: str
    answers: tuple[tuple[float, ...], ...]

    @classmethod
    def of(cls, inputs: Mapping[str, Array], answers: Array) -> Original:
        """The first samples of each kind."""
        step = max(1, len(answers) // KEPT)
        file = io.BytesIO()
        np.savez_compressed(
            file, allow_pickle=False, **{name: x[::step] for name, x in inputs.items()}
        )
        text = base64.b64encode(file.getvalue()).decode("ascii")
        return cls(text, tuple(map(tuple, answers[::step].astype(float).tolist())))

    def arrays(self) -> tuple[dict[str, Array], Array]:
        """Inputs by sensor, and answers, float64 (samples, width)."""
        with np.load(io.BytesIO(base64.b64decode(self.inputs)), allow_pickle=False) as archive:
            inputs = {name: archive[name] for name in archive.files}
        return inputs, np.array(self.answers, np.float64)


def relative_to_each(got: Array, expected: Array) -> float:
    """Largest difference, relative to the largest value of its sample.

    What saturated alike, to infinity or NaN, is equal; what did unlike is infinitely far.
    """
    axes = tuple(range(1, expected.ndim))
    expected = expected.astype(np.float64)
    scale = np.maximum(np.abs(expected).max(axis=axes), np.finfo(np.float32).tiny)
    difference = np.abs(got.astype(np.float64) - expected).max(axis=axes)
    same = np.all((got == expected) | (np.isnan(got) & np.isnan(expected)), axis=axes)
    found = np.where(same, 0.0, difference / scale).max()
    return float(found) if np.isfinite(found) else float("inf")


def check_original(model: keras.Model) -> float | None:
    """How far a cut model's answers are from the original's, relative; None where none are kept.

    They are kept until the cut model is trained. Raises `ParityError` above `TOLERANCE`.
    """
    original: Original | None = getattr(model, "original", None)
    if original is None:
        return None
    inputs, expected = original.arrays()
    answers = model(inputs, training=False)
    ordered = in_order(answers, model.task)
    got = np.concatenate([np.asarray(x) for x in ordered], axis=1)
    error = relative_to_each(got, expected)
    if not error <= TOLERANCE:
        raise ParityError(
            f"model {model.name!r} no longer answers as the one that it was cut from (relative "
            f"error {error:.2g}), and was not trained since by `fit`; where its weights were set "
            "otherwise on purpose, set model.original = None"
        )
    return error
