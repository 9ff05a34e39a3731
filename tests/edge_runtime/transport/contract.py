"""What every transport must do: one suite, run on each implementation."""

import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator

import pytest

from edge_runtime.errors import InputError
from edge_runtime.transport.base import (
    ANSWERS,
    METRICS,
    Event,
    NameTakenError,
    PeerDown,
    PeerUp,
    Received,
    Transport,
)

# Far above what anything here takes; reached only when something is broken.
LIMIT = 20.0
# The header of a message that only opens the way for those that matter.
GREETING = b"greeting"


def until(condition: Callable[[], bool], what: str = "the condition") -> None:
    """Wait for something that no event announces."""
    end = time.monotonic() + LIMIT
    while not condition():
        assert time.monotonic() < end, f"waited {LIMIT} s for {what}"
        time.sleep(0.005)


def next_event(transport: Transport) -> Event:
    event = transport.receive(LIMIT)
    assert event is not None, f"{transport.node or 'the observer'} heard nothing in {LIMIT} s"
    return event


def message(transport: Transport) -> Received:
    """The next message; presence and greetings on the way to it are skipped."""
    while True:
        event = next_event(transport)
        if isinstance(event, Received) and event.header != GREETING:
            return event


def first_heard(send: Callable[[], None], observer: Transport) -> Received:
    """Send until the observer hears it: it may see a sender that does not know of it yet."""
    end = time.monotonic() + LIMIT
    while time.monotonic() < end:
        send()
        event = observer.receive(0.05)
        if isinstance(event, Received):
            return event
    raise AssertionError(f"the observer heard nothing in {LIMIT} s")


def greet(sender: Transport, topic: str, observer: Transport) -> None:
    """Make sure that what the sender says of this topic from now on reaches the observer."""
    while first_heard(lambda: sender.send(topic, GREETING, b""), observer).sender != sender.node:
        pass


def peer_event(transport: Transport) -> Event:
    """The next event; the transport's own name is skipped (alone, it may lose and regain it)."""
    while True:
        event = next_event(transport)
        if isinstance(event, Received) or event.node != transport.node:
            return event


def wait_up(transport: Transport, *nodes: str) -> dict[str, int]:
    """Read until all these nodes are up; the incarnations of all that came up."""
    up: dict[str, int] = {}
    while not set(nodes) <= set(up):
        match peer_event(transport):
            case PeerUp(node, incarnation):
                up[node] = incarnation
            case PeerDown(node):
                up.pop(node, None)
    return up


def wait_down(transport: Transport, node: str) -> int:
    """Read until this node is down; the incarnation that went."""
    while True:
        match peer_event(transport):
            case PeerDown(name, incarnation) if name == node:
                return incarnation


def claim_and_learn(second: Transport) -> None:
    """Claim a name that is taken: the loser learns it at once, or from what it receives."""
    second.claim()
    while True:
        next_event(second)


class Harness(ABC):
    """Opens transports that can all reach each other."""

    @abstractmethod
    def open(
        self,
        node: str | None = None,
        *,
        topics: tuple[str, ...] = (),
        deployment: str = "default",
        ring_messages: int = 256,
        ring_bytes: int = 16 << 20,
    ) -> Transport: ...

    @abstractmethod
    def close(self) -> None: ...

    def node(self, name: str, **options: int) -> Transport:
        transport = self.open(name, **options)  # type: ignore[arg-type]
        transport.claim()
        return transport

    def pair(self, **options: int) -> tuple[Transport, Transport]:
        """Two nodes that see each other; `options` are the second one's."""
        one, two = self.node("one"), self.node("two", **options)
        wait_up(one, "two")
        wait_up(two, "one")
        return one, two


