"""`ddnn-edge run`, `up` and `watch` as their users start, stop and read them."""

import json
import os
import signal
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edge_runtime.cli.main import main
from edge_runtime.transport.deployment import Deployment
from tests.commands import Deployed, call
from tests.end_to_end.live import LIMIT, command, descendants, exists, few, live, until

#: Of the object that `up --frames` prints, fixed by the issue that asked for it.
CONTRACT = {
    "frames",
    "answered",
    "answerable",
    "measured_accuracy",
    "expected_accuracy",
    "interval",
    "agreement",
    "mixed_frames",
    "duplicates",
    "deadline_misses",
    "latency_ms",
    "payload_bytes",
    "header_bytes",
}
#: Bytes of a frame: 11 links of 32 float32. A node that was kept from running for most of a lease
#: computes and does not send, so a run may have a little less.
WHOLE = 11 * 32 * 4
EASY = ("--fps", "10", "--deadline", "800ms")


@pytest.fixture(scope="module")
def it(poster_deployed: Callable[[str], Deployed]) -> Deployed:
    return poster_deployed("poster-residual")


def one_object(out: str) -> Any:
    """The one line on stdout."""
    assert out.count("\n") == 1, out
    return json.loads(out)


# -- up --------------------------------------------------------------------------------------------


def test_up_runs_the_frames_asked_for_and_proves_its_answers(it: Deployed, tmp_path: Path) -> None:
    # Enough for a node to start again beside whatever else the machine does.
    frames = 4 * 36
    faults = ("--fail", "fog4@1s", "--hang", "edge2@2s", "--restore", "fog4@3s", "edge2@4s")
    arguments = ("up", it.bundle, "--data", it.test, "--frames", str(frames), *EASY, *faults)
    with command(*arguments, "--record", tmp_path / "record", "--json") as up:
        out, err = up.communicate(timeout=2 * LIMIT)
    assert (up.returncode, err) == (0, "")
    found = one_object(out)
    assert set(found) >= CONTRACT
    assert found["frames"] == frames
    assert (found["agreement"], found["mixed_frames"], found["duplicates"]) == (1.0, 0, 0)
    assert found["answerable"] == frames
    assert found["unanswered"] <= few(frames)
    assert found["crashes"] == []
    low, high = found["interval"]
    assert low - 0.02 <= found["measured_accuracy"] <= high + 0.02
    assert found["configurations"] >= 3

    # Its record is replayed with the same answers.
    answers = tmp_path / "record" / "answers.jsonl"
    replayed = call(
        main, "simulate", it.bundle, "--data", it.test, "--replay-answers", answers, "--json"
    ).json
    assert replayed["frames"] == len(answers.read_text().splitlines()) >= frames - few(frames)
    assert (replayed["agreement"], replayed["mixed_frames"]) == (1.0, 0)
    trace = (tmp_path / "record" / "trace.jsonl").read_text()
    _, *changes = map(json.loads, trace.splitlines())  # the first line is its span
    downs = [change["down"] for change in changes]
    assert downs[0] == ["fog4"]
    assert downs[-1] == []


def test_without_failures_the_accuracy_is_the_expected_one(it: Deployed) -> None:
    arguments = ("up", it.bundle, "--data", it.test, "--frames", "36", *EASY, "--json")
    with command(*arguments) as up:
        out, err = up.communicate(timeout=2 * LIMIT)
    assert (up.returncode, err) == (0, "")
    found = one_object(out)
    whole = call(main, "evaluate", it.bundle, "--data", it.test, "--json").json
    assert found["expected_accuracy"] == pytest.approx(whole["all_alive"])
    assert found["answered"] >= 35
    assert found["measured_accuracy"] == pytest.approx(whole["all_alive"], abs=1 / 36)
    assert 0.8 * WHOLE <= found["payload_bytes"] <= WHOLE
    assert 11 * 30 < found["header_bytes"] < 11 * 200


def test_without_data_it_shows_what_export_kept(it: Deployed) -> None:
    with command("up", it.bundle, "--frames", "10", *EASY, "--json") as up:
        out, err = up.communicate(timeout=2 * LIMIT)
    assert (up.returncode, err) == (0, "")
    found = one_object(out)
    assert (found["frames"], found["measured_accuracy"], found["interval"]) == (10, None, None)
    assert (found["agreement"], found["mixed_frames"], found["crashes"]) == (1.0, 0, [])
    # Over before every node has told of itself by itself.
    assert 0.8 * WHOLE <= found["payload_bytes"] <= WHOLE


