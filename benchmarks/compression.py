"""Bytes and accuracy of compressed bundles on the real cameras, and of a cut MobileNetV2.

Trained and compressed on train_dir with `ddnn train`'s defaults and those of `Compression`;
reported on test_dir, which chose nothing. Models and figures are kept in build/compression/, so
that an interrupted run goes on.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import numpy as np

from ddnn_tf import Topology, datasets, train
from edge_runtime.files import new_file
from export import Compression, export_bundle
from export.costs import costs
from export.litert import convert
from export.split import KerasRunner

from . import mobile as mobilenet
from .cameras import SURVIVABILITIES, cameras

KEPT = Path("build/compression")
MOBILE_ROWS = (
    "float32",
    "int8",
    "int8+coarse",
    "qat",
    "pruned:0.8+clustered:16+int8",
    "pruned:0.8+clustered:16+int8+coarse",
    "pruned:0.8+clustered:16+qat",
    "pruned:0.9+clustered:8+int8",
    "pruned:0.9+clustered:8+int8+coarse",
    "pruned:0.95+clustered:8+int8",
)
ROWS = (
    "float32",
    "int8",
    "int8+coarse",
    "qat",
    "pruned:0.6+clustered:16+int8",
    "pruned:0.6+clustered:16+qat",
    "pruned:0.8+clustered:16+int8",
)
#: Steps of each stage where `qat` is among them, whose ranges move slowly.
QAT_STEPS = 1000


def main(seeds: int = 3, split: str = "train_dir", test: str = "test_dir") -> None:
    """Make what has not been made yet, and print the tables."""
    KEPT.mkdir(parents=True, exist_ok=True)
    if cameras():
        print(f"  FC-32, poster-residual, {test}, {seeds} seeds: mean ± half range")
        table([bundles(seed, split, test) for seed in range(seeds)])
    else:
        print("  skipped FC-32: no cameras; DDNN_DATA=FOLDER says where they are")
    overhead()
    mobile()


def bundles(seed: int, split: str, test: str) -> dict[str, Any]:
    """Costs of each row's bundle of one trained model, by row."""
    folder = cameras()
    data = datasets.load(folder / "mvmc", seed=seed) if folder else None
    found: dict[str, Any] = {}
    model = None
    for row in ROWS:
        path = KEPT / f"fc32-{seed}-{split}-{test}-{row}.json".replace(":", "-")
        if not path.is_file() and data is not None:
            model = model or _trained(seed, split, data)
            runner = KerasRunner(model, model.topology)
            with tempfile.TemporaryDirectory(prefix="ddnn-") as temporary:
                bundle = Path(temporary) / "bundle"
                inputs = data.split(split).inputs
                export_bundle(model, bundle, inputs, compression=_with_steps(row))
                told = costs(bundle, runner, data.split(test)).to_dict()
            with new_file(path) as file:
                file.write_text(json.dumps(told))
        found[row] = json.loads(path.read_text())
    return found


def table(found: Sequence[Mapping[str, Any]]) -> None:
    """Sizes against float32's, and changes of accuracy by messages."""
    for row in ROWS:
        sizes = []
        for kind in ("raw_bytes", "zstd_bytes"):
            shares = [
                100 * _total(one[row], kind) / _total(one["float32"], "raw_bytes") for one in found
            ]
            sizes.append(f"{_total(found[0][row], kind):>9,} ({_spread(shares)} %)")
        print(f"  {row:<30} .tflite {sizes[0]}, zstd {sizes[1]}")
        for encoding in ("raw", "float16", "int8"):
            for change in ("accuracy_change", "balanced_change"):
                points = " / ".join(
                    _spread([100 * one[row][change][encoding][s] for one in found], "+")
                    for s in SURVIVABILITIES
                )
                print(f"    {encoding:<8} messages, {change.partition('_')[0]:<9} {points}")
    links = [n["link_bytes"] for n in found[0]["float32"]["nodes"].values() if n["link_bytes"]]
    print(
        "  bytes a link, by encoding:", {e: sorted({link[e] for link in links}) for e in links[0]}
    )


