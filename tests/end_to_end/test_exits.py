"""Answers from any exit, and early ones, of real processes."""

import json
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from edge_runtime.answers.records import Answer
from edge_runtime.answers.rule import AnswerRule
from edge_runtime.bundle.manifest import read_bundle
from edge_runtime.cli.main import main
from edge_runtime.evaluation.bundle import Bundle
from edge_runtime.evaluation.thresholds import write_thresholds
from edge_runtime.testbed.replay import Replay
from tests.commands import Deployed, call, deploy_small
from tests.end_to_end.live import LIMIT, Live, command, few, live, until


@pytest.fixture(scope="module")
def deployed(tmp_path_factory: pytest.TempPathFactory) -> Deployed:
    return deploy_small(tmp_path_factory.mktemp("exits"), "--exits", "all")


@pytest.fixture(scope="module")
def sure(deployed: Deployed, tmp_path_factory: pytest.TempPathFactory) -> Deployed:
    """`left` is sure of all, so that what happens does not depend on how well it was trained."""
    bundle = Path(shutil.copytree(deployed.bundle, tmp_path_factory.mktemp("sure") / "bundle"))
    write_thresholds(bundle, {"left": 1.0})
    return replace(deployed, bundle=bundle)


def up(bundle: Path, data: Path, record: Path, *plan: str) -> Any:
    """What `up` prints of 40 frames, all of them proved."""
    options = ("up", bundle, "--data", data, "--fps", "10", "--deadline", "800ms", "--json")
    with command(*options, "--frames", "40", "--record", record, *plan) as process:
        out, err = process.communicate(timeout=2 * LIMIT)
    assert (process.returncode, err) == (0, "")
    found = json.loads(out)
    assert (found["frames"], found["answerable"]) == (40, 40)
    assert found["answered"] >= 40 - few(40)
    assert (found["agreement"], found["mixed_frames"], found["duplicates"]) == (1.0, 0, 0)
    low, high = found["interval"]
    assert low <= found["measured_accuracy"] <= high

    answers = record / "answers.jsonl"
    replay = ("simulate", bundle, "--data", data, "--replay-answers", answers, "--json")
    assert json.loads(call(main, *replay).out)["mixed_frames"] == 0
    return found


def test_exits_answer_while_the_output_node_is_dead(deployed: Deployed, tmp_path: Path) -> None:
    plan = ("--answer", "any", "--fail", "top@2s")
    found = up(deployed.bundle, deployed.test, tmp_path / "record", *plan)
    assert found["exits"]["top"] > 0
    assert {"left", "right"} & set(found["exits"])


def test_a_node_that_is_sure_spares_the_bytes_above_it(sure: Deployed, tmp_path: Path) -> None:
    plan = ("--early", "--fail", "left@2s")
    found = up(sure.bundle, sure.test, tmp_path / "record", *plan)
    assert set(found["exits"]) == {"left", "top"}
    assert found["exits"]["left"] >= 15 / 40
    message = sum(
        int(np.prod(spec.shape)) * 4 for spec in read_bundle(sure.bundle)[1]["right"].sent
    )
    # A node that was kept from running for long computes, and does not send.
    assert 0.8 * message <= found["payload_bytes"] <= message, "the right node's alone"


@contextmanager
def watched(
    deployment: Live, *options: str | Path
) -> Iterator[tuple[Callable[[], Answer], list[Answer]]]:
    """`watch` beside a deployment: what reads its next answer, and all that were read."""
    said: list[Answer] = []
    with command("watch", "--deployment", deployment.nodes.path, *options) as process:

        def read() -> Answer:
            assert process.stdout is not None
            said.append(msgspec.json.decode(process.stdout.readline(), type=Answer))
            return said[-1]

        yield read, said
    frames = [answer.frame for answer in said]
    # One that was waited for comes after its successors.
    assert len(set(frames)) == len(frames), "one answer a frame"
    assert not any(answer.fallback for answer in said)
    # Each says what it is worth in its own state, by the bundle's table of its exit.
    assert all(answer.score is not None for answer in said)


def after_now(deployment: Live, read: Callable[[], Answer]) -> list[Answer]:
    """Ten answers to frames that have not begun yet."""
    now = deployment.clock.frame(time.monotonic_ns())
    found: list[Answer] = []
    while len(found) < 10:
        answer = read()
        if answer.frame > now:
            found.append(answer)
    return found


def test_watch_takes_one_answer_a_frame_of_any_exit(deployed: Deployed, tmp_path: Path) -> None:
    with live(deployed, tmp_path / "nodes", rule=AnswerRule("any")) as deployment:
        options = ("--answer", "any", "--bundle", deployed.bundle)
        with watched(deployment, *options) as (read, said):
            # It may be linked to the exits before it is to the output node.
            until(lambda: read().node == "top", "an answer of the output node")
            deployment.nodes.kill("top")
            after = after_now(deployment, read)
        replay = Replay(Bundle(deployed.bundle), deployment.samples.inputs, rule=AnswerRule("any"))
    assert {answer.node for answer in after} <= {"left", "right"}
    assert replay.count(said) == (len(said), 0)


def test_watch_takes_early_answers(sure: Deployed, tmp_path: Path) -> None:
    rule = read_bundle(sure.bundle)[0].rule(early=True)
    with live(sure, tmp_path / "nodes", rule=rule) as deployment:
        with watched(deployment, "--early", "--bundle", sure.bundle) as (read, said):
            until(lambda: read().early, "an early answer")
            deployment.nodes.kill("left")
            after = after_now(deployment, read)
        replay = Replay(Bundle(sure.bundle), deployment.samples.inputs, rule=rule)
    assert {(answer.node, answer.early) for answer in said} == {("left", True), ("top", False)}
    assert {answer.node for answer in after} == {"top"}
    assert replay.count(said) == (len(said), 0)
