"""Writes the exported folder: one sub-folder per node, and what describes the whole."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from edge_runtime.errors import InputError
from edge_runtime.failures import (
    Configurations,
    draw,
    enumerate_configurations,
)
from edge_runtime.files import new_folder, sha256
from edge_runtime.gather import TensorSpec
from edge_runtime.interpreter import LiteRTSection
from edge_runtime.manifest import (
    BUNDLE_FILE,
    GOLDEN_FILE,
    MODEL_FILE,
    NODE_FILE,
    BundleManifest,
    IncomingLink,
    NodeManifest,
    Quantization,
    ReliabilityTable,
    encode,
)
from edge_runtime.reliability import evaluate
from edge_runtime.simulate import Bundle
from edge_runtime.topology import Survival, Topology

from . import saved_model
from .litert import convert
from .parity import (
    FLOAT32_TOLERANCE,
    BundleParity,
    ParityError,
    Reference,
    check_chain,
    relative_error,
    whole,
)
from .split import KerasRunner, NodeTrace

__all__ = ["ExportReport", "export_bundle"]

Array = NDArray[Any]

#: Samples that fix int8 ranges, that golden vectors hold, and that meet every configuration.
REPRESENTATIVE, GOLDEN, COMPARED = 256, 16, 16

#: By how much a device's outputs may differ from the golden ones, which this machine's LiteRT
#: computed: float kernels sum in another order; int8 kernels may round a step otherwise.
TOLERANCES: Mapping[Quantization, float] = {
    "none": FLOAT32_TOLERANCE,
    "float16": FLOAT32_TOLERANCE,
    "dynamic": 0.02,
    "int8": 0.02,
}


@dataclass(frozen=True)
class ExportReport:
    """What an export wrote and how it compares with the model.

    `bytes`: size of each node's artifact; `node_errors`: relative error of each artifact's outputs;
    `parity`: the whole bundle under every configuration; `accuracy_change`: expected accuracy of
    the artifacts minus that of the model, by survivability, where labelled data were given.
    """

    path: Path
    quantization: Quantization
    bytes: dict[str, int]
    node_errors: dict[str, float]
    parity: BundleParity
    accuracy_change: dict[str, float] = field(default_factory=dict)

    def __str__(self) -> str:
        lines = [f"{self.path}: {len(self.bytes)} artifacts, quantization {self.quantization}"]
        lines += [
            f"  {node:<12} {size:>9,} bytes   relative error {self.node_errors[node]:.1e}"
            for node, size in self.bytes.items()
        ]
        lines.append(
            f"  {'in all':<12} {sum(self.bytes.values()):>9,} bytes   over "
            f"{self.parity.configurations} configurations at most {self.parity.max_error:.1e}, "
            f"{100 * self.parity.label_agreement:.2f} % the same class"
        )
        lines += [
            f"  accuracy at {name}: {100 * change:+.2f} points against Keras"
            for name, change in self.accuracy_change.items()
        ]
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
        }


def export_bundle(
    model: keras.Model,
    path: str | Path,
    calibration: Any,
    validation: Any = None,
    *,
    quantize: Quantization = "none",
    saved_models: Sequence[str] = (),
    topology: Topology | None = None,
    class_names: Sequence[str] | None = None,
    prior: Sequence[float] | None = None,
    reference: Reference | None = None,
    seed: int = 0,
    progress: Callable[[str], None] = lambda node: None,
) -> ExportReport:
    """Cut a trained model into a bundle, check every artifact against it, and write the folder.

    Args:
        model: Keras model with a nested sub-model for every node of the topology.
        path: folder to write; it appears when all is checked. A bundle there is replaced.
        calibration: inputs, as a mapping by sensor or an object with such `inputs`: they fix the
            ranges of int8, give the golden vectors, and are what parity is checked on.
        validation: held-out data with `inputs` and `labels`, for the reliability table that tells
            what each answer is worth; without it the bundle has none.
        quantize: `none`, `float16`, `dynamic` or `int8`.
        saved_models: nodes that also get a SavedModel.
        topology: of the deployment; taken from the model's attribute if it carries one.
        class_names: likewise.
        prior: training frequency of each class; likewise.
        reference: what the whole model answers under failures; by default the model's `simulate`,
            or else its sections one after the other.
        seed: of the failures drawn for calibration.
        progress: called with each node's name before its conversion.

    Raises:
        InputError: for options or data that do not fit.
        ParityError: where an artifact, or the chain of them, does not compute what the model does.
    """
    topology = topology or _carried(model, "topology")
    names = _carried(model, "class_names") if class_names is None else class_names
    class_names = tuple(str(name) for name in names)
    prior = tuple(float(p) for p in (_carried(model, "prior") if prior is None else prior))
    reference = reference or getattr(model, "simulate", None)
    inputs = _inputs(calibration, topology)
    _check_options(quantize, saved_models, topology)

    runner = KerasRunner(model, topology)
    _check_classes(runner, class_names, prior)
    check_chain(model, runner, _first(inputs, COMPARED))
    survivabilities = _survivabilities(topology)
    rng = np.random.default_rng(seed)
    masks = _masks(topology, survivabilities, len(next(iter(inputs.values()))), rng)
    traces = runner.trace(inputs, masks)
    fingerprint = _fingerprint(model, topology, quantize)

    with new_folder(path, replaces=BUNDLE_FILE) as folder:
        written: dict[str, _Artifact] = {}
        for node in topology.order:
            progress(node)
            written[node] = _write_artifact(
                folder / "nodes" / node,
                runner.sections[node],
                traces[node],
                quantize,
                saved=node in saved_models,
            )
        describe = _Describer(folder, topology, class_names, prior, quantize, fingerprint, written)
        describe(None)
        bundle = Bundle(folder)
        configurations = _comparable(topology, survivabilities)
        parity = whole(
            topology,
            bundle,
            reference or _chained(runner),
            _first(inputs, COMPARED),
            configurations,
        )
        if quantize == "none" and parity.max_error > FLOAT32_TOLERANCE:
            raise ParityError(
                f"the bundle differs from the model by {parity.max_error:.2g} (relative) in some "
                f"failure configuration; float32 artifacts must agree to {FLOAT32_TOLERANCE:g}"
            )
        change: dict[str, float] = {}
        if validation is not None:
            found = [
                evaluate(
                    topology,
                    either,
                    _inputs(validation, topology),
                    validation.labels,
                    class_names=class_names,
                    prior=prior,
                    survivabilities=survivabilities,
                )
                for either in (bundle, runner)
            ]
            change = {
                s: found[0].expected_accuracy(s) - found[1].expected_accuracy(s)
                for s in survivabilities
            }
            table = ReliabilityTable(
                samples=int(found[0].counts.sum()),
                states={f"{state:x}": value for state, value in found[0].states().items()},
                expected={s: found[0].expected_accuracy(s) for s in survivabilities},
            )
            describe(table)
    return ExportReport(
        path=Path(path),
        quantization=quantize,
        bytes={node: artifact.size for node, artifact in written.items()},
        node_errors={node: artifact.error for node, artifact in written.items()},
        parity=parity,
        accuracy_change=change,
    )


@dataclass(frozen=True)
class _Artifact:
    size: int
    error: float
    files: dict[str, str]
    inputs: dict[str, TensorSpec]
    outputs: tuple[TensorSpec, ...]


def _write_artifact(
    folder: Path,
    section: keras.Model,
    trace: NodeTrace,
    quantize: Quantization,
    *,
    saved: bool,
) -> _Artifact:
    """Convert one section, check it, and write its files."""
    folder.mkdir(parents=True)
    heard = ~trace.silent
    inputs = {name: x[heard] for name, x in trace.inputs.items()}
    outputs = tuple(x[heard] for x in trace.outputs)
    content = convert(section, quantize, representative=_first(inputs, REPRESENTATIVE))
    artifact = LiteRTSection(content, where=section.name)
    got = artifact(inputs)
    error = max(relative_error(g, o) for g, o in zip(got, outputs, strict=True))
    if quantize == "none" and error > FLOAT32_TOLERANCE:
        raise ParityError(
            f"the artifact of node {section.name!r} differs from its section by {error:.2g} "
            f"(relative); float32 artifacts must agree to {FLOAT32_TOLERANCE:g}"
        )
    if not np.isfinite(error):
        raise ParityError(f"the artifact of node {section.name!r} gives no finite output")

    (folder / MODEL_FILE).write_bytes(content)
    golden = {f"input/{name}": x[:GOLDEN] for name, x in inputs.items()}
    golden |= {f"output/{k}": x[:GOLDEN] for k, x in enumerate(got)}
    np.savez_compressed(folder / GOLDEN_FILE, allow_pickle=False, **golden)
    if saved:
        saved_model.write(section, folder / "saved_model" / "1")
    return _Artifact(
        size=len(content),
        error=error,
        files={
            file.relative_to(folder).as_posix(): sha256(file.read_bytes())
            for file in sorted(folder.rglob("*"))
            if file.is_file()
        },
        inputs=artifact.inputs,
        outputs=tuple(TensorSpec(tuple(x.shape[1:]), x.dtype.name) for x in got),
    )


@dataclass(frozen=True)
class _Describer:
    """Writes the manifests; again once the reliability table is known."""

    folder: Path
    topology: Topology
    class_names: tuple[str, ...]
    prior: tuple[float, ...]
    quantization: Quantization
    fingerprint: str
    artifacts: Mapping[str, _Artifact]

    def __call__(self, table: ReliabilityTable | None) -> None:
        bits = {link.name: i for i, link in enumerate(self.topology.links)}
        hashes = {}
        for node, artifact in self.artifacts.items():
            answers = node == self.topology.output
            manifest = NodeManifest(
                node=node,
                tier=self.topology.node(node).tier,
                fingerprint=self.fingerprint,
                quantization=self.quantization,
                incoming=tuple(
                    IncomingLink(
                        source=link.source,
                        bit=bits[link.name],
                        sensor=link.source in self.topology.sensor_names,
                    )
                    for link in self.topology.incoming(node)
                ),
                outgoing=tuple(link.target for link in self.topology.outgoing(node)),
                inputs=artifact.inputs,
                outputs=artifact.outputs,
                files=artifact.files,
                tolerance=TOLERANCES[self.quantization],
                class_names=self.class_names if answers else None,
                prior=self.prior if answers else None,
                reliability=table if answers else None,
            )
            data = encode(manifest)
            (self.folder / "nodes" / node / NODE_FILE).write_bytes(data)
            hashes[node] = sha256(data)
        manifest_of_all = BundleManifest(
            fingerprint=self.fingerprint,
            topology=self.topology,
            class_names=self.class_names,
            prior=self.prior,
            quantization=self.quantization,
            reliability=table,
            nodes=hashes,
        )
        (self.folder / BUNDLE_FILE).write_bytes(encode(manifest_of_all))


def _carried(model: keras.Model, name: str) -> Any:
    value = getattr(model, name, None)
    if value is None:
        raise InputError(
            f"model {model.name!r} does not carry its {name.replace('_', ' ')}; "
            f"give {name}=, or use a model from ddnn_tf.build"
        )
    return value


def _inputs(data: Any, topology: Topology) -> dict[str, Array]:
    found = data if isinstance(data, Mapping) else getattr(data, "inputs", None)
    if found is None:
        raise InputError(
            "expected data as a mapping from sensor to array, or an object with such inputs, "
            f"got {type(data).__name__}"
        )
    inputs: dict[str, Array] = {}
    for sensor in topology.sensors:
        if sensor.name not in found:
            raise InputError(
                f"no data for sensor {sensor.name!r}; got {', '.join(found) or 'none'}"
            )
        x = np.asarray(found[sensor.name])
        if x.shape[1:] != sensor.shape or x.dtype != sensor.dtype:
            raise InputError(
                f"data of sensor {sensor.name!r}: expected {sensor.dtype} (samples, "
                f"{', '.join(map(str, sensor.shape))}), got {x.dtype} {x.shape}"
            )
        inputs[sensor.name] = x
    counts = {name: len(x) for name, x in inputs.items()}
    if len(set(counts.values())) > 1 or not all(counts.values()):
        raise InputError(f"expected as many samples, one at least, of each sensor, got {counts}")
    return inputs


def _first(inputs: Mapping[str, Array], count: int) -> dict[str, Array]:
    """Evenly spaced samples, at most `count`."""
    samples = len(next(iter(inputs.values())))
    rows = np.unique(np.linspace(0, samples - 1, min(count, samples)).astype(int))
    return {name: x[rows] for name, x in inputs.items()}


def _check_options(quantize: str, saved_models: Sequence[str], topology: Topology) -> None:
    if quantize not in TOLERANCES:
        raise InputError(f"unknown quantization {quantize!r}; expected {', '.join(TOLERANCES)}")
    unknown = sorted(set(saved_models) - set(topology.order))
    if unknown:
        raise InputError(
            f"SavedModel asked for unknown nodes {', '.join(unknown)}; "
            f"the topology has {', '.join(topology.order)}"
        )


def _check_classes(runner: KerasRunner, class_names: Sequence[str], prior: Sequence[float]) -> None:
    output = runner.topology.output
    shape = tuple(runner.sections[output].outputs[0].shape)
    if not shape == (None, len(class_names)) == (None, len(prior)):
        raise InputError(
            f"expected one class name and one prior for each output of {output!r}, which has "
            f"shape {shape}; got {len(class_names)} class names and {len(prior)} priors"
        )


def _survivabilities(topology: Topology) -> dict[str, Survival]:
    """The topology's presets, or its own values where it has none."""
    return {name: name for name in topology.survivabilities} or {"own": None}


