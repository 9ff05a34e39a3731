"""Classifiers on nodes below the output node, in the Keras model."""

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from keras import layers

from ddnn_tf.evaluation import expected_accuracy
from ddnn_tf.model import ResilientModel, build
from ddnn_tf.sections import Site
from edge_runtime.errors import InputError
from export.split import KerasRunner, split
from tests import reference
from tests.commands import CLASSES, small_samples
from tests.models import flagged, randomized, two_outputs
from tests.reference import small_topology
from tests.strategies import samples

EXITS = small_topology().with_exits()
LOSS = "sparse_categorical_crossentropy"


def own_exit(site: Site) -> Any:
    """A section whose exit has a layer more than a linear one."""
    message = flagged(site)
    if site.exit is None:
        return message
    hidden = layers.Dense(5, activation="relu")(message)
    return [message, layers.Dense(site.exit, activation="softmax", name="exit")(hidden)]


def test_a_section_with_an_exit_gives_what_it_sends_and_last_probabilities() -> None:
    model = randomized(build(EXITS, flagged, classes=CLASSES))
    assert model.output_shape == (None, 3)
    sections = split(model, EXITS)
    assert [tuple(x.shape) for x in sections["left"].outputs] == [(None, 3), (None, 3)]
    assert len(sections["top"].outputs) == 1
    inputs = samples(EXITS, 5)
    message, answer = KerasRunner(model, EXITS).run("left", {"cam0": inputs["cam0"]})
    kernel, bias = sections["left"].get_layer("exit").get_weights()
    logits = message @ kernel + bias
    softmax = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    assert answer == pytest.approx(softmax, abs=1e-5)


def test_exits_change_nothing_of_what_the_output_node_answers() -> None:
    without = randomized(build(small_topology(), flagged, classes=CLASSES))
    model: Any = build(EXITS, flagged, classes=CLASSES)
    for node, section in split(without, small_topology()).items():
        own = model.get_layer(node)
        own.set_weights([*section.get_weights(), *own.get_weights()[len(section.get_weights()) :]])
    inputs = samples(EXITS, 40)
    cases = np.random.default_rng(0).random((40, len(EXITS.elements))) < 0.7
    assert model.simulate(inputs, cases) == pytest.approx(without.simulate(inputs, cases), abs=1e-6)


def test_a_section_may_bring_its_own_exit_as_a_function_or_a_model() -> None:
    x = keras.Input((3,), name="cam0")
    message = layers.Dense(3, activation="relu")(x)
    mine = keras.Model(x, [message, layers.Dense(3, "softmax", name="exit")(message)])
    sections: Any = {"left": mine, "right": own_exit, "top": own_exit}
    model: Any = build(EXITS, sections, classes=CLASSES)
    assert len(model.get_layer("left").outputs) == len(model.get_layer("right").outputs) == 2
    assert any(isinstance(x, keras.Model) for x in model.get_layer("left").layers)
    assert np.shape(model.get_layer("right").get_layer("exit").get_weights()[0]) == (5, 3)


def test_an_exit_reads_all_that_a_node_sends() -> None:
    model: Any = build(EXITS, two_outputs, classes=CLASSES)
    left = model.get_layer("left")
    assert [tuple(x.shape) for x in left.outputs] == [(None, 2), (None, 1), (None, 3)]
    assert np.shape(left.get_layer("exit").get_weights()[0]) == (3, 3)
    assert {"left__0", "left__1"} <= {x.name for x in model.get_layer("top").inputs}


