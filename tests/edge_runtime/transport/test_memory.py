"""The transport in memory: the contract, and the faults it makes."""

from collections.abc import Iterator

import pytest

from edge_runtime.transport.base import NameTakenError, PeerDown, PeerUp, Received, Transport
from edge_runtime.transport.memory import MemoryNetwork, MemoryTransport
from tests.edge_runtime.transport.contract import Harness, TransportContract, closing


class MemoryHarness(Harness):
    def __init__(self) -> None:
        self.network = MemoryNetwork()
        self.opened: list[Transport] = []

    def open(
        self,
        node: str | None = None,
        *,
        topics: tuple[str, ...] = (),
        deployment: str = "default",
        ring_messages: int = 256,
        ring_bytes: int = 16 << 20,
    ) -> Transport:
        transport = self.network.open(
            node,
            topics=topics,
            deployment=deployment,
            ring_messages=ring_messages,
            ring_bytes=ring_bytes,
        )
        self.opened.append(transport)
        return transport

    def close(self) -> None:
        for transport in self.opened:
            transport.close()


class TestMemoryTransport(TransportContract):
    @pytest.fixture
    def harness(self) -> Iterator[Harness]:
        yield from closing(MemoryHarness())


@pytest.fixture
def network() -> MemoryNetwork:
    return MemoryNetwork(waits=False)


@pytest.fixture
def pair(network: MemoryNetwork) -> tuple[MemoryTransport, MemoryTransport]:
    one, two = network.open("one"), network.open("two")
    one.claim()
    two.claim()
    assert one.receive(None) == PeerUp("two", 2)
    assert two.receive(None) == PeerUp("one", 1)
    return one, two


Pair = tuple[MemoryTransport, MemoryTransport]


def drained(transport: Transport) -> list[object]:
    events: list[object] = []
    while (event := transport.receive(None)) is not None:
        events.append(event.payload if isinstance(event, Received) else event)
    return events


def test_a_stepped_network_never_waits(pair: Pair) -> None:
    assert pair[0].receive(None) is None


def test_held_messages_are_reordered_repeated_and_lost(network: MemoryNetwork, pair: Pair) -> None:
    one, two = pair
    network.holding = True
    for payload in (b"a", b"b", b"c"):
        one.send("two", b"", payload)
    assert drained(two) == []
    network.deliver(1)
    network.deliver(0, keep=True)
    network.discard(1)
    network.deliver_all()
    assert drained(two) == [b"b", b"a", b"a"]
    assert network.in_flight == []


def test_what_was_in_flight_to_a_dead_node_is_lost(network: MemoryNetwork, pair: Pair) -> None:
    one, _ = pair
    network.holding = True
    one.send("two", b"", b"too late")
    network.kill("two")
    network.deliver_all()
    assert drained(one) == [PeerDown("two", 2)]


def test_a_block_is_one_way_and_hides_nobody(network: MemoryNetwork, pair: Pair) -> None:
    one, two = pair
    network.block("one", "two")
    one.send("two", b"", b"lost")
    two.send("one", b"", b"arrives")
    assert (drained(one), drained(two)) == ([b"arrives"], [])
    network.unblock("one", "two")
    one.send("two", b"", b"again")
    assert drained(two) == [b"again"]


def test_a_cut_link_carries_nothing_and_keeps_incarnations(
    network: MemoryNetwork, pair: Pair
) -> None:
    one, two = pair
    network.cut("one", "two")
    one.send("two", b"", b"lost")
    assert (drained(one), drained(two)) == ([PeerDown("two", 2)], [PeerDown("one", 1)])
    network.mend("two", "one")
    assert (drained(one), drained(two)) == ([PeerUp("two", 2)], [PeerUp("one", 1)])


def test_a_paused_node_rejoins_with_a_new_incarnation(network: MemoryNetwork, pair: Pair) -> None:
    one, two = pair
    network.pause("one")
    two.send("one", b"", b"lost")
    assert drained(two) == [PeerDown("one", 1)]
    network.resume("one")
    assert drained(two) == [PeerUp("one", 3)]
    assert one.incarnation == 3
    assert drained(one) == [
        PeerDown("two", 2),
        PeerDown("one", 1),
        PeerUp("one", 3),
        PeerUp("two", 2),
    ]


def test_a_paused_node_may_lose_its_name(network: MemoryNetwork, pair: Pair) -> None:
    one, two = pair
    network.pause("one")
    successor = network.open("one")
    assert successor.claim() == 3
    network.resume("one")
    with pytest.raises(NameTakenError) as raised:
        one.receive(None)
    assert raised.value.incarnation == 3
    assert one.incarnation is None
    assert drained(two) == [PeerDown("one", 1), PeerUp("one", 3)]
    two.send("one", b"", b"to the successor")
    assert drained(successor)[-1] == b"to the successor"


def test_faults_name_nodes_that_are_there(network: MemoryNetwork) -> None:
    with pytest.raises(LookupError, match="no live transport holds the name 'ghost'"):
        network.kill("ghost")