class TransportContract:
    """Subclass it with a fixture `harness`."""

    def test_delivers_header_and_payload(self, harness: Harness) -> None:
        one, two = harness.pair()
        one.send("two", b"header", b"payload")
        assert message(two) == Received("one", "two", b"header", b"payload")
        two.send("one", b"", b"back")
        assert message(one) == Received("two", "one", b"", b"back")
        assert (one.counters.sent, one.counters.received) == (1, 1)

    @pytest.mark.parametrize("size", [0, 1, 4096, 1_000_000])
    def test_payloads_of_any_size(self, harness: Harness, size: int) -> None:
        one, two = harness.pair()
        payload = bytes(range(256)) * (size // 256) + bytes(size % 256)
        one.send("two", b"h", payload)
        assert message(two).payload == payload

    def test_messages_of_one_sender_keep_their_order(self, harness: Harness) -> None:
        one, two = harness.pair()
        for i in range(200):
            one.send("two", b"", b"%d" % i)
        assert [int(message(two).payload) for _ in range(200)] == list(range(200))

    def test_several_senders_are_told_apart(self, harness: Harness) -> None:
        target = harness.node("target")
        for name in ("a", "b"):
            sender = harness.node(name)
            wait_up(sender, "target")
            sender.send("target", b"", name.encode())
        got = {(m.sender, m.payload) for m in (message(target), message(target))}
        assert got == {("a", b"a"), ("b", b"b")}

    def test_only_the_target_hears(self, harness: Harness) -> None:
        one, two = harness.pair()
        three = harness.node("three")
        wait_up(three, "one", "two")
        one.send("two", b"", b"for two")
        one.send("three", b"", b"for three")
        assert message(three).payload == b"for three"
        assert message(two).payload == b"for two"

    def test_nobody_hears_oneself(self, harness: Harness) -> None:
        one, two = harness.pair()
        one.send("one", b"", b"to myself")
        one.send("two", b"", b"ask")
        message(two)
        two.send("one", b"", b"reply")
        assert message(one).payload == b"reply"

    def test_an_unknown_target_is_no_error(self, harness: Harness) -> None:
        one, two = harness.pair()
        one.send("nobody", b"", b"lost")
        one.send("two", b"", b"kept")
        assert message(two).payload == b"kept"

    @pytest.mark.parametrize("target", ["", "a/b", "*", "two/*", "@", "@Answers", "x__y", "$*"])
    def test_an_impossible_target_is_an_error(self, harness: Harness, target: str) -> None:
        with pytest.raises(ValueError, match="expected a node's name or a topic"):
            harness.node("one").send(target, b"", b"")

    @pytest.mark.parametrize("name", ["", "a/b", "*", "1edge", "a__b", "@answers"])
    def test_an_impossible_name_is_an_error(self, harness: Harness, name: str) -> None:
        with pytest.raises(InputError, match="expected a node's name"):
            harness.open(name)

    def test_the_ring_drops_the_oldest_and_counts(self, harness: Harness) -> None:
        one, two = harness.pair(ring_messages=10)
        for i in range(25):
            one.send("two", b"", b"%d" % i)
        until(lambda: two.counters.overflow == 15, "15 messages to be pushed out")
        assert [int(message(two).payload) for _ in range(10)] == list(range(15, 25))
        assert two.receive(0) is None
        assert two.counters.received == 10

    def test_the_ring_is_bounded_in_bytes(self, harness: Harness) -> None:
        one, two = harness.pair(ring_bytes=1000)
        for i in range(10):
            one.send("two", b"", bytes([i]) * 400)
        until(lambda: two.counters.overflow == 8, "8 messages to be pushed out")
        assert [message(two).payload[0] for _ in range(2)] == [8, 9]
        # The newest message is kept however large it is.
        one.send("two", b"", bytes(5000))
        assert len(message(two).payload) == 5000

    def test_a_slow_reader_delays_neither_senders_nor_presence(self, harness: Harness) -> None:
        one, two = harness.pair(ring_messages=4)
        three = harness.node("three")
        wait_up(one, "three")
        wait_up(two, "three")
        for number in range(500):
            one.send("two", b"%d" % number, bytes(4096))
        until(lambda: two.counters.overflow > 0, "the ring to overflow")
        three.close()
        gone = PeerDown("three", three.incarnation or 0)
        until(lambda: one.receive(0) == gone, "one to notice")
        # Both may hear of it at different times, so how many messages come before it is open; that
        # presence overtakes them is the mailbox's test.
        dropped = two.counters.overflow
        heard = [next_event(two)]
        while heard[-1] != gone:
            heard.append(next_event(two))
        while (event := two.receive(0)) is not None:
            heard.append(event)
        numbers = [int(event.header) for event in heard if isinstance(event, Received)]
        assert numbers == sorted(numbers)
        assert numbers
        assert all(number >= dropped for number in numbers), "the oldest are dropped"
        assert len(numbers) + two.counters.overflow <= 500

    def test_presence_carries_the_incarnation(self, harness: Harness) -> None:
        one = harness.node("one")
        two = harness.node("two")
        first = one.incarnation
        assert wait_up(two, "one") == {"one": first}
        assert wait_up(one, "two") == {"two": two.incarnation}
        two.close()
        assert wait_down(one, "two") == two.incarnation

    def test_a_restarted_node_has_a_higher_incarnation(self, harness: Harness) -> None:
        one, two = harness.pair()
        two.close()
        first = wait_down(one, "two")
        again = harness.node("two")
        assert wait_up(one, "two") == {"two": again.incarnation}
        assert again.incarnation is not None
        assert again.incarnation > first
        one.send("two", b"", b"welcome back")
        assert message(again).payload == b"welcome back"

    def test_a_node_is_not_present_before_its_claim(self, harness: Harness) -> None:
        one = harness.node("one")
        two = harness.open("two")
        assert two.incarnation is None
        three = harness.node("three")
        # If `two` showed up, it would be before `three`, which came later.
        event = next_event(one)
        assert event == PeerUp("three", three.incarnation or 0)
        two.claim()
        wait_up(one, "two")

    def test_an_observer_sees_all_nodes_and_the_topics_it_follows(self, harness: Harness) -> None:
        one, two = harness.pair()
        watcher = harness.open(topics=(ANSWERS,))
        assert watcher.node is None
        assert wait_up(watcher, "one", "two") == {"one": one.incarnation, "two": two.incarnation}
        greet(one, ANSWERS, watcher)
        greet(two, ANSWERS, watcher)
        one.send(METRICS, b"", b"not followed")
        one.send(ANSWERS, b"h", b"7")
        two.send(ANSWERS, b"h", b"8")
        got = {message(watcher).payload, message(watcher).payload}
        assert got == {b"7", b"8"}
        # Nobody sees the observer.
        watcher.close()
        three = harness.node("three")
        assert next_event(one) == PeerUp("three", three.incarnation or 0)

    def test_any_number_of_observers_may_follow(self, harness: Harness) -> None:
        one = harness.node("one")
        watchers = [harness.open(topics=(ANSWERS, METRICS)) for _ in range(3)]
        for watcher in watchers:
            wait_up(watcher, "one")
            greet(one, ANSWERS, watcher)
        one.send(ANSWERS, b"h", b"answer")
        for watcher in watchers:
            assert message(watcher) == Received("one", ANSWERS, b"h", b"answer")

    def test_an_observer_cannot_send_or_claim(self, harness: Harness) -> None:
        watcher = harness.open()
        with pytest.raises(RuntimeError, match="observer"):
            watcher.send("one", b"", b"")
        with pytest.raises(RuntimeError, match="observer"):
            watcher.claim()

    def test_deployments_do_not_mix(self, harness: Harness) -> None:
        one = harness.open("one", topics=(ANSWERS,), deployment="street")
        other = harness.open("one", deployment="harbour")
        one.claim()
        other.claim()
        friend = harness.open("friend", deployment="street")
        friend.claim()
        wait_up(friend, "one")
        other.send("one", b"", b"wrong")
        other.send(ANSWERS, b"", b"wrong")
        friend.send("one", b"", b"right")
        assert message(one).payload == b"right"
        # The friend's token may come after its message.
        while (event := one.receive(0.05)) is not None:
            assert not isinstance(event, Received)

    @pytest.mark.parametrize("name", ["", "a/b", "*", "ä", "x" * 65])
    def test_an_impossible_deployment_is_an_error(self, harness: Harness, name: str) -> None:
        with pytest.raises(InputError, match="deployment"):
            harness.open("one", deployment=name)

    def test_a_taken_name_is_refused(self, harness: Harness) -> None:
        one, two = harness.pair()
        second = harness.open("one")
        with pytest.raises(NameTakenError, match="'one' of deployment 'default' is already runni"):
            claim_and_learn(second)
        second.close()
        # The incumbent is still there.
        two.send("one", b"", b"still")
        assert message(one).payload == b"still"

    def test_a_name_is_free_again_after_close(self, harness: Harness) -> None:
        one, two = harness.pair()
        one.close()
        wait_down(two, "one")
        assert harness.node("one").incarnation is not None

    def test_a_name_is_claimed_once(self, harness: Harness) -> None:
        one = harness.node("one")
        with pytest.raises(RuntimeError, match="once"):
            one.claim()

    def test_receive_ends_after_its_time(self, harness: Harness) -> None:
        one = harness.node("one")
        assert one.receive(0) is None
        assert one.receive(0.05) is None

    def test_wake_interrupts_receive(self, harness: Harness) -> None:
        one = harness.node("one")
        one.wake()
        one.wake()
        assert one.receive(LIMIT) is None, "a wake before receive counts"
        assert one.receive(0) is None
        with in_thread(lambda: one.receive(None)) as results:
            one.wake()
        assert results == [None]

    def test_close_wakes_receive_and_may_be_repeated(self, harness: Harness) -> None:
        one = harness.node("one")
        with in_thread(lambda: one.receive(None)) as results:
            one.close()
        assert results == [None]
        one.close()
        assert one.receive(None) is None
        one.send("two", b"", b"dropped")
        with one:
            pass

    def test_with_closes(self, harness: Harness) -> None:
        two = harness.node("two")
        with harness.node("one"):
            wait_up(two, "one")
        wait_down(two, "one")

    def test_send_from_several_threads(self, harness: Harness) -> None:
        one, two = harness.pair()

        def send(k: int) -> None:
            for i in range(50):
                one.send("two", b"%d" % k, b"%d" % i)

        threads = [threading.Thread(target=send, args=[k]) for k in range(3)]
        for thread in threads:
            thread.start()
        got: dict[bytes, list[int]] = {}
        for _ in range(150):
            heard = message(two)
            got.setdefault(heard.header, []).append(int(heard.payload))
        for thread in threads:
            thread.join()
        assert list(got.values()) == [list(range(50))] * 3


class in_thread:  # noqa: N801
    """Run a call in a thread while the block runs; its result is in the list at the end."""

    def __init__(self, call: Callable[[], object]) -> None:
        self._results: list[object] = []
        self._thread = threading.Thread(target=lambda: self._results.append(call()))

    def __enter__(self) -> list[object]:
        self._thread.start()
        return self._results

    def __exit__(self, *_: object) -> None:
        self._thread.join(LIMIT)
        assert not self._thread.is_alive()


def closing(harness: Harness) -> Iterator[Harness]:
    """For the fixture."""
    try:
        yield harness
    finally:
        harness.close()
