from typing import Any

import keras
import numpy as np
import pytest

from ddnn_tf.datasets import Batches
from ddnn_tf.evaluation import expected_accuracy
from ddnn_tf.model import ResilientModel, build
from ddnn_tf.training.auxiliary import AuxiliaryLossModel
from ddnn_tf.training.recipe import Recipe
from ddnn_tf.training.training import train
from ddnn_tf.training.validation import ExpectedAccuracy
from tests.commands import CLASSES, small_samples
from tests.models import randomized
from tests.reference import small_topology

DATA = Batches(small_samples(48))
ALWAYS_DOWN = {"left": 0.0, "right": 0.0}


def student(dropout: Any = None) -> ResilientModel:
    model = build(small_topology(), classes=CLASSES, dropout=dropout, seed=0)
    randomized(model)
    return model


def compiled(model: ResilientModel, **options: float) -> AuxiliaryLossModel:
    lessons = AuxiliaryLossModel(model, **options)
    lessons.compile("sgd", "sparse_categorical_crossentropy", metrics=["accuracy"])
    return lessons


def loss(lessons: AuxiliaryLossModel, answers: Any, weights: Any = None) -> float:
    return float(lessons.compute_loss(DATA.inputs, DATA.labels, answers, weights))


def cross_entropy(probabilities: Any) -> Any:
    p = np.clip(np.asarray(probabilities, np.float64), 1e-7, 1 - 1e-7)  # as Keras does
    return -np.log(p[np.arange(len(p)), DATA.labels])


def test_auxiliary_classifiers_share_their_weight_in_the_loss() -> None:
    lessons = compiled(student(), auxiliary=0.4)
    answers = answer, left, right = lessons(DATA.inputs, training=True)
    own = 0.2 * cross_entropy(left) + 0.2 * cross_entropy(right)
    assert loss(lessons, answers) == pytest.approx(np.mean(cross_entropy(answer) + own), rel=1e-5)
    # Top hears a camera too, and answers anyway.
    assert {w.path.split("/")[0] for w in lessons.trainable_weights} == {
        *("lesson__left", "lesson__right"),
        *(w.path.split("/")[0] for w in lessons.student.trainable_weights),
    }


def test_what_distils_is_the_answer_with_nothing_failed() -> None:
    model = student([ALWAYS_DOWN])
    lessons = compiled(model, distil=0.5)
    answers = lessons(DATA.inputs, training=True)
    harmed = np.asarray(answers, np.float64)
    whole = np.asarray(model(DATA.inputs, training=False), np.float64)
    assert np.abs(harmed - whole).max() > 0.01
    distance = -(whole * np.log(harmed)).sum(axis=1)
    expected = cross_entropy(harmed) + 0.5 * distance
    assert loss(lessons, answers) == pytest.approx(np.mean(expected), rel=1e-5)
    weights = np.linspace(0, 2, len(expected))
    assert loss(lessons, answers, weights) == pytest.approx(np.mean(weights * expected), rel=1e-5)


def test_lessons_train_the_student_and_leave_nothing_in_it() -> None:
    model = student()
    before, names = model.get_weights(), [layer.name for layer in model.layers]
    compiled(model, auxiliary=0.5, distil=0.5).fit(DATA, epochs=1, verbose=0)
    assert [layer.name for layer in model.layers] == names
    assert not any(
        np.array_equal(a, b) for a, b in zip(before, model.get_weights(), strict=True) if a.any()
    )


@pytest.mark.parametrize("lesson", [{"auxiliary": 0.5}, {"distil": 0.5}, {"average": 0.5}])
def test_a_recipe_teaches_them(lesson: dict[str, float], tmp_path: Any) -> None:
    class Break(keras.callbacks.Callback):
        def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
            raise KeyboardInterrupt

    recipe = Recipe(epochs=2, learning_rate=0.05, batch_size=24, **lesson)  # type: ignore[arg-type]
    call: Any = {"survival": "low", "recipe": recipe, "checkpoint": tmp_path / "state"}
    with pytest.raises(KeyboardInterrupt):
        train(small_topology(), DATA, **call, callbacks=[Break()])
    watch = ExpectedAccuracy(DATA, ["low"])
    model = train(small_topology(), DATA, **call, callbacks=[watch])
    assert watch.params["epochs"] == 2
    assert model.prior == pytest.approx([1 / 3] * 3)
    assert not (tmp_path / "state").exists()
    assert 0 < expected_accuracy(model, DATA, survival=["low"]).expected_accuracy("low") < 1


def test_exits_learn_beside_the_lessons() -> None:
    topology = small_topology().with_exits()
    model = randomized(build(topology, classes=CLASSES, exit_weight=0.5, seed=0))
    lessons = compiled(model, auxiliary=0.4)
    answers = lessons(DATA.inputs, training=True)
    with_exits = loss(lessons, answers)
    without = loss(lessons, answers)  # what exits answered is taken once
    assert with_exits > without + 0.1


def test_averaged_weights_lie_between_those_of_the_steps() -> None:
    def weights(average: float, epochs: int) -> Any:
        recipe = Recipe(epochs=epochs, learning_rate=0.05, batch_size=48, average=average)
        model = train(small_topology(), DATA, survival="low", recipe=recipe)
        return np.concatenate([w.ravel() for w in model.get_weights()])

    last, averaged = weights(0.0, 2), weights(0.9, 2)
    assert np.abs(averaged - last).max() > 0.01
    assert np.abs(averaged).sum() < np.abs(last).sum() * 2
