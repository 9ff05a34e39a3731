"""The benchmarks of a live deployment run and print their rows; no figure of theirs is asserted."""

from collections.abc import Callable
from pathlib import Path

import pytest

from benchmarks import bare, deployment, device, hop, presence, smoothing
from benchmarks.__main__ import NAMES, main
from tests.commands import Deployed

pytest.importorskip("zenoh", reason="needs Zenoh: pip install 'ddnn-tf[edge]'")


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """Beside other tests, nodes need longer to start."""
    for module in (bare, hop, presence):
        monkeypatch.setattr(module, "LIMIT", 120.0)


@pytest.fixture(scope="module")
def bundle(poster_deployed: Callable[[str], Deployed]) -> Path:
    return poster_deployed("poster-residual").bundle


def test_an_unknown_name_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["hops"]) == 2
    assert "unknown: hops; expected evaluation" in capsys.readouterr().err
    assert {"hop", "deployment", "presence", "device"} <= set(NAMES)


def test_a_track_ends_where_no_camera_saw_the_box_go_on() -> None:
    def box(left: float) -> tuple[float, float, float, float]:
        return left, 0.0, left + 10.0, 20.0

    boxes = {
        ("car", 1, 0): {0: box(0), 1: box(0)},
        ("car", 1, 1): {0: box(100)},
        ("person", 1, 0): {0: box(0)},
        ("car", 2, 0): {0: box(50), 1: box(9)},  # by camera 1
        ("car", 2, 1): {0: box(110)},  # beside where it was
        ("person", 2, 0): {1: box(0)},  # no camera sees both
        ("car", 5, 0): {1: box(9)},  # as many frames later as may be
        ("car", 9, 0): {1: box(9)},  # too many
    }
    keys = sorted(boxes)
    tracks = [[keys[i] for i in track] for track in smoothing.tracks_of(keys, boxes)]
    assert sorted(tracks) == [
        [("car", 1, 0), ("car", 2, 0), ("car", 5, 0)],
        [("car", 1, 1)],
        [("car", 2, 1)],
        [("car", 9, 0)],
        [("person", 1, 0)],
        [("person", 2, 0)],
    ]


def test_a_hop_brings_back_what_was_sent(capsys: pytest.CaptureFixture[str]) -> None:
    # Each round trip raises if another tensor comes back.
    found = hop.measure(rounds=1)
    assert {size: list(map(len, pair)) for size, pair in found.items()} == {
        1024: [1, 1],
        32768: [1, 1],
    }


def test_every_frame_of_a_deployment_is_measured(
    bundle: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # Every node tells of its bytes once a second.
    found = deployment.payload(bundle, "residual", frames=60)
    out = capsys.readouterr().out
    assert "over 11 links; the raw pictures are 18432 bytes a hop" in out
    assert "fog3 -> fog4, cloud: " in out
    assert "NOT AS IT SHOULD BE" not in out
    # A node that was kept from running for longer than a lease computes frames and does not send
    # them; what is sent is one message of 32 float32 to each target.
    topology = found.record.topology
    for node in topology.order:
        sums, message = found.observer.sums[node], 32 * 4 * len(topology.outgoing(node))
        assert 0 <= sums.payload_bytes <= sums.frames * message
        assert not message or sums.payload_bytes % message == 0
    assert 0 < found.verdict.payload_bytes <= 11 * 32 * 4


def test_a_dead_node_is_seen_and_one_that_returns(bundle: Path) -> None:
    found = presence.processes(bundle, runs=1)
    assert {kind: len(ms) for kind, ms in found.items()} == dict.fromkeys(
        ("SIGKILL", "restart", "SIGSTOP", "SIGCONT"), 1
    )
    assert presence.ROWS.keys() == {*found, "link down", "link returns"}


def test_a_link_is_seen_to_go_and_to_return(bundle: Path) -> None:
    try:
        found = presence.link(bundle, runs=1)
    except OSError as error:
        pytest.skip(f"needs network namespaces, so root and iproute2: {error}")
    assert {kind: len(ms) for kind, ms in found.items()} == {"link down": 1, "link returns": 1}


def test_a_deployed_node_says_that_it_is_ready(bundle: Path) -> None:
    seconds, computed, megabytes = device.deployed(bundle, "edge2")
    assert 0 < computed <= 2 * seconds
    assert megabytes > 20


def test_the_longest_path_is_the_critical_one(bundle: Path) -> None:
    from edge_runtime.evaluation.bundle import Bundle

    topology = Bundle(bundle).manifest.topology
    invoke = bare.invoke_seconds(bundle, times=3)
    assert set(invoke) == set(topology.order)
    one = dict.fromkeys(topology.order, 1.0)
    assert bare.longest_path(topology, one) == 5  # an edge node, two of the fog, fog4, the cloud
    assert bare.longest_path(topology, {**one, "edge1": 9.0}) == 13
