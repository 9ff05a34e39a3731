"""One node's folder: its converted section, checked, and what proves its numbers on a device."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np

from edge_runtime.arrays import Array, TensorSpec
from edge_runtime.bundle.litert import LiteRTSection
from edge_runtime.bundle.manifest import GOLDEN_FILE, MODEL_FILE, Quantization
from edge_runtime.files import sha256

from . import saved_model
from .calibration import spaced
from .culprit import first_failing
from .litert import convert
from .parity import FLOAT32_TOLERANCE, ParityError, relative_error
from .split import NodeTrace

#: Samples that fix int8 ranges, and that golden vectors hold.
REPRESENTATIVE, GOLDEN = 256, 16

#: By how much a device's outputs may differ from the golden ones, which this machine's LiteRT
#: computed: float kernels sum in another order; int8 kernels may round a step otherwise.
TOLERANCES: Mapping[Quantization, float] = {
    "none": FLOAT32_TOLERANCE,
    "float16": FLOAT32_TOLERANCE,
    "dynamic": 0.02,
    "int8": 0.02,
}


#: A relative error of rounding to 8 bits above which something is lost and not only rounded. With
#: random weights sections of MobileNetV2 and ResNet50 are off by 0.04 to 0.20, of recurrent layers
#: by 0.02; `CategoryEncoding`, which int8 cannot do, and the head of an EfficientNetB0 by 0.9 to 1.
LARGE = 0.5
#: Samples on which the layer is looked for that a large error comes from.
SOUGHT = 64


@dataclass(frozen=True)
class Artifact:
    """What was written: bytes of the `.tflite`, its relative error, and the files' hashes.

    `lost_at`: where the error is large, the layer with which it becomes so.
    """

    size: int
    error: float
    lost_at: str | None
    files: dict[str, str]
    inputs: dict[str, TensorSpec]
    outputs: tuple[TensorSpec, ...]


def write_artifact(
    folder: Path,
    section: keras.Model,
    trace: NodeTrace,
    quantize: Quantization,
    *,
    saved: bool,
    exit: bool = False,
    content: bytes | None = None,
) -> Artifact:
    """Convert one section, check it, and write its files.

    With `exit`, the last output is what the node's exit answers; both signatures are checked.
    `content`: the section as it was converted before.
    """
    folder.mkdir(parents=True)
    computed = ~trace.silent
    inputs = {name: x[computed] for name, x in trace.inputs.items()}
    content = content or convert(
        section, quantize, representative=spaced(inputs, REPRESENTATIVE), exit=exit
    )
    artifact = LiteRTSection(content, where=section.name)
    got, error = _compared(artifact, inputs, [x[computed] for x in trace.outputs], exit)
    _check_error(section.name, error, quantize)

    (folder / MODEL_FILE).write_bytes(content)
    golden = {f"input/{name}": x[:GOLDEN] for name, x in inputs.items()}
    golden |= {f"output/{k}": x[:GOLDEN] for k, x in enumerate(got)}
    np.savez_compressed(folder / GOLDEN_FILE, allow_pickle=False, **golden)
    if saved:
        saved_model.write(section, folder / "saved_model" / "1", exit=exit)
    return Artifact(
        size=len(content),
        error=error,
        lost_at=_lost_at(section, inputs, quantize) if error > LARGE else None,
        files=_hashes(folder),
        inputs=artifact.inputs,
        outputs=tuple(TensorSpec(tuple(x.shape[1:]), x.dtype.name) for x in got),
    )


def _compared(
    artifact: LiteRTSection, inputs: Mapping[str, Array], outputs: Sequence[Array], exit: bool
) -> tuple[Sequence[Array], float]:
    """What an artifact computes, and its relative error; with an exit, over both signatures."""
    if not exit:
        got = artifact(inputs)
        return got, _largest_error(got, outputs)
    got = artifact.with_exit(inputs)
    return got, _largest_error([*got, *artifact(inputs)], [*outputs, *outputs[:-1]])


def _lost_at(section: keras.Model, inputs: Mapping[str, Array], quantize: Quantization) -> str:
    """The first layer with which the artifact of a section is off by more than `LARGE`."""
    some = spaced(inputs, SOUGHT)

    def is_off(part: keras.Model) -> bool:
        own = {x.name: some[x.name] for x in part.inputs}
        expected = [np.asarray(x) for x in keras.tree.flatten(part(own, training=False))]
        got = LiteRTSection(convert(part, quantize, representative=own), where=part.name)(own)
        return _largest_error(got, expected) > LARGE

    layer = first_failing(section, is_off) or section
    return f"{layer.name} ({type(layer).__name__})"


def _largest_error(got: Sequence[Array], expected: Sequence[Array]) -> float:
    return max(relative_error(g, e) for g, e in zip(got, expected, strict=True))


def _check_error(node: str, error: float, quantize: Quantization) -> None:
    if quantize == "none" and error > FLOAT32_TOLERANCE:
        raise ParityError(
            f"the artifact of node {node!r} differs from its section by {error:.2g} "
            f"(relative); float32 artifacts must agree to {FLOAT32_TOLERANCE:g}"
        )
    if not np.isfinite(error):
        raise ParityError(f"the artifact of node {node!r} gives no finite output")


def _hashes(folder: Path) -> dict[str, str]:
    """SHA-256 of every file below a folder, by its path there."""
    return {
        file.relative_to(folder).as_posix(): sha256(file.read_bytes())
        for file in sorted(folder.rglob("*"))
        if file.is_file()
    }
