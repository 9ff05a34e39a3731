"""Who is who: one process a name, and one model a deployment."""

import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest

from edge_runtime.answers.records import Answer
from edge_runtime.bundle.manifest import NODE_FILE, read_node
from edge_runtime.bundle.manifest import encode as encode_manifest
from edge_runtime.transport.deployment import Deployment
from tests.commands import Deployed
from tests.end_to_end.live import DEADLINE_MS, FPS, LIMIT, Live, check, check_logs, command, live
from tests.end_to_end.raw import open_session, prefix

OPTIONS = ("--fps", str(FPS), "--deadline", f"{DEADLINE_MS}ms")


@pytest.fixture(scope="module")
def it(poster_deployed: Callable[[str], Deployed]) -> Deployed:
    return poster_deployed("poster-residual")


@pytest.fixture
def deployment(it: Deployed, tmp_path: Path) -> Iterator[Live]:
    with live(it, tmp_path) as found:
        yield found


def elsewhere(deployment: Live, node: str, folder: Path) -> Path:
    """A deployment.json in which one node is on another port, as on another machine."""
    [port] = Deployment.on_one_host([node], first_port=None).nodes[node].listen
    places = dict(deployment.nodes.deployment.nodes)
    places[node] = msgspec.structs.replace(places[node], listen=(port,))
    moved = msgspec.structs.replace(deployment.nodes.deployment, nodes=places)
    moved.save(folder / "elsewhere.json")
    return folder / "elsewhere.json"


def test_a_second_process_of_a_name_is_refused(deployment: Live, tmp_path: Path) -> None:
    cloud = deployment.it.bundle / "nodes" / "cloud"

    def start_others() -> None:
        for file in (deployment.nodes.path, elsewhere(deployment, "cloud", tmp_path)):
            with command("run", cloud, "--deployment", file, *OPTIONS) as second:
                out, err = second.communicate(timeout=LIMIT)
            said = "ddnn-edge: node 'cloud' of deployment 'local' is already running"
            assert (second.returncode, err.count("\n"), err[: len(said)]) == (2, 1, said), err
            assert "ready" not in out
        deployment.answers(20)

    record, verdict = deployment.during(start_others)
    check(record, verdict)
    assert {answer.node for answer in record.answers.values()} == {"cloud"}
    check_logs(deployment)


def test_who_claims_a_name_does_not_silence_who_holds_it(deployment: Live) -> None:
    def claim() -> None:
        with open_session(deployment.nodes.deployment) as session:
            alive = f"{prefix(deployment.nodes.deployment)}/alive/edge1"
            # Held, for Zenoh takes back a token that nobody holds.
            token = session.liveliness().declare_token(f"{alive}/{1 << 62}")
            *_, last = deployment.answers(20)
            beside.append(last)
            token.undeclare()

    beside: list[Answer] = []
    record, verdict = deployment.during(claim)
    check(record, verdict)
    # A view that came too late is no message that was refused.
    deployment.watch(
        lambda: any("edge1" in a.nodes for a in deployment.answers(5)), "an answer with edge1"
    )
    frames = [f for f, a in record.answers.items() if "edge1" in a.nodes and f <= beside[0].frame]
    assert len(frames) > 10
    for link in deployment.topology.outgoing("edge1"):
        assert "stale_incarnation" not in deployment.observer.metrics[link.target].dropped
    check_logs(deployment)


def test_a_process_that_comes_back_to_find_its_name_taken_ends(
    deployment: Live, tmp_path: Path
) -> None:
    deployment.nodes.hang("cloud")
    deployment.converge("cloud")
    cloud = deployment.it.bundle / "nodes" / "cloud"
    file = elsewhere(deployment, "cloud", tmp_path)

    def come_back() -> None:
        deployment.nodes.restore("cloud")
        deployment.watch(
            lambda: deployment.nodes.states["cloud"] == "crashed", "the first process ended"
        )
        deployment.answers(20)

    with command("run", cloud, "--deployment", file, *OPTIONS) as successor:
        assert successor.stdout is not None
        assert "cloud: ready\n" in iter(successor.stdout.readline, "")
        deployment.answers(1)
        record, verdict = deployment.during(come_back)
        assert "is already running" in deployment.log("cloud")
        successor.send_signal(signal.SIGTERM)
        assert successor.wait(timeout=LIMIT) == 0
    check(record, verdict, crashes=["cloud"])
    check_logs(deployment)


def test_a_node_of_another_model_is_refused_and_named(
    deployment: Live, it: Deployed, tmp_path: Path
) -> None:
    other = Path(shutil.copytree(it.bundle / "nodes" / "edge1", tmp_path / "edge1"))
    manifest = msgspec.structs.replace(read_node(other), fingerprint="ab" * 32)
    (other / NODE_FILE).write_bytes(encode_manifest(manifest))
    deployment.nodes.kill("edge1")
    deployment.converge("edge1")
    refusal = '{"node": "fog2", "event": "refused", "name": "edge1"}\n'

    def restart() -> None:
        deployment.nodes.folders["edge1"] = other
        deployment.nodes.restore("edge1")
        deployment.watch(lambda: refusal in deployment.log("fog2"), "fog2 refuses edge1")
        deployment.answers(20)

    record, verdict = deployment.during(restart, "edge1")
    check(record, verdict)
    assert not any("edge1" in answer.nodes for answer in record.answers.values())
    assert deployment.log("fog2").count("refused") == 1

    deployment.nodes.kill("edge1")
    deployment.converge("edge1")
    deployment.nodes.folders["edge1"] = it.bundle / "nodes" / "edge1"
    deployment.nodes.restore("edge1")
    deployment.converge()
    assert any("edge1" in answer.nodes for answer in deployment.answers(5))
    check_logs(deployment)
