import json
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import keras
import numpy as np
import pytest

from ddnn_tf.datasets import Batches
from ddnn_tf.evaluation import expected_accuracy
from ddnn_tf.model import build
from ddnn_tf.training.fitting import class_weights
from ddnn_tf.training.recipe import Recipe
from ddnn_tf.training.spread import spread
from ddnn_tf.training.training import train
from ddnn_tf.training.validation import ExpectedAccuracy
from edge_runtime.errors import InputError
from edge_runtime.scoring import ACCURACY
from edge_runtime.task import Classification
from tests.commands import CLASSES, files, small_samples
from tests.reference import small_topology

QUICK = Recipe(epochs=1, learning_rate=0.05, batch_size=48)


@pytest.fixture(scope="module")
def data() -> Batches:
    return Batches(small_samples(96))


def labeled(*counts: int) -> Any:
    labels = np.repeat(np.arange(len(counts)), counts)
    names = CLASSES[: len(counts)]
    return SimpleNamespace(labels=labels, class_names=names, task=Classification(names))


class Watch(keras.callbacks.Callback):
    """Which epochs ran, with which weights each began; may interrupt after one."""

    def __init__(self, interrupt_after: int | None = None) -> None:
        super().__init__()
        self.epochs: list[int] = []
        self.weights: list[Any] = []
        self.steps: list[int] = []
        self.interrupt_after = interrupt_after

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self.epochs.append(epoch)
        self.weights.append(self.model.get_weights())
        self.steps.append(int(self.model.optimizer.iterations))

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        if epoch == self.interrupt_after:
            self.weights.append(self.model.get_weights())
            raise KeyboardInterrupt


def same(some: list[Any], others: list[Any]) -> bool:
    return all(np.array_equal(a, b) for a, b in zip(some, others, strict=True))


# -- what is trained -------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["baseline", "residual", "dropout", "multiplexer"])
def test_the_method_decides_links_and_failures(data: Batches, method: Any) -> None:
    survival = {"half": {"left": 0.5}, "own": None}
    model = train(small_topology(), data, method=method, survival=survival, recipe=QUICK)
    links = {link.name for link in model.topology.links}
    assert ("cam0->top" in links) == (method != "baseline")
    drawn = model.get_layer("ddnn__failures").survival
    assert drawn == ([{"left": 0.5}, None] if method in ("dropout", "multiplexer") else None)
    assert model.class_names == CLASSES
    assert model.prior == pytest.approx([1 / 3] * 3)
    # The multiplexer's own: one minus whether the primary link delivers.
    assert merge_scales(model) == ([-1.0] if method == "multiplexer" else [])


def test_a_training_goes_on_from_a_model_with_other_failures(data: Batches) -> None:
    first = train(small_topology(), data, method="residual", survival="low", recipe=QUICK)
    before = first.get_weights()
    model = train(small_topology(), data, survival="high", recipe=QUICK, start=first)
    assert model is first
    assert model.get_layer("ddnn__failures").survival == ["high"]
    assert not same(before, model.get_weights())


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"method": "multiplexer"}, "method 'multiplexer' decides how links merge"),
        ({"topology": small_topology(name="other")}, "a model of topology 'other', got .*'small'"),
    ],
)
def test_a_training_that_cannot_go_on_is_refused(
    data: Batches, options: dict[str, Any], said: str
) -> None:
    start = build(small_topology(), classes=CLASSES)
    given: dict[str, Any] = {"topology": small_topology(), "start": start, **options}
    with pytest.raises(InputError, match=said):
        train(given.pop("topology"), data, survival="low", recipe=QUICK, **given)
    start = build(small_topology(), classes=["one", "two"])
    with pytest.raises(InputError, match="of one, two, the data for a classification of bus"):
        train(small_topology(), data, survival="low", recipe=QUICK, start=start)


