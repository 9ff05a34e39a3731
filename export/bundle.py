"""Writes the exported folder: one sub-folder per node, and what describes the whole."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import keras
import numpy as np
from numpy.typing import NDArray

from edge_runtime.answers.classification import Classification
from edge_runtime.arrays import Array
from edge_runtime.bundle.manifest import (
    BUNDLE_FILE,
    MODEL_FILE,
    NODE_FILE,
    BundleManifest,
    IncomingLink,
    NodeManifest,
    Quantization,
    ReliabilityTable,
    encode,
    fingerprint,
)
from edge_runtime.errors import InputError
from edge_runtime.evaluation.bundle import Bundle
from edge_runtime.evaluation.cache import Runner
from edge_runtime.evaluation.reliability import Reliability, evaluate
from edge_runtime.failures.configurations import Configurations, enumerate_configurations
from edge_runtime.failures.distribution import Mask
from edge_runtime.failures.sampling import Sampling, find_configurations
from edge_runtime.files import new_folder, sha256
from edge_runtime.samples import LabelledArrays
from edge_runtime.topology import Survival, Topology

from .artifact import TOLERANCES, Artifact, write_artifact
from .calibration import failure_masks, inputs_of, spaced
from .compress import compress_model
from .compression import Budget, Compression, planned
from .parity import FLOAT32_TOLERANCE, BundleParity, ParityError, Reference, check_chain, whole
from .split import KerasRunner

#: Samples that meet every configuration when the bundle is compared with the model.
COMPARED = 16

#: Share of a deployment's deadline by which the output node computes; the rest is for computing
#: and for handing the answer over.
BUDGET = 0.9

#: A reliability table with more states than this would be megabytes on the answering device.
MOST_STATES = 1 << 13


@dataclass(frozen=True)
class ExportReport:
    """What an export wrote and how it compares with the model.

    `bytes`: size of each node's artifact; `node_errors`: relative error of each artifact's outputs;
    `parity`: the whole bundle under every configuration; `accuracy_change`: expected accuracy of
    the artifacts minus that of the model, by survivability, where labelled data were given;
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


