"""Sections that are pruned, clustered and trained for int8 remain what they were, only smaller."""

from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from keras import layers

from ddnn_tf.model import build
from edge_runtime.bundle.litert import LiteRTSection
from edge_runtime.bundle.manifest import read_bundle
from edge_runtime.errors import InputError
from edge_runtime.evaluation.bundle import Bundle
from edge_runtime.topology import Topology
from export import Budget, Compression, export_bundle
from export.compress import LEAST_KERNEL, compress_section
from export.litert import convert
from tests.export.conftest import CLASSES, labeled
from tests.models import randomized
from tests.reference import small_topology

pytestmark = pytest.mark.skipif(
    find_spec("tensorflow_model_optimization") is None, reason="needs ddnn-tf[compress]"
)

BRIEF = Compression(steps=6, batch_size=16)


def images() -> keras.Model:
    """Depthwise convolution, batch norm and ReLU6 as in MobileNetV2, an addition, two outputs."""
    x = keras.Input((8, 8, 3), dtype="uint8", name="cam")
    message = keras.Input((16,), name="edge1")
    a = layers.Rescaling(1 / 255, dtype="float32")(x)
    a = layers.Conv2D(24, 3, strides=2, padding="same", use_bias=False, name="wide")(a)
    a = layers.ReLU(6.0)(layers.BatchNormalization()(a))
    b = layers.DepthwiseConv2D(3, padding="same", use_bias=False)(a)
    b = layers.ReLU(6.0)(layers.BatchNormalization()(b))
    b = layers.BatchNormalization()(layers.Conv2D(24, 1, use_bias=False, name="point")(b))
    c = layers.Flatten()(layers.Add()([a, b]))
    d = layers.Add()([layers.Dense(16, activation="relu", name="dense")(c), message])
    out = [layers.Dense(16, activation="relu", name="small")(d), d]
    return randomized(keras.Model({"cam": x, "edge1": message}, out, name="edge2"))


def met(section: keras.Model, count: int = 48) -> tuple[dict[str, Any], list[Any]]:
    rng = np.random.default_rng(0)
    inputs = {
        "cam": rng.integers(0, 256, (count, 8, 8, 3)).astype(np.uint8),
        "edge1": rng.normal(size=(count, 16)).astype(np.float32),
    }
    return inputs, [np.asarray(x) for x in section(inputs, training=False)]


def kernels(section: keras.Model) -> dict[str, Any]:
    return {
        layer.name: np.asarray(layer.kernel)
        for layer in section.layers
        if hasattr(layer, "kernel") and "depthwise" not in layer.name
    }


def test_kernels_reach_their_sparsity_and_clusters_and_the_rest_stays() -> None:
    section = images()
    before = {v.path: np.asarray(v) for v in section.weights}
    inputs, targets = met(section)
    wanted = replace(BRIEF, sparsity=0.75, clusters=8)
    assert compress_section(section, inputs, targets, wanted) is None
    found = kernels(section)
    large = {name for name, kernel in found.items() if kernel.size >= LEAST_KERNEL}
    assert large == {"wide", "point", "dense"}
    for name in large:
        kernel = found[name]
        assert abs((kernel == 0).mean() - wanted.sparsity) <= 1 / kernel.size + 1e-3
        assert len(np.unique(kernel)) <= wanted.clusters
    assert len(np.unique(found["small"])) == found["small"].size
    after = {v.path: np.asarray(v) for v in section.weights}
    for path in (p for p in before if "moving" in p):
        np.testing.assert_array_equal(after[path], before[path])
    assert {p: v.shape for p, v in after.items()} == {p: v.shape for p, v in before.items()}


def test_learning_brings_the_outputs_nearer_than_cutting_alone() -> None:
    errors = []
    for steps in (1, 120):
        section = images()
        inputs, targets = met(section, 64)
        wanted = Compression(sparsity=0.5, steps=steps, batch_size=64, learning_rate=3e-3)
        compress_section(section, inputs, targets, wanted)
        got = [np.asarray(x) for x in section(inputs, training=False)]
        errors.append(sum(((g - t) ** 2).mean() for g, t in zip(got, targets, strict=True)))
    assert errors[1] < errors[0]