def test_a_single_survivability_weighs_links_by_their_senders(data: Batches) -> None:
    model = train(small_topology(), data, method="residual", survival="low", recipe=QUICK)
    assert merge_scales(model) == pytest.approx([0.6 / 1.3, 0.7 / 1.3])


def merge_scales(model: Any) -> list[float]:
    """What the output node multiplies its inputs by, where it is not one."""
    layers = model.get_layer("top").layers
    return sorted(x.scale for x in layers if isinstance(x, keras.layers.Rescaling))


def test_the_same_seed_gives_the_same_weights_and_another_others(data: Batches) -> None:
    models = [
        train(small_topology(), data, survival="low", recipe=QUICK, seed=seed).get_weights()
        for seed in (3, 3, 4)
    ]
    assert same(models[0], models[1])
    assert not any(
        np.array_equal(a, b) for a, b in zip(models[0], models[2], strict=True) if a.any()
    )


def test_batches_are_of_the_recipes_size_and_the_callers_stay(data: Batches) -> None:
    watch = Watch()
    recipe = Recipe(epochs=2, batch_size=40)
    train(small_topology(), data, recipe=recipe, survival="low", callbacks=[watch])
    assert watch.steps == [0, 3]
    assert (data.batch_size, len(data)) == (64, 2)


def test_training_learns(data: Batches) -> None:
    recipe = Recipe(epochs=12, learning_rate=0.05, batch_size=16)
    model = train(small_topology(), data, recipe=recipe, survival="low")
    found = expected_accuracy(model, data, survival=["low"])
    assert found.expected_accuracy("low") > 0.7
    # The learning rate falls to zero along a cosine.
    schedule = model.optimizer.learning_rate
    assert float(schedule) == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (
            {"method": "luck"},
            "unknown method 'luck'; expected one of baseline, residual, dropout, ",
        ),
        ({"survival": ()}, "expected at least one survivability"),
        ({"survival": "medium"}, "unknown survivability 'medium'"),
        ({"seed": -1}, "expected a seed from 0 to"),
        ({"sections": "fc64"}, "unknown sections 'fc64'"),
    ],
)
def test_bad_options_are_refused(data: Batches, options: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said):
        train(small_topology(), data, **{"survival": "low", **options})


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"epochs": 0}, "expected epochs of at least 1, got 0"),
        ({"batch_size": 0}, "expected batch_size of at least 1, got 0"),
        ({"repeats": -1}, "expected repeats of at least 1, got -1"),
        ({"learning_rate": 0.0}, "expected a learning_rate above 0, got 0.0"),
        ({"learning_rate": float("nan")}, "expected a learning_rate above 0, got nan"),
        ({"learning_rate": float("inf")}, "expected a learning_rate above 0, got inf"),
        ({"weight_decay": -1.0}, "expected weight_decay of at least 0, got -1.0"),
        ({"exit_weight": -1.0}, "expected exit_weight of at least 0, got -1.0"),
        ({"exit_weight": {"left": -1.0}}, "expected exit_weight of at least 0, got -1.0"),
        ({"auxiliary": -1.0}, "expected auxiliary of at least 0, got -1.0"),
        ({"distil": float("inf")}, "expected distil of at least 0, got inf"),
        ({"average": 1.0}, "expected average from 0 to below 1, got 1.0"),
        ({"zoom": 1.1}, "expected zoom from 0 to 1, got 1.1"),
        ({"variations": 0}, "expected variations of at least 1, got 0"),
        ({"balance": -0.1}, "expected balance from 0 to 1, got -0.1"),
        ({"gain": 1.5}, "expected gain from 0 to 1, got 1.5"),
        ({"shift": -1}, "expected shift of at least 0 pixels, got -1"),
    ],
)
def test_a_recipe_that_cannot_be_followed_is_refused(options: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said):
        Recipe(**options)


# -- checkpoints -----------------------------------------------------------------------------------


RECIPE = Recipe(epochs=3, learning_rate=0.05, batch_size=48)
CALL: dict[str, Any] = {"survival": "low", "recipe": RECIPE}


