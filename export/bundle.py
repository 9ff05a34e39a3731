"""A trained model into a bundle: planned, prepared, written.

`plan_export` checks all that can be checked before work; `prepare` makes sections smaller where
that is asked for, and calibrates; `write_bundle` converts, compares with the model, and describes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import keras
import numpy as np
from numpy.typing import NDArray

from edge_runtime.arrays import Array, LabeledArrays
from edge_runtime.bundle.manifest import BUNDLE_FILE, Quantization
from edge_runtime.bundle.tensors import answer_in
from edge_runtime.errors import InputError
from edge_runtime.evaluation.bundle import Bundle
from edge_runtime.evaluation.cache import Runner
from edge_runtime.evaluation.reliability import Reliability, evaluate
from edge_runtime.failures.configurations import enumerate_configurations
from edge_runtime.failures.distribution import Mask
from edge_runtime.failures.sampling import Sampling, find_configurations
from edge_runtime.files import new_folder
from edge_runtime.task import Several, Task
from edge_runtime.topology import Survival, Topology

from .artifact import TOLERANCES, Artifact, write_artifact
from .calibration import failure_masks, inputs_of, spaced
from .compress import Compressed, compress_model
from .compression import Attempts, Budget, Compression, planned
from .manifests import Manifests, reliability_tables
from .original import check_original
from .parity import FLOAT32_TOLERANCE, BundleParity, ParityError, Reference, check_chain, whole
from .report import ExportReport
from .split import KerasRunner, NodeTrace

#: Samples that meet every configuration when the bundle is compared with the model.
COMPARED = 16

#: Configurations under which it is compared at most; where there are more, this many are drawn.
CONFIGURATIONS = 1 << 12

Progress = Callable[[str], None]


@dataclass(frozen=True)
class TrainedModel:
    """A trained model, and what its answers mean.

    `reference`: what it answers under failures, where it can be asked.
    """

    model: keras.Model
    topology: Topology
    task: Task
    reference: Reference | None

    @classmethod
    def of(
        cls,
        model: keras.Model,
        topology: Topology | None = None,
        task: Task | None = None,
        reference: Reference | None = None,
    ) -> TrainedModel:
        """What is not given is taken from the model; `InputError` where it does not carry it."""
        return cls(
            model,
            topology or _carried(model, "topology"),
            task or _carried(model, "task"),
            reference or getattr(model, "simulate", None),
        )

    @property
    def survivabilities(self) -> dict[str, Survival]:
        """The topology's presets, or its own values where it has none."""
        return {name: name for name in self.topology.survivabilities} or {"own": None}


@dataclass(frozen=True)
class ExportPlan:
    """What an export is to do, all of it checked.

    `inputs`: calibration data, by sensor; `sections`: those of the trained model; `labeled`: what
    accuracy is measured on, or None; `held_out`: whether that is held-out data; `scores`:
    expected score of the trained model on it, by survivability; `is_by_node`: whether anything was
    chosen by node; `original_error`: how far the model is from the one that it was cut from, None
    where that is not known.
    """

    trained: TrainedModel
    inputs: dict[str, Array]
    attempts: Attempts
    saved_models: frozenset[str]
    sections: KerasRunner
    labeled: Any
    held_out: bool
    scores: dict[str, float]
    is_by_node: bool
    original_error: float | None


