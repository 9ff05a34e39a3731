"""The transport over Zenoh, in this process: the contract, and what only a network has."""

import json
import math
import re
import socket
import socketserver
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from typing import Any

import msgspec
import pytest

from edge_runtime.errors import InputError
from edge_runtime.transport.base import PeerUp, Transport
from edge_runtime.transport.config import Tls, ZenohConfig, ZenohTuning
from edge_runtime.transport.deployment import Deployment
from edge_runtime.transport.zenoh import (
    _ANSWERED,
    ZenohTransport,
    _identifier,
    open_router,
    zenoh_settings,
)
from tests.edge_runtime.transport.contract import (
    Harness,
    TransportContract,
    closing,
    message,
    next_event,
    until,
    wait_down,
    wait_up,
)

zenoh = pytest.importorskip("zenoh", reason="needs Zenoh: pip install 'ddnn-tf[edge]'")


def endpoints(count: int) -> list[str]:
    """Free loopback endpoints."""
    places = Deployment.on_one_host([f"n{i}" for i in range(count)], first_port=None).nodes
    return [place.listen[0] for place in places.values()]


class ZenohHarness(Harness):
    def __init__(self) -> None:
        self.opened: list[Transport] = []
        self.places: list[str] = []

    def open(
        self,
        node: str | None = None,
        *,
        topics: tuple[str, ...] = (),
        deployment: str = "default",
        ring_messages: int = 256,
        ring_bytes: int = 16 << 20,
    ) -> Transport:
        [place] = endpoints(1)
        config = ZenohConfig(
            deployment=deployment,
            listen=(place,),
            connect=tuple(self.places),
            # Here both ends share an interpreter and two busy cores: a sender that waits for them
            # shows what the transport does, one that drops shows what the scheduler does.
            tuning=ZenohTuning(
                ring_messages=ring_messages, ring_bytes=ring_bytes, drop_after_us=1_000_000
            ),
        )
        transport = ZenohTransport(config, node, topics=topics)
        self.places.append(place)
        self.opened.append(transport)
        return transport

    def close(self) -> None:
        for transport in self.opened:
            transport.close()


class TestZenohTransport(TransportContract):
    @pytest.fixture
    def harness(self) -> Iterator[Harness]:
        yield from closing(ZenohHarness())


@pytest.fixture
def session() -> Iterator[Any]:
    """A stranger on the network, and where it listens."""
    [place] = endpoints(1)
    config = {
        "mode": "peer",
        "listen": {"endpoints": [place]},
        "scouting": {"multicast": {"enabled": False}, "delay": 1},
    }
    with zenoh.open(zenoh.Config.from_json5(json.dumps(config))) as stranger:
        yield stranger, place


def test_what_is_not_ours_is_ignored(session: Any) -> None:
    stranger, place = session
    with ZenohTransport(ZenohConfig(connect=(place,)), "one") as one:
        one.claim()
        until(lambda: bool(list(stranger.info.peers_zid())), "the link")
        tokens = [
            stranger.liveliness().declare_token(key)
            for key in (
                "ddnn/1/default/alive/two/many",  # no number
                "ddnn/1/default/alive/2/5",  # no name
                "ddnn/2/default/alive/two/5",  # another version of the scheme
                "ddnn/1/other/alive/two/5",  # another deployment
                "ddnn/1/default/alive/two/5/6",
                "ddnn/1/default/alive/good/5",
            )
        ]
        assert next_event(one) == PeerUp("good", 5)
        stranger.put("ddnn/1/default/data/one/good", b"no header")
        stranger.put("ddnn/1/default/data/one/not_a__name", b"", attachment=b"")
        stranger.put("ddnn/2/default/data/one/good", b"", attachment=b"")
        stranger.delete("ddnn/1/default/data/one/good", attachment=b"")
        stranger.put("ddnn/1/default/data/one/good", b"payload", attachment=b"header")
        assert message(one).payload == b"payload"
        assert one.receive(0) is None
        assert one.counters.foreign == 5
        del tokens


def test_a_message_that_is_too_large_is_lost_alone() -> None:
    first, second = endpoints(2)
    tuning = ZenohTuning(max_message_bytes=200_000, drop_after_us=1_000_000)
    with (
        ZenohTransport(ZenohConfig(listen=(first,), tuning=tuning), "one") as one,
        ZenohTransport(
            ZenohConfig(listen=(second,), connect=(first,), tuning=tuning), "two"
        ) as two,
    ):
        one.claim()
        two.claim()
        wait_up(one, "two")
        one.send("two", b"", bytes(1_000_000))
        one.send("two", b"", bytes(100_000))
        assert len(message(two).payload) == 100_000


def test_endpoints_that_do_not_answer_do_not_hold_up_the_start() -> None:
    places = endpoints(3)
    with ZenohTransport(ZenohConfig(listen=(places[0],), connect=tuple(places[1:])), "one") as one:
        assert one.claim() == one.incarnation
        with ZenohTransport(ZenohConfig(listen=(places[1],)), "two") as two:
            # Found by the one that calls again.
            two.claim()
            wait_up(one, "two")
            wait_up(two, "one")


