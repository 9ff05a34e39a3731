"""Labels, values and several outputs, from a model to a bundle: every task as classes go."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

import ddnn_tf
from ddnn_tf import (
    AnswerRule,
    Classification,
    Custom,
    MultiLabel,
    Recipe,
    Regression,
    Score,
    Several,
    build,
    expected_accuracy,
    expected_score,
)
from ddnn_tf.datasets import Batches
from edge_runtime.arrays import Array
from edge_runtime.errors import InputError
from edge_runtime.evaluation.bundle import Bundle, evaluate_bundle
from edge_runtime.failures.configurations import enumerate_configurations
from edge_runtime.samples import Samples
from edge_runtime.task import Task
from export import export_bundle
from tests.reference import small_topology
from tests.strategies import samples

LABELS = MultiLabel(("car", "bus"))
VALUES = Regression(("count", "size"), ("objects", "m"))
BOTH = Several({"size": Regression(("size",), ("m",)), "kind": Classification(("a", "b", "c"))})
TASKS: list[Task] = [LABELS, MultiLabel(("car", "bus"), by="exact match"), VALUES, BOTH]
TOPOLOGY = small_topology()


def some(task: Task, count: int = 40, seed: int = 0) -> Samples:
    """Targets that depend on what the first camera sees."""
    inputs = samples(TOPOLOGY, count, seed)
    x = inputs["cam0"]
    targets: dict[str, Any] = {
        "multi-label": np.stack([x[:, 0] > 0, x[:, 1] > 0.5], axis=1),
        "regression": x[:, :2] * [3, 1] + 1,
        "custom": x[:, :2],
        "several": None,
    }
    if isinstance(task, Several):
        size, kind = x[:, :1] + 2, (x[:, 0] > 0).astype(int) + (x[:, 1] > 1)
        return Samples(inputs, task.checked({"size": size, "kind": kind}), task)
    return Samples(inputs, targets[task.kind], task)


def trained(task: Task, **options: Any) -> ddnn_tf.ResilientModel:
    recipe = Recipe(epochs=3, batch_size=8)
    return ddnn_tf.train(TOPOLOGY, Batches(some(task)), recipe=recipe, survival="low", **options)


@pytest.fixture(scope="module", params=TASKS, ids=lambda task: getattr(task, "by", task.kind))
def made(request: pytest.FixtureRequest) -> tuple[Task, ddnn_tf.ResilientModel]:
    return request.param, trained(request.param)


def by_hand(model: ddnn_tf.ResilientModel, data: Samples, fallback: Any = "prior") -> float:
    """The expected score by every configuration for itself, from the model's own simulation."""
    task = model.task
    scorer = task.scorer(data.labels)
    configurations = enumerate_configurations(TOPOLOGY, {"low": "low"})
    total = 0.0
    for mask, p in zip(configurations.masks, configurations.weights["low"], strict=True):
        answers = model.simulate(data.inputs, mask, fallback=fallback)
        total += p * scorer.per_sample(scorer.points(answers)).mean()
    return float(total)


def test_the_expected_score_is_exact(made: tuple[Task, ddnn_tf.ResilientModel]) -> None:
    task, model = made
    data = some(task, 30, seed=1)
    found = expected_score(model, data)
    assert found.expected_score("low") == pytest.approx(by_hand(model, data), abs=1e-6)
    assert found.score == task.score
    parts = found.expected_parts("low")
    if not isinstance(task, Several) and len(parts) > 1:
        counts = [c for c in found.counts if c]
        assert found.expected_score("low") == pytest.approx(
            np.average(list(parts.values()), weights=counts)
        )
    plain = found.to_dict()
    assert plain["expected_score"]["low"] == pytest.approx(found.expected_score("low"))
    assert plain["task"] == task.kind


def test_a_model_comes_back_with_its_task(
    made: tuple[Task, ddnn_tf.ResilientModel], tmp_path: Path
) -> None:
    task, model = made
    model.save(tmp_path / "m.keras")
    again = ddnn_tf.load_model(tmp_path / "m.keras")
    # What the fallback is made of was learned with the weights.
    assert again.task == model.task == some(task).learned()
    data = some(task, 10, seed=3)
    alive = np.ones(len(TOPOLOGY.elements), bool)
    assert again.simulate(data.inputs, alive) == pytest.approx(model.simulate(data.inputs, alive))


def test_where_nothing_arrives_the_constant_of_the_training_answers(
    made: tuple[Task, ddnn_tf.ResilientModel],
) -> None:
    task, model = made
    data = some(task, 10)
    answers = model.simulate(data.inputs, np.zeros(len(TOPOLOGY.elements), bool))
    assert (answers == model.task.fallback().astype(np.float32)).all()


@pytest.mark.parametrize("quantize", ["none", "int8"])
def test_a_bundle_tells_what_its_answers_are_worth(
    made: tuple[Task, ddnn_tf.ResilientModel], quantize: Any, tmp_path: Path
) -> None:
    task, model = made
    validation = some(task, 30, seed=1)
    report = export_bundle(model, tmp_path / "b", some(task), validation, quantize=quantize)
    if quantize == "none":
        assert report.parity.max_error <= 1e-5
    bundle = Bundle(tmp_path / "b")
    assert bundle.manifest.task == model.task
    found = evaluate_bundle(bundle, validation, "low")
    table = bundle.manifest.reliability
    assert table is not None
    assert table.expected["low"] == pytest.approx(found.expected_score("low"))
    assert set(table.outputs) == (set(task.outputs) if isinstance(task, Several) else set())
    for name, own in found.by_output().items():
        assert table.outputs[name].expected["low"] == pytest.approx(own.expected_score("low"))
    if quantize == "none":
        exact = expected_score(model, validation).expected_score("low")
        assert found.expected_score("low") == pytest.approx(exact, abs=1e-4)
    inputs = {name: x[:4] for name, x in validation.inputs.items()}
    alive = np.ones((4, len(TOPOLOGY.elements)), bool)
    answers = bundle.answer(inputs, alive)
    assert answers.values.shape == (4, task.width)