@dataclass(frozen=True)
class Prepared:
    """Sections that are ready to be converted.

    `reference`: what the bundle must answer; `traces`: what each node meets in calibration, under
    failures; `choice`: what is done to each node; `contents`: artifacts that are made already.
    """

    sections: KerasRunner
    reference: Reference
    traces: Mapping[str, NodeTrace]
    choice: Mapping[str, Compression]
    contents: Mapping[str, bytes]

    @property
    def quantization(self) -> Quantization | Literal["mixed"]:
        """That of all nodes."""
        kinds = {one.quantize for one in self.choice.values()}
        return kinds.pop() if len(kinds) == 1 else "mixed"


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
    task: Task | None = None,
    reference: Reference | None = None,
    seed: int = 0,
    progress: Progress = lambda node: None,
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
            that are pruned, clustered or trained for quantization learn on `calibration`, under
            failures, to give what they gave; the model itself stays as it is.
        budget: most bytes of some nodes' artifacts; each gets the mildest compression that fits.
        saved_models: nodes that also get a SavedModel.
        topology: of the deployment; taken from the model's attribute if it carries one.
        task: what its answers mean; likewise.
        reference: what the whole model answers under failures; by default the model's `simulate`,
            or else its sections one after the other.
        seed: of the failures drawn for calibration.
        progress: called with each node's name before its conversion.

    Raises:
        InputError: for options or data that do not fit, or a budget that cannot be met.
        ParityError: where an artifact, or the chain of them, does not compute what the model does;
            of sections that learned, what the model with their new weights does.
    """
    trained = TrainedModel.of(model, topology, task, reference)
    plan = plan_export(
        trained,
        calibration,
        validation,
        quantize=quantize,
        compression=compression,
        budget=budget,
        saved_models=saved_models,
    )
    prepared = prepare(plan, seed=seed, progress=progress)
    return write_bundle(plan, prepared, Path(path), progress)


# -- plan ------------------------------------------------------------------------------------------


def plan_export(
    trained: TrainedModel,
    calibration: Any,
    validation: Any,
    *,
    quantize: Quantization,
    compression: Compression | Mapping[str, Compression] | None,
    budget: Budget | None,
    saved_models: Sequence[str],
) -> ExportPlan:
    """Check a model, data and options; see `export_bundle`.

    The trained model's accuracy is measured here, so that data that do not fit are refused before
    the work is done.
    """
    topology = trained.topology
    inputs = inputs_of(calibration, topology)
    _check_options(quantize, saved_models, topology)
    attempts = planned(topology, Compression(quantize=quantize), compression, budget)
    sections = KerasRunner(trained.model, topology)
    _check_outputs(sections, trained)
    check_chain(trained.model, sections, spaced(inputs, COMPARED), trained.task)
    original_error = check_original(trained.model)
    labeled = _labeled(calibration, validation, trained)
    return ExportPlan(
        trained=trained,
        inputs=inputs,
        attempts=attempts,
        saved_models=frozenset(saved_models),
        sections=sections,
        labeled=labeled,
        held_out=validation is not None,
        scores={} if labeled is None else _expected(_measured(trained, labeled, sections)),
        is_by_node=bool(compression or budget),
        original_error=original_error,
    )


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


def _check_outputs(sections: KerasRunner, trained: TrainedModel) -> None:
    output, task = trained.topology.output, trained.task
    shapes = [tuple(x.shape) for x in sections.sections[output].outputs]
    several = task.outputs.values() if isinstance(task, Several) else [task]
    if shapes != [(None, own.width) for own in several]:
        raise InputError(
            f"expected the outputs of {output!r} to be those of a {task.kind} of "
            f"{', '.join(task.names)}; their shapes are {', '.join(map(str, shapes))}"
        )


def _labeled(calibration: Any, validation: Any, trained: TrainedModel) -> Any:
    """What accuracy is measured on: held-out data, else calibration data with labels, else None.

    Where there are too many configurations to enumerate, held-out data meet sampled ones; a change
    on calibration data, for which nobody asked, is left out.
    """
    if validation is not None or getattr(calibration, "labels", None) is None:
        return validation
    try:
        enumerate_configurations(trained.topology, trained.survivabilities)
    except InputError:
        return None
    return calibration


def _measured(trained: TrainedModel, labeled: Any, runner: Runner) -> Reliability:
    """How well a model's sections or artifacts answer."""
    return evaluate(
        trained.topology,
        runner,
        LabeledArrays(inputs_of(labeled, trained.topology), labeled.labels),
        trained.task,
        trained.survivabilities,
    )


def _expected(found: Reliability) -> dict[str, float]:
    """Expected score by survivability."""
    return {s: found.expected_score(s) for s in found.survivabilities}


# -- prepare ---------------------------------------------------------------------------------------


def prepare(plan: ExportPlan, *, seed: int, progress: Progress) -> Prepared:
    """Make sections smaller where that is asked for, and run them under failures.

    Raises `InputError` for a budget that cannot be met, or a layer that cannot learn.
    """
    trained, topology = plan.trained, plan.trained.topology
    samples = len(next(iter(plan.inputs.values())))
    rng = np.random.default_rng(seed)
    masks = failure_masks(topology, trained.survivabilities, samples, rng)
    small = _compressed(plan, masks, seed, progress)
    unchanged = small.model is trained.model
    sections = plan.sections if unchanged else KerasRunner(small.model, topology)
    # A reference that the caller gave knows the old weights.
    learned = any(one.learns for one in small.choice.values())
    reference = getattr(small.model, "simulate", None) if learned else trained.reference
    return Prepared(
        sections=sections,
        reference=reference or _chained(sections),
        traces=sections.trace(plan.inputs, masks),
        choice=small.choice,
        contents=small.artifacts,
    )


