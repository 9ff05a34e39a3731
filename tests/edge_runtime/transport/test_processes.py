"""The Zenoh transport between real processes on the loopback interface."""

import signal
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from edge_runtime.errors import InputError
from edge_runtime.transport.base import NameTakenError, PeerDown, PeerUp, Received
from edge_runtime.transport.config import ZenohConfig, ZenohTuning
from edge_runtime.transport.deployment import Deployment, Place
from edge_runtime.transport.zenoh import ZenohTransport, open_router
from tests.edge_runtime.transport.contract import (
    LIMIT,
    claim_and_learn,
    first_heard,
    message,
    next_event,
    wait_down,
    wait_up,
)
from tests.edge_runtime.transport.processes import Peer

pytest.importorskip("zenoh", reason="needs Zenoh: pip install 'ddnn-tf[edge]'")

#: Long enough for processes that a busy machine lets wait.
LEASE = 1.0


@pytest.fixture
def deployment() -> Deployment:
    """Places for this process (`here`), others, and a router."""
    names = ("here", "other", "spare", "third", "router")
    tuning = ZenohTuning(lease_ms=int(LEASE * 1000))
    return Deployment.on_one_host(names, first_port=None, tuning=tuning)


@pytest.fixture
def here(deployment: Deployment) -> Iterator[ZenohTransport]:
    with ZenohTransport(deployment.transport("here"), "here") as transport:
        transport.claim()
        yield transport


def test_a_killed_process_is_missed_at_once_and_welcome_again(
    deployment: Deployment, here: ZenohTransport, tmp_path: Path
) -> None:
    config = deployment.transport("other")
    with Peer("other", config, tmp_path) as other:
        first = other.ready()
        assert wait_up(here, "other")["other"] == first
        other.signal(signal.SIGKILL)
        assert wait_down(here, "other") == first
    with Peer("other", config, tmp_path) as other:
        again = other.ready()
        assert again > first
        assert wait_up(here, "other")["other"] == again
        here.send("other", b"h", b"12345")
        assert other.wait("message") == ["here", 5]
        other.send("here", 131072)
        assert len(message(here).payload) == 131072
        assert other.stop() == 0
        assert wait_down(here, "other") == again


def test_a_hung_process_is_missed_after_a_lease_and_rejoins(
    deployment: Deployment, here: ZenohTransport, tmp_path: Path
) -> None:
    with Peer("other", deployment.transport("other"), tmp_path) as other:
        first = other.ready()
        wait_up(here, "other")
        other.wait("up", "here")
        other.signal(signal.SIGSTOP)
        assert wait_down(here, "other") == first
        other.signal(signal.SIGCONT)
        # It learns that the others had lost it, and comes back as somebody new.
        assert other.wait("down", "other") == ["other", first]
        _, again = other.wait("up", "other")
        assert again > first
        while wait_up(here, "other")["other"] != again:
            pass
        here.send("other", b"h", b"1234")
        assert other.wait("message") == ["here", 4]


def test_a_short_pause_costs_nothing(
    deployment: Deployment, here: ZenohTransport, tmp_path: Path
) -> None:
    with Peer("other", deployment.transport("other"), tmp_path) as other:
        first = other.ready()
        wait_up(here, "other")
        other.wait("up", "here")
        other.signal(signal.SIGSTOP)
        assert here.receive(0.2 * LEASE) is None
        other.signal(signal.SIGCONT)
        other.send("here", 3)
        assert len(message(here).payload) == 3
        assert other.stop() == 0
        assert wait_down(here, "other") == first


def test_a_second_process_of_a_name_is_refused(
    deployment: Deployment, here: ZenohTransport, tmp_path: Path
) -> None:
    """At the same place, and at another one that no endpoint names."""
    elsewhere = msgspec.structs.replace(
        deployment.transport("other"), listen=deployment.nodes["spare"].listen
    )
    with Peer("other", deployment.transport("other"), tmp_path) as other:
        first = other.ready()
        for config in (deployment.transport("other"), elsewhere):
            with Peer("other", config, tmp_path) as second:
                assert second.wait("taken") == first
                assert second.exit_code() == 3
        wait_up(here, "other")
        here.send("other", b"", b"1")
        other.wait("message")


def test_a_successor_keeps_the_name_from_a_resumed_process(
    deployment: Deployment, here: ZenohTransport, tmp_path: Path
) -> None:
    elsewhere = msgspec.structs.replace(
        deployment.transport("other"), listen=deployment.nodes["spare"].listen
    )
    with Peer("other", deployment.transport("other"), tmp_path) as paused:
        first = paused.ready()
        wait_up(here, "other")
        paused.signal(signal.SIGSTOP)
        wait_down(here, "other")
        with Peer("other", elsewhere, tmp_path) as successor:
            second = successor.ready()
            assert wait_up(here, "other") == {"other": second}
            paused.signal(signal.SIGCONT)
            assert paused.wait("taken") == second
            assert paused.exit_code() == 3
            assert first < second
            # For the others the successor was there all the time.
            here.send("other", b"", b"12")
            assert successor.wait("message") == ["here", 2]
            # Of itself this one may have news: alone, it may lose and regain its name.
            while (event := here.receive(0)) is not None:
                assert not isinstance(event, Received)
                assert event.node == "here"
            assert successor.stop() == 0
            assert wait_down(here, "other") == second


