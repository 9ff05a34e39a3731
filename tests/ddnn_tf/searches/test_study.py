"""Experiments are kept, studies go on, and views are paired wrongly on purpose where asked."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import keras
import numpy as np
import pytest

from ddnn_tf.datasets import Dataset, read_npz
from ddnn_tf.model import build
from ddnn_tf.names import StudyName
from ddnn_tf.searches.experiments import (
    Experiment,
    ExperimentStore,
    Final,
    Measured,
    link_bytes,
    spread_of,
)
from ddnn_tf.searches.study import STUDIES, Table, regrouped, run_study
from ddnn_tf.sections import weighted_add
from ddnn_tf.training.recipe import Recipe
from ddnn_tf.training.training import train
from edge_runtime.errors import InputError
from edge_runtime.samples import Samples
from edge_runtime.topology import Topology
from tests.commands import small_samples
from tests.models import randomized
from tests.reference import chain_topology, small_topology

TINY = Recipe(epochs=1, batch_size=48, learning_rate=0.05)
BOTH = {"low": "low", "high": "high"}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    path = tmp_path_factory.mktemp("data") / "small.npz"
    small_samples().save_npz(path)
    return read_npz(path)


@pytest.fixture
def template() -> Experiment:
    return Experiment(
        small_topology(), "npz:train", ("npz:validation", "npz:test"), BOTH, recipe=TINY
    )


class Counted:
    """Callbacks that count trainings, and may interrupt one."""

    def __init__(self, interrupt: int | None = None) -> None:
        self.count = 0
        self.interrupt = interrupt

    def __call__(self, run: Experiment) -> list[keras.callbacks.Callback]:
        if self.count == self.interrupt:
            raise KeyboardInterrupt
        self.count += 1
        return []


@pytest.fixture
def untrained(monkeypatch: pytest.MonkeyPatch) -> None:
    """Random weights instead of a training: what is tested here is not how well it learns."""

    def train(topology: Topology, data: Any, *, seed: int, callbacks: Any, **other: Any) -> Any:
        model = build(topology, classes=data.class_names)
        model.prior = data.prior
        return randomized(model, seed)

    monkeypatch.setattr("ddnn_tf.searches.experiments.train", train)


# -- runs ------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("untrained")
def test_a_run_is_trained_once(tmp_path: Path, data: Dataset, template: Experiment) -> None:
    counted = Counted()
    first = ExperimentStore(tmp_path, data, callbacks=counted).measured(template)
    again = ExperimentStore(tmp_path, data, callbacks=counted).measured(template)
    assert counted.count == 1
    assert first == again
    assert set(first.reports) == set(first.bounds) == {"npz:validation", "npz:test"}
    low, bound = first.accuracy("npz:test", "low"), first.bounds["npz:test"]["low"]
    assert 0 < low <= bound
    model = ExperimentStore(tmp_path, data, callbacks=counted).model(template)
    assert (
        ExperimentStore(tmp_path, data, callbacks=counted).model(template).topology
        == model.topology
    )
    assert counted.count == 2
    assert first.bytes == sum(link_bytes(model).values()) == 2 * 32 * 4 + 3 * 4


def test_whatever_decides_a_result_decides_its_place(
    tmp_path: Path, data: Dataset, template: Experiment
) -> None:
    others = [
        replace(template, seed=1),
        replace(template, method="residual"),
        replace(template, survival={"low": "low"}),
        replace(template, merge_weights="learned"),
        replace(template, recipe=Recipe(epochs=2)),
        replace(template, topology=small_topology().primary()),
        replace(template, report=("npz:test",)),
    ]
    places = {ExperimentStore(tmp_path, data).path(run, ".json") for run in (template, *others)}
    places.add(ExperimentStore(tmp_path, regrouped(data)).path(template, ".json"))
    assert len(places) == len(others) + 2
    # What is the default already is no other run.
    same = replace(template, merge_weights="one", measure=BOTH)
    assert ExperimentStore(tmp_path, data).path(same, ".json") == ExperimentStore(
        tmp_path, data
    ).path(template, ".json")


def test_a_damaged_run_is_named(tmp_path: Path, data: Dataset, template: Experiment) -> None:
    runs = ExperimentStore(tmp_path, data)
    for suffix, ask in ((".json", runs.measured), (".keras", runs.model)):
        runs.path(template, suffix).write_text("{}")
        with pytest.raises(InputError, match=r"is damaged .*remove it"):
            ask(template)


def test_spread() -> None:
    found = spread_of([0.5, 0.7, 0.9])
    assert (found.mean, found.half_range, found.count) == pytest.approx((0.7, 0.2, 3))


# -- studies ---------------------------------------------------------------------------------------


def study(folder: Path, data: Dataset, template: Experiment, counted: Counted) -> Table:
    runs = ExperimentStore(folder, data, callbacks=counted)
    return run_study("survivability", runs, template, seeds=(0,))


@pytest.mark.usefixtures("untrained")
def test_an_interrupted_study_goes_on(tmp_path: Path, data: Dataset, template: Experiment) -> None:
    first, second = Counted(interrupt=1), Counted()
    with pytest.raises(KeyboardInterrupt):
        study(tmp_path / "interrupted", data, template, first)
    found = study(tmp_path / "interrupted", data, template, second)
    assert (first.count, second.count) == (1, 2)
    assert [f.row.label for f in found.found] == [
        "trained at low",
        "trained at high",
        "trained at all",
    ]
    whole = study(tmp_path / "whole", data, template, Counted())
    assert found.to_dict() == whole.to_dict()
    table = str(found)
    assert table.count("| trained at ") == 3
    assert json.loads(json.dumps(found.to_dict()))["seeds"] == 1


class Pretended:
    """Stands for `ExperimentStore`: nothing is trained, and the figure says what was asked."""

    def __init__(self, folder: Path, data: Dataset, asked: list[Experiment]) -> None:
        self.folder = folder
        self.data = data
        self.asked = asked

    def measured(self, run: Experiment) -> Measured:
        self.asked.append(run)
        figures = dict.fromkeys(run.measure or run.survival, 0.25 + 0.5 * run.seed)
        found = {"expected_accuracy": figures, "balanced_accuracy": figures}
        reports = {s: {str(f): found for f in run.fallbacks} for s in run.report}
        return Measured(reports, dict.fromkeys(run.report, figures), 0)


@pytest.mark.parametrize("name", get_args(StudyName))
def test_every_study_asks_for_runs_that_fit(
    name: StudyName,
    tmp_path: Path,
    data: Dataset,
    template: Experiment,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[Experiment] = []
    runs: Any = Pretended(tmp_path, data, asked)
    monkeypatch.setattr(
        "ddnn_tf.searches.study.ExperimentStore",
        lambda folder, data: Pretended(folder, data, asked),
    )
    found = run_study(name, runs, template, seeds=(0, 1))
    assert len(found.found) > 1 or name == "splits"  # this data has no frames
    for run in asked:
        assert run.report == ("npz:test",)
        assert set(run.measure or ()) == set(BOTH)
    for row in found.found:
        assert str(row.accuracy("low")) == "50.00 ± 25.00"
        assert set(row.row.runs) == set(BOTH)
    assert {run.seed for run in asked} == {0, 1}
    if name == "rates":
        assert found.numbered
        at: dict[float | None, Any] = {
            f.row.x: f.row.runs["low"].survival["low"] for f in found.found
        }
        assert at[0.0]["left"] == 1
        assert at[1.0]["left"] == pytest.approx(0.6)
        assert at[2.0]["left"] == pytest.approx(0.2)


def test_every_study_has_a_name() -> None:
    assert tuple(STUDIES) == get_args(StudyName)


def test_an_unknown_study_is_refused(tmp_path: Path, data: Dataset, template: Experiment) -> None:
    with pytest.raises(InputError, match="unknown study 'weather'; expected one of grouping"):
        run_study("weather", ExperimentStore(tmp_path, data), template)  # type: ignore[arg-type]


def test_regrouped_mixes_cameras_and_objects_within_a_class_and_frame(data: Dataset) -> None:
    frames = np.arange(len(data)) // 12  # four objects of each class a frame
    numbered = np.arange(2 * len(data), dtype=np.float32).reshape(2, -1, 1)
    before = dict(zip(data.sensors, numbered, strict=True))
    samples = Samples(before, data.samples.labels, data.class_names)
    table = replace(data.table, frames=frames)
    framed = replace(data, samples=samples, table=table, family="frame")
    wrong = regrouped(framed)
    assert np.array_equal(wrong.samples.labels, data.samples.labels)
    after = np.stack([wrong.samples.inputs[name] for name in data.sensors], axis=1)[..., 0]
    assert sorted(after.ravel()) == list(range(2 * len(data)))
    rows = (after % len(data)).astype(int)
    assert np.array_equal(data.samples.labels[rows], data.samples.labels[:, None].repeat(2, 1))
    assert np.array_equal(frames[rows], frames[:, None].repeat(2, 1))
    cameras = after // len(data)
    assert (cameras != [0, 1]).any()  # a camera's picture where another's belongs
    assert (rows[:, 0] != rows[:, 1]).any()  # two objects in one sample
    again = regrouped(framed).samples.inputs["cam0"]
    assert np.array_equal(again, wrong.samples.inputs["cam0"])


def test_regrouped_keeps_what_is_seen_with_its_picture(data: Dataset) -> None:
    seen = [x[:, 0] > 0 for x in data.samples.inputs.values()]
    wrong = regrouped(replace(data, visible=np.stack(seen, axis=1)))
    for column, x in enumerate(wrong.samples.inputs.values()):
        assert np.array_equal(wrong.visible[:, column], x[:, 0] > 0)


def test_unlike_sensors_cannot_be_regrouped(data: Dataset) -> None:
    inputs = {**data.samples.inputs, "cam1": data.samples.inputs["cam1"][:, :2]}
    samples = Samples(inputs, data.samples.labels, data.class_names)
    with pytest.raises(InputError, match=r"all sensors are alike, got cam0 \(3,\) float32, cam1"):
        regrouped(replace(data, samples=samples))


# -- the search over links from end to end ---------------------------------------------------------


@pytest.mark.usefixtures("untrained")
def test_a_search_over_links_is_trained_kept_and_told(tmp_path: Path, data: Dataset) -> None:
    from ddnn_tf.searches.link_search import search_links

    counted, steps = Counted(), []
    template = Experiment(
        chain_topology(), "npz:train", ("npz:validation", "npz:test"), {"low": "low"}, recipe=TINY
    )

    def go() -> Any:
        return search_links(
            ExperimentStore(tmp_path, data, callbacks=counted),
            template,
            final=Final(seeds=(0,)),
            progress=lambda *step: steps.append(step),
        )

    found = go()
    trained = counted.count
    assert go().to_dict() == found.to_dict()
    assert counted.count == trained
    assert len(found.candidates) == 3
    # left and right each send one message, and so does middle: 32 floats.
    assert found.base == 3 * 32 * 4
    assert found.front[0].links == ()
    scores = [c.score for c in found.front]
    assert scores == sorted(scores)
    assert all(c.score <= c.bound for c in found.front)
    names = {r.name for r in found.retrained}
    assert {"primary links", "all candidates: 3"} <= names
    for r in found.retrained:
        assert r.bytes == r.measured[0].bytes == found.base + 128 * len(r.choice.links)
        assert r.accuracy("npz:test", "low").mean <= r.bound("npz:test", "low")
    # What the search did not find is drawn apart from its front.
    front = {c.links for c in found.front}
    others = {r.name for r in found.retrained if r.choice.links not in front}
    assert set(found.apart()) == others
    assert len(found.curve()["low"]) == len(found.limits()["low"]) == len(names) - len(others)
    assert steps[0] == ("supernet", 0, 1)
    assert steps[-1][0] == "retrain"
    assert "| primary links | 384 |" in str(found)
    for file in found.save_topologies(tmp_path / "found"):
        assert Topology.load(file).primary().output == "top"


def test_a_budget_below_the_primary_links_is_refused(tmp_path: Path, data: Dataset) -> None:
    from ddnn_tf.searches.link_search import search_links

    template = Experiment(
        chain_topology(), "npz:train", ("npz:validation",), {"low": "low"}, recipe=TINY
    )
    with pytest.raises(InputError, match="at least the 384 bytes that the primary links take"):
        search_links(ExperimentStore(tmp_path, data), template, budget=383)


# -- merge weights ---------------------------------------------------------------------------------


def test_learned_weights_start_where_they_are_told_and_are_trained() -> None:
    tensors = {name: keras.Input((4,), name=name) for name in ("left", "right")}
    model = keras.Model(tensors, weighted_add(tensors, {"right": 0.25}, learned=True))
    x = {name: np.full((2, 4), value, "float32") for name, value in (("left", 1), ("right", 8))}
    assert np.asarray(model(x)) == pytest.approx(np.full((2, 4), 3.0))
    assert sorted(float(w.numpy().item()) for w in model.trainable_weights) == [0.25, 1.0]


def test_merge_weights_are_of_known_kinds(data: Dataset) -> None:
    with pytest.raises(InputError, match="unknown merge weights 'heavy'"):
        train(small_topology(), data.train, merge_weights="heavy")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="learned merge weights are for sections 'fc32'"):
        train(small_topology(), data.train, sections="conv", merge_weights="learned")
