"""What an export wrote, as values and as text."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from edge_runtime.bundle.manifest import Quantization

from .parity import BundleParity


@dataclass(frozen=True)
class ExportReport:
    """What an export wrote and how it compares with the model.

    `bytes`: size of each node's artifact; `node_errors`: relative error of each artifact's outputs;
    `parity`: the whole bundle under every configuration; `accuracy_change`: expected accuracy of
    the artifacts minus that of the model, by survivability, where labeled data were given;
    `states`: of the reliability table, 0 where it has none; `compression`: what was done to each
    node, where anything was chosen by node.
    """

    path: Path
    quantization: Quantization | Literal["mixed"]
    bytes: dict[str, int]
    node_errors: dict[str, float]
    parity: BundleParity
    accuracy_change: dict[str, float] = field(default_factory=dict)
    states: int = 0
    compression: dict[str, str] = field(default_factory=dict)

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
        for name, agreement in self.parity.label_agreement.items():
            change = self.accuracy_change.get(name)
            lines.append(
                f"  against Keras at {name}: {100 * agreement:.2f} % of answers the same class"
                + ("" if change is None else f", accuracy {100 * change:+.2f} points")
            )
        lines.append(
            f"  a reliability table of {self.states} states tells what each answer is worth"
            if self.states
            else "  no reliability table: that takes held-out data with labels, validation="
        )
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
            "accuracy_change": self.accuracy_change,
            "states": self.states,
            "compression": self.compression,
        }
