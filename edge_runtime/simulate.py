"""A whole bundle in one process: run, checked, and replayed under failures."""

from __future__ import annotations

import io
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .errors import InputError
from .exits.answering import Answerer, told
from .exits.choice import Policy
from .failures import Mask
from .files import read_checked
from .gather import complete
from .interpreter import LiteRTSection
from .manifest import GOLDEN_FILE, MODEL_FILE, NodeManifest, read_bundle, read_node
from .reliability import SectionMemo, fallback_answer
from .smoothing import Smoother

__all__ = [
    "Answers",
    "Bundle",
    "GoldenCheck",
    "check_node",
    "load_section",
    "read_golden",
    "smoothed",
]

Array = NDArray[Any]


def load_section(folder: str | Path, manifest: NodeManifest) -> LiteRTSection:
    """A node's artifact, its hash checked before LiteRT sees a byte."""
    path = Path(folder) / MODEL_FILE
    section = LiteRTSection(_file(folder, manifest, MODEL_FILE), where=path)
    if section.inputs != manifest.inputs:
        raise InputError(
            f"{path}: expected inputs {', '.join(sorted(manifest.inputs))} as in node.json, got "
            f"{', '.join(sorted(section.inputs))}; export the bundle again"
        )
    if section.has_exit != manifest.exit:
        raise InputError(
            f"{path}: whether it has an exit is not as in node.json (at $.exit); export the bundle "
            "again"
        )
    return section


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
        self,
        inputs: Mapping[str, Array],
        masks: Mask,
        answer: Answerer = "output",
        policy: Policy = "maximal",
        *,
        early: bool = False,
    ) -> Answers:
        """Answer frame i under the failures of `masks[i]`.

        `inputs`: per sensor, frames first; `masks`: bool (frames, elements); `answer`, `policy`:
        `early`: see `BundleManifest.answering`.
        """
        topology = self.manifest.topology
        answering = self.manifest.answering(answer, policy, early=early)
        found, which = answering.situations(masks)
        prior = self.manifest.prior
        answers = np.tile(fallback_answer("prior", prior).astype(np.float32), (len(masks), 1))
        states = [0] * len(masks)
        nodes: list[str | None] = [None] * len(masks)
        for i, situation in enumerate(found):
            rows = np.flatnonzero(which == i)
            if any(situation) and len(rows):
                memo = SectionMemo(topology, self, {n: x[rows] for n, x in inputs.items()})
                taken = answering.take(memo, situation)
                own = answering.states(situation)
                for k, (row, place) in enumerate(zip(rows, taken.places, strict=True)):
                    if place >= 0:
                        nodes[row] = node = answering.nodes[place]
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
        belief = smoother.add(told(own) if state else None, frame)
        assert belief is not None  # they come in order
        found.append(belief)
    return np.stack(found)


@dataclass(frozen=True)
class GoldenCheck:
    """A device's numbers beside the golden ones: errors are relative to max(1, max|golden|)."""

    node: str
    samples: int
    max_error: float
    tolerance: float

    @property
    def passed(self) -> bool:
        """Whether the error is within the tolerance."""
        return self.max_error <= self.tolerance


def check_node(folder: str | Path) -> GoldenCheck:
    """Prove on this machine that a node's artifact gives the numbers it gave when exported.

    Raises `InputError` for a damaged folder; a deviation is in the result.
    """
    folder = Path(folder)
    manifest = read_node(folder)
    section = load_section(folder, manifest)
    inputs, golden = read_golden(folder, manifest)
    error = 0.0
    outputs = section(inputs)
    if section.has_exit:
        outputs, golden = (*outputs, *section.with_exit(inputs)), [*golden[:-1], *golden]
    for got, expected in zip(outputs, golden, strict=True):
        scale = max(1.0, float(np.abs(expected).max(initial=0.0)))
        deviation = float(np.abs(got.astype(np.float64) - expected).max(initial=0.0))
        error = max(error, deviation / scale if np.isfinite(deviation) else float("inf"))
    return GoldenCheck(manifest.node, len(golden[0]), error, manifest.tolerance)


def read_golden(folder: Path, manifest: NodeManifest) -> tuple[dict[str, Array], list[Array]]:
    """Golden vectors of the shapes that the manifest promises."""
    specs = {f"output/{k}": spec for k, spec in enumerate(manifest.outputs)}
    specs |= {f"input/{name}": spec for name, spec in manifest.inputs.items()}
    content = io.BytesIO(_file(folder, manifest, GOLDEN_FILE))
    try:
        with np.load(content, allow_pickle=False) as file:
            arrays = {name: file[name] for name in specs}
        samples = arrays["output/0"].shape[:1]
    except (ValueError, KeyError, OSError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise InputError(f"{folder / GOLDEN_FILE}: {error}; export it again") from error
    for name, spec in specs.items():
        got = arrays[name]
        if got.shape != samples + spec.shape or got.dtype != spec.dtype or not got.size:
            raise InputError(
                f"{folder / GOLDEN_FILE}: expected {name} as {spec.dtype} (samples, "
                f"{', '.join(map(str, spec.shape))}), as many as of output/0; got {got.dtype} "
                f"{got.shape}; export it again"
            )
    return (
        {name: arrays[f"input/{name}"] for name in manifest.inputs},
        [arrays[f"output/{k}"] for k in range(len(manifest.outputs))],
    )


def _file(folder: str | Path, manifest: NodeManifest, name: str) -> bytes:
    if name not in manifest.files:
        raise InputError(f"{folder}: node.json names no {name} (at $.files); export it again")
    return read_checked(Path(folder) / name, manifest.files[name])
