"""The commands that run a deployment: what they refuse. What they do is in tests/end_to_end."""

from functools import partial
from pathlib import Path
from typing import cast

import msgspec
import pytest

from edge_runtime.cli.main import main
from edge_runtime.cli.up import one_fault_an_option
from edge_runtime.cli.watch import ALONE_NS, watched
from edge_runtime.clock import SECOND
from edge_runtime.transport.base import ANSWERS, Event, PeerUp, Received, Transport
from edge_runtime.transport.deployment import Deployment
from tests.commands import Deployed, call, done, refused
from tests.edge_runtime.testbed.test_observer import answer

bad = partial(refused, main)


@pytest.fixture
def where(small_deployed: Deployed, tmp_path: Path) -> tuple[str | Path, ...]:
    path = tmp_path / "deployment.json"
    Deployment.on_one_host(small_deployed.topology.order, first_port=None).save(path)
    return ("--deployment", path)


# -- run -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((), "node 'left' reads cam0; say from where, as in --source cam0=/dev/video0"),
        (("--source", "cam1=x"), "expected SENSOR=… once for a sensor of node 'left', which reads"),
        (("--source", "cam0"), "--source cam0: expected SENSOR=…"),
        (("--source", "cam0="), "--source cam0=: expected SENSOR=…"),
        (("--source", "cam0=nowhere"), "--source cam0=nowhere: not found"),
        (("--source", "cam0=a", "--source", "cam0=b"), "--source cam0=b: expected SENSOR=… once"),
        (("--source", "cam0=x", "--region", "cam0=1,2"), "x,y,width,height in pixels, got '1,2'"),
        (("--source", "cam0=x", "--region", "cam9=1,2,3,4"), "--region cam9=1,2,3,4: expected"),
        (("--region", "cam0=1,2,3,4"), "node 'left' reads cam0; say from where"),
        (("--source", "cam0=x", "--fps", "0"), "expected frames per second above 0"),
        (("--source", "cam0=x", "--deadline", "0ms"), "expected --deadline above 0"),
        (("--source", "cam0=x", "--deadline", "nan"), "--deadline: expected a time such as 50ms"),
        (("--metrics", "9400:"), "--metrics 9400:: expected a port such as 9400"),
        (("--encoding", "gzip"), "invalid choice: 'gzip'"),
        (("--backend", "torch"), "invalid choice: 'torch'"),
        (("--backend", "savedmodel"), "was exported without a SavedModel"),
    ],
)
def test_run_refuses(
    small_deployed: Deployed,
    where: tuple[str | Path, ...],
    words: tuple[str, ...],
    message: str,
) -> None:
    assert message in bad("run", small_deployed.bundle / "nodes" / "left", *where, *words)


def test_run_needs_a_deployment(small_deployed: Deployed, tmp_path: Path) -> None:
    left = small_deployed.bundle / "nodes" / "left"
    assert "--deployment" in bad("run", left)
    assert "cannot be read" in bad("run", left, "--deployment", tmp_path / "none.json")
    (tmp_path / "broken.json").write_text('{"schema": 1, "nodes": 3}')
    assert "at `$.nodes`" in bad("run", left, "--deployment", tmp_path / "broken.json")


def test_run_refuses_a_folder_that_is_no_nodes(
    where: tuple[str | Path, ...], tmp_path: Path
) -> None:
    assert "expected a folder that export wrote" in bad("run", tmp_path, *where)


def test_run_of_a_whole_bundle_names_a_node(
    small_deployed: Deployed, where: tuple[str | Path, ...]
) -> None:
    message = bad("run", small_deployed.bundle, *where)
    assert "is a whole bundle; name the folder of one of its nodes, such as" in message
    assert f"{small_deployed.bundle / 'nodes'}/" in message


def test_run_refuses_a_damaged_artifact(
    small_deployed: Deployed, where: tuple[str | Path, ...], tmp_path: Path
) -> None:
    node = tmp_path / "right"
    node.mkdir()
    for file in (small_deployed.bundle / "nodes" / "right").iterdir():
        (node / file.name).write_bytes(file.read_bytes() + b"x" * file.name.endswith(".tflite"))
    words = ("--source", f"cam1={small_deployed.test}")
    assert "model.tflite: expected sha256" in bad("run", node, *where, *words)


