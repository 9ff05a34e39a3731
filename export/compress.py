"""Sections made smaller, each learning to reproduce its own outputs under failures.

Pruning, clustering and quantization-aware training are those of tensorflow-model-optimization, on
the section's counterpart in tf_keras (`bridge`); the weights are read back, so that what comes out
is a section as any other.
"""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from edge_runtime.arrays import Array
from edge_runtime.bundle.litert import EXIT, MESSAGE
from edge_runtime.errors import InputError
from edge_runtime.process.stderr import suppress_native_stderr
from edge_runtime.topology import Topology

from .artifact import REPRESENTATIVE
from .bridge import QUANTIZED, counterpart, foreign, legacy
from .calibration import spaced
from .compression import Attempts, Compression, Stored
from .litert import convert, convert_saved
from .packing import stored_bytes
from .per_tensor import with_per_tensor_scales
from .split import KerasRunner
from .state import copy_state

#: Kernels of fewer weights stay dense and unclustered: there is next to nothing to win, and in a
#: classifier much to lose.
LEAST_KERNEL = 512
#: Layers whose `kernel` may become sparse and clustered. Those of depthwise convolutions are few.
KINDS = ("Dense", "Conv1D", "Conv2D", "Conv2DTranspose")
#: Inputs on which a section and its counterpart are compared.
PROBE = 4
#: How many times the share of zeros is raised, over the first half of the steps.
RAISES = 20


@dataclass(frozen=True)
class Compressed:
    """A model made smaller.

    `model`: a copy whose sections hold the new weights; `choice`: what was done to each node;
    `artifacts`: those that are made already, by node.
    """

    model: keras.Model
    choice: dict[str, Compression]
    artifacts: dict[str, bytes]


def compress_model(
    model: keras.Model,
    topology: Topology,
    inputs: Mapping[str, Array],
    masks: NDArray[np.bool_],
    attempts: Attempts,
    *,
    seed: int = 0,
    progress: Callable[[str], None] = lambda node: None,
) -> Compressed:
    """Make a model's sections smaller, one after the other, in the order in which they run.

    A section learns to give what it gave, of what the sections before it, made smaller already,
    send; so it also makes up for some of what they changed.

    Args:
        model: with a section for each node; it stays as it is.
        topology: of the deployment.
        inputs: by sensor, samples first.
        masks: which elements work, bool (samples, elements), see `calibration.failure_masks`.
        attempts: what to try on each node, and how large it may become.
        seed: of the order of samples.
        progress: called with each node's name before its section is made smaller.

    Raises:
        InputError: for a budget that no level meets, or a layer without counterpart in tf_keras.
    """
    copy = type(model).from_config(model.get_config())
    copy_state(model, copy)
    wanted = KerasRunner(model, topology).trace(inputs, masks)
    runner = KerasRunner(copy, topology)
    received = wanted
    choice: dict[str, Compression] = {}
    artifacts: dict[str, bytes] = {}
    for node in topology.order:
        progress(node)
        computed = ~wanted[node].silent
        section = _CompressedSection(
            runner.sections[node],
            {name: x[computed] for name, x in received[node].inputs.items()},
            [x[computed] for x in wanted[node].outputs],
            seed=seed,
            exit=node in topology.exits,
            stored=attempts.stored,
        )
        levels, limit = attempts.levels[node], attempts.limits.get(node)
        if limit is None:
            choice[node] = levels[0]
        else:
            choice[node] = mildest(node, limit, levels, section.size, attempts.stored)
        artifacts[node] = section.take(choice[node])
        if choice[node].learns:
            received = runner.trace(inputs, masks)
    return Compressed(copy, choice, artifacts)


class _CompressedSection:
    """One section as each of several compressions leaves it, each made once."""

    def __init__(
        self,
        section: keras.Model,
        inputs: Mapping[str, Array],
        targets: Sequence[Array],
        *,
        seed: int,
        exit: bool,
        stored: Stored,
    ) -> None:
        self._section = section
        self._inputs = inputs
        self._targets = targets
        self._seed = seed
        self._exit = exit
        self._stored = stored
        self._trained = section.get_weights()
        self._made: dict[Compression, tuple[bytes, list[Array]]] = {}

    def size(self, level: Compression) -> int:
        """Bytes of the artifact."""
        return stored_bytes(self.take(level), self._stored)

    def take(self, level: Compression) -> bytes:
        """The artifact; the section has the weights that belong to it."""
        section = self._section
        if level not in self._made:
            section.set_weights(self._trained)
            artifact = compress_section(
                section, self._inputs, self._targets, level, seed=self._seed, exit=self._exit
            )
            if artifact is None:
                some = spaced(self._inputs, REPRESENTATIVE)
                artifact = convert(section, level.quantize, representative=some, exit=self._exit)
            if level.coarse:
                artifact = with_per_tensor_scales(artifact)
            self._made[level] = artifact, section.get_weights()
        artifact, weights = self._made[level]
        section.set_weights(weights)
        return artifact


