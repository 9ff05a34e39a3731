from functools import partial
from typing import Any

import keras
import numpy as np
import pytest

from ddnn_tf.datasets import Batches
from ddnn_tf.model import build
from ddnn_tf.sections import VIEW, Convolutional
from ddnn_tf.training.augmentation import Augmented, vary
from ddnn_tf.training.encoding import Drawn, encode
from ddnn_tf.training.pretraining import learn_views, single_views
from ddnn_tf.training.recipe import Recipe
from ddnn_tf.training.training import train
from edge_runtime.errors import InputError
from edge_runtime.samples import Samples
from edge_runtime.topology import Sensor
from tests.commands import CLASSES
from tests.models import lively
from tests.reference import small_topology

SENSORS = tuple(Sensor(name, (8, 8, 3)) for name in ("cam0", "cam1"))
SMALL = Convolutional(filters=(4, 4), units=5, hidden=6, features=7)
QUICK = Recipe(epochs=2, learning_rate=0.01, batch_size=16, variations=2)


def cameras(count: int = 30) -> Batches:
    """The class is the color; each camera misses some of the objects."""
    rng = np.random.default_rng(0)
    labels = np.arange(count, dtype=np.int64) % 3
    visible = rng.random((count, 2)) < 0.7
    inputs: dict[str, Any] = {}
    for column, sensor in enumerate(SENSORS):
        pictures = rng.integers(1, 100, (count, 8, 8, 3))
        pictures[np.arange(count), :, :, labels] += 100
        inputs[sensor.name] = (pictures * visible[:, column, None, None, None]).astype(np.uint8)
    return Batches(Samples(inputs, labels, CLASSES), visible=visible)


@pytest.fixture(scope="module")
def data() -> Batches:
    return cameras()


@pytest.fixture(scope="module")
def encoder(data: Batches) -> keras.Model:
    return lively(SMALL.encoder((8, 8, 3)))


def test_single_views_are_those_that_see_the_object(data: Batches) -> None:
    views = single_views(data)
    assert len(views) == data.visible.sum()
    assert views.inputs[VIEW].reshape(len(views), -1).any(axis=1).all()
    brightest = views.inputs[VIEW].mean(axis=(1, 2)).argmax(axis=1)
    assert (brightest == views.labels).all()


def test_one_encoder_needs_views_of_one_shape(data: Batches) -> None:
    inputs = {**data.inputs, "cam1": data.inputs["cam1"][:, :4]}
    with pytest.raises(InputError, match=r"one shape, got \(4, 8, 3\), \(8, 8, 3\)"):
        single_views(Batches(Samples(inputs, data.labels, CLASSES)))


def test_what_was_encoded_is_what_the_encoder_says_and_zeros_for_the_blank(
    data: Batches, encoder: keras.Model
) -> None:
    features = encode(encoder, data, lambda x: x, 2)
    for name, views in data.inputs.items():
        expected = np.asarray(encoder(views))
        assert features.inputs[name].shape == (len(views), 2, 8)
        for variation in range(2):
            np.testing.assert_allclose(features.inputs[name][:, variation], expected, atol=1e-5)
        blank = ~views.reshape(len(views), -1).any(axis=1)
        assert blank.any()
        assert not expected[blank].any()


def test_every_variation_is_another(data: Batches, encoder: keras.Model) -> None:
    rng = np.random.default_rng(0)
    found = encode(encoder, data, partial(vary, rng=rng), 3).inputs["cam0"]
    seen = data.visible[:, 0]
    assert (found[seen, 0] != found[seen, 1]).any(axis=1).all()
    batches = Batches(encode(encoder, data, partial(vary, rng=rng), 3))
    drawn = Drawn(batches, rng, repeats=4)[0][0]["cam0"]
    assert drawn.shape == (4 * len(seen), 8)
    for sample, each in enumerate(drawn.reshape(-1, 4, 8)):
        among = (each[:, None] == batches.inputs["cam0"][sample]).all(axis=2).any(axis=1)
        assert among.all()
    assert isinstance(Drawn(batches, rng), Augmented)


@pytest.mark.parametrize("exits", [False, True])
def test_a_trained_model_sees_as_its_encoder_and_survives_as_it_learned(
    data: Batches, exits: bool
) -> None:
    topology = small_topology(sensors=SENSORS)
    topology = topology.with_exits() if exits else topology
    encoder = learn_views(data, sections=SMALL, recipe=QUICK, seed=1)
    learned = [np.array(w) for w in encoder.get_weights()]
    fitted: list[keras.Model] = []
    keep = keras.callbacks.LambdaCallback(on_train_end=lambda logs: None)
    keep.set_model = fitted.append
    model = train(
        topology,
        data,
        sections=SMALL,
        survival="low",
        recipe=QUICK,
        encoder=encoder,
        callbacks=[keep],
    )
    assert all((a == b).all() for a, b in zip(learned, encoder.get_weights(), strict=True))
    assert model.prior == pytest.approx([1 / 3] * 3)
    features = {name: np.asarray(encoder(views)) for name, views in data.inputs.items()}
    (upper,) = fitted
    masks = np.random.default_rng(2).random((len(data.labels), len(topology.elements))) < 0.7
    np.testing.assert_allclose(
        model.simulate(data.inputs, masks), upper.simulate(features, masks), atol=1e-5
    )


def test_an_interrupted_training_with_an_encoder_goes_on(data: Batches, tmp_path: Any) -> None:
    def interrupt(epoch: int, logs: Any) -> None:
        raise KeyboardInterrupt

    stop = keras.callbacks.LambdaCallback(on_epoch_end=interrupt)
    call: Any = {"sections": SMALL, "recipe": QUICK, "checkpoint": tmp_path / "views"}
    with pytest.raises(KeyboardInterrupt):
        learn_views(data, **call, callbacks=[stop])
    epochs: list[int] = []
    watch = keras.callbacks.LambdaCallback(on_epoch_begin=lambda epoch, logs: epochs.append(epoch))
    learn_views(data, **call, callbacks=[watch])
    assert epochs == [1]
    assert not list(tmp_path.iterdir())


def test_an_encoder_is_for_a_model_that_starts_anew(data: Batches, encoder: keras.Model) -> None:
    topology = small_topology(sensors=SENSORS)
    start = build(topology, SMALL, classes=CLASSES)
    with pytest.raises(InputError, match="give encoder or start, not both"):
        train(topology, data, sections=SMALL, start=start, encoder=encoder)


def test_an_encoder_needs_convolutional_sections(data: Batches, encoder: keras.Model) -> None:
    with pytest.raises(InputError, match="an encoder needs convolutional sections"):
        train(small_topology(sensors=SENSORS), data, survival="low", encoder=encoder)
