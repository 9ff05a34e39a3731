"""Labels, values and both at once, by the commands: trained, exported in int8, live with a kill.

On data that are generated, and on whole frames of the street where these are at hand.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from benchmarks.frames import SIZE, TASKS, frames_of
from ddnn_tf.cli.app import main as ddnn_main
from edge_runtime.answers.records import Answer
from edge_runtime.cli.main import main as edge_main
from edge_runtime.samples import Samples
from edge_runtime.task import Several
from edge_runtime.topology import Topology
from tests.commands import done
from tests.end_to_end.live import LIMIT, command
from tests.reference import small_topology
from tests.strategies import samples

FRAMES = 60


def generated(task: str) -> Samples:
    """The kinds and the number of things that two vectors of three numbers hold."""
    inputs = samples(small_topology(), 120, seed=5)
    x = np.concatenate(list(inputs.values()), axis=1)
    targets: dict[str, Any] = {
        "kinds": x[:, :3] > 0,
        "count": (x > 0).sum(axis=1, keepdims=True).astype(np.float32),
    }
    own = TASKS[task]
    labels = own.checked(targets) if isinstance(own, Several) else own.checked(targets[task])
    return Samples(dict(inputs), labels, own)


def live(
    folder: Path, data: Samples, topology: Topology, dies: str, *training: str
) -> tuple[dict[str, Any], list[Answer]]:
    """Train, evaluate, export and run; what the run came to, and its answers."""
    data.save_npz(folder / "data.npz")
    topology.save(folder / "topology.json")
    given = ("--data", folder / "data.npz")
    model, bundle, test = folder / "m.keras", folder / "bundle", folder / "test.npz"
    part = "group" if data.groups is not None else "npz"
    done(
        ddnn_main,
        "train",
        *given,
        "--topology",
        folder / "topology.json",
        "--out",
        model,
        *training,
    )
    done(ddnn_main, "export", model, *given, "--out", bundle, "--quantize", "int8")
    done(ddnn_main, "data", "export", *given, "--split", f"{part}:test", "--out", test)
    exact = done(ddnn_main, "evaluate", model, *given, "--json").json
    deployed = done(edge_main, "evaluate", bundle, "--data", test, "--json").json
    assert deployed["score"] == exact["score"] == data.task.score.name
    assert deployed["configurations"] == exact["configurations"]
    sign = data.task.score.sign
    for name, value in exact["expected_score"].items():
        # int8 costs little, and failures cost something.
        assert deployed["expected_score"][name] == pytest.approx(value, abs=0.1 * max(1, value))
        assert sign * value <= sign * exact["all_alive"] + 0.05
    up = ("up", bundle, "--data", test, "--frames", str(FRAMES), "--record", folder / "run")
    pace = ("--fps", "10", "--deadline", "800ms", "--fail", f"{dies}@2s", "--json")
    with command(*up, *pace) as process:
        out, err = process.communicate(timeout=2 * LIMIT)
    assert (process.returncode, err) == (0, "")
    lines = (folder / "run" / "answers.jsonl").read_bytes().splitlines()
    return json.loads(out), [msgspec.json.decode(line, type=Answer) for line in lines]


def check(task: str, found: dict[str, Any], answers: list[Answer]) -> None:
    """The run is as it was to be expected, and its answers say what their task says."""
    assert (found["frames"], found["crashes"]) == (FRAMES, [])
    assert (found["agreement"], found["mixed_frames"], found["duplicates"]) == (1.0, 0, 0)
    assert found["unanswered"] <= 1
    assert found["configurations"] >= 2
    low, high = found["interval"]
    if not found["unanswered"]:
        assert low <= found["measured_score"] <= high
    for answer in answers:
        main, others = TASKS[task].score.name, {}
        if isinstance(TASKS[task], Several):
            others = {"count": "mean absolute error"}
        assert answer.score_name == main
        assert answer.score is None or answer.score >= 0
        assert {name: x.score_name for name, x in answer.others.items()} == others
        if task == "count":
            assert isinstance(answer.answer, dict)
            assert list(answer.answer) == ["count"]
            assert (answer.probabilities, answer.confidence) == ((), None)
            assert answer.units == {"count": "objects"}
        else:
            assert set(answer.answer) <= {"bus", "car", "person"}
            assert len(answer.probabilities) == 3


@pytest.mark.parametrize("task", TASKS)
def test_a_task_by_the_commands(task: str, tmp_path: Path) -> None:
    training = ("--epochs", "30", "--survival", "low", "--learning-rate", "0.01")
    found, answers = live(tmp_path, generated(task), small_topology(), "left", *training)
    check(task, found, answers)
    assert len({json.dumps(msgspec.to_builtins(answer.answer)) for answer in answers}) > 2


@pytest.mark.parametrize("task", ["count", "both"])
def test_a_task_on_whole_frames_of_the_street(task: str, camera_data: Path, tmp_path: Path) -> None:
    shipped = Topology.load("poster-edge-skip")
    topology = shipped.with_sensors({s.name: (*SIZE, 3) for s in shipped.sensors}, "uint8")
    training = ("--sections", "conv", "--epochs", "2")
    frames = frames_of(camera_data / "epfl_multiclass", task)
    found, answers = live(tmp_path, frames, topology, "fog3", *training)
    check(task, found, answers)