class Narrow(socketserver.StreamRequestHandler):
    """One link of `HalvingServer`: to the callee all that the caller says, back what may pass.

    Zenoh's transport messages over TCP: two bytes for the length, then a byte whose five lowest
    bits are the kind. 5 and 6 carry declarations and data; the others open links and keep them up.
    """

    server: "HalvingServer"

    def handle(self) -> None:
        whole = self.server.whole.is_set()
        with socket.create_connection(self.server.callee) as callee:
            back = threading.Thread(target=self._back, args=(callee, whole))
            back.start()
            with suppress(OSError):
                while data := self.connection.recv(65536):
                    callee.sendall(data)
            with suppress(OSError):
                callee.shutdown(socket.SHUT_RDWR)
            back.join()

    def _back(self, callee: socket.socket, whole: bool) -> None:
        stream = callee.makefile("rb")
        with suppress(OSError):
            while length := stream.read(2):
                batch = stream.read(int.from_bytes(length, "little"))
                if whole or batch[0] & 0x1F not in (5, 6):
                    self.wfile.write(length + batch)
            self.connection.shutdown(socket.SHUT_RDWR)


class HalvingServer(socketserver.ThreadingTCPServer):
    """Makes half links to `callee`, until it is told that they may be `whole`."""

    def __init__(self, callee: str) -> None:
        super().__init__(("127.0.0.1", 0), Narrow)
        host, _, port = callee.removeprefix("tcp/").partition(":")
        self.callee, self.whole = (host, int(port)), threading.Event()

    @property
    def endpoint(self) -> str:
        return f"tcp/127.0.0.1:{self.server_address[1]}"


def test_a_session_that_has_half_a_link_is_opened_again() -> None:
    first, second = endpoints(2)

    class AnsweredTooSoon(ZenohTransport):
        """Its questions are answered before Zenoh counts the half link, until others may be whole.

        So none is opened again before all that is to be seen of half a link was seen.
        """

        def _ask(self) -> None:
            if between.whole.is_set():
                super()._ask()
            else:
                self._control.put((self._generation, _ANSWERED))

    with (
        ZenohTransport(ZenohConfig(listen=(first,)), "one") as one,
        HalvingServer(first) as between,
        ExitStack() as stack,
    ):
        one.claim()
        threading.Thread(target=between.serve_forever, daemon=True).start()
        stack.callback(between.shutdown)
        # Gossip would find another way.
        config = ZenohConfig(listen=(second,), connect=(between.endpoint,), discovery="static")
        with AnsweredTooSoon(config, "two") as two:
            before = two.claim()
            assert wait_up(one, "two") == {"two": before}
            between.whole.set()
            assert wait_down(one, "two") == before
            again = wait_up(one, "two")["two"]
            assert again != before
            until(lambda: two.incarnation == again, "two to know its own number")
            # It was cut off from all, too, and so has another incarnation.
            other = wait_up(two, "one")["one"]
            until(lambda: one.incarnation == other, "one to know its own number")
            for sender, receiver in ((one, two), (two, one)):
                sender.send(receiver.node or "", b"", b"after")
                assert message(receiver).payload == b"after"
            # Where it has listened before, it listens again.
            with ZenohTransport(ZenohConfig(connect=(second,)), "three") as three:
                three.claim()
                wait_up(three, "two")


def test_ids_are_in_the_order_of_ranks_and_nobody_has_two() -> None:
    ranks = [0.0, 0.18, 0.36, 0.9, 1.0, math.inf]
    made = [_identifier(rank) for rank in ranks for _ in range(5)]
    assert len(set(made)) == len(made)
    assert all(re.fullmatch("[1-9a-f][0-9a-f]{31}", text) for text in made)
    # Zenoh's order: of the number whose lowest byte comes first.
    highest = [int.from_bytes(bytes.fromhex(text)[-2:], "little") for text in made]
    assert highest == sorted(highest)
    assert len(set(highest)) == len(ranks)


@pytest.mark.parametrize("ranks", [(0.36, 0.54), (0.54, 0.36), (0.0, 1.0)])
def test_of_two_that_find_each_other_the_higher_calls(ranks: tuple[float, float]) -> None:
    """So that no two call each other: whom a node hears, and so calls, is of lower rank."""
    common, *places = endpoints(3)
    with ExitStack() as stack:
        stack.enter_context(ZenohTransport(ZenohConfig(listen=(common,)), "common"))
        pair = []
        for name, place, rank in zip(("one", "two"), places, ranks, strict=True):
            config = ZenohConfig(listen=(place,), connect=(common,), rank=rank)
            pair.append(stack.enter_context(ZenohTransport(config, name)))
            pair[-1].claim()
        wait_up(pair[0], "two")
        wait_up(pair[1], "one")
        called = [{str(link.dst) for link in t._session.info.links()} for t in pair]
        higher = ranks.index(max(ranks))
        assert places[1 - higher] in called[higher]
        assert places[higher] not in called[1 - higher]


