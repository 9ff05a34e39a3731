"""The path of a user with a model and data of his own, by the commands."""

import re
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from ddnn_tf.cli import main
from ddnn_tf.cutting.partition import partition
from ddnn_tf.datasets.npz import read_npz
from ddnn_tf.saved import load_model
from ddnn_tf.training.recipe import Recipe
from ddnn_tf.training.training import train as train_model
from edge_runtime.cli.main import main as edge_main
from edge_runtime.errors import InputError
from edge_runtime.samples import Samples
from tests.commands import CLASSES, done, refused
from tests.models import residual_net, scenes
from tests.reference import small_topology

ddnn = partial(done, main)
bad = partial(refused, main)

COUNT = 90


def write_pictures(file: Path) -> Path:
    """Bytes whose class is the color, under coarse noise; one class is twice as frequent."""
    labels = np.array([0, 1, 2, 2] * COUNT, np.int64)[:COUNT]
    tint = 120 * np.eye(3, dtype=np.float32)[labels][:, None, None]
    pictures = np.clip(0.5 * scenes((8, 8, 3), COUNT) + tint, 0, 255).astype(np.uint8)
    Samples({"image": pictures}, labels, CLASSES).save_npz(file)
    return file


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_pictures(tmp_path_factory.mktemp("data") / "own.npz")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("whole") / "model.keras"
    residual_net(classes=3).save(file)
    return file


@pytest.fixture
def cut(whole: Path, tmp_path: Path) -> Callable[..., Path]:
    """Cut the model by the command, with these options."""

    def run(*options: str | Path, nodes: str = "edge:0.9/0.8/0.7,fog:0.95,cloud") -> Path:
        file = tmp_path / "cut.keras"
        ddnn("partition", whole, "--nodes", nodes, "--byte-range", "0:1", "--out", file, *options)
        return file

    return run


# -- survivabilities -------------------------------------------------------------------------------


def test_three_chances_of_a_node_are_high_medium_and_low(cut: Any, data: Path) -> None:
    file = cut("--classes", ",".join(CLASSES))
    topology = load_model(file).topology
    assert topology.survivabilities == {
        "high": {"edge": 0.9},
        "medium": {"edge": 0.8},
        "low": {"edge": 0.7},
    }
    assert topology.survival("low")[topology.index["fog"]] == 0.95
    found = ddnn("evaluate", file, "--data", data, "--survival", "low", "--json").json
    assert list(found["expected_accuracy"]) == ["low"]
    assert found["reach_probability"]["low"] == pytest.approx(0.7 * 0.95)


def test_a_model_without_presets_says_what_there_is(cut: Any, data: Path, tmp_path: Path) -> None:
    file = cut("--classes", ",".join(CLASSES), nodes="edge:0.9,fog,cloud")
    for command in (("evaluate", file), ("train", "--start", file, "--out", tmp_path / "t.keras")):
        line = bad(*command, "--data", data, "--survival", "low")
        assert "unknown survivability 'low': topology 'residual_net' has no presets" in line
        assert "take these (own)" in line
        assert "--nodes edge:0.99/0.9/0.8,cloud" in line
    own = ddnn("evaluate", file, "--data", data, "--survival", "own", "--json").json
    assert own == ddnn("evaluate", file, "--data", data, "--json").json
    assert own["reach_probability"] == {"own": pytest.approx(0.9)}


def test_a_device_takes_the_name_too(small_deployed: Any) -> None:
    said = done(
        edge_main, "evaluate", small_deployed.bundle, "--data", small_deployed.test,
        "--survival", "own,low", "--json",
    ).json  # fmt: skip
    assert list(said["expected_accuracy"]) == ["own", "low"]


@pytest.mark.parametrize(
    ("chances", "said"),
    [
        (
            (0.9, 0.8),
            "node 'edge': expected one survival, or three .*high, medium, low; got 0.9/0.8",
        ),
        ((0.7, 0.8, 0.9), "three from high to low, .*got 0.7/0.8/0.9"),
        ((1.2, 0.8, 0.7), r"from 0 to 1, got 1.2 \(at \$.survivabilities\['high'\].edge\)"),
    ],
)
def test_chances_that_are_not_three_from_high_to_low_are_refused(chances: Any, said: str) -> None:
    with pytest.raises(InputError, match=said):
        partition(residual_net(), {"edge": chances, "cloud": 1.0})


# -- to go on from a model -------------------------------------------------------------------------


@pytest.fixture
def train(cut: Any, data: Path, tmp_path: Path) -> Callable[..., tuple[str | Path, ...]]:
    """The arguments of a training that goes on from the cut model, into `tuned.keras`."""
    start = cut("--classes", ",".join(CLASSES))

    def arguments(*options: str | Path) -> tuple[str | Path, ...]:
        given = ("--start", start, "--data", data, "--out", tmp_path / "tuned.keras")
        return ("train", *given, "--epochs", "1", *options)

    return arguments