def export_bundle(
    model: keras.Model,
    path: str | Path,
    calibration: Any,
    validation: Any = None,
    *,
    quantize: Quantization = "none",
    compression: Compression | Mapping[str, Compression] | None = None,
    budget: Budget | None = None,
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
            what each answer is worth. Without it the bundle has none, and the change of accuracy
            is that on `calibration`, if it has labels.
        quantize: `none`, `float16`, `dynamic` or `int8`, of nodes for which nothing else is said.
        compression: of every node; or of some, by name, pattern such as `edge*`, or tier. Sections
            that are pruned, clustered or trained for quantisation learn on `calibration`, under
            failures, to give what they gave; the model itself stays as it is.
        budget: most bytes of some nodes' artifacts; each gets the mildest compression that fits.
        saved_models: nodes that also get a SavedModel.
        topology: of the deployment; taken from the model's attribute if it carries one.
        class_names: likewise.
        prior: training frequency of each class; likewise.
        reference: what the whole model answers under failures; by default the model's `simulate`,
            or else its sections one after the other.
        seed: of the failures drawn for calibration.
        progress: called with each node's name before its conversion.

    Raises:
        InputError: for options or data that do not fit, or a budget that cannot be met.
        ParityError: where an artifact, or the chain of them, does not compute what the model does;
            of sections that learnt, what the model with their new weights does.
    """
    topology = topology or _carried(model, "topology")
    names = _carried(model, "class_names") if class_names is None else class_names
    class_names = tuple(str(name) for name in names)
    prior = tuple(float(p) for p in (_carried(model, "prior") if prior is None else prior))
    reference = reference or getattr(model, "simulate", None)
    inputs = inputs_of(calibration, topology)
    _check_options(quantize, saved_models, topology)
    rungs, limits = planned(topology, Compression(quantize=quantize), compression, budget)

    runner = KerasRunner(model, topology)
    _check_classes(runner, class_names, prior)
    check_chain(model, runner, spaced(inputs, COMPARED))
    survivabilities = _survivabilities(topology)
    labelled = _labelled(calibration, validation, topology, survivabilities)

    def measured(either: Runner) -> Reliability:
        return evaluate(
            topology,
            either,
            LabelledArrays(inputs_of(labelled, topology), labelled.labels),
            Classification(class_names, prior),
            survivabilities,
        )

    # Before the work, so that data that do not fit are refused before it is done.
    trained = None if labelled is None else measured(runner)
    samples = len(next(iter(inputs.values())))
    masks = failure_masks(topology, survivabilities, samples, np.random.default_rng(seed))
    choice = {node: steps[0] for node, steps in rungs.items()}
    made: dict[str, bytes] = {}
    if limits or any(one.learns or one.coarse for one in choice.values()):
        small = compress_model(
            model,
            topology,
            inputs,
            masks,
            rungs,
            budgets=limits,
            stored=budget.stored if budget else "raw",
            seed=seed,
            progress=progress,
        )
        model, choice, made = small.model, small.choice, small.artifacts
        runner = KerasRunner(model, topology)
        if any(one.learns for one in choice.values()):  # what the caller gave knows old weights
            reference = getattr(model, "simulate", None)
    traces = runner.trace(inputs, masks)
    kinds = {one.quantize for one in choice.values()}
    quantization = kinds.pop() if len(kinds) == 1 else "mixed"

    with new_folder(path, replaces=BUNDLE_FILE) as folder:
        written: dict[str, Artifact] = {}
        for node in topology.order:
            progress(node)
            written[node] = write_artifact(
                folder / "nodes" / node,
                runner.sections[node],
                traces[node],
                choice[node].quantize,
                saved=node in saved_models,
                exit=node in topology.exits,
                content=made.get(node),
            )
        by_node = {node: one.quantize for node, one in choice.items()}
        describe = _Describer(folder, topology, class_names, prior, quantization, by_node, written)
        describe({})
        bundle = Bundle(folder)
        parity = whole(
            topology,
            bundle,
            reference or _chained(runner),
            spaced(inputs, COMPARED),
            _comparable(topology, survivabilities),
        )
        if quantization == "none" and parity.max_error > FLOAT32_TOLERANCE:
            raise ParityError(
                f"the bundle differs from the model by {parity.max_error:.2g} (relative) in some "
                f"failure configuration; float32 artifacts must agree to {FLOAT32_TOLERANCE:g}"
            )
        change: dict[str, float] = {}
        table: ReliabilityTable | None = None
        if trained is not None:
            deployed = measured(bundle)
            expected = {s: deployed.expected_accuracy(s) for s in survivabilities}
            change = {s: value - trained.expected_accuracy(s) for s, value in expected.items()}
            if labelled is validation:
                tables = _tables(deployed)
                table = tables[topology.output]
                describe(tables, deployed.priority() if topology.exits else None)
    return ExportReport(
        path=Path(path),
        quantization=quantization,
        bytes={node: artifact.size for node, artifact in written.items()},
        node_errors={node: artifact.error for node, artifact in written.items()},
        parity=parity,
        accuracy_change=change,
        states=len(table.states) if table else 0,
        compression={node: str(one) for node, one in choice.items() if compression or budget},
    )


@dataclass(frozen=True)
class _Describer:
    """Writes the manifests; again once the reliability tables, by node that answers, are known."""

    folder: Path
    topology: Topology
    class_names: tuple[str, ...]
    prior: tuple[float, ...]
    quantization: Quantization | Literal["mixed"]
    by_node: Mapping[str, Quantization]
    artifacts: Mapping[str, Artifact]

    def __call__(
        self, tables: Mapping[str, ReliabilityTable], priority: tuple[str, ...] | None = None
    ) -> None:
        bits = self.topology.bits
        models = [artifact.files[MODEL_FILE] for artifact in self.artifacts.values()]
        own = fingerprint(self.topology, self.class_names, models)
        output = self.topology.output
        hashes = {}
        for node, artifact in self.artifacts.items():
            answers = node in self.topology.answering
            manifest = NodeManifest(
                node=node,
                tier=self.topology.node(node).tier,
                fingerprint=own,
                quantization=self.by_node[node],
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
                tolerance=TOLERANCES[self.by_node[node]],
                budget=BUDGET * self.topology.depths[node] / self.topology.depths[output],
                exit=node in self.topology.exits,
                links=tuple(bits) if answers else None,
                class_names=self.class_names if answers else None,
                prior=self.prior if answers else None,
                reliability=tables.get(node),
            )
            data = encode(manifest)
            (self.folder / "nodes" / node / NODE_FILE).write_bytes(data)
            hashes[node] = sha256(data)
        manifest_of_all = BundleManifest(
            fingerprint=own,
            topology=self.topology,
            class_names=self.class_names,
            prior=self.prior,
            quantization=self.quantization,
            reliability=tables.get(output),
            priority=priority,
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


def _tables(found: Reliability) -> dict[str, ReliabilityTable]:
    """What the answers of each node that can answer are worth, from an evaluation of the output."""
    topology = found.topology
    also = _one_more_failure(topology, found.configurations)
    tables = {}
    for node in topology.answering:
        if node == topology.output:
            expected = {s: found.expected_accuracy(s) for s in found.survivabilities}
        else:
            worth = {s: found.exit_accuracy(node, s) for s in found.survivabilities}
            expected = {s: value for s, value in worth.items() if value is not None}
        tables[node] = ReliabilityTable(
            samples=int(found.counts.sum()),
            states={f"{state:x}": value for state, value in found.states(also, node).items()},
            expected=expected,
        )
    return tables


def _survivabilities(topology: Topology) -> dict[str, Survival]:
    """The topology's presets, or its own values where it has none."""
    return {name: name for name in topology.survivabilities} or {"own": None}


def _labelled(
    calibration: Any, validation: Any, topology: Topology, survivabilities: Mapping[str, Survival]
) -> Any:
    """What accuracy is measured on: held-out data, else calibration data with labels, else None.

    Where there are too many configurations to enumerate, held-out data meet sampled ones; a change
    on calibration data, for which nobody asked, is left out.
    """
    if validation is not None or getattr(calibration, "labels", None) is None:
        return validation
    try:
        enumerate_configurations(topology, survivabilities)
    except InputError:
        return None
    return calibration


def _comparable(topology: Topology, survivabilities: Mapping[str, Survival]) -> Configurations:
    """Every configuration, or where there are too many, some thousand drawn ones."""
    return find_configurations(topology, survivabilities, Sampling(limit=1 << 12))


def _one_more_failure(topology: Topology, configurations: Configurations) -> Mask:
    """Each configuration with one more element failed, which need not be one that usually fails.

    So the table knows what an answer is worth when, in the field, a camera dies or a link goes.
    None where that would make too many states.
    """
    masks = configurations.masks
    others = [i for i in range(len(topology.elements)) if i not in configurations.fallible]
    if len(masks) * len(others) > MOST_STATES:
        return masks[:0]
    worse = np.repeat(masks, len(others), axis=0)
    worse[np.arange(len(worse)), np.tile(others, len(masks))] = False
    return worse


def _chained(runner: KerasRunner) -> Reference:
    """For a model that cannot simulate failures: its own sections, one after the other."""

    def reference(inputs: Mapping[str, Array], masks: NDArray[np.bool_]) -> Array:
        return runner.trace(inputs, masks)[runner.topology.output].outputs[0]

    return reference