@pytest.fixture(scope="module")
def broken_off(data: Batches, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Watch]:
    """What an interruption after the second epoch of three leaves; not to be changed."""
    folder, watch = tmp_path_factory.mktemp("broken") / "off", Watch(interrupt_after=1)
    folder.mkdir()
    (folder / "notes.txt").write_text("the user's own")
    with pytest.raises(KeyboardInterrupt):
        train(small_topology(), data, **CALL, checkpoint=folder, callbacks=[watch])
    assert list(files(folder)) == ["notes.txt", "training.json", "training.weights.h5"]
    return folder, watch


@pytest.fixture
def state(broken_off: tuple[Path, Watch], tmp_path: Path) -> Path:
    return Path(shutil.copytree(broken_off[0], tmp_path / "state"))


def test_an_interrupted_training_goes_on_where_it_was(
    data: Batches, broken_off: tuple[Path, Watch], state: Path
) -> None:
    before, after = broken_off[1], Watch()
    model = train(small_topology(), data, **CALL, checkpoint=state, callbacks=[after])
    assert before.epochs == [0, 1]
    assert after.epochs == [2]
    assert same(before.weights[-1], after.weights[0])
    # So that the learning rate goes on falling where it was.
    assert (before.steps, after.steps) == ([0, 2], [4])
    assert int(model.optimizer.iterations) == 6
    assert model.prior == pytest.approx([1 / 3] * 3)
    assert list(files(state)) == ["notes.txt"]


def test_nothing_is_left_of_a_finished_training(data: Batches, tmp_path: Path) -> None:
    folder = tmp_path / "made" / "here"
    train(small_topology(), data, survival="low", recipe=QUICK, checkpoint=folder)
    assert not folder.exists()


def test_a_state_that_is_kept_gives_the_same_model_at_once(data: Batches, tmp_path: Path) -> None:
    call = {**CALL, "recipe": replace(RECIPE, average=0.9)}
    again = Watch()
    models = [
        train(small_topology(), data, **call, checkpoint=tmp_path / "kept", keep_checkpoint=True),
        train(small_topology(), data, **call, checkpoint=tmp_path / "kept", callbacks=[again]),
    ]
    assert again.epochs == []
    assert same(*(model.get_weights() for model in models))
    assert models[1].prior == models[0].prior
    assert not (tmp_path / "kept").exists()


@pytest.mark.parametrize(
    "options",
    [
        {"seed": 1},
        {"method": "residual"},
        {"survival": "high"},
        {"recipe": Recipe(epochs=4, batch_size=48)},
        {"topology": small_topology(survivabilities={"low": {"left": 0.5}})},
    ],
)
def test_another_training_does_not_go_on_from_it(
    data: Batches, options: dict[str, Any], state: Path
) -> None:
    with pytest.raises(InputError, match=r"state of another training.*or remove .* start again"):
        train(**{"topology": small_topology(), "data": data, **CALL, **options}, checkpoint=state)
    assert len(list(files(state))) == 3


@pytest.mark.parametrize("damage", [b"", b"\x89HDF\r\n\x1a\n and then nothing"])
def test_a_damaged_checkpoint_is_refused(data: Batches, damage: bytes, state: Path) -> None:
    (state / "training.weights.h5").write_bytes(damage)
    with pytest.raises(InputError, match=r"training.weights.h5 is damaged .*; remove"):
        train(small_topology(), data, **CALL, checkpoint=state)


