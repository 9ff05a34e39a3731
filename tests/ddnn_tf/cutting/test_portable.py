"""What devices cannot compute is written otherwise or refused when a model is cut, by its layer."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from keras import layers

from ddnn_tf.cli import main
from ddnn_tf.cutting.partition import partition
from edge_runtime.errors import InputError
from edge_runtime.evaluation.bundle import Bundle
from edge_runtime.failures.distribution import mask_without
from edge_runtime.samples import Samples
from export import export_bundle
from tests.commands import done, refused
from tests.models import randomized

LENGTH = 6

CLASSES = ("--task", "classification")


def model(make: Callable[[Any], Any], shape: tuple[int, ...] = (LENGTH, 3), **head: Any) -> Any:
    x = series = keras.Input(shape, name="series")
    x = layers.Identity(name="first")(x)
    x = layers.Dense(3, name="scores", **head)(layers.Flatten(name="flat")(make(x)))
    return randomized(keras.Model(series, x, name="reader"))


def samples(shape: tuple[int, ...], count: int = 40) -> Samples:
    x = np.random.default_rng(0).normal(size=(count, *shape)).astype(np.float32)
    return Samples({"series": x}, np.arange(count) % 3, ("0", "1", "2"))


def _nested(x: Any) -> Any:
    inside = keras.Input((LENGTH, 3))
    return keras.Model(inside, layers.GRU(4, name="memory")(inside), name="nested")(x)


RECURRENT: dict[str, tuple[Callable[[Any], Any], tuple[int, ...]]] = {
    "lstm": (lambda x: layers.LSTM(4, name="memory")(x), (LENGTH, 3)),
    "gru in a nested model": (_nested, (LENGTH, 3)),
    "both ways": (
        lambda x: layers.Bidirectional(layers.LSTM(4, return_sequences=True), name="memory")(x),
        (LENGTH, 3),
    ),
    "cells": (
        lambda x: layers.RNN([layers.LSTMCell(4), layers.GRUCell(3)], name="memory")(x),
        (LENGTH, 3),
    ),
    "convolutions": (lambda x: layers.ConvLSTM2D(2, 3, name="memory")(x), (3, 5, 5, 2)),
    "masked": (
        lambda x: layers.LSTM(4, name="memory")(layers.Masking(name="masking")(x)),
        (LENGTH, 3),
    ),
}


@pytest.mark.parametrize("name", RECURRENT)
def test_recurrent_layers_are_written_out_and_exported(name: str, tmp_path: Path) -> None:
    make, shape = RECURRENT[name]
    original = model(make, shape)
    cut = partition(original, ["edge", "cloud"], at=["flat"], task="classification")
    assert cut.portable.unrolled == ("memory",)
    assert "unrolled, for LiteRT has no loops: memory" in str(cut)
    assert cut.to_dict()["unrolled"] == ["memory"]
    data = samples(shape)
    if name == "masked":
        data.inputs["series"][:, 3:] = 0.0
    expected = np.asarray(keras.ops.softmax(original(data.inputs["series"], training=False)))
    assert np.ptp(expected, axis=0).max() > 1e-2
    export_bundle(cut.model, tmp_path / "bundle", data)
    bundle = Bundle(tmp_path / "bundle")
    masks = np.tile(mask_without(bundle.manifest.topology, ()), (len(data), 1))
    got = bundle.answer(data.inputs, masks).values
    np.testing.assert_allclose(got, expected, atol=1e-5)


@pytest.mark.parametrize("policy", ["mixed_float16", "float16", "bfloat16", "mixed_bfloat16"])
def test_half_precision_is_cut_in_float32(policy: str, tmp_path: Path) -> None:
    original = model(lambda x: layers.Dense(4, dtype=policy, name="half")(x), dtype="float32")
    path, cut = tmp_path / "model.keras", tmp_path / "cut.keras"
    original.save(path)
    nodes = ("--nodes", "edge,cloud", "--at", "flat")
    said = done(main, "partition", path, *nodes, *CLASSES, "--out", cut, "--json").json
    assert said["float32"] == ["half"]
    assert 0 < said["float32_error"] < 0.02
    assert said["max_relative_error"] <= 1e-6
    made = keras.models.load_model(cut)
    assert {w.dtype for w in made.weights if "float" in w.dtype} == {"float32"}
    data = samples((LENGTH, 3))
    expected = keras.ops.softmax(original(data.inputs["series"]))
    got = made({"series": data.inputs["series"]}, training=False)
    np.testing.assert_allclose(got, expected, atol=0.02)
    data.save_npz(tmp_path / "data.npz")
    done(main, "export", cut, "--data", tmp_path / "data.npz", "--out", tmp_path / "bundle")


def test_a_model_that_needs_no_change_is_not_made_again() -> None:
    from ddnn_tf.cutting.portable import portable

    plain = model(lambda x: layers.Dense(4)(x))
    assert portable(plain).model is plain
    unrolled = model(lambda x: layers.LSTM(4, unroll=True)(x))
    assert portable(unrolled).model is unrolled


@keras.saving.register_keras_serializable("tests")
class Hidden(keras.layers.Layer):  # type: ignore[misc, unused-ignore]
    """Has a recurrence within, which its configuration does not say."""

    def build(self, shape: Any) -> None:
        self.inner = layers.LSTM(3)
        self.inner.build(shape)

    def call(self, x: Any) -> Any:
        return self.inner(x)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda x: Hidden(name="own")(x), r"layer 'own' \(Hidden\) cannot .*unroll=True"),
        (lambda x: keras.ops.erfinv(layers.Dense(2, name="before")(x)), r"layer '.*' \(Erfinv\)"),
    ],
)
def test_what_cannot_be_converted_is_refused_when_it_is_cut(
    make: Callable[[Any], Any], said: str, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(InputError, match=f"section 'edge' cannot be converted .*{said}") as caught:
        partition(model(make), ["edge", "cloud"], at=["flat"], task="classification")
    assert "\n" not in str(caught.value)
    assert "loc(" not in str(caught.value)
    assert "loc(" not in capfd.readouterr().err  # the converter's own lines are held back


def test_masks_in_int8_are_one_line(tmp_path: Path) -> None:
    make, shape = RECURRENT["masked"]
    model(make, shape).save(tmp_path / "model.keras")
    data, cut = samples(shape), tmp_path / "cut.keras"
    data.inputs["series"][:, 3:] = 0.0
    data.save_npz(tmp_path / "data.npz")
    nodes = ("--nodes", "edge,cloud", "--at", "flat", "--out", cut)
    done(main, "partition", tmp_path / "model.keras", *nodes, *CLASSES)
    given = ("--data", tmp_path / "data.npz", "--out", tmp_path / "bundle")
    line = refused(main, "export", cut, *given, "--quantize", "int8")
    assert "section 'edge' cannot be converted to int8" in line
    assert "layer 'memory' (LSTM)" in line
    assert "leave this node in float32 or dynamic" in line
    assert not (tmp_path / "bundle").exists()


def test_an_artifact_that_lost_a_layer_is_a_warning(tmp_path: Path) -> None:
    x = kind = keras.Input((1,), name="kind")
    x = layers.CategoryEncoding(5, output_mode="one_hot", name="encoding")(x)
    x = layers.Dense(3, name="scores")(layers.Rescaling(1.0, name="after")(x))
    randomized(keras.Model(kind, x)).save(tmp_path / "model.keras")
    given = np.random.default_rng(0).integers(0, 5, (60, 1)).astype(np.float32)
    Samples({"kind": given}, np.arange(60) % 3, ("0", "1", "2")).save_npz(tmp_path / "data.npz")
    cut = tmp_path / "cut.keras"
    nodes = ("--nodes", "edge,cloud", "--at", "after", "--out", cut)
    done(main, "partition", tmp_path / "model.keras", *nodes, *CLASSES)
    words = ("export", cut, "--data", tmp_path / "data.npz", "--out", tmp_path / "bundle")
    said = done(main, *words, "--quantize", "int8", "--json").json
    assert said["node_errors"]["edge"] > 0.8
    assert list(said["warnings"]) == ["edge"]
    assert "from layer encoding (CategoryEncoding) on" in said["warnings"]["edge"]
    text = done(main, *words, "--quantize", "int8").out
    assert f"warning: node edge: {said['warnings']['edge']}" in text
    assert done(main, *words, "--json").json["warnings"] == {}
    # As the warning says.
    done(main, *words, "--quantize", "int8", "--compress", "edge=float32")
    manifest = json.loads((tmp_path / "bundle" / "manifest.json").read_text())
    assert manifest["quantization"] == "mixed"