def mildest(
    node: str,
    budget: int,
    levels: Sequence[Compression],
    size: Callable[[Compression], int],
    stored: Stored = "raw",
) -> Compression:
    """The first level whose artifact fits; `InputError` that says the smallest where none does."""
    sizes: dict[Compression, int] = {}
    for level in levels:
        sizes[level] = size(level)
        if sizes[level] <= budget:
            return level
    best = min(sizes, key=lambda level: sizes[level])
    form = "packed by zstd" if stored == "zstd" else "as .tflite"
    raise InputError(
        f"node {node!r} does not fit in {budget:,} bytes: the smallest is {sizes[best]:,} bytes "
        f"{form} ({best}); allow so much, or give the node smaller layers"
        + ("" if stored == "zstd" else ", or count packed sizes, which fall further when pruned")
    )


def compress_section(
    section: keras.Model,
    inputs: Mapping[str, Array],
    targets: Sequence[Array],
    compression: Compression,
    *,
    seed: int = 0,
    exit: bool = False,
) -> bytes | None:
    """Make one section smaller in place: its weights change, nothing else does.

    Args:
        section: of layers that tf_keras has too, where anything is to be learned.
        inputs: by name, samples first.
        targets: the outputs to reproduce for these inputs, by least squares.
        compression: what to do.
        seed: of the order of samples.
        exit: the artifact gets a second signature, see `litert.convert`.

    Returns:
        With `qat`, the artifact, in int8 by the ranges that were learned; else None, as the section
        is still to be quantized. With `qat` the section's weights are those learned, unrounded.
    """
    if not compression.learns:
        return None
    copy = counterpart(section, spaced(inputs, PROBE))
    _hold_statistics(copy.model)
    kernels = _large_kernels(copy.model)
    learn = _Distillation([inputs[x.name] for x in section.inputs], targets, compression, seed)
    with suppress_native_stderr(), warnings.catch_warnings(action="ignore"):
        sparse = _pruned(copy.model, kernels, compression, learn)
        clustered = _clustered(sparse, kernels, compression, learn)
        if not compression.qat:
            copy.read_back(clustered)
            return None
        rounded = _rounded(section, clustered, copy.ours, compression, learn)
        copy.read_back(rounded)
        return _learned(section, rounded, exit)


def _hold_statistics(model: Any) -> None:
    """Keep those of batch norm, which would follow the batches of fine-tuning."""
    old, _ = legacy()
    for layer in model.layers:
        if isinstance(layer, old.layers.BatchNormalization):
            layer.trainable = False


def _large_kernels(model: Any) -> frozenset[str]:
    """The layers whose kernels are worth pruning and clustering, by name."""
    return frozenset(
        layer.name
        for layer in model.layers
        if type(layer).__name__ in KINDS and np.prod(layer.kernel.shape) >= LEAST_KERNEL
    )


def _wrapped(model: Any, layers: Collection[str], wrap: Callable[[Any], Any]) -> Any:
    """A copy of a model of tf_keras with some of its layers wrapped."""
    old, _ = legacy()
    return old.models.clone_model(
        model, clone_function=lambda layer: wrap(layer) if layer.name in layers else layer
    )