def test_of_two_that_start_at_once_one_remains(
    deployment: Deployment, here: ZenohTransport, tmp_path: Path
) -> None:
    configs = [
        msgspec.structs.replace(
            deployment.transport("other", ["here"]), listen=deployment.nodes[place].listen
        )
        for place in ("other", "spare")
    ]
    with Peer("other", configs[0], tmp_path) as one, Peer("other", configs[1], tmp_path) as two:
        wait_up(here, "other")
        end = time.monotonic() + LIMIT
        while one.running and two.running:
            assert time.monotonic() < end
            time.sleep(0.01)
        loser, winner = (two, one) if one.running else (one, two)
        assert loser.exit_code() == 3
        number = winner.ready()
        assert loser.wait("taken") == number
        here.send("other", b"", b"12")
        assert winner.wait("message") == ["here", 2]


def test_a_hung_receiver_does_not_hold_up_the_sender(
    deployment: Deployment, here: ZenohTransport, tmp_path: Path
) -> None:
    with (
        Peer("other", deployment.transport("other"), tmp_path) as hung,
        Peer("third", deployment.transport("third"), tmp_path) as third,
    ):
        hung.ready()
        third.ready()
        wait_up(here, "other", "third")
        hung.signal(signal.SIGSTOP)
        payload = bytes(131072)
        for _ in range(100):
            here.send("other", b"", payload)
        here.send("third", b"", b"1")
        third.wait("message")
        # 100 messages that nobody takes: queues and buffers take some, the rest is dropped.
        wait_down(here, "other")


def test_a_place_that_something_else_uses_is_named(
    deployment: Deployment, here: ZenohTransport
) -> None:
    config = msgspec.structs.replace(
        deployment.transport("other"), listen=deployment.nodes["here"].listen
    )
    with pytest.raises(InputError, match="Address already in use") as raised:
        ZenohTransport(config, "other")
    assert not isinstance(raised.value, NameTakenError)
    assert ".rs:" not in str(raised.value)


def test_peers_that_meet_only_at_a_router(deployment: Deployment, tmp_path: Path) -> None:
    place = deployment.nodes["router"].listen
    router_config = ZenohConfig(listen=place, tuning=deployment.tuning)
    deployment = msgspec.structs.replace(
        deployment,
        nodes={"here": Place(routed=True), "other": Place(routed=True)},
        routers=place,
    )
    with (
        open_router(router_config) as router,
        ZenohTransport(deployment.transport("here"), "here") as here,
        ZenohTransport(deployment.observer(), topics=("@answers",)) as watcher,
        Peer("other", deployment.transport("other"), tmp_path) as other,
    ):
        here.claim()
        first = other.ready()
        assert wait_up(here, "other")["other"] == first
        wait_up(watcher, "here", "other")
        other.wait("up", "here")
        here.send("other", b"h", bytes(200_000))
        assert other.wait("message") == ["here", 200_000]
        other.send("here", 7)
        assert len(message(here).payload) == 7
        assert len(first_heard(lambda: other.send("@answers", 9), watcher).payload) == 9
        with (
            pytest.raises(NameTakenError),
            ZenohTransport(deployment.transport("other"), "other") as second,
        ):
            claim_and_learn(second)

        router.close()
        assert wait_down(here, "other") == first
        with open_router(router_config):
            # All of them were out of everybody's sight, and come back under new numbers.
            assert wait_up(here, "other")["other"] > first
            here.send("other", b"h", b"123")
            assert other.wait("message") == ["here", 3]
        other.signal(signal.SIGKILL)


def test_a_router_needs_a_place() -> None:
    with pytest.raises(InputError, match="a router needs an endpoint to listen on"):
        open_router(ZenohConfig())


def test_alone_and_cut_off_are_told_apart_from_taken(
    deployment: Deployment, here: ZenohTransport, tmp_path: Path
) -> None:
    """A node whose last peer dies holds its name on, and shows it to the next one that comes."""
    first = here.incarnation
    assert first is not None
    with Peer("other", deployment.transport("other"), tmp_path) as other:
        assert other.wait("up", "here") == ["here", first]
        wait_up(here, "other")
        other.signal(signal.SIGKILL)
        events = {type(e): e for e in (next_event(here), next_event(here), next_event(here))}
    assert events[PeerUp] == PeerUp("here", here.incarnation or 0)
    assert isinstance(events[PeerDown], PeerDown)
    with Peer("other", deployment.transport("other"), tmp_path) as other:
        assert other.wait("up", "here") == ["here", here.incarnation]