def test_before_and_after_are_of_the_same_split(train: Any, data: Path, tmp_path: Path) -> None:
    said = ddnn(*train("--survival", "high,low", "--json"))
    found = said.json["start"]
    assert found["split"] == "npz:validation"
    for when, model in (("before", "cut.keras"), ("after", "tuned.keras")):
        evaluated = ddnn(
            "evaluate", tmp_path / model, "--data", data, "--split", "npz:validation", "--json"
        ).json
        expected = {"all_alive": evaluated["all_alive"], **evaluated["expected_accuracy"]}
        assert found[when] == {
            name: pytest.approx(expected[name]) for name in ("all_alive", "high", "low")
        }
        figures = found[when]
        assert f"{when:<8} all_alive {100 * figures['all_alive']:.2f}, high" in said.err
    assert "batch norm stays as it is; pictures are not varied" in said.err


def test_without_a_part_to_report_on_it_is_of_the_training_part(train: Any) -> None:
    found = ddnn(*train("--split", "npz:train", "--json")).json
    assert found["start"]["split"] == "npz:train"
    assert found["validation"] == {}


def test_a_training_that_makes_it_worse_ends_with_a_warning(train: Any) -> None:
    """A step size with which nothing stays learned; and one with which nothing is forgotten."""
    good = ddnn(*train("--epochs", "30", "--learning-rate", "0.01", "--json"))
    assert good.json["start"]["fell"] == []
    assert "warning" not in good.err
    learned = good.json["models"][0]
    worse = ("--start", learned, "--learning-rate", "10", "--method", "residual", "--json")
    spoiled = ddnn(*train(*worse))
    found = spoiled.json["start"]
    assert "all_alive" in found["fell"]
    fallen = 100 * (found["before"]["all_alive"] - found["after"]["all_alive"])
    assert f"warning: the training made it worse: all_alive {-fallen:+.2f} points" in spoiled.err


def moved(before: Path, after: Path) -> set[str]:
    """The layers whose weights a training changed."""
    olds, news = (load_model(file) for file in (before, after))
    return {
        old.path.split("/")[-2]
        for old, new in zip(olds.weights, news.weights, strict=True)
        if old.path.split("/")[-2].startswith(("norm", "conv")) and not np.array_equal(old, new)
    }


@pytest.mark.filterwarnings("error:Skipping variable loading")
def test_batch_norm_is_frozen_unless_told(train: Any, tmp_path: Path) -> None:
    tuned = tmp_path / "tuned.keras"
    convolutions = {"conv_0a", "conv_0b", "conv_1a", "conv_1b"}
    ddnn(*train())
    assert moved(tmp_path / "cut.keras", tuned) == convolutions
    assert all(x.trainable for x in load_model(tuned)._flatten_layers())
    said = ddnn(*train("--freeze", "none"))
    assert "batch norm learns" in said.err
    assert moved(tmp_path / "cut.keras", tuned) == convolutions | {"norm_0", "norm_1"}


def test_what_is_varied_is_said_and_done(train: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    taken: list[dict[str, Any]] = []

    def watched(batches: Any, rng: Any, **how: Any) -> Any:
        taken.append(how)
        return batches

    monkeypatch.setattr("ddnn_tf.training.learners.Augmented", watched)
    none = {"shift": 0, "gain": 0.0, "mirror": False, "zoom": 0.0, "repeats": 1}
    for options, expected, said in [
        ((), none, "not varied"),
        (("--augment", "none"), none, "not varied"),
        (("--augment", "mirror"), none | {"mirror": True}, "varied by mirror"),
        (
            ("--augment", "shift:2,brightness:0.1,zoom"),
            none | {"shift": 2, "gain": 0.1, "zoom": 0.15},
            "varied by shift, brightness, zoom",
        ),
    ]:
        assert f"pictures are {said}" in ddnn(*train(*options)).err
        assert taken.pop() == expected


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--sections", "conv"), "--sections: not used beside --start"),
        (("--topology", "mobile", "--exits", "all"), "--topology, --exits: not used beside"),
        (("--augment", "blur"), "expected none, or of shift, brightness, mirror, zoom some"),
        (("--augment", "mirror:2"), "each but mirror with its most, as in shift:2; got 'mirror:2'"),
        (("--augment", "shift:far"), "--augment shift:far: expected a number, got 'far'"),
        (("--augment", "shift:-1"), "expected shift of at least 0 pixels, got -1"),
        (("--augment", "brightness:nan"), "expected gain from 0 to 1, got nan"),
        (("--augment", ","), "--augment is empty; give none"),
    ],
)
def test_what_says_nothing_beside_a_model_to_go_on_from_is_refused(
    train: Any, options: tuple[str, ...], said: str, tmp_path: Path
) -> None:
    assert said in bad(*train(*options))
    assert not (tmp_path / "tuned.keras").exists()


