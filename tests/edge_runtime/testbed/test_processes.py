"""All nodes of a bundle as processes; what they do together is in tests/end_to_end."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from edge_runtime.errors import InputError
from edge_runtime.node.settings import LiveSettings
from edge_runtime.testbed.processes import LocalDeployment
from edge_runtime.transport.deployment import Deployment
from tests.commands import Deployed
from tests.end_to_end.live import LIMIT, exists, until

READY = '"event": "named"'


def state(pid: int) -> str:
    """As `ps` shows it: T is stopped."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


@pytest.fixture
def local(small_deployed: Deployed, tmp_path: Path) -> Iterator[LocalDeployment]:
    sources = dict.fromkeys(small_deployed.topology.sensor_names, small_deployed.test)
    with LocalDeployment(small_deployed.bundle, sources, tmp_path, LiveSettings(fps=10)) as found:
        yield found


def ready(local: LocalDeployment, node: str, times: int = 1) -> None:
    until(lambda: local.log(node).read_text().count(READY) >= times, f"{node} is ready")


def test_every_node_has_a_process_and_none_is_left(
    local: LocalDeployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edge_runtime.testbed.processes.END_S", LIMIT)
    assert local.states == {}
    local.start()
    assert local.states == dict.fromkeys(local.nodes, "running")
    for node in local.nodes:
        ready(local, node)
    pids = local.pids
    assert set(pids) == {"left", "right", "top"}
    local.close()
    assert local.pids == {}
    assert local.crashes == []
    assert not [pid for pid in pids.values() if exists(pid)]
    local.close()


def test_the_deployment_file_is_one_that_others_can_read(local: LocalDeployment) -> None:
    assert Deployment.load(local.path) == local.deployment
    assert set(local.deployment.nodes) == set(local.nodes)
    assert local.deployment.epoch is not None


def test_a_killed_node_is_dead_and_can_be_started_again(local: LocalDeployment) -> None:
    local.start()
    first = local.pids["left"]
    local.kill("left")
    assert not exists(first)
    assert set(local.states.values()) == {"killed", "running"}
    local.restore("left")
    assert set(local.states.values()) == {"running"}
    assert local.pids["left"] != first
    ready(local, "left")
    assert local.crashes == []


def test_a_hung_node_is_stopped_and_goes_on(local: LocalDeployment) -> None:
    local.start(["left"])
    ready(local, "left")
    pid = local.pids["left"]
    local.hang("left")
    until(lambda: state(pid) == "T", "it is stopped")
    assert local.states["left"] == "hung"
    local.hang("left")
    local.restore("left")
    until(lambda: state(pid) != "T", "it goes on")
    assert local.pids["left"] == pid
    local.restore("left")
    assert local.pids["left"] == pid


def test_a_hung_node_is_ended_too(local: LocalDeployment) -> None:
    local.start(["left"])
    ready(local, "left")
    pid = local.pids["left"]
    local.hang("left")
    local.close()
    assert not exists(pid)


def test_a_hung_node_can_be_killed(local: LocalDeployment) -> None:
    local.start(["left"])
    pid = local.pids["left"]
    local.hang("left")
    local.kill("left")
    assert local.states["left"] == "killed"
    assert not exists(pid)


def test_a_process_that_ends_by_itself_is_a_crash(
    local: LocalDeployment, small_deployed: Deployed, tmp_path: Path
) -> None:
    local.folders["left"] = tmp_path / "nowhere"
    local.start()
    until(lambda: local.states["left"] == "crashed", "it ended")
    assert local.crashes == ["left"]
    assert "nowhere/node.json: cannot be read" in local.log("left").read_text()
    local.hang("left")
    assert local.states["left"] == "crashed"
    local.folders["left"] = small_deployed.bundle / "nodes" / "left"
    local.restore("left")
    ready(local, "left")
    assert local.crashes == ["left"]


def test_an_exception_leaves_no_process(small_deployed: Deployed, tmp_path: Path) -> None:
    sources = dict.fromkeys(small_deployed.topology.sensor_names, small_deployed.test)
    pids: list[int] = []

    def fails() -> None:
        with LocalDeployment(small_deployed.bundle, sources, tmp_path) as local:
            local.start()
            pids.extend(local.pids.values())
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fails()
    assert len(pids) == 3
    assert not [pid for pid in pids if exists(pid)]


def test_a_node_that_was_not_started(local: LocalDeployment) -> None:
    with pytest.raises(InputError, match="no node 'left' was started; there are none"):
        local.kill("left")


def test_a_node_ends_with_the_process_that_started_it(
    local: LocalDeployment, small_deployed: Deployed
) -> None:
    # A parent that is not this one: as if it had ended just before.
    node = small_deployed.bundle / "nodes" / "top"
    words = ["run", str(node), "--deployment", str(local.path), "--parent", "1"]
    done = subprocess.run(
        [sys.executable, "-m", "edge_runtime", *words], check=False, timeout=LIMIT
    )
    assert done.returncode == 1