def test_run_refuses_a_node_that_the_deployment_does_not_place(
    small_deployed: Deployed, tmp_path: Path
) -> None:
    Deployment.on_one_host(["left", "right"], first_port=None).save(tmp_path / "d.json")
    words = ("--deployment", tmp_path / "d.json", "--source", f"cam0={small_deployed.test}")
    message = bad("run", small_deployed.bundle / "nodes" / "top", *words)
    assert "places left, right, not 'top' (at $.nodes)" in message


def test_run_refuses_an_epoch_to_come(small_deployed: Deployed, tmp_path: Path) -> None:
    deployment = Deployment.on_one_host(small_deployed.topology.order, first_port=None)
    msgspec.structs.replace(deployment, epoch=4e9).save(tmp_path / "d.json")
    words = ("--deployment", tmp_path / "d.json", "--source", f"cam0={small_deployed.test}")
    message = bad("run", small_deployed.bundle / "nodes" / "left", *words)
    assert "expected an epoch in the past" in message


# -- up --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--frames", "0"), "expected --frames of at least 1, got 0"),
        (("--fps", "-1"), "expected frames per second above 0"),
        (("--deadline=-5ms",), "--deadline: expected a time such as 50ms"),
        (("--deadline", "0s"), "expected --deadline above 0"),
        (("--deadline", "2h"), "and up to an hour, got 2h"),
        (("--fail", "left"), "--fail left: expected a node and a time, as in fog4@5s"),
        (("--hang", "fog9@2s"), "no such node; there are left, right, top"),
        (("--survival", "low", "--fail", "left@1s"), "not both"),
        (("--survival", "low,high"), "expected one survivability"),
        (("--survival", "never"), "never"),
        (("--survival", "low", "--seed", "-1"), "expected --seed of at least 0"),
        (("--survival", "low", "--hold", "long"), "--hold: expected a time"),
        (("--data", "nowhere.npz"), "cannot read nowhere.npz"),
        (("--record", "/proc/none"), "--record /proc/none: cannot be made"),
        (("--frames", "10", "--fail", "top@2s"), "--fail top@2s: the run ends 0.33"),
        (("--frames", "10", "--fps", "1", "--hang", "top@9.5s"), "the run ends 9.1 s after"),
        (("--restore", "top@1s"), "--restore top@1s: node 'top' runs at that time"),
        (("--fail", "top@1s", "left@2s", "--fail", "top@3s"), "--fail top@3s: node 'top' was"),
    ],
)
def test_up_refuses(small_deployed: Deployed, words: tuple[str, ...], message: str) -> None:
    assert message in bad("up", small_deployed.bundle, *words)


def test_up_refuses_what_it_cannot_make_fail(small_deployed: Deployed, tmp_path: Path) -> None:
    (tmp_path / "links.json").write_text('{"left->top": 0.5}')
    message = bad("up", small_deployed.bundle, "--survival", tmp_path / "links.json")
    assert "only nodes can be made to fail here, and left->top" in message
    assert "or draw their failures with `ddnn-edge simulate`" in message


@pytest.mark.parametrize("faults", [("--fail", "top@2s"), ("--fail", "left@1s", "top@2s")])
def test_a_fault_leaves_the_bundle_alone(
    small_deployed: Deployed, faults: tuple[str, ...], tmp_path: Path
) -> None:
    # Refused for what comes last of all, so the bundle was read.
    said = bad("up", "--frames", "10", *faults, small_deployed.bundle)
    assert "--fail" in said
    assert "s: the run ends 0.33" in said


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("up --fail a@1s b@2s B", "up --fail a@1s --fail b@2s B"),
        ("up B --restore a@1s b@2s --hang c@3s --json", None),
        ("up --fail a --fps 3 B", "up --fail a --fps 3 B"),
        ("up --fail a@1s dir/b@2s", "up --fail a@1s dir/b@2s"),
        ("run --fail a@1s b@2s", "run --fail a@1s b@2s"),
        ("", ""),
    ],
)
def test_an_option_takes_the_faults_that_follow_it(words: str, expected: str | None) -> None:
    if expected is None:
        expected = "up B --restore a@1s --restore b@2s --hang c@3s --json"
    assert " ".join(one_fault_an_option(words.split())) == expected


