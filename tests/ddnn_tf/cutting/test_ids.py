"""Whole numbers as a sensor gives them, such as the ids of words: from the cut to the device."""

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from keras import layers

from ddnn_tf.cli import main
from ddnn_tf.cutting.graph import read_graph
from ddnn_tf.cutting.ids import count_of
from ddnn_tf.cutting.partition import partition
from ddnn_tf.model import build
from ddnn_tf.sections import SECTIONS
from edge_runtime.bundle.litert import LiteRTSection
from edge_runtime.cli.main import main as edge_main
from edge_runtime.errors import InputError
from edge_runtime.evaluation.bundle import Bundle
from edge_runtime.failures.distribution import mask_without
from edge_runtime.samples import Samples
from edge_runtime.topology import Link, Node, Sensor, Topology
from tests.commands import done
from tests.models import randomized

WORDS, LENGTH = 50, 12

CLASSES = ("--task", "classification")


def texts(count: int = 60) -> Samples:
    """One word of each text tells its class."""
    rng = np.random.default_rng(0)
    labels = np.arange(count) % 3
    words = rng.integers(3, WORDS, (count, LENGTH), dtype=np.int32)
    words[np.arange(count), rng.integers(0, LENGTH, count)] = labels
    return Samples({"words": words}, labels, ("a", "b", "c"))


def reader(dtype: str) -> Any:
    x = words = keras.Input((LENGTH,), dtype=dtype, name="words")
    x = layers.Embedding(WORDS, 8, name="table")(x)
    x = layers.Conv1D(8, 3, activation="relu", name="conv")(x)
    x = layers.GlobalMaxPooling1D(name="most")(x)
    return randomized(keras.Model(words, layers.Dense(3, name="scores")(x), name="reader"))


@pytest.mark.parametrize("dtype", ["int32", "int64"])
@pytest.mark.parametrize("quantize", ["none", "int8"])
def test_ids_go_from_the_cut_to_the_bundle(dtype: str, quantize: str, tmp_path: Path) -> None:
    model, data = reader(dtype), texts()
    model.save(tmp_path / "model.keras")
    data.save_npz(tmp_path / "data.npz")
    cut, options = tmp_path / "cut.keras", ("--classes", "a,b,c", "--out", tmp_path / "cut.keras")
    nodes = ("--nodes", "edge:0.9,cloud", "--at", "conv")
    done(main, "partition", tmp_path / "model.keras", *nodes, *options, *CLASSES)
    given = ("--data", tmp_path / "data.npz")
    done(main, "export", cut, *given, "--out", tmp_path / "bundle", "--quantize", quantize)
    bundle = Bundle(tmp_path / "bundle")
    assert bundle.manifest.topology.sensors == (Sensor("words", (LENGTH,), "int32"),)
    expected = np.asarray(keras.ops.softmax(model(data.inputs["words"])))
    masks = np.tile(mask_without(bundle.manifest.topology, ()), (len(data), 1))
    got = bundle.answer(data.inputs, masks).values
    np.testing.assert_allclose(got, expected, atol=1e-5 if quantize == "none" else 0.1)
    assert np.ptp(expected, axis=0).max() > 0.1
    said = done(edge_main, "evaluate", tmp_path / "bundle", *given, "--json").json
    assert said["samples"] == 60


def test_an_id_that_the_table_does_not_hold_is_refused_in_one_line(tmp_path: Path) -> None:
    from export.litert import convert

    cut = partition(reader("int32"), ["edge", "cloud"], at=["conv"], task="classification")
    artifact = LiteRTSection(convert(cut.model.get_layer("edge")), where="edge")
    with pytest.raises(InputError, match=r"edge: LiteRT cannot compute it on these inputs.*id"):
        artifact({"words": np.full((1, LENGTH), WORDS + 1000, np.int32)})


def test_ids_are_drawn_as_the_smallest_table_holds() -> None:
    words = keras.Input((4,), dtype="int32", name="words")
    few = layers.Flatten()(layers.Embedding(7, 2)(layers.Reshape((2, 2))(words)))
    many = layers.Flatten()(layers.Embedding(90, 2)(words))
    scores = layers.Dense(3)(layers.Concatenate()([few, many]))
    graph = read_graph(keras.Model(words, scores))
    assert count_of(graph, graph.inputs[0]) == 7
    assert (
        partition(keras.Model(words, scores), ["a", "b"], task="classification").max_relative_error
        <= 1e-6
    )


@pytest.mark.parametrize("dtype", ["float32", "uint8"])
def test_a_sensor_of_another_type_is_refused(dtype: Any) -> None:
    topology = Topology(
        name="text",
        sensors=(Sensor("words", (LENGTH,), dtype),),
        nodes=(Node("edge", "edge"), Node("cloud", "cloud")),
        links=(Link("words", "edge"), Link("edge", "cloud")),
    )
    with pytest.raises(InputError, match=f"gives {dtype}, but the model takes int32.*dtype int32"):
        partition(reader("int32"), topology, at=["conv"], task="classification")


def test_a_byte_range_is_for_pictures_beside_ids() -> None:
    with pytest.raises(InputError, match=r"a byte range .* whole numbers alone"):
        partition(
            reader("int32"),
            ["edge", "cloud"],
            at=["conv"],
            byte_range=(0, 1),
            task="classification",
        )
    words = keras.Input((4,), dtype="int32", name="words")
    image = keras.Input((5,), name="image")
    looked_up = layers.Flatten()(layers.Embedding(7, 2)(words))
    x = layers.Dense(3, name="scores")(layers.Concatenate(name="both")([looked_up, image]))
    model = keras.Model([words, image], x)
    cut = partition(model, ["a", "b"], at=["both"], byte_range=(0, 1), task="classification")
    assert {s.name: s.dtype for s in cut.model.topology.sensors} == {
        "words": "int32",
        "image": "uint8",
    }


@pytest.mark.parametrize("sections", SECTIONS)
def test_own_sections_take_whole_numbers(sections: str) -> None:
    """As numbers in any unit: counts, say."""
    topology = Topology(
        name="counts",
        sensors=(Sensor("steps", (LENGTH,), "int32"),),
        nodes=(Node("edge", "edge"), Node("cloud", "cloud")),
        links=(Link("steps", "edge"), Link("edge", "cloud")),
    )
    model = build(topology, SECTIONS[sections](), classes=("a", "b"))
    got = np.asarray(model({"steps": np.arange(24, dtype=np.int32).reshape(2, LENGTH)}))
    assert np.isfinite(got).all()
    assert got.shape == (2, 2)


def test_wider_whole_numbers_say_how_to_convert_them() -> None:
    with pytest.raises(InputError, match=r"has type int64: .*as in x.astype\('int32'\)"):
        Samples({"words": np.zeros((2, 3), np.int64)}, np.zeros(2, np.int64), ("a",))
