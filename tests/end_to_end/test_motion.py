"""Time series from end to end: smart-watch recordings over the *health* topology.

The data are BasicMotions (six channels, 100 instants, four activities; 40 recordings to train on,
40 to test on), which the package aeon ships. Only its wheel is fetched: installed, it would hold
numpy back for the sake of a compiler.
"""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import msgspec
import numpy as np
import pytest
from numpy.typing import NDArray

from ddnn_tf import Topology, datasets, expected_accuracy, train
from ddnn_tf.training.recipe import Recipe
from edge_runtime.evaluation.bundle import Bundle
from edge_runtime.evaluation.reliability import evaluate
from edge_runtime.samples import Samples
from edge_runtime.task import Classification
from export import export_bundle

ACTIVITIES = ("Standing", "Running", "Walking", "Badminton")
FOLDER = "aeon/datasets/data/BasicMotions"
SURVIVAL = ("high", "medium", "low")


def recordings(text: str) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """The `.ts` format: a line a recording, channels between colons, the class at the end."""
    lines = [line for line in text.partition("@data")[2].splitlines() if line.strip()]
    parts = [line.split(":") for line in lines]
    series = [[np.fromstring(c, np.float32, sep=",") for c in part[:-1]] for part in parts]
    labels = [ACTIVITIES.index(part[-1].strip()) for part in parts]
    return np.stack(series).swapaxes(1, 2), np.array(labels)


@pytest.fixture(scope="module")
def motions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("aeon")
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(folder)]
    found = subprocess.run([*pip, "aeon==1.6.0"], capture_output=True, text=True, timeout=120)
    if found.returncode:
        pytest.skip(f"no wheel of aeon to take BasicMotions from: {found.stderr.strip()[-200:]}")
    [wheel] = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        for part in ("TRAIN", "TEST"):
            text = archive.read(f"{FOLDER}/BasicMotions_{part}.ts").decode()
            series, labels = recordings(text)
            samples = Samples({"body": series}, labels, ACTIVITIES)
            samples.save_npz(folder / f"{part.lower()}.npz")
    return folder


def test_activities_survive_failures_on_the_health_topology(motions: Path, tmp_path: Path) -> None:
    shipped = Topology.load("health")
    sensor = msgspec.structs.replace(shipped.sensors[0], shape=(100, 6))
    topology = msgspec.structs.replace(shipped, sensors=(sensor,))
    training = datasets.load(motions / "train.npz", split="all")
    test = datasets.load(motions / "test.npz", split="all").test
    assert test.inputs["body"].dtype == np.float32
    assert test.inputs["body"].min() < -1, "floats stay floats"
    assert len(test.labels) == 40

    # Pictures are varied; series pass as they are.
    model = train(topology, training.train, recipe=Recipe(epochs=40, batch_size=8))
    report = expected_accuracy(model, test, survival=SURVIVAL)
    # Chance is 0.25; with edge, fog2 and fog1 down at once nothing is known.
    assert report.all_alive > 0.8
    assert 0.6 < report.expected_accuracy("low") <= report.expected_accuracy("high")

    export_bundle(model, tmp_path / "bundle", training.train, training.validation)
    deployed = evaluate(
        topology,
        Bundle(tmp_path / "bundle"),
        test,
        Classification(ACTIVITIES, model.prior),
        {name: name for name in SURVIVAL},
    )
    for name in SURVIVAL:
        assert deployed.expected_accuracy(name) == pytest.approx(report.expected_accuracy(name))