def test_drawn_configurations_are_held(it: Deployed) -> None:
    drawn = ("--survival", "low", "--seed", "7", "--hold", "500ms")
    arguments = ("up", it.bundle, "--data", it.test, "--frames", "20", *EASY, *drawn)
    with command(*arguments) as up:
        out, err = up.communicate(timeout=3 * LIMIT)
    assert (up.returncode, err) == (0, "")
    lines, _, verdict = out.partition("\n{\n")
    assert "-- down: " in lines
    found = json.loads("{" + verdict)
    assert (found["frames"], found["configurations"]) == (20, 4)
    assert found["transition_frames"] > 0
    assert (found["agreement"], found["mixed_frames"], found["duplicates"]) == (1.0, 0, 0)
    assert found["interval"][0] <= found["expected_accuracy"] <= found["interval"][1]


def nine_nodes(up: int) -> set[int]:
    """The processes that `up` starts, all of them."""

    def found() -> set[int]:
        pids = descendants(up)
        return pids if len(pids) == 9 else set()

    return until(found, "nine nodes")


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 0), (signal.SIGKILL, -9)]
)
def test_up_leaves_no_process_behind(it: Deployed, number: signal.Signals, code: int) -> None:
    # A hung one, too.
    arguments = ("up", it.bundle, *EASY, "--hang", "fog1@0s", "--json")
    with command(*arguments, "--frames", "100000") as up:
        nodes = nine_nodes(up.pid)
        fog1 = "nodes/fog1"
        stopped = next(pid for pid in nodes if fog1 in Path(f"/proc/{pid}/cmdline").read_text())
        until(lambda: Path(f"/proc/{stopped}/stat").read_text().split()[2] == "T", "a hung node")
        up.send_signal(number)
        assert up.wait(timeout=LIMIT) == code
        until(lambda: not any(map(exists, nodes)), "all nodes are gone")


def test_up_says_whose_process_fell(it: Deployed) -> None:
    arguments = ("up", it.bundle, "--data", it.test, "--frames", "40", *EASY, "--json")
    with command(*arguments) as up:
        nodes = nine_nodes(up.pid)
        fog3 = next(
            pid for pid in nodes if "nodes/fog3" in Path(f"/proc/{pid}/cmdline").read_text()
        )
        # Loaded, and so about to take part.
        until(lambda: "zenoh" in Path(f"/proc/{fog3}/maps").read_text(), "fog3 has a network")
        out, err = "", ""
        os.kill(fog3, signal.SIGKILL)
        out, err = up.communicate(timeout=2 * LIMIT)
    if up.returncode == 2:  # it was not yet ready
        assert "node 'fog3' did not start" in err
    else:
        assert one_object(out)["crashes"] == ["fog3"]
        assert up.returncode == 1


