"""A whole bundle in one process: run, and evaluated."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..answers.classification import Classification
from ..answers.fallback import Fallback, fallback_answer
from ..answers.probabilities import rounded_probabilities
from ..answers.rule import AnswerRule
from ..answers.smoothing import Smoother
from ..arrays import Array
from ..bundle.manifest import read_bundle
from ..bundle.sections import load_section
from ..bundle.tensors import complete
from ..errors import InputError
from ..failures.distribution import Mask
from ..failures.parsing import survivabilities
from ..failures.sampling import Sampling
from .answering import BoundRule
from .cache import SectionCache
from .reliability import Reliability, evaluate


def check_classes(samples: Any, class_names: Sequence[str]) -> None:
    """Labels mean the same in the data and in the model, or `InputError`."""
    if tuple(samples.class_names) != tuple(class_names):
        raise InputError(
            f"expected data with the model's classes {', '.join(class_names)}, in this order; "
            f"got {', '.join(samples.class_names)}"
        )


def evaluate_bundle(
    bundle: Bundle,
    samples: Any,
    survival: str | None,
    fallback: Fallback = "prior",
    *,
    rule: AnswerRule = AnswerRule(),
    sampling: Sampling = Sampling(),
) -> Reliability:
    """Expected accuracy of a bundle's artifacts on samples with `inputs`, `labels` and classes.

    `survival`: as `survivabilities` reads it. `rule`: see `BundleManifest.rule`.
    """
    manifest = bundle.manifest
    check_classes(samples, manifest.class_names)
    return evaluate(
        manifest.topology,
        bundle,
        samples,
        Classification(manifest.class_names, manifest.prior, fallback),
        survivabilities(survival, manifest.topology),
        rule=rule,
        sampling=sampling,
    )


@dataclass(frozen=True)
class Answers:
    """Answers to a series of frames.

    `probabilities`: float32 (frames, classes), the fallback's where nothing reached a node that may
    answer; `states`: each frame's delivered-links state, 0 for the fallback; `nodes`: who answered,
    None for the fallback.
    """

    probabilities: Array
    states: list[int]
    nodes: list[str | None]

    @property
    def classes(self) -> NDArray[np.int64]:
        """The class answered, int64 (frames,)."""
        return np.asarray(self.probabilities.argmax(axis=1))


class Bundle:
    """An exported bundle, run by LiteRT; a `Runner` for `reliability`."""

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        self.manifest, self.nodes = read_bundle(folder)
        self._sections = {
            name: load_section(self.folder / "nodes" / name, node)
            for name, node in self.nodes.items()
        }

    def run(self, node: str, inputs: Mapping[str, Array]) -> Array | tuple[Array, ...]:
        """One node's section on what was delivered to it; see `Runner.run`."""
        section = self._sections[node]
        full = complete(inputs, section.inputs, self.nodes[node].senders)
        outputs = section.with_exit(full)
        return outputs if len(outputs) > 1 else outputs[0]

    def answer(
        self, inputs: Mapping[str, Array], masks: Mask, rule: AnswerRule = AnswerRule()
    ) -> Answers:
        """Answer frame i under the failures of `masks[i]`.

        `inputs`: per sensor, frames first; `masks`: bool (frames, elements); `rule`: see
        `BundleManifest.rule`.
        """
        topology = self.manifest.topology
        bound = BoundRule(topology, rule)
        found, which = bound.joint_states(masks)
        prior = self.manifest.prior
        answers = np.tile(fallback_answer("prior", prior).astype(np.float32), (len(masks), 1))
        states = [0] * len(masks)
        nodes: list[str | None] = [None] * len(masks)
        for i, joint_state in enumerate(found):
            rows = np.flatnonzero(which == i)
            if any(joint_state) and len(rows):
                cache = SectionCache(topology, self, {n: x[rows] for n, x in inputs.items()})
                taken = bound.take(cache, joint_state)
                own = bound.states(joint_state)
                for k, (row, place) in enumerate(zip(rows, taken.places, strict=True)):
                    if place >= 0:
                        nodes[row] = node = bound.nodes[place]
                        answers[row], states[row] = taken.probabilities[k], own[node]
        return Answers(answers, states, nodes)


def smoothed(answers: Answers, prior: Sequence[float], half_life: float) -> NDArray[np.float64]:
    """What the answers up to each frame say together, as the output node says it, see `Smoother`.

    `half_life`: in frames. Returns float64 (frames, classes). The frames are taken for those of one
    object, in order.
    """
    smoother = Smoother(prior, half_life)
    found = []
    for frame, (own, state) in enumerate(zip(answers.probabilities, answers.states, strict=True)):
        belief = smoother.add(rounded_probabilities(own) if state else None, frame)
        assert belief is not None  # they come in order
        found.append(belief)
    return np.stack(found)