def test_an_unwritable_checkpoint_is_refused_before_the_first_epoch(
    data: Batches, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    watch = Watch()
    with pytest.raises(InputError, match=r"cannot write .*; choose a place"):
        train(
            small_topology(),
            data,
            survival="low",
            recipe=QUICK,
            checkpoint=tmp_path / "file" / "below",
            callbacks=[watch],
        )
    assert watch.epochs == []


def test_the_description_is_for_people(broken_off: tuple[Path, Watch]) -> None:
    found = json.loads((broken_off[0] / "training.json").read_text(encoding="utf-8"))
    assert found["method"] == "dropout"
    assert found["recipe"]["epochs"] == 3
    assert found["samples"] == 96


# -- what is logged and weighed --------------------------------------------------------------------


def test_expected_accuracy_is_logged_every_so_often_and_at_the_end(data: Batches) -> None:
    survival: dict[str, Any] = {"low": "low", "mine": {"top": 0.0}}
    model = train(
        small_topology(),
        data,
        survival="low",
        recipe=Recipe(epochs=5, batch_size=96),
        callbacks=[ExpectedAccuracy(data, survival, every=2)],
    )
    history = model.history.history
    # After the second, the fourth and the last epoch.
    assert len(history["loss"]) == 5
    assert len(history["expected_accuracy_low"]) == 3
    assert history["expected_accuracy_mine"] == pytest.approx([1 / 3] * 3)
    final = expected_accuracy(model, data, survival=["low"])
    assert history["expected_accuracy_low"][-1] == final.expected_accuracy("low")


def test_expected_accuracy_is_logged_on_arrays_at_all_survivabilities(data: Batches) -> None:
    watch = ExpectedAccuracy((data.inputs, data.labels.astype(np.int32)))
    model = train(small_topology(), data, recipe=QUICK, callbacks=[watch])
    history = model.history.history
    final = expected_accuracy(model, data)
    assert final.survivabilities == ("low", "high")
    for name in final.survivabilities:
        assert history[f"expected_accuracy_{name}"][-1] == final.expected_accuracy(name)


def test_expected_accuracy_can_stop_a_training(data: Batches) -> None:
    watch = Watch()
    stop = keras.callbacks.EarlyStopping("expected_accuracy_dead", mode="max", patience=1)
    train(
        small_topology(),
        data,
        survival="low",
        recipe=Recipe(epochs=9, batch_size=96),
        callbacks=[ExpectedAccuracy(data, {"dead": {"top": 0.0}}, every=1), stop, watch],
    )
    assert watch.epochs == [0, 1]


@pytest.mark.parametrize("every", [0, -2])
def test_expected_accuracy_refuses_no_distance(data: Batches, every: int) -> None:
    with pytest.raises(InputError, match=f"expected every of at least 1 epoch, got {every}"):
        ExpectedAccuracy(data, every=every)


@pytest.mark.parametrize(
    ("balance", "expected"),
    [(0.0, (1, 1, 1)), (0.5, (2, 1, 4)), (1.0, (4, 1, 16))],
)
def test_rare_classes_weigh_more(balance: float, expected: tuple[float, ...]) -> None:
    found = class_weights(labeled(4, 16, 1), balance)
    assert found is not None
    assert list(found.values()) == pytest.approx(expected)


def test_an_absent_class_weighs_one() -> None:
    labels = np.array([0, 0, 2])
    data = SimpleNamespace(labels=labels, class_names=CLASSES, task=Classification(CLASSES))
    assert class_weights(data, 1.0) == {0: 1.0, 1: 1.0, 2: 2.0}  # type: ignore[arg-type]


def report(value: float) -> Any:
    return SimpleNamespace(
        score=ACCURACY,
        expected_score=lambda name: value,
        balanced_accuracy=lambda name: value / 2,
    )


def test_spread_is_mean_and_half_range() -> None:
    found = spread([report(v) for v in (0.90, 0.94, 0.95)], "low")
    assert (found.mean, found.half_range, found.count) == pytest.approx((0.93, 0.025, 3))
    assert str(found) == "93.00 ± 2.50"
    balanced = spread([report(v) for v in (0.90, 0.94)], "low", balanced=True)
    assert (balanced.mean, balanced.half_range) == pytest.approx((0.46, 0.01))
    assert str(spread([report(0.5)], "low")) == "50.00"
