"""The task of a model: what its targets are, and what its answers say and score."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from edge_runtime.errors import InputError
from edge_runtime.samples import Samples
from edge_runtime.scoring import Score
from edge_runtime.task import (
    Classification,
    Custom,
    MultiLabel,
    Regression,
    Several,
    Single,
    Task,
    scorer_of,
)

X = np.arange(6, dtype=np.float32).reshape(3, 2)
CLASSES = Classification(("a", "b", "c"))
LABELS = MultiLabel(("car", "bus"))
VALUES = Regression(("width", "height"), ("m", "cm"))
KINDS: list[tuple[Single, NDArray[Any], str]] = [
    (CLASSES, np.array([2, 0, 2], np.uint8), "int64"),
    (LABELS, np.array([[True, False], [True, True], [False, False]]), "uint8"),
    (VALUES, np.array([[1.5, -2.0], [0.0, 4.0], [3.0, 4.0]]), "float32"),
]


@pytest.mark.parametrize(("task", "labels", "dtype"), KINDS)
def test_each_kind_comes_back_from_a_file(
    tmp_path: Path, task: Single, labels: NDArray[Any], dtype: str
) -> None:
    samples = Samples({"x": X}, labels, task)
    samples.save_npz(tmp_path / "a.npz")
    found = Samples.load_npz(tmp_path / "a.npz")
    assert found.task == task
    assert found.labels.dtype == dtype
    assert np.array_equal(found.labels, labels)
    assert list(found.inputs) == ["x"]
    part = found.take([2, 0])
    assert part.task == task
    assert np.array_equal(part.labels, labels[[2, 0]])


def test_the_file_says_what_the_labels_are(tmp_path: Path) -> None:
    keys = []
    for task, labels, _ in KINDS:
        Samples({"x": X}, labels, task).save_npz(tmp_path / "a.npz")
        with np.load(tmp_path / "a.npz") as archive:
            keys.append(sorted({*archive.files} - {"x", "label"}))
    assert keys == [["class_names"], ["label_names"], ["units", "value_names"]]


def test_one_value_may_be_one_dimensional() -> None:
    samples = Samples({"x": X}, np.array([1.0, 2.0, 4.0]), Regression(("count",)))
    assert samples.labels.tolist() == [[1.0], [2.0], [4.0]]
    learned = samples.learned()
    assert isinstance(learned, Regression)
    assert learned.mean == pytest.approx((7 / 3,))
    assert learned.median == (2.0,)


def test_what_is_known_beforehand() -> None:
    learned = [Samples({"x": X}, y, task).learned() for task, y, _ in KINDS]
    classes, some, values = learned
    assert isinstance(classes, Classification)
    assert classes.prior == pytest.approx((1 / 3, 0, 2 / 3))
    assert classes.fallback().tolist() == [0, 0, 1]
    assert isinstance(some, MultiLabel)
    assert some.frequencies == pytest.approx((2 / 3, 1 / 3))
    assert some.fallback().tolist() == [2 / 3, 1 / 3]
    assert isinstance(values, Regression)
    assert values.mean == (1.5, 2.0)
    assert values.median == (1.5, 4.0)
    # The constant that scores best in training: the median for an absolute error.
    assert values.fallback().tolist() == values.fallback("median").tolist() == [1.5, 4.0]
    squared = Regression(("w", "h"), by="mean squared error").learned(KINDS[2][1])
    assert squared.fallback().tolist() == [1.5, 2.0]
    counts = [t.counts(t.checked(labels)) for t, labels, _ in KINDS]
    assert counts == [{"a": 1, "b": 0, "c": 2}, {"car": 2, "bus": 1}, {}]


@pytest.mark.parametrize("task", [LABELS, VALUES])
def test_what_knows_classes_alone_refuses_the_others(task: Single) -> None:
    samples = Samples({"x": X}, np.zeros((3, 2), np.uint8), task)
    with pytest.raises(InputError, match=rf"labels are a {task.kind} \(.*expected classification"):
        _ = samples.class_names


@pytest.mark.parametrize(
    ("task", "labels", "message"),
    [
        (LABELS, [[0, 1], [2, 0], [0, 3]], "label 'car' of sample 1 is 2: expected 0 or 1.*2 are"),
        (LABELS, [["a", "b"]] * 3, "numbers, 0 or 1; came <U1"),
        (LABELS, [[0.0, 0.5]] * 3, "label 'bus' of sample 0 is 0.5: expected 0 or 1"),
        (LABELS, [0, 1, 1], r"expected an array \(samples, 2\), a column for each of the labels"),
        (LABELS, [[0, 1, 1]] * 3, r"labels car, bus; came \(3, 3\)"),
        (LABELS, np.zeros((0, 2), int), "there are no samples"),
        (VALUES, [[0, 1], [0, np.nan], [np.inf, 0]], "value 'height' of sample 1 is nan.*2 are"),
        (
            VALUES,
            [[0, 1], [0, 1e39], [0, 0]],
            r"value 'height' of sample 1 is 1e\+39: expected fin",
        ),
        (VALUES, [["1", "2"]] * 3, "values must be numbers; came <U1"),
        (VALUES, [1.0, 2.0, 3.0], r"came \(3, 1\)"),
        (CLASSES, [[0, 1]] * 3, "labels must be one-dimensional"),
        (VALUES, [[0, 1]] * 2, "sensor 'x' has the wrong number of samples: expected 2"),
    ],
)
def test_labels_that_are_not_of_their_kind(task: Single, labels: Any, message: str) -> None:
    with pytest.raises(InputError, match=message) as error:
        Samples({"x": X}, np.array(labels), task)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Regression(("a", "a")), "value names must differ; 'a' repeats"),
        (lambda: MultiLabel(("a", "")), "label names must be a sequence of non-empty strings"),
        (lambda: Regression(("a", "b"), ("m",)), "expected units of 2 values, got 1"),
        (lambda: Classification(("a", "b"), (0.5, 0.6)), "a prior that sums to 1"),
        (lambda: Classification(("a", "b"), (1.0,)), "a prior for each of 2 names, got 1"),
        (lambda: MultiLabel(("a",), (1.5,)), "each frequency from 0 to 1"),
        (lambda: Regression(("a",), mean=(float("nan"),)), "finite means"),
        (lambda: Custom(("a", "b"), (0.0,), "own"), "a constant of 2 finite numbers"),
        (lambda: Several({"one": LABELS}), "expected 2 output names at least"),
        (
            lambda: Several({"one": LABELS, "own": Custom(("a",), (0.0,), "own")}),
            "output 'own' has a score of its own",
        ),
    ],
)
def test_what_is_no_task(make: Callable[[], object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        make()


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        (
            {"label_names": ["a", "b"], "class_names": ["a"]},
            "expected one of 'class_names', .*came",
        ),
        ({"value_names": [1, 2]}, "'value_names' must be a one-dimensional array of strings"),
        ({"value_names": ["a", "b"], "units": [0.5]}, "'units' must be a one-dimensional array of"),
        ({"label_names": ["a", "b"], "units": ["m", "m"]}, "units are of values; came"),
        ({}, "'class_names' is missing: expected .*'label_names' of several"),
    ],
)
def test_files_that_do_not_say_what_labels_are(
    tmp_path: Path, arrays: dict[str, Any], message: str
) -> None:
    named: dict[str, Any] = {name: np.array(x) for name, x in arrays.items()}
    np.savez(tmp_path / "a.npz", x=X, label=np.zeros((3, 2), np.uint8), **named)
    with pytest.raises(InputError, match=rf"a\.npz: {message}"):
        Samples.load_npz(tmp_path / "a.npz")


# -- several outputs -------------------------------------------------------------------------------

BOTH = Several({"kinds": LABELS, "size": VALUES, "which": CLASSES})
TARGETS = {
    name: labels for name, (_, labels, _) in zip(("which", "kinds", "size"), KINDS, strict=True)
}


def test_several_outputs_come_back_from_a_file(tmp_path: Path) -> None:
    samples = Samples({"x": X}, BOTH.checked(TARGETS), BOTH)
    samples.save_npz(tmp_path / "a.npz")
    found = Samples.load_npz(tmp_path / "a.npz").take([2, 0])
    assert found.task == BOTH
    own = BOTH.split(found.labels)
    assert own["which"].tolist() == [2, 2]
    assert own["kinds"].tolist() == [[0, 0], [1, 0]]
    assert own["size"].tolist() == [[3, 4], [1.5, -2]]


def test_several_outputs_score_each_by_itself_and_the_first_for_all() -> None:
    task = BOTH.learned(BOTH.checked(TARGETS))
    scorer = task.scorer(BOTH.checked(TARGETS))
    rng = np.random.default_rng(0)
    answers = rng.random((3, task.width))
    points = scorer.points(answers)
    parts = scorer.by_part(points)
    assert scorer.total(parts) == pytest.approx(scorer.per_sample(points).mean())
    for name, own in task.outputs.items():
        alone = own.scorer(TARGETS[name])
        mine = alone.by_part(alone.points(answers[:, task.answer_of(name)]))
        found = dict(zip(scorer.parts, parts, strict=True))
        named = dict(zip(alone.parts, mine, strict=True))
        assert {f"{name}/{part}": value for part, value in named.items()}.items() <= found.items()
        if name == "kinds":
            assert scorer.total(parts) == pytest.approx(alone.total(mine))


@pytest.mark.parametrize(
    ("targets", "message"),
    [
        ({"kinds": [[0, 1]]}, "expected targets of kinds, size, which, got those of kinds"),
        ({**TARGETS, "which": [0, 1, 3]}, "output 'which': label 3 of sample 2 is out of range"),
        ({**TARGETS, "which": [0, 1]}, "as many targets of each output, got 3 of kinds"),
        (np.zeros((3, 4)), r"expected 5 target columns for kinds, size, which"),
    ],
)
def test_targets_that_several_outputs_do_not_have(targets: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        BOTH.checked(targets)


# -- scores ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("task", "targets", "answers", "expected"),
    [
        (CLASSES, [2, 0, 2], [[0, 0, 1], [1, 0, 0], [1, 0, 0]], 2 / 3),
        (LABELS, [[1, 0], [1, 1], [0, 0]], [[0.9, 0.2], [0.5, 0.4], [0.6, 0.1]], 4 / 6),
        (
            MultiLabel(("car", "bus"), by="exact match"),
            [[1, 0], [1, 1], [0, 0]],
            [[0.9, 0.2], [0.5, 0.4], [0.6, 0.1]],
            1 / 3,
        ),
        (VALUES, [[1, 2], [3, 4]], [[2, 2], [1, 7]], (1 + 0 + 2 + 3) / 4),
        (
            Regression(("a", "b"), by="mean squared error"),
            [[1, 2], [3, 4]],
            [[2, 2], [1, 7]],
            (1 + 0 + 4 + 9) / 4,
        ),
    ],
)
def test_a_score_is_what_it_says(task: Task, targets: Any, answers: Any, expected: float) -> None:
    scorer = task.scorer(np.array(targets))
    points = scorer.points(np.array(answers, np.float32))
    assert scorer.per_sample(points).mean() == pytest.approx(expected)
    assert scorer.total(scorer.by_part(points)) == pytest.approx(expected)


@pytest.mark.parametrize("task", [LABELS, VALUES, Regression(("a", "b"), by="mean squared error")])
def test_no_constant_is_better_than_the_best(task: Single) -> None:
    rng = np.random.default_rng(1)
    targets = rng.integers(0, 2, (40, 2))
    scorer, sign = task.scorer(targets), task.score.sign
    rows = rng.random(40) < 0.5
    best = scorer.best_constant(rows)
    for constant in rng.random((50, 2)) * 1.5:
        own = scorer.per_sample(scorer.of_constant(constant))[rows].sum()
        assert sign * own <= sign * best + 1e-9
    learned = task.learned(targets)
    whole = learned.scorer(targets)
    prior = whole.per_sample(whole.of_constant(learned.fallback())).sum()
    assert prior == pytest.approx(whole.best_constant(np.ones(40, bool)))


def test_a_score_of_ones_own_is_a_mean_over_samples() -> None:
    def within(answers: Any, targets: Any) -> Any:
        return (np.abs(answers - targets) <= 1).all(axis=1)

    targets = np.array([[1, 2], [3, 4]])
    scorer = scorer_of(VALUES, targets, Score("within 1", of=within))
    points = scorer.points(np.array([[2, 2], [1, 7]]))
    assert scorer.total(scorer.by_part(points)) == 0.5
    with pytest.raises(InputError, match=r"of the score 'one' a finite number for each of 2"):
        scorer_of(VALUES, targets, Score("one", of=lambda a, t: np.ones(1))).points(targets)
    with pytest.raises(InputError, match="cannot be told of the fallback 'uniform'"):
        scorer_of(CLASSES, [0, 1], Score("own", of=within), "uniform")
    with pytest.raises(InputError, match="'own' is your own, and no file carries it"):
        Custom(("a",), (0.0,), "own").scorer(targets)


def test_only_what_says_how_sure_it_is_has_a_confidence() -> None:
    answers = np.array([[0.25, 0.75], [0.5, 0.5]])
    assert LABELS.confidence(answers).tolist() == [0.75, 0.5]
    assert LABELS.entropy(answers) == pytest.approx([0.8112781, 1.0])
    assert Classification(("a", "b")).confidence(answers).tolist() == [0.75, 0.5]


def test_what_is_told_is_read_back() -> None:
    for task, answer in (
        (CLASSES, np.array([0.1, 0.7, 0.2])),
        (LABELS, np.array([0.5, 0.49])),
        (VALUES, np.array([1.23456789, -2e-9])),
    ):
        told = task.told(answer)
        again = task.read(told, tuple(answer.tolist()))
        assert task.told(again) == told
    assert CLASSES.told(np.array([0.1, 0.7, 0.2])) == "b"
    assert LABELS.told(np.array([0.5, 0.49])) == ("car",)
    assert VALUES.told(np.array([1.23456789, -2e-9])) == {"width": 1.234568, "height": -2e-9}
    for task in (CLASSES, LABELS, VALUES):
        with pytest.raises(ValueError, match="expected"):
            task.read("lorry", ())
