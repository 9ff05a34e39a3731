"""What a bundle costs a device and its links, and what its making cost in accuracy."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from math import prod
from pathlib import Path
from typing import Any, get_args

import numpy as np

from edge_runtime.bundle.manifest import MODEL_FILE, NodeManifest, read_bundle
from edge_runtime.evaluation.bundle import Bundle
from edge_runtime.evaluation.cache import Runner
from edge_runtime.evaluation.profile import Profile
from edge_runtime.evaluation.profile import profile as measure
from edge_runtime.evaluation.reliability import evaluate
from edge_runtime.evaluation.rounding import Rounded
from edge_runtime.scoring import ACCURACY, Score
from edge_runtime.topology import Survival
from edge_runtime.transport.wire import Encoding

from .packing import stored_bytes

ENCODINGS: tuple[Encoding, ...] = get_args(Encoding)
#: Bytes of a float32 as the wire sends it, see `edge_runtime.transport.wire`.
_FLOAT: Mapping[Encoding, int] = {"raw": 4, "float16": 2, "int8": 1}


@dataclass(frozen=True)
class NodeCosts:
    """One node: `raw_bytes` of its `.tflite`, `zstd_bytes` of the same packed.

    `link_bytes`: payload on each of its outgoing links, an inference, by the messages' encoding;
    `latency_ms` of one inference, the median, and `memory_mb` by which a process grew, both on the
    machine that measured; None where nothing was measured.
    """

    quantization: str
    raw_bytes: int
    zstd_bytes: int
    link_bytes: dict[str, int]
    latency_ms: float | None = None
    memory_mb: float | None = None


@dataclass(frozen=True)
class Costs:
    """A bundle's table.

    `score_change`: expected `score` of the bundle minus that of the trained model, by the encoding
    of messages and survivability; and `balanced_change` likewise, where there is such a form.
    """

    nodes: dict[str, NodeCosts]
    score: Score = ACCURACY
    score_change: dict[str, dict[str, float]] = field(default_factory=dict)
    balanced_change: dict[str, dict[str, float]] = field(default_factory=dict)
    process_mb: float | None = None

    def __str__(self) -> str:
        head = f"  {'':<12} {'.tflite':>11} {'zstd':>11} {'ms':>8} {'MB':>6}   bytes a link: "
        lines = [head + ", ".join(ENCODINGS)]
        for name, node in self.nodes.items():
            latency = "" if node.latency_ms is None else f"{node.latency_ms:.3f}"
            memory = "" if node.memory_mb is None else f"{node.memory_mb:.1f}"
            links = ", ".join(f"{size:,}" for size in node.link_bytes.values())
            lines.append(
                f"  {name:<12} {node.raw_bytes:>11,} {node.zstd_bytes:>11,} {latency:>8} "
                f"{memory:>6}   {links or 'answers'}"
            )
        raw, packed = (
            sum(getattr(node, key) for node in self.nodes.values())
            for key in ("raw_bytes", "zstd_bytes")
        )
        lines.append(f"  {'in all':<12} {raw:>11,} {packed:>11,}")
        for encoding, changes in self.score_change.items():
            balanced = self.balanced_change.get(encoding, {})
            said = ", ".join(
                f"{name} {self.score.change(change)}"
                + (f" ({self.score.change(balanced[name])} balanced)" if balanced else "")
                for name, change in changes.items()
            )
            lines.append(f"  expected {self.score.name}, {encoding} messages: {said}")
        return "\n".join(lines)

    def to_dict(self) -> dict[str, Any]:
        """Plain values."""
        found = {"nodes": {name: asdict(node) for name, node in self.nodes.items()}}
        return {
            **found,
            self.score.change_key: self.score_change,
            "balanced_change": self.balanced_change,
            "process_mb": self.process_mb,
        }


def costs(
    folder: str | Path,
    trained: Runner | None = None,
    data: Any = None,
    *,
    profile: Profile | bool = False,
) -> Costs:
    """The table of a bundle.

    Args:
        folder: the bundle.
        trained: the model it was made of, to compare with on `data`.
        data: held-out data with `inputs` and `labels`; without them no score is compared.
        profile: what its sections cost on a device, or True to measure it here.

    Raises:
        InputError: for a damaged bundle, or where zstandard is not installed.
    """
    folder = Path(folder)
    whole, manifests = read_bundle(folder)
    if isinstance(profile, Profile):
        measured: Profile | None = profile
    else:
        measured = measure(folder) if profile else None
    nodes = {}
    for name, manifest in manifests.items():
        content = (folder / "nodes" / name / MODEL_FILE).read_bytes()
        section = measured.sections[name] if measured else None
        nodes[name] = NodeCosts(
            quantization=manifest.quantization,
            raw_bytes=len(content),
            zstd_bytes=stored_bytes(content, "zstd"),
            link_bytes={e: _payload(manifest, e) for e in ENCODINGS} if manifest.outgoing else {},
            latency_ms=section.latency_ms if section else None,
            memory_mb=section.memory_mb if section else None,
        )
    changes: dict[str, dict[str, float]] = {}
    balanced: dict[str, dict[str, float]] = {}
    if trained is not None and data is not None:
        changes, balanced = _changes(Bundle(folder), trained, data)
    process = measured.process_mb if measured else None
    return Costs(nodes, whole.task.score, changes, balanced, process)


def _payload(manifest: NodeManifest, encoding: Encoding) -> int:
    return sum(
        prod(tensor.shape)
        * (_FLOAT[encoding] if tensor.dtype == "float32" else np.dtype(tensor.dtype).itemsize)
        for tensor in manifest.sent
    )


def _changes(
    bundle: Bundle, trained: Runner, data: Any
) -> tuple[dict[str, dict[str, float]], dict[str, dict[str, float]]]:
    manifest = bundle.manifest
    topology = manifest.topology
    survivabilities: dict[str, Survival] = {s: s for s in topology.survivabilities} or {"own": None}

    def found(runner: Runner) -> Any:
        return evaluate(
            topology,
            runner,
            data,
            manifest.task,
            survivabilities,
        )

    before = found(trained)
    changes: dict[str, dict[str, float]] = {}
    balanced: dict[str, dict[str, float]] = {}
    for encoding in ENCODINGS:
        after = found(bundle if encoding == "raw" else Rounded(bundle, topology, encoding))
        changes[encoding] = {
            s: after.expected_score(s) - before.expected_score(s) for s in survivabilities
        }
        if before.is_balanced:
            balanced[encoding] = {
                s: after.balanced_accuracy(s) - before.balanced_accuracy(s) for s in survivabilities
            }
    return changes, balanced