def test_ranges_that_were_learned_become_an_int8_artifact() -> None:
    section = images()
    inputs, targets = met(section)
    wanted = Compression.parse("pruned:0.75+clustered:8+qat")
    wanted = replace(wanted, steps=6, batch_size=16, learning_rate=1e-4)
    content = compress_section(section, inputs, targets, wanted)
    assert content is not None
    artifact = LiteRTSection(content)
    assert {n: (s.shape, s.dtype) for n, s in artifact.inputs.items()} == {
        "cam": ((8, 8, 3), "uint8"),
        "edge1": ((16,), "float32"),
    }
    # Against the section with the weights learned; six steps hardly move the ranges.
    expected = [np.asarray(x) for x in section(inputs, training=False)]
    for got, own in zip(artifact(inputs), expected, strict=True):
        assert np.corrcoef(got.ravel(), own.ravel())[0, 1] > 0.9
    details = artifact._interpreter.get_tensor_details()
    large = [d for d in details if np.prod(d["shape"]) == kernels(section)["dense"].size]
    assert large
    assert {d["dtype"] for d in large} == {np.int8}
    # The cluster of zeros moves by less than int8 can tell from zero.
    dense = np.abs(kernels(section)["dense"])
    assert (dense < dense.max() / 255).mean() >= wanted.sparsity - 1e-3


def test_a_layer_that_cannot_be_translated_is_named() -> None:
    x = keras.Input((40,), name="cam")
    section = keras.Model({"cam": x}, layers.Dense(40)(keras.ops.sin(x)), name="edge2")
    given = {"cam": np.zeros((4, 40), np.float32)}
    with pytest.raises(InputError, match="section 'edge2': Sin 'sin"):
        compress_section(section, given, [given["cam"]], replace(BRIEF, sparsity=0.5))


# -- in a bundle -----------------------------------------------------------------------------------


def wide(site: Any) -> Any:
    """Kernels large enough to be pruned."""
    flat = [layers.Flatten()(layers.Rescaling(1.0)(x)) for x in site.inputs.values()]
    x = layers.Concatenate()(flat) if len(flat) > 1 else flat[0]
    x = layers.Dense(32, activation="relu")(x)
    x = layers.Dense(32, activation="relu")(x)
    return x if site.classes is None else layers.Dense(site.classes, activation="softmax")(x)


@pytest.fixture(scope="module")
def small() -> tuple[Topology, Any]:
    topology = small_topology()
    return topology, randomized(build(topology, wide, classes=CLASSES))


def test_a_bundle_computes_what_the_model_with_its_new_weights_does(
    small: tuple[Topology, Any], tmp_path: Path
) -> None:
    topology, model = small
    before = model.get_weights()
    data = labeled(topology, 40, seed=1)
    found = export_bundle(
        model,
        tmp_path / "bundle",
        data,
        compression={
            "left": replace(BRIEF, sparsity=0.75, clusters=8),
            "right": replace(BRIEF, sparsity=0.5, quantize="int8"),
        },
    )
    for old, new in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)
    assert found.compression == {
        "left": "pruned:0.75+clustered:8",
        "right": "pruned:0.5+int8",
        "top": "float32",
    }
    # Of a float artifact `export_bundle` raises above 1e-5.
    assert found.node_errors["left"] < 1e-5
    assert 0 < found.node_errors["right"] < 0.1
    manifest, nodes = read_bundle(tmp_path / "bundle")
    assert manifest.quantization == "mixed"
    assert {n: node.quantization for n, node in nodes.items()} == {
        "left": "none",
        "right": "int8",
        "top": "none",
    }
    assert set(found.score_change) == set(topology.survivabilities)
    assert Bundle(tmp_path / "bundle").manifest.topology == topology


def test_a_budget_is_met_by_the_mildest_that_fits(
    small: tuple[Topology, Any], tmp_path: Path
) -> None:
    # That none fits: tests/ddnn_tf/cli/test_app.py.
    topology, model = small
    data = labeled(topology, 40, seed=1)
    whole = len(convert(model.get_layer("left")))
    budget = Budget({"left": whole - 1, "right": 10 * whole})
    found = export_bundle(model, tmp_path / "bundle", data.inputs, budget=budget)
    assert found.compression == {"left": "float16", "right": "float32", "top": "float32"}
    assert found.bytes["left"] < whole
