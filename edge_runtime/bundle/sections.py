"""A whole bundle in one process: run, checked, and replayed under failures."""

from __future__ import annotations

import io
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..arrays import Array
from ..errors import InputError
from ..files import read_checked
from .compute import Compute
from .litert import LiteRTSection
from .manifest import GOLDEN_FILE, MODEL_FILE, NodeManifest, read_node


def load_section(
    folder: str | Path, manifest: NodeManifest, compute: Compute = Compute()
) -> LiteRTSection:
    """A node's artifact, its hash checked before LiteRT sees a byte."""
    path = Path(folder) / MODEL_FILE
    section = LiteRTSection(_file(folder, manifest, MODEL_FILE), where=path, compute=compute)
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
class GoldenCheck:
    """A device's numbers beside the golden ones: errors are relative to max(1, max|golden|).

    `computed_by`: what computed them and why, for people.
    """

    node: str
    samples: int
    max_error: float
    tolerance: float
    computed_by: str

    @property
    def passed(self) -> bool:
        """Whether the error is within the tolerance."""
        return self.max_error <= self.tolerance


def check_node(folder: str | Path, compute: Compute = Compute()) -> GoldenCheck:
    """Prove on this machine that a node's artifact gives the numbers it gave when exported.

    Raises `InputError` for a damaged folder; a deviation is in the result.
    """
    folder = Path(folder)
    manifest = read_node(folder)
    section = load_section(folder, manifest, compute)
    inputs, golden = read_golden(folder, manifest)
    error = 0.0
    outputs = section(inputs)
    if section.has_exit:
        outputs, golden = (*outputs, *section.with_exit(inputs)), [*golden[:-1], *golden]
    for got, expected in zip(outputs, golden, strict=True):
        scale = max(1.0, float(np.abs(expected).max(initial=0.0)))
        deviation = float(np.abs(got.astype(np.float64) - expected).max(initial=0.0))
        error = max(error, deviation / scale if np.isfinite(deviation) else float("inf"))
    return GoldenCheck(
        manifest.node, len(golden[0]), error, manifest.tolerance, section.computed_by
    )


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
