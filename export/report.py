"""What an export wrote, as values and as text."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from edge_runtime.bundle.manifest import Quantization
from edge_runtime.scoring import ACCURACY, Score

from .parity import BundleParity


@dataclass(frozen=True)
class ExportReport:
    """What an export wrote and how it compares with the model.

    `bytes`: size of each node's artifact; `node_errors`: relative error of each artifact's outputs;
    `parity`: the whole bundle under every configuration; `score_change`: expected `score` of the
    artifacts minus that of the model, by survivability, where labeled data were given;
    `original_error`: how far the model is from the one that it was cut from, None where that is
    not known; `states`: of the reliability table, 0 where it has none; `compression`: what was done
    to each node, where anything was chosen by node; `warnings`: by node, what an artifact has lost.
    """

    path: Path
    quantization: Quantization | Literal["mixed"]
    bytes: dict[str, int]
    node_errors: dict[str, float]
    parity: BundleParity
    score: Score = ACCURACY
    score_change: dict[str, float] = field(default_factory=dict)
    original_error: float | None = None
    states: int = 0
    compression: dict[str, str] = field(default_factory=dict)
    warnings: dict[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        lines = [f"{self.path}: {len(self.bytes)} artifacts, quantization {self.quantization}"]
        lines += [
            f"  {node:<12} {size:>9,} bytes   relative error {self.node_errors[node]:.1e}"
            + (f"   {self.compression[node]}" if self.compression else "")
            for node, size in self.bytes.items()
        ]
        lines.append(
            f"  {'in all':<12} {sum(self.bytes.values()):>9,} bytes   over "
            f"{self.parity.configurations} configurations at most {self.parity.max_error:.1e}"
        )
        for name in self.parity.label_agreement or self.score_change:
            said = []
            if name in self.parity.label_agreement:
                same = self.parity.label_agreement[name]
                what = "class" if self.score.name == "accuracy" else "labels"
                said.append(f"{100 * same:.2f} % of answers the same {what}")
            if name in self.score_change:
                said.append(f"{self.score.name} {self.score.change(self.score_change[name])}")
            lines.append(f"  against Keras at {name}: {', '.join(said)}")
        if self.original_error is not None:
            lines.append(f"  at most {self.original_error:.1e} from the original model (relative)")
        lines.append(
            f"  a reliability table of {self.states} states tells what each answer is worth"
            if self.states
            else "  no reliability table: that takes held-out data with labels, validation="
        )
        lines += [f"  warning: node {node}: {text}" for node, text in self.warnings.items()]
        return "\n".join(lines)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, as `ddnn export --json` prints them."""
        return {
            "bundle": str(self.path),
            "quantization": self.quantization,
            "bytes": self.bytes,
            "node_errors": self.node_errors,
            "configurations": self.parity.configurations,
            "max_error": self.parity.max_error,
            "label_agreement": self.parity.label_agreement,
            "original_error": self.original_error,
            self.score.change_key: self.score_change,
            "states": self.states,
            "compression": self.compression,
            "warnings": self.warnings,
        }