def test_each_output_has_its_own_score() -> None:
    model = trained(BOTH)
    data = some(BOTH, 30, seed=1)
    found = expected_score(model, data)
    assert found.expected_score("low") == found.of_output("size").expected_score("low")
    kind = found.of_output("kind")
    assert kind.score.name == "accuracy"
    assert kind.balanced_accuracy("low") == pytest.approx(
        np.mean(list(kind.class_recalls("low").values()))
    )
    with pytest.raises(InputError, match="one of the outputs, size, kind; got 'color'"):
        found.of_output("color")
    targets = BOTH.split(data.labels)
    same = expected_score(model, data.inputs, targets)
    assert same.expected_score("low") == pytest.approx(found.expected_score("low"))


def test_any_metric_that_is_a_mean_over_samples_may_be_asked_for() -> None:
    model, data = trained(VALUES), some(VALUES, 30, seed=1)
    own = expected_score(model, data).expected_score("low")
    for score in (
        "mean_absolute_error",
        keras.metrics.MeanAbsoluteError(),
        Score("own", False, "", lambda a, t: np.abs(a - t).mean(axis=1)),
    ):
        found = expected_score(model, data, score=score)
        assert found.expected_score("low") == pytest.approx(own, rel=1e-6)
        assert not found.score.higher_is_better
    within = expected_score(model, data, score=lambda a, t: (np.abs(a - t) < 1).all(axis=1))
    assert 0 <= within.expected_score("low") <= 1
    refused: list[tuple[Any, str]] = [
        ("auc", "no mean over samples"),
        (keras.metrics.F1Score(), "no mean over samples"),
        ("nonsense", "unknown score 'nonsense'"),
        (3, "expected a score, a metric of Keras or a function"),
    ]
    for bad, said in refused:
        with pytest.raises(InputError, match=said):
            expected_score(model, data, score=bad)


def test_classes_keep_their_accuracy_and_others_have_none() -> None:
    model, data = trained(VALUES), some(VALUES)
    with pytest.raises(InputError, match="no accuracy but a mean absolute error; ask for expected"):
        expected_accuracy(model, data)
    with pytest.raises(InputError, match="has no balanced form"):
        expected_score(model, data).balanced_accuracy("low")
    with pytest.raises(InputError, match="model is for a regression, which has no classes"):
        _ = model.class_names


def test_a_score_of_ones_own_needs_its_function() -> None:
    task = Custom(("x", "y"), (0.0, 0.0), "distance", higher_is_better=False, unit="m")
    with pytest.raises(InputError, match="'distance' is your own, so `train` does not know"):
        trained(task)
    model = build(TOPOLOGY, "fc32", task=task)
    model.compile("adam", "mse")
    data = some(task)
    model.fit(data.inputs, data.labels, verbose=0)

    def distance(answers: Array, targets: Array) -> Array:
        return np.asarray(np.linalg.norm(answers - targets, axis=1))

    with pytest.raises(InputError, match="no file carries it"):
        expected_score(model, data)
    found = expected_score(model, data, score=Score("distance", False, "m", distance))
    assert found.expected_score("low") > 0


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (
            {"recipe": Recipe(epochs=1, auxiliary=0.5)},
            "losses of classes, and this is a regression",
        ),
        ({"encoder": "shared", "sections": "conv"}, "an encoder learns to tell classes"),
    ],
)
def test_what_only_classes_have_is_refused_before_training(
    changes: dict[str, Any], said: str
) -> None:
    options = {"recipe": Recipe(epochs=1), **changes}
    with pytest.raises(InputError, match=said):
        ddnn_tf.train(TOPOLOGY, Batches(some(VALUES)), survival="low", **options)


def test_exits_of_values_answer_in_a_fixed_order_alone() -> None:
    topology = TOPOLOGY.with_exits(["left"])
    model = build(topology, "fc32", task=VALUES)
    model.compile("adam", "mae")
    data = some(VALUES)
    model.fit(data.inputs, data.labels, verbose=0)
    with pytest.raises(InputError, match="do not say how sure they are"):
        expected_score(model, data, answer="any")
    order = expected_score(model, data).priority()
    found = expected_score(model, data, answer=AnswerRule("any", "priority", order))
    alone = expected_score(model, data)
    assert found.reach_probability("low") >= alone.reach_probability("low")
    with pytest.raises(InputError, match="exits answer for one output, and this task has 2"):
        build(topology, "fc32", task=BOTH)


def test_a_model_keeps_its_score_and_units_whatever_the_data_say() -> None:
    task = Regression(("count", "size"), ("pieces", "cm"), by="mean squared error")
    model = build(TOPOLOGY, "fc32", task=task)
    model.compile("adam", "mse")
    data = some(VALUES)
    model.fit(Batches(data), verbose=0)
    assert model.task == task.learned(data.labels)
    with pytest.raises(InputError, match="expected a regression of count, size, got a multi-label"):
        model.fit(Batches(some(LABELS)), verbose=0)