def test_up_says_why_a_node_does_not_start(it: Deployed, tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    (tmp_path / "zenoh.py").write_text("raise ModuleNotFoundError('zenoh')\n")
    with command("up", it.bundle, "--frames", "5", "--json", env=environment) as up:
        out, err = up.communicate(timeout=LIMIT)
    assert (up.returncode, out) == (2, "")
    assert 'the network needs Zenoh: pip install "ddnn-tf[edge]"' in err


# -- run and watch ---------------------------------------------------------------------------------


def test_run_tells_of_itself_and_its_peers_and_ends_when_told_to(
    it: Deployed, tmp_path: Path
) -> None:
    Deployment.on_one_host(it.topology.order, first_port=None).save(tmp_path / "d.json")
    where = ("--deployment", tmp_path / "d.json")
    nodes = it.bundle / "nodes"
    with (
        command("run", nodes / "fog2", *where) as fog2,
        command("run", nodes / "fog3", *where, "--json") as fog3,
    ):
        assert fog2.stdout is not None
        assert fog3.stdout is not None
        computed = json.loads(fog3.stdout.readline())
        assert (computed["node"], computed["event"]) == ("fog3", "computed")
        assert computed["name"].startswith("XNNPACK on 1 thread")
        assert json.loads(fog3.stdout.readline()) == {
            "node": "fog3",
            "event": "named",
            "name": "fog3",
        }
        assert "fog2: ready\n" in iter(fog2.stdout.readline, "")
        assert "fog2: fog3 is there\n" in iter(fog2.stdout.readline, "")
        fog3.send_signal(signal.SIGINT)
        assert fog3.wait(timeout=LIMIT) == 130
        assert "fog2: fog3 is gone\n" in iter(fog2.stdout.readline, "")
        fog2.send_signal(signal.SIGTERM)
        _, err = fog2.communicate(timeout=LIMIT)
        assert (fog2.returncode, err) == (0, "")


def test_a_node_can_be_ended_before_it_is_ready(it: Deployed, tmp_path: Path) -> None:
    Deployment.on_one_host(it.topology.order, first_port=None).save(tmp_path / "d.json")
    with command("run", it.bundle / "nodes" / "fog2", "--deployment", tmp_path / "d.json") as fog2:
        maps = Path(f"/proc/{fog2.pid}/maps")
        until(lambda: "_pywrap_tensorflow" in (text := maps.read_text()) or "litert" in text, "…")
        fog2.send_signal(signal.SIGTERM)
        _, err = fog2.communicate(timeout=LIMIT)
        assert (fog2.returncode, err) == (0, "")


def test_a_node_goes_on_without_its_output_and_a_camera(it: Deployed, tmp_path: Path) -> None:
    Deployment.on_one_host(it.topology.order, first_port=None).save(tmp_path / "d.json")
    where = ("--deployment", tmp_path / "d.json", "--json")
    nodes = it.bundle / "nodes"
    sources = ("--source", "cam0=/dev/video987", "--source", f"cam1={it.test}")
    # The lines of one go to a pipe that nobody reads.
    ours, theirs = os.pipe()
    os.close(ours)
    with (
        command("run", nodes / "fog2", *where, stdout=theirs) as fog2,
        command("run", nodes / "edge1", *where, *sources) as edge1,
    ):
        os.close(theirs)
        assert edge1.stdout is not None
        told = (json.loads(line) for line in iter(edge1.stdout.readline, ""))
        wanted = {("named", "edge1"), ("ended", "cam0"), ("up", "fog2")}
        while wanted:  # in whatever order, and so fog2 has had two lines to write
            said = next(told)
            wanted.discard((said["event"], said["name"]))
        for process in (edge1, fog2):
            process.send_signal(signal.SIGTERM)
            _, err = process.communicate(timeout=LIMIT)
            assert (process.returncode, err) == (0, "")


def test_run_serves_metrics(it: Deployed, tmp_path: Path) -> None:
    Deployment.on_one_host(it.topology.order, first_port=None).save(tmp_path / "d.json")
    where = ("--deployment", tmp_path / "d.json")
    nodes = it.bundle / "nodes"
    views = ("--source", f"cam2={it.test}")
    with (
        command("run", nodes / "edge2", *where, *views, "--metrics", "0", "--json") as edge2,
        command("run", nodes / "fog1", *where, "--json") as fog1,
    ):
        assert edge2.stdout is not None
        assert json.loads(edge2.stdout.readline())["event"] == "computed"
        url = str(json.loads(edge2.stdout.readline())["name"])
        assert url.startswith("http://127.0.0.1:")

        def served(name: str) -> float:
            with urllib.request.urlopen(url, timeout=LIMIT) as page:
                lines = page.read().decode().splitlines()
            [value] = [line.rpartition(" ")[2] for line in lines if line.startswith(f"{name}{{")]
            return float(value)

        until(lambda: served("ddnn_sent_payload_bytes_total") >= 10 * 32 * 4, "10 messages")
        assert served("ddnn_received_messages_total") >= 10
        assert served("ddnn_compute_seconds_sum") > 0
        assert served("ddnn_named") == 1
        assert 20e6 < served("ddnn_resident_memory_bytes") < 200e6

        port = url.rpartition(":")[2].removesuffix("/metrics")
        with command("run", nodes / "fog2", *where, "--metrics", port) as second:
            out, err = second.communicate(timeout=LIMIT)
        assert (second.returncode, out.count("\n")) == (2, 1)
        assert out.startswith("fog2: computed by XNNPACK")
        assert f"cannot listen on 127.0.0.1:{port} (Address already in use)" in err
        assert err.count("\n") == 1

        for process in (edge2, fog1):
            process.send_signal(signal.SIGTERM)
            _, err = process.communicate(timeout=LIMIT)
            assert (process.returncode, err) == (0, "")


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 0)])
def test_watch_prints_answers_until_it_is_interrupted(
    it: Deployed, tmp_path: Path, number: signal.Signals, code: int
) -> None:
    alone = "ddnn-edge: no node of deployment 'local' is there yet; waiting\n"
    with (
        live(it, tmp_path) as deployment,
        command("watch", "--deployment", deployment.nodes.path) as watch,
    ):
        assert watch.stdout is not None
        answers = [json.loads(watch.stdout.readline()) for _ in range(5)]
        watch.send_signal(number)
        _, err = watch.communicate(timeout=LIMIT)
        # On a busy machine it may wait for the first.
        assert (watch.returncode, err) in ((code, ""), (code, alone))
    frames = [answer["frame"] for answer in answers]
    # One that was waited for comes after its successors.
    assert len(set(frames)) == len(frames)
    expected = {
        *("frame", "answer", "probabilities", "confidence", "score", "score_name", "units"),
        *("node", "state", "nodes", "age_ms", "fallback", "waited", "exit", "model", "early"),
        *("smoothed", "others"),
    }
    assert all(set(answer) == expected for answer in answers)
    assert {answer["node"] for answer in answers} == {"cloud"}
    assert any(answer["score"] is not None for answer in answers)