def test_a_new_model_has_no_norm_to_freeze_and_floats_are_no_pictures(
    small_deployed: Any, tmp_path: Path
) -> None:
    topology = small_deployed.model.with_name("small.json")
    given = ("--topology", topology, "--data", small_deployed.data)
    new = ("train", *given, "--out", tmp_path / "new.keras")
    assert "--freeze bn is for a model to go on from" in bad(*new, "--freeze", "bn")
    line = bad(*new, "--augment", "shift")
    assert "only pictures of bytes are varied, and no sensor of 'small' gives any" in line
    with pytest.raises(InputError, match="freeze 'bn' is for a model to go on from"):
        train_model(
            small_topology(), read_npz(small_deployed.data).train, recipe=Recipe(freeze="bn")
        )
    with pytest.raises(InputError, match="expected freeze as bn or none, got 'all'"):
        Recipe(freeze="all")  # type: ignore[arg-type]


# -- to cut with data ------------------------------------------------------------------------------


def test_classes_and_prior_are_those_of_the_data(cut: Any, data: Path) -> None:
    model = load_model(cut("--data", data))
    assert model.class_names == CLASSES
    assert model.prior == pytest.approx([0.25, 0.25, 0.5], abs=0.02)
    model = load_model(
        cut("--data", data, "--classes", ",".join(CLASSES), "--prior", "0.1,0.2,0.7")
    )
    assert (model.class_names, model.prior) == (CLASSES, (0.1, 0.2, 0.7))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (
            ("--classes", "car,bus,person"),
            "car, bus, person were given, but the data have bus, car",
        ),
        ((), "data give bytes for 'image', but the model takes float32; .*--byte-range 0:1"),
        (("--topology", "health"), "expected --nodes or --topology"),
    ],
)
def test_data_that_do_not_fit_the_model_are_refused(
    whole: Path, data: Path, options: tuple[str, ...], said: str, tmp_path: Path
) -> None:
    given = ("--nodes", "edge,cloud", "--out", tmp_path / "cut.keras", "--data", data)
    as_bytes = ("--byte-range", "0:1") if "--classes" in options else ()
    assert re.search(said, bad("partition", whole, *given, *as_bytes, *options))
    assert not (tmp_path / "cut.keras").exists()


def test_data_of_other_sensors_are_refused(
    whole: Path, small_deployed: Any, tmp_path: Path
) -> None:
    line = bad(
        "partition", whole, "--nodes", "edge,cloud", "--data", small_deployed.data,
        "--out", tmp_path / "cut.keras",
    )  # fmt: skip
    assert "an array for each sensor (image), got cam0, cam1" in line


def test_bytes_for_a_model_of_floats_name_the_remedy(
    whole: Path, data: Path, tmp_path: Path
) -> None:
    file = tmp_path / "cut.keras"
    ddnn("partition", whole, "--nodes", "edge,cloud", "--out", file)
    for command in ("evaluate", "export"):
        out = ("--out", tmp_path / "bundle") if command == "export" else ()
        line = bad(command, file, "--data", data, *out)
        assert "expected float32, came uint8" in line
        assert "cut it again with --byte-range" in line


def test_a_layer_that_differs_on_the_data_alone_is_found(data: Path) -> None:
    """It computes what its graph says but for one picture, which no random one is like."""
    split = read_npz(data).train
    picture = split.inputs["image"][0].astype(np.float32).sum()

    @keras.saving.register_keras_serializable("tests")
    class Odd(keras.layers.Layer):
        made = 0

        def call(self, x: Any) -> Any:
            same = keras.ops.cast(
                keras.ops.sum(x, axis=(1, 2, 3), keepdims=True) == picture, x.dtype
            )
            return x + same * self.trick

        def build(self, shape: Any) -> None:
            Odd.made += 1
            self.trick = 0.0 if Odd.made == 1 else 100.0

    image = keras.Input((8, 8, 3), name="image")
    x = keras.layers.GlobalAveragePooling2D()(Odd(name="odd")(image))
    model = keras.Model(image, keras.layers.Dense(3, activation="softmax", name="scores")(x))
    nodes = ["edge", "cloud"]
    assert partition(model, nodes, at=["odd"], byte_range=(0, 255)).max_relative_error < 1e-4
    with pytest.raises(InputError, match="layer 'odd' on node 'edge' is not computed"):
        partition(model, nodes, at=["odd"], byte_range=(0, 255), data=split)