def test_an_exit_of_another_shape_is_refused() -> None:
    def wrong(site: Site) -> Any:
        message = flagged(site)
        return message if site.exit is None else [message, layers.Dense(2, name="exit")(message)]

    with pytest.raises(
        InputError, match=r"'left': expected its layer 'exit' to give .*\(None, 2\)"
    ):
        build(EXITS, wrong, classes=CLASSES)
    with pytest.raises(InputError, match="exits' loss of at least 0, got -1"):
        build(EXITS, flagged, classes=CLASSES, exit_weight=-1)
    with pytest.raises(InputError, match=r"loss of each exit \(left, right\), got those of middle"):
        build(EXITS, flagged, classes=CLASSES, exit_weight={"middle": 1})
    # A model that knows nothing of exits cannot be cut along a topology that has some.
    with pytest.raises(InputError, match="sub-model 'left' has an exit: expected what it sends"):
        split(build(small_topology(), flagged, classes=CLASSES), EXITS)


@pytest.mark.parametrize(
    ("one_hot", "weight"), [(False, 0.25), (True, 0.25), (False, {"right": 0.75, "left": 0.25})]
)
def test_the_joint_loss_counts_an_exit_where_its_node_is_alive_and_hears(
    one_hot: bool, weight: float | dict[str, float]
) -> None:
    model: Any = randomized(build(EXITS, flagged, classes=CLASSES, exit_weight=weight))
    model.compile("sgd", "categorical_crossentropy" if one_hot else LOSS)
    rng = np.random.default_rng(0)
    inputs, labels = samples(EXITS, 60), rng.integers(0, 3, 60)
    weights = rng.uniform(0.5, 2, 60)
    cases = rng.random((60, len(EXITS.elements))) < 0.7
    y = np.eye(3)[labels] if one_hot else labels
    failures = model.get_layer("ddnn__failures")
    with failures.given(cases):
        answers = model(inputs, training=True)
        joint = float(model.compute_loss(inputs, y, answers, weights, training=True))
        output = float(model.compute_loss(inputs, y, answers, weights, training=False))

    expected = output
    runner = KerasRunner(model, EXITS)
    for i, mask in enumerate(cases):
        up = reference.working(EXITS, mask)
        sample = {name: x[i : i + 1] for name, x in inputs.items()}
        for node in EXITS.exits:
            answer = reference.answer(EXITS, runner, sample, up, node)
            if answer is not None:
                own = weight[node] if isinstance(weight, dict) else weight
                expected += own * weights[i] * -np.log(answer[0, labels[i]]) / 60
    assert joint == pytest.approx(expected, rel=1e-4)
    assert joint > output


def test_exits_learn_with_the_model_and_come_back_with_it(tmp_path: Path) -> None:
    keras.utils.set_random_seed(0)
    data = small_samples()
    model = build(EXITS, "fc32", classes=CLASSES, dropout=["low"], exit_weight=0.75, seed=0)
    model.compile(keras.optimizers.Adam(0.02), LOSS, metrics=["accuracy"])
    before = expected_accuracy(model, data, survival=["low"])
    model.fit(
        data.inputs, data.labels, validation_data=(data.inputs, data.labels), epochs=15, verbose=0
    )
    found = expected_accuracy(model, data, survival=["low"])
    for node in EXITS.exits:
        was, now = (r.exit_score(node, "low") or 0.0 for r in (before, found))
        assert now > max(was, 0.6), node
    anyone = expected_accuracy(model, data, survival=["low"], answer="any")
    assert anyone.reach_probability("low") == found.reach_probability("low") == pytest.approx(1)
    loss = model.evaluate(data.inputs, data.labels, verbose=0, return_dict=True)["loss"]
    answers = np.asarray(model(data.inputs))
    assert loss == pytest.approx(-np.log(answers[np.arange(120), data.labels]).mean(), rel=1e-4)

    model.save(tmp_path / "model.keras")
    again: Any = keras.models.load_model(tmp_path / "model.keras")
    assert isinstance(again, ResilientModel)
    assert again.topology == EXITS
    assert again.get_layer("ddnn__exits").weights_of == dict.fromkeys(EXITS.exits, 0.75)
    same = expected_accuracy(again, data, survival=["low"], answer="any")
    assert same.scores == pytest.approx(anyone.scores)
    again.fit(data.inputs, data.labels, epochs=1, verbose=0)