def _pruned(
    model: Any, kernels: Collection[str], compression: Compression, learn: _Distillation
) -> Any:
    """The model with sparse kernels; itself where none is to be sparse."""
    if not (compression.sparsity and kernels):
        return model
    _, tfmot = legacy()
    half = max(1, compression.steps // 2)
    schedule = tfmot.sparsity.keras.PolynomialDecay(
        0.0, compression.sparsity, 0, half, frequency=max(1, half // RAISES)
    )

    def wrap(layer: Any) -> Any:
        return tfmot.sparsity.keras.prune_low_magnitude(layer, pruning_schedule=schedule)

    sparse = _wrapped(model, kernels, wrap)
    learn(sparse, [tfmot.sparsity.keras.UpdatePruningStep()])
    return tfmot.sparsity.keras.strip_pruning(sparse)


def _clustered(
    model: Any, kernels: Collection[str], compression: Compression, learn: _Distillation
) -> Any:
    """The model with few distinct weights a kernel; itself where there may be any number."""
    if not (compression.clusters and kernels):
        return model
    _, tfmot = legacy()
    from tensorflow_model_optimization.python.core.clustering.keras.experimental import cluster

    start = tfmot.clustering.keras.CentroidInitialization.KMEANS_PLUS_PLUS

    def wrap(layer: Any) -> Any:
        return cluster.cluster_weights(
            layer,
            number_of_clusters=compression.clusters,
            cluster_centroids_init=start,
            preserve_sparsity=compression.sparsity > 0,
        )

    clustered = _wrapped(model, kernels, wrap)
    learn(clustered, [])
    return tfmot.clustering.keras.strip_clustering(clustered)


def _rounded(
    section: keras.Model,
    model: Any,
    ours: Mapping[str, Any],
    compression: Compression,
    learn: _Distillation,
) -> Any:
    """The model with the weights and ranges that it learned while all was rounded to int8."""
    rounding = _rounding(section, model, ours, compression)
    learn(rounding, [])
    if not compression.clusters:
        return rounding
    _, tfmot = legacy()
    return tfmot.experimental.combine.strip_clustering_cqat(rounding)


def _rounding(
    section: keras.Model, model: Any, ours: Mapping[str, Any], compression: Compression
) -> Any:
    """A model of tf_keras that rounds weights and activations as int8 does."""
    old, tfmot = legacy()
    from tensorflow_model_optimization.python.core.quantization.keras.default_8bit import (
        default_8bit_quantize_configs as configs,
    )
    from tensorflow_model_optimization.python.core.quantization.keras.default_8bit import (
        default_8bit_quantize_registry as registry,
    )

    known = registry.Default8BitQuantizeRegistry()

    def annotated(layer: Any) -> Any:
        # Batch norm it knows only behind a convolution, of which it becomes a part.
        if known.supports(layer) or isinstance(layer, old.layers.BatchNormalization):
            return tfmot.quantization.keras.quantize_annotate_layer(layer)
        if layer.weights:
            what = "is a layer that quantization-aware training does not know"
            raise foreign(section, ours[layer.name], what)
        return tfmot.quantization.keras.quantize_annotate_layer(
            layer, configs.Default8BitOutputQuantizeConfig()
        )

    if compression.clusters:
        scheme = tfmot.experimental.combine.Default8BitClusterPreserveQuantizeScheme(
            preserve_sparsity=compression.sparsity > 0
        )
    elif compression.sparsity:
        scheme = tfmot.experimental.combine.Default8BitPrunePreserveQuantizeScheme()
    else:
        scheme = tfmot.quantization.keras.default_8bit.Default8BitQuantizeScheme()
    with tfmot.quantization.keras.quantize_scope():
        return tfmot.quantization.keras.quantize_apply(
            old.models.clone_model(model, clone_function=annotated),
            scheme,
            quantized_layer_name_prefix=QUANTIZED,
        )


def _learned(section: keras.Model, model: Any, exit: bool) -> bytes:
    """The artifact of a model that learned its ranges."""
    signature = {x.name: tf.TensorSpec(x.shape, x.dtype, name=x.name) for x in section.inputs}

    def endpoint(last: int | None) -> Any:
        def call(inputs: Mapping[str, Any]) -> dict[str, Any]:
            outputs = model([inputs[x.name] for x in section.inputs], training=False)
            return {f"output_{k}": x for k, x in enumerate(keras.tree.flatten(outputs)[:last])}

        return tf.function(call, input_signature=[signature])

    module = tf.Module()
    module.model = model
    endpoints = {MESSAGE: endpoint(-1), EXIT: endpoint(None)} if exit else {MESSAGE: endpoint(None)}
    with tempfile.TemporaryDirectory() as folder:
        tf.saved_model.save(module, folder, signatures=endpoints)
        return convert_saved(
            Path(folder), list(endpoints), {"optimizations": [tf.lite.Optimize.DEFAULT]}
        )


class _Distillation:
    """Reproducing outputs, as a model of tf_keras learns it."""

    def __init__(
        self,
        given: Sequence[Array],
        targets: Sequence[Array],
        compression: Compression,
        seed: int,
    ) -> None:
        self._old, _ = legacy()
        self._steps = compression.steps
        self._rate = compression.learning_rate
        rows = tf.data.Dataset.from_tensor_slices((tuple(given), tuple(targets)))
        count = len(targets[0])
        self._batches = (
            rows.shuffle(count, seed=seed)
            .repeat()
            .batch(min(compression.batch_size, count), drop_remainder=True)
            .take(compression.steps)
            .prefetch(1)
        )

    def __call__(self, model: Any, callbacks: Sequence[Any]) -> None:
        schedule = self._old.optimizers.schedules.CosineDecay(self._rate, self._steps)
        model.compile(optimizer=self._old.optimizers.Adam(schedule), loss="mse")
        model.fit(self._batches, epochs=1, verbose=0, callbacks=list(callbacks))