def test_who_cannot_be_called_calls() -> None:
    common, place = endpoints(2)
    with (
        ZenohTransport(ZenohConfig(listen=(common,)), "common"),
        ZenohTransport(ZenohConfig(listen=(place,), connect=(common,), rank=1.0), "one") as one,
        ZenohTransport(ZenohConfig(connect=(common,), rank=0.0), "two") as two,
    ):
        one.claim()
        two.claim()
        wait_up(one, "two")
        wait_up(two, "one")


def test_a_client_waits_for_its_router() -> None:
    [place] = endpoints(1)
    config = ZenohConfig(mode="client", connect=(place,))
    with (
        ZenohTransport(config, "one", topics=("@answers",)) as one,
        ZenohTransport(config, "two") as two,
    ):
        first = one.claim()
        two.send("one", b"", b"nobody there")
        two.claim()
        assert one.receive(0) is None
        with open_router(ZenohConfig(listen=(place,))):
            wait_up(one, "two")
            assert wait_up(two, "one") == {"one": first}
            two.send("one", b"", b"now")
            assert message(one).payload == b"now"
            two.send("@answers", b"", b"42")
            assert message(one).payload == b"42"


def test_shared_memory_is_an_option() -> None:
    [place] = endpoints(1)
    tuning = ZenohTuning(shared_memory=True)
    with (
        ZenohTransport(ZenohConfig(listen=(place,), tuning=tuning), "one") as one,
        ZenohTransport(ZenohConfig(connect=(place,), tuning=tuning), "two") as two,
    ):
        one.claim()
        two.claim()
        wait_up(two, "one")
        wait_up(one, "two")
        payload = bytes(range(256)) * 1024
        two.send("one", b"header", payload)
        got = message(one)
        assert (got.header, got.payload) == (b"header", payload)


@pytest.mark.parametrize(
    ("config", "fault"),
    [
        (ZenohConfig(listen=("127.0.0.1:7447",)), r"at `\$.listen\[0\]`"),
        (ZenohConfig(connect=("tcp/",)), r"at `\$.connect\[0\]`"),
        (ZenohConfig(tuning=ZenohTuning(lease_ms=0)), r"at `\$.tuning.lease_ms`"),
        (ZenohConfig(tuning=ZenohTuning(send_batches=17)), r"at `\$.tuning.send_batches`"),
        (ZenohConfig(listen=("tcp/127.0.0.1",)), "cannot be opened .*invalid socket address"),
        (ZenohConfig(deployment="a/b"), r"at `\$.deployment`"),
    ],
)
def test_a_configuration_that_cannot_work_is_refused(config: ZenohConfig, fault: str) -> None:
    with pytest.raises(InputError, match=fault):
        ZenohTransport(config, "one")


def test_certificates_and_access_rules_reach_zenoh() -> None:
    config = ZenohConfig(
        listen=("tls/127.0.0.1:7447",),
        tls=Tls(root_ca="ca.pem", certificate="one.pem", private_key="one.key"),
        access_control={"enabled": True, "default_permission": "deny", "rules": []},
    )
    settings = zenoh_settings(config, "peer")
    # Zenoh refuses what it does not know.
    read = zenoh.Config.from_json5(json.dumps(settings))
    tls = json.loads(read.get_json("transport/link/tls"))
    assert tls["enable_mtls"] is True
    assert tls["listen_certificate"] == tls["connect_certificate"] == "one.pem"
    assert tls["listen_private_key"] == tls["connect_private_key"] == "one.key"
    assert json.loads(read.get_json("access_control"))["enabled"] is True
    with pytest.raises(InputError, match="cannot be opened"):
        ZenohTransport(config, "one")


def test_the_configuration_is_json() -> None:
    config = ZenohConfig(listen=("tcp/127.0.0.1:7447",), discovery="static")
    assert msgspec.json.decode(msgspec.json.encode(config), type=ZenohConfig) == config


# Zenoh cannot be imported here.
WITHOUT_ZENOH = """
import sys
sys.modules["zenoh"] = None
from edge_runtime.transport.config import ZenohConfig
from edge_runtime.transport.zenoh import ZenohTransport, open_router
for call in (
    lambda: ZenohTransport(ZenohConfig(), "one"),
    lambda: open_router(ZenohConfig(listen=("tcp/127.0.0.1:1",))),
):
    try:
        call()
    except ValueError as error:
        print(type(error).__name__, error)
"""

# Nothing here opens a transport.
WITHOUT_A_TRANSPORT = """
import sys
import edge_runtime.transport.deployment, edge_runtime.transport.memory
import edge_runtime.transport.zenoh
print("zenoh" in sys.modules)
"""


def run_python(code: str) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    return done.stdout.splitlines()


def test_without_zenoh_the_error_says_what_to_install() -> None:
    expected = 'InputError the network needs Zenoh: pip install "ddnn-tf[edge]"'
    assert run_python(WITHOUT_ZENOH) == [expected, expected]


def test_zenoh_is_imported_when_it_is_used() -> None:
    assert run_python(WITHOUT_A_TRANSPORT) == ["False"]