def test_up_refuses_what_is_no_bundle(tmp_path: Path) -> None:
    assert "expected a folder that export wrote" in bad("up", tmp_path)


# -- watch and simulate ----------------------------------------------------------------------------


def test_watch_needs_a_deployment(tmp_path: Path) -> None:
    assert "cannot be read" in bad("watch", "--deployment", tmp_path / "none.json")


def test_watch_needs_the_bundle_to_know_who_may_answer_early(
    small_deployed: Deployed, tmp_path: Path
) -> None:
    file = tmp_path / "deployment.json"
    Deployment.on_one_host(["left", "right", "top"]).save(file)
    assert "give their bundle with --bundle" in bad("watch", "--deployment", file, "--early")
    arguments = ("watch", "--deployment", file, "--early", "--bundle", small_deployed.bundle)
    assert "this bundle has no thresholds" in bad(*arguments)
    up = ("up", small_deployed.bundle, "--data", small_deployed.test, "--early")
    assert "choose them with `ddnn-edge exits`" in bad(*up)


def test_watch_needs_routers_to_watch_through(tmp_path: Path) -> None:
    file = tmp_path / "deployment.json"
    Deployment.on_one_host(["left", "right", "top"]).save(file)
    assert "has no routers (at $.routers)" in bad("watch", "--deployment", file, "--routed")


class Quiet:
    """A transport to which nothing comes but what the test says; its clock is the test's, too."""

    def __init__(self, *events: Event | None) -> None:
        self.events = list(events)
        self.now = 0
        self.waits: list[float | None] = []

    def receive(self, timeout_s: float | None) -> Event | None:
        self.waits.append(timeout_s)
        event = self.events.pop(0)
        if event is None and timeout_s is not None:
            self.now += int(timeout_s * SECOND)
        return event

    def watch(self) -> tuple[list[str], int]:
        """The lines that `watch` prints, and how often it says that nobody is there."""
        alone: list[None] = []
        lines = watched(
            cast(Transport, self),
            None,
            lambda: not self.events,
            lambda: alone.append(None),
            lambda: self.now,
        )
        return list(lines), len(alone)


def test_watch_says_once_that_nobody_is_there() -> None:
    quiet = Quiet(None, None, None)
    assert quiet.watch() == ([], 1)
    assert quiet.waits == [ALONE_NS / SECOND, None, None]


def test_watch_says_nothing_where_somebody_is_there() -> None:
    said = msgspec.json.encode(answer(7))
    quiet = Quiet(PeerUp("top", 1), None, Received("top", ANSWERS, b"", said), None)
    assert quiet.watch() == ([said.decode()], 0)
    assert quiet.waits[1:] == [None, None, None]


def test_help_says_what_json_is(capsys: pytest.CaptureFixture[str]) -> None:
    told = {}
    for command in ("run", "watch", "evaluate"):
        with pytest.raises(SystemExit):
            main([command, "--help"])
        told[command] = capsys.readouterr().out
    assert "one object a line" in told["run"]
    assert "--json" not in told["watch"]
    assert "print one JSON object" in told["evaluate"]


def test_answers_that_their_state_does_not_give_are_found(
    small_deployed: Deployed, tmp_path: Path
) -> None:
    words = ("simulate", small_deployed.bundle, "--data", small_deployed.test)
    path = tmp_path / "answers.jsonl"
    done(main, *words, "--survival", "low", "--seed", "3", "--save-answers", path)
    said = call(main, *words, "--replay-answers", path, "--json")
    assert (said.json["agreement"], said.json["mixed_frames"]) == (1.0, 0)
    lines = path.read_text().splitlines()
    path.write_text("\n".join([lines[1].replace('"frame": 1,', '"frame": 0,'), *lines[1:]]) + "\n")
    said = call(main, *words, "--replay-answers", path)
    assert said.code == 1
    assert f"{len(lines)} recorded answers, of which {len(lines) - 1} are" in said.out