def _compressed(plan: ExportPlan, masks: Mask, seed: int, progress: Progress) -> Compressed:
    """A smaller copy of the model; the model itself where conversion alone does all."""
    trained, attempts = plan.trained, plan.attempts
    if not attempts.limits and not any(c.learns or c.coarse for c in attempts.first.values()):
        return Compressed(trained.model, attempts.first, {})
    return compress_model(
        trained.model,
        trained.topology,
        plan.inputs,
        masks,
        attempts,
        seed=seed,
        progress=progress,
    )


def _chained(runner: KerasRunner) -> Reference:
    """For a model that cannot simulate failures: its own sections, one after the other."""

    def reference(inputs: Mapping[str, Array], masks: NDArray[np.bool_]) -> Array:
        outputs = runner.trace(inputs, masks)[runner.topology.output].outputs
        return answer_in(outputs, exit=False)

    return reference


# -- write -----------------------------------------------------------------------------------------


def write_bundle(
    plan: ExportPlan, prepared: Prepared, path: Path, progress: Progress
) -> ExportReport:
    """Convert the sections, compare them with the model, and write the folder.

    It appears when all is checked. Raises `ParityError` where artifacts compute something else.
    """
    with new_folder(path, replaces=BUNDLE_FILE) as folder:
        artifacts = _write_artifacts(plan, prepared, folder, progress)
        manifests = Manifests(
            folder,
            plan.trained.topology,
            plan.trained.task,
            prepared.quantization,
            {node: one.quantize for node, one in prepared.choice.items()},
            artifacts,
        )
        manifests.write({})
        bundle = Bundle(folder)
        parity = _compared(plan, prepared, bundle)
        worth = _worth(plan, bundle, manifests)
    return ExportReport(
        path=path,
        quantization=prepared.quantization,
        bytes={node: artifact.size for node, artifact in artifacts.items()},
        node_errors={node: artifact.error for node, artifact in artifacts.items()},
        parity=parity,
        score=plan.trained.task.score,
        score_change=worth.change,
        original_error=plan.original_error,
        states=worth.states,
        compression={node: str(one) for node, one in prepared.choice.items() if plan.is_by_node},
        warnings={
            node: f"its artifact is off by {artifact.error:.2g} (relative), from layer "
            f"{artifact.lost_at} on; leave it in float32 or dynamic (--compress {node}=float32)"
            for node, artifact in artifacts.items()
            if artifact.lost_at
        },
    )


def _write_artifacts(
    plan: ExportPlan, prepared: Prepared, folder: Path, progress: Progress
) -> dict[str, Artifact]:
    topology = plan.trained.topology
    written: dict[str, Artifact] = {}
    for node in topology.order:
        progress(node)
        written[node] = write_artifact(
            folder / "nodes" / node,
            prepared.sections.sections[node],
            prepared.traces[node],
            prepared.choice[node].quantize,
            saved=node in plan.saved_models,
            exit=node in topology.exits,
            content=prepared.contents.get(node),
        )
    return written


def _compared(plan: ExportPlan, prepared: Prepared, bundle: Bundle) -> BundleParity:
    """The bundle against the model, under every configuration, or some thousand drawn ones."""
    topology = plan.trained.topology
    parity = whole(
        topology,
        bundle,
        prepared.reference,
        spaced(plan.inputs, COMPARED),
        find_configurations(topology, plan.trained.survivabilities, Sampling(CONFIGURATIONS)),
        plan.trained.task,
    )
    if prepared.quantization == "none" and parity.max_error > FLOAT32_TOLERANCE:
        raise ParityError(
            f"the bundle differs from the model by {parity.max_error:.2g} (relative) in some "
            f"failure configuration; float32 artifacts must agree to {FLOAT32_TOLERANCE:g}"
        )
    return parity


@dataclass(frozen=True)
class _Worth:
    """Change of the score by survivability, and states of the output node's reliability table."""

    change: dict[str, float]
    states: int


def _worth(plan: ExportPlan, bundle: Bundle, manifests: Manifests) -> _Worth:
    """What the answers are worth; of held-out data the bundle says it itself."""
    if plan.labeled is None:
        return _Worth({}, 0)
    deployed = _measured(plan.trained, plan.labeled, bundle)
    change = {s: value - plan.scores[s] for s, value in _expected(deployed).items()}
    if not plan.held_out:
        return _Worth(change, 0)
    tables = reliability_tables(deployed)
    topology = plan.trained.topology
    manifests.write(tables, deployed.priority() if topology.exits else None)
    return _Worth(change, len(tables[topology.output].states))