def _masks(
    topology: Topology,
    survivabilities: Mapping[str, Survival],
    samples: int,
    rng: np.random.Generator,
) -> NDArray[np.bool_]:
    """Failures for calibration: every survivability, and nothing failed, in equal parts.

    In the first sample nothing has failed, so that every node has something to compute.
    """
    choices = [np.ones((samples, len(topology.elements)), bool)]
    choices += [draw(topology, s, samples, rng) for s in survivabilities.values()]
    choice = rng.integers(len(choices), size=samples)
    choice[0] = 0
    return np.stack(choices)[choice, np.arange(samples)]


def _comparable(topology: Topology, survivabilities: Mapping[str, Survival]) -> Configurations:
    """Every configuration, or where there are too many, a thousand drawn ones."""
    try:
        return enumerate_configurations(topology, survivabilities, limit=1 << 12)
    except InputError:
        rng = np.random.default_rng(0)
        masks = [draw(topology, s, 1000, rng) for s in survivabilities.values()]
        survivals = {n: topology.survival(s) for n, s in survivabilities.items()}
        return Configurations(np.unique(np.concatenate(masks), axis=0), (), survivals)


def _chained(runner: KerasRunner) -> Reference:
    """For a model that cannot simulate failures: its own sections, one after the other."""

    def reference(inputs: Mapping[str, Array], masks: NDArray[np.bool_]) -> Array:
        return runner.trace(inputs, masks)[runner.topology.output].outputs[0]

    return reference


def _fingerprint(model: keras.Model, topology: Topology, quantize: str) -> str:
    """Identifies a model version: its weights, its topology and how it was quantised."""
    digest = hashlib.sha256(repr((topology.to_dict(), quantize)).encode())
    for weight in model.get_weights():
        digest.update(np.ascontiguousarray(weight).tobytes())
    return digest.hexdigest()
