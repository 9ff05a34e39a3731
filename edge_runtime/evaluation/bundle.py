"""A whole bundle in one process: run, and evaluated."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

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
from ..task import DIGITS, Fallback, Task
from .answering import BoundRule
from .cache import SectionCache
from .reliability import Reliability, evaluate


def check_task(samples: Any, task: Task) -> None:
    """Targets mean the same in the data and in the model, or `InputError`."""
    check_same_task(samples.task, task)


def check_same_task(own: Task, task: Task) -> None:
    """The task of the data is that of the model, or `InputError`."""
    if own.kind != task.kind:
        raise InputError(
            f"expected data for the model's {task.kind} ({', '.join(task.names)}); got those of a "
            f"{own.kind} ({', '.join(own.names)})"
        )
    if own.names != task.names:
        raise InputError(
            f"expected data with the model's {task.called} {', '.join(task.names)}, in this "
            f"order; got {', '.join(own.names)}"
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
    """Expected score of a bundle's artifacts on samples with `inputs`, `labels` and a task.

    `survival`: as `survivabilities` reads it. `rule`: see `BundleManifest.rule`.
    """
    manifest = bundle.manifest
    check_task(samples, manifest.task)
    return evaluate(
        manifest.topology,
        bundle,
        samples,
        manifest.task,
        survivabilities(survival, manifest.topology),
        fallback=fallback,
        rule=rule,
        sampling=sampling,
    )


@dataclass(frozen=True)
class Answers:
    """Answers to a series of frames.

    `values`: float32 (frames, width), such as class probabilities; the fallback's where nothing
    reached a node that may answer. `task`: what they mean. `states`: each frame's delivered-links
    state, 0 for the fallback; `nodes`: who answered, None for the fallback.
    """

    values: Array
    task: Task
    states: list[int]
    nodes: list[str | None]


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
        task = self.manifest.task
        bound = BoundRule(topology, rule, task)
        found, which = bound.joint_states(masks)
        answers = np.tile(task.fallback().astype(np.float32), (len(masks), 1))
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
                        answers[row], states[row] = taken.answers[k], own[node]
        return Answers(answers, task, states, nodes)


def smoothed(answers: Answers, prior: Sequence[float], half_life: float) -> NDArray[np.float64]:
    """What the answers up to each frame say together, as the output node says it, see `Smoother`.

    `half_life`: in frames. Returns float64 (frames, classes). The frames are taken for those of one
    object, in order.
    """
    smoother = Smoother(prior, half_life)
    found = []
    for frame, (own, state) in enumerate(zip(answers.values, answers.states, strict=True)):
        belief = smoother.add(np.round(own.astype(np.float64), DIGITS) if state else None, frame)
        assert belief is not None  # they come in order
        found.append(belief)
    return np.stack(found)
