from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from ddnn_tf.datasets import Batches
from ddnn_tf.model import build
from ddnn_tf.sections import Convolutional
from ddnn_tf.training.recipe import Recipe
from ddnn_tf.training.shared_encoder import SharedEncoder
from ddnn_tf.training.training import train
from edge_runtime.errors import InputError
from edge_runtime.topology import Sensor, Topology
from tests.commands import CLASSES
from tests.ddnn_tf.training.test_encoding import QUICK, SENSORS, SMALL, cameras
from tests.models import lively, randomized
from tests.reference import small_topology


@pytest.fixture(scope="module")
def data() -> Batches:
    return cameras()


def learner(topology: Topology | None = None, **options: Any) -> SharedEncoder:
    topology = topology or small_topology(sensors=SENSORS)
    encoders = SMALL.encoders(topology.sensors)
    features = topology.with_sensors(dict.fromkeys(encoders, (8,)), "float32")
    upper = build(features, replace(SMALL, encoded=True), classes=CLASSES, seed=0)
    found = SharedEncoder(encoders, upper, **options)
    for encoder in encoders.values():
        lively(encoder)
    randomized(upper)
    found.compile("sgd", "sparse_categorical_crossentropy", metrics=["accuracy"])
    return found


def test_encoders_share_all_but_their_norms() -> None:
    one, other = SMALL.encoders(SENSORS).values()
    same = {x.path for x in one.weights if any(x is y for y in other.weights)}
    assert {path.split("/")[0] for path in same} == {
        *("view__filters0", "view__filters1", "view__features")
    }
    assert len(one.weights) - len(same) == 8  # two norms of four


def test_a_trained_model_sees_and_survives_as_it_learned(data: Batches) -> None:
    topology = small_topology(sensors=SENSORS).with_exits()
    fitted: list[SharedEncoder] = []
    keep = keras.callbacks.LambdaCallback(on_train_end=lambda logs: None)
    keep.set_model = fitted.append
    model = train(
        topology,
        data,
        sections=SMALL,
        survival="low",
        recipe=replace(QUICK, repeats=3, auxiliary=0.5),
        encoder="shared",
        callbacks=[keep],
    )
    assert model.prior == pytest.approx([1 / 3] * 3)
    (learned,) = fitted
    features = {
        name: np.asarray(learned.encoders[name](views)) for name, views in data.inputs.items()
    }
    masks = np.random.default_rng(2).random((len(data.labels), len(topology.elements))) < 0.7
    np.testing.assert_allclose(
        model.simulate(data.inputs, masks), learned.upper.simulate(features, masks), atol=1e-5
    )


def test_blank_views_are_zeros_and_reach_no_norm(data: Batches) -> None:
    seen = data.visible[:, 0]
    assert not seen.all()
    whole, part = learner(auxiliary=0.5), learner()
    whole({**data.inputs}, training=True)
    part.encoders["cam0"](data.inputs["cam0"][seen], training=True)
    for a, b in zip(whole.encoders["cam0"].weights, part.encoders["cam0"].weights, strict=True):
        np.testing.assert_allclose(a.numpy(), b.numpy(), atol=1e-5)
    told = np.asarray(whole(data.inputs, training=False)[1]["cam0"])
    assert not told[~seen].any()
    np.testing.assert_allclose(told[seen].sum(axis=1), 1, atol=1e-5)


def test_a_camera_that_sees_nothing_leaves_numbers(data: Batches) -> None:
    blank = {name: np.zeros_like(x) for name, x in data.inputs.items()}
    model = learner(auxiliary=0.5)
    answers = model(blank, training=True)
    assert np.isfinite(model.compute_loss(blank, data.labels, answers))
    assert all(np.isfinite(w.numpy()).all() for w in model.weights)


def test_each_view_adds_to_the_loss_and_each_sample_stands_in_its_batch_several_times(
    data: Batches,
) -> None:
    model = learner(repeats=2, auxiliary=0.4)
    weights = np.linspace(0.5, 2, len(data.labels))
    answers = answer, told = model(data.inputs, training=False)
    labels = np.repeat(data.labels, 2)
    assert answer.shape == (len(labels), 3)
    cost = -np.log(np.asarray(answer)[np.arange(len(labels)), labels]) * np.repeat(weights, 2)
    views = np.stack([np.asarray(told[s.name]) for s in SENSORS], axis=1)
    truth = np.take_along_axis(views, data.labels[:, None, None], axis=2)[..., 0]
    each = -np.log(truth[data.visible]) * np.repeat(weights[:, None], 2, axis=1)[data.visible]
    found = model.compute_loss(data.inputs, data.labels, answers, weights, training=False)
    assert float(found) == pytest.approx(cost.mean() + 0.4 * each.mean(), rel=1e-4)


def test_an_interrupted_training_goes_on(data: Batches, tmp_path: Path) -> None:
    def interrupt(epoch: int, logs: Any) -> None:
        raise KeyboardInterrupt

    stop = keras.callbacks.LambdaCallback(on_epoch_end=interrupt)
    call: Any = {
        "sections": SMALL,
        "survival": "low",
        "recipe": QUICK,
        "encoder": "shared",
        "checkpoint": tmp_path / "state",
    }
    topology = small_topology(sensors=SENSORS)
    with pytest.raises(KeyboardInterrupt):
        train(topology, data, **call, callbacks=[stop])
    epochs: list[int] = []
    watch = keras.callbacks.LambdaCallback(on_epoch_begin=lambda epoch, logs: epochs.append(epoch))
    train(topology, data, **call, callbacks=[watch])
    assert epochs == [1]
    assert not list(tmp_path.iterdir())


def test_what_it_cannot_do_is_said(data: Batches) -> None:
    topology = small_topology(sensors=SENSORS)
    call: Any = {"survival": "low", "encoder": "shared"}
    with pytest.raises(InputError, match=r"does not distil, got distil 0.5"):
        train(topology, data, sections=SMALL, recipe=Recipe(distil=0.5), **call)
    with pytest.raises(InputError, match="an encoder needs convolutional sections"):
        train(topology, data, sections="fc32", **call)
    with pytest.raises(InputError, match=r"one shape, got \(4, 8, 3\), \(8, 8, 3\)"):
        Convolutional().encoders([SENSORS[0], Sensor("cam1", (4, 8, 3))])
