"""Answers from any exit, of real processes."""

import json
from pathlib import Path

from edge_runtime.cli import main
from tests.commands import call, deploy_small
from tests.end_to_end.live import LIMIT, command


def test_exits_answer_while_the_output_node_is_dead(tmp_path: Path) -> None:
    it = deploy_small(tmp_path, "--exits", "all")
    up = ("up", it.bundle, "--data", it.test, "--fps", "10", "--deadline", "400", "--json")
    plan = ("--answer", "any", "--frames", "40", "--fail", "top@2s")
    with command(*up, *plan, "--record", tmp_path / "record") as process:
        out, err = process.communicate(timeout=2 * LIMIT)
    assert (process.returncode, err) == (0, "")
    found = json.loads(out)
    assert (found["frames"], found["answerable"], found["answered"]) == (40, 40, 40)
    assert (found["agreement"], found["mixed_frames"], found["duplicates"]) == (1.0, 0, 0)
    assert found["exits"]["top"] > 0
    assert {"left", "right"} & set(found["exits"])
    low, high = found["interval"]
    assert low <= found["measured_accuracy"] <= high

    answers = tmp_path / "record" / "answers.jsonl"
    replay = ("simulate", it.bundle, "--data", it.test, "--answers", answers, "--json")
    assert json.loads(call(main, *replay).out)["mixed_frames"] == 0
