"""The `[edge]` wheel on 64-bit ARM, emulated: DDNN_ARM64 says in which folder its root may lie."""

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from edge_runtime.testbed.run import Configuration, FixedSchedule
from tests.commands import Deployed, build_wheel
from tests.end_to_end.arm64 import Arm64, lacking
from tests.end_to_end.live import DEADLINE_MS, FPS, live

FOLDER = os.environ.get("DDNN_ARM64", "")
#: In the middle: it hears two nodes and is heard by two.
NODE = "fog3"

pytestmark = pytest.mark.skipif(
    not FOLDER, reason="makes a Debian root of 400 MB; make test-arm64, or DDNN_ARM64=FOLDER"
)


@pytest.fixture(scope="module")
def arm64(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Arm64:
    if missing := lacking():
        pytest.fail(f"needs {missing}")
    wheel = build_wheel(root, tmp_path_factory.mktemp("arm64"))
    return Arm64(root / FOLDER, wheel, root / "constraints.txt")


@pytest.fixture(scope="module")
def it(poster_deployed: Callable[[str], Deployed]) -> Deployed:
    return poster_deployed("poster-residual")


def test_every_node_computes_its_golden_numbers(arm64: Arm64, it: Deployed) -> None:
    bundle = arm64.place(it.bundle, "bundle")
    for node in it.topology.order:
        check = arm64.command("check", bundle / "nodes" / node, "--json")
        done = subprocess.run(check, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr) == (0, ""), node
        found = json.loads(done.stdout)
        assert (found["node"], found["passed"]) == (node, True)


def test_a_node_takes_part_in_a_live_deployment(arm64: Arm64, it: Deployed, tmp_path: Path) -> None:
    bundle = arm64.place(it.bundle, "bundle")
    with live(it, tmp_path, start=False) as deployment:
        file = arm64.place(deployment.nodes.path, "deployment.json")
        run = ("run", bundle / "nodes" / NODE, "--deployment", file)
        options = ("--fps", str(FPS), "--deadline", f"{DEADLINE_MS}ms")
        with subprocess.Popen(
            arm64.command(*run, *options), stdout=subprocess.PIPE, text=True
        ) as emulated:
            try:
                assert emulated.stdout is not None
                assert f"{NODE}: ready\n" in iter(emulated.stdout.readline, "")
                deployment.nodes.start([n for n in it.topology.order if n != NODE])
                deployment.converge()
                record, verdict = deployment.hold(
                    FixedSchedule((Configuration(frozenset()),), hold_s=5.0)
                )
                emulated.terminate()
                assert emulated.wait(timeout=60) == 0
            finally:
                emulated.kill()
        deployment.converge(NODE)
        assert not any(NODE in answer.nodes for answer in deployment.answers(5))
    assert verdict.frames == 50
    assert (verdict.agreement, verdict.mixed_frames, verdict.duplicates) == (1.0, 0, 0)
    assert verdict.unanswered <= 0.01 * verdict.answerable
    heard = [NODE in answer.nodes for answer in record.answers.values()]
    assert sum(heard) >= 0.9 * len(heard)