def overhead() -> None:
    """What a `.tflite` takes beside its weights: flatbuffer structure, names, signatures."""
    print("  beside the weights, dense ReLU layers of 32:")
    for depth in (1, 2, 3):
        x = keras.Input((32,), name="edge1")
        y = x
        for _ in range(depth):
            y = keras.layers.Dense(32, activation="relu")(y)
        section = keras.Model({"edge1": x}, y, name="fog1")
        given = {"edge1": np.random.default_rng(0).normal(size=(64, 32)).astype(np.float32)}
        for kind, bytes_a_weight in (("none", 4), ("int8", 1)):
            size = len(convert(section, kind, representative=given))  # type: ignore[arg-type]
            weights = depth * (32 * 32 * bytes_a_weight + 32 * 4)
            print(
                f"    {depth} layers, {kind:<5} {size:,} bytes, {size - weights:,} beside weights"
            )


def mobile(steps: int = 200, seed: int = 0) -> None:
    """MobileNetV2 on the mobile topology, skips and dropout: sizes, and changes of accuracy."""
    if mobilenet.folder() is None:
        print("  skipped MobileNetV2: no cameras; DDNN_DATA=FOLDER says where they are")
        return
    print(f"  MobileNetV2, alpha 0.35, 96x96, the mobile topology, seed {seed}")
    variant = mobilenet.VARIANTS["skips + dropout"]
    name = mobilenet.kept(variant, seed).stem
    model: Any = None
    whole = 0
    for row in MOBILE_ROWS:
        path = KEPT / f"mobile-{name}-{steps}-{row}.json".replace(":", "-")
        if not path.is_file():
            model = model or mobilenet.trained(variant, seed)
            how = replace(Compression.parse(row), steps=steps, batch_size=32)
            with tempfile.TemporaryDirectory(prefix="ddnn-") as temporary:
                bundle = Path(temporary) / "bundle"
                export_bundle(model, bundle, mobilenet.views("train").inputs, compression=how)
                runner = KerasRunner(model, model.topology)
                told = costs(bundle, runner, mobilenet.views("test")).to_dict()
            with new_file(path) as file:
                file.write_text(json.dumps(told))
        told = json.loads(path.read_text())
        raw, packed = (_total(told, kind) for kind in ("raw_bytes", "zstd_bytes"))
        whole = whole or raw
        print(
            f"  {row:<30} .tflite {raw:>9,} ({100 * raw / whole:.1f} %), "
            f"zstd {packed:>9,} ({100 * packed / whole:.1f} %)"
        )
        for change in ("accuracy_change", "balanced_change"):
            points = " / ".join(f"{100 * told[change]['raw'][s]:+.2f}" for s in SURVIVABILITIES)
            print(f"    {change.partition('_')[0]:<9} {points}", flush=True)


def _trained(seed: int, split: str, data: Any) -> Any:
    path = KEPT / f"fc32-{seed}-{split.replace(':', '-')}.keras"
    if not path.is_file():
        model = train(
            Topology.load("poster-residual"),
            data.split(split, shuffle=True),
            survival={s: s for s in SURVIVABILITIES},
            seed=seed,
        )
        with new_file(path) as temporary:
            model.save(temporary)
    return keras.models.load_model(path)


def _with_steps(row: str) -> Compression:
    found = Compression.parse(row)
    return replace(found, steps=QAT_STEPS) if found.qat else found


def _total(one: Mapping[str, Any], kind: str) -> int:
    return sum(node[kind] for node in one["nodes"].values())


def _spread(values: Sequence[float], sign: str = "") -> str:
    return f"{np.mean(values):{sign}.2f} ± {(max(values) - min(values)) / 2:.2f}"


if __name__ == "__main__":
    main()
