"""Answers from any exit, and early ones, of real processes."""

import json
import shutil
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from edge_runtime.cli import main
from edge_runtime.live.deployment import LocalDeployment
from edge_runtime.live.replay import Replay
from edge_runtime.manifest import read_bundle
from edge_runtime.node import Answer
from edge_runtime.simulate import Bundle
from edge_runtime.thresholds import write_thresholds
from tests.commands import Deployed, call, deploy_small
from tests.end_to_end.live import LIMIT, command, live, until


@pytest.fixture(scope="module")
def deployed(tmp_path_factory: pytest.TempPathFactory) -> Deployed:
    return deploy_small(tmp_path_factory.mktemp("exits"), "--exits", "all")


def up(bundle: Path, data: Path, record: Path, *plan: str) -> Any:
    """What `up` prints of 40 frames, all of them proved."""
    options = ("up", bundle, "--data", data, "--fps", "10", "--deadline", "400", "--json")
    with command(*options, "--frames", "40", "--record", record, *plan) as process:
        out, err = process.communicate(timeout=2 * LIMIT)
    assert (process.returncode, err) == (0, "")
    found = json.loads(out)
    assert (found["frames"], found["answerable"], found["answered"]) == (40, 40, 40)
    assert (found["agreement"], found["mixed_frames"], found["duplicates"]) == (1.0, 0, 0)
    low, high = found["interval"]
    assert low <= found["measured_accuracy"] <= high

    answers = record / "answers.jsonl"
    replay = ("simulate", bundle, "--data", data, "--answers", answers, "--json")
    assert json.loads(call(main, *replay).out)["mixed_frames"] == 0
    return found


def test_exits_answer_while_the_output_node_is_dead(deployed: Deployed, tmp_path: Path) -> None:
    plan = ("--answer", "any", "--fail", "top@2s")
    found = up(deployed.bundle, deployed.test, tmp_path / "record", *plan)
    assert found["exits"]["top"] > 0
    assert {"left", "right"} & set(found["exits"])


def test_a_node_that_is_sure_spares_the_bytes_above_it(deployed: Deployed, tmp_path: Path) -> None:
    bundle = Path(shutil.copytree(deployed.bundle, tmp_path / "bundle"))
    # It is sure of all, so that what happens does not depend on how well it was trained.
    write_thresholds(bundle, {"left": 1.0})
    plan = ("--early", "--fail", "left@2s")
    found = up(bundle, deployed.test, tmp_path / "record", *plan)
    assert set(found["exits"]) == {"left", "top"}
    assert found["exits"]["left"] >= 15 / 40
    message = sum(int(np.prod(spec.shape)) * 4 for spec in read_bundle(bundle)[1]["right"].sent)
    assert found["payload_bytes"] == message, "the right node's alone"


def test_watch_takes_one_answer_a_frame_of_any_exit(deployed: Deployed, tmp_path: Path) -> None:
    nodes = partial(LocalDeployment, answer="any")
    with live(deployed, tmp_path / "nodes", nodes=nodes) as deployment:
        file = deployment.nodes.path
        arguments = ("--deployment", file, "--answer", "any", "--bundle", deployed.bundle)
        with command("watch", *arguments) as watch:
            said: list[Answer] = []

            def read() -> Answer:
                assert watch.stdout is not None
                said.append(msgspec.json.decode(watch.stdout.readline(), type=Answer))
                return said[-1]

            # It may be linked to the exits before it is to the output node.
            until(lambda: read().node == "top", "an answer of the output node")
            deployment.nodes.kill("top")
            until(lambda: read().node != "top", "an answer of an exit")
            after = [read() for _ in range(10)]
        replay = Replay(Bundle(deployed.bundle), deployment.samples.inputs, answer="any")
    frames = [answer.frame for answer in said]
    assert frames == list(range(frames[0], frames[0] + len(frames))), "one answer a frame"
    assert {answer.node for answer in after} <= {"left", "right"}
    assert not any(answer.fallback for answer in said)
    assert replay.count(said) == (len(said), 0)
    # Each says what it is worth in its own state, by the bundle's table of that exit.
    assert all(answer.accuracy is not None for answer in said)
