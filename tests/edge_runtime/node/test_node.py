import random
import threading
from typing import Any

import msgspec
import numpy as np
import pytest

from edge_runtime.answers.records import Answer
from edge_runtime.clock import SECOND
from edge_runtime.errors import InputError
from edge_runtime.evaluation.answering import state_keys
from edge_runtime.failures.configurations import output_states
from edge_runtime.failures.distribution import mask_without
from edge_runtime.node.node import MOST_EVENTS, Node
from edge_runtime.node.settings import LiveSettings
from edge_runtime.node.status import Notice
from edge_runtime.topology import Link, Topology
from edge_runtime.topology import Node as Place
from edge_runtime.transport.base import ANSWERS, METRICS, PeerDown, PeerUp, Received
from edge_runtime.transport.memory import MemoryNetwork
from edge_runtime.transport.wire import Message, decode, encode, short_fingerprint
from tests.edge_runtime.network_of_nodes import FINGERPRINT, MS, Adding, Nodes, Views, manifest_of
from tests.reference import small_topology

#: Three links past the one node that both others may be reached by.
POSTER = "poster-residual"


@pytest.fixture
def small() -> Nodes:
    return Nodes(small_topology())


@pytest.fixture
def poster() -> Nodes:
    nodes = Nodes(Topology.load(POSTER))
    nodes.frame(1)
    return nodes


class KilledError(Exception):
    """What ends a process in the midst of something, as far as one thread can show it."""


def truthful(nodes: Nodes, answer: Answer) -> bool:
    return list(answer.probabilities) == pytest.approx(nodes.truth(answer).tolist(), abs=1e-6)


# -- answers ---------------------------------------------------------------------------------------


def test_an_answer_says_what_it_was_computed_from(small: Nodes) -> None:
    [answer] = small.frame(1)
    assert answer.frame == 1
    assert answer.node == "top"
    assert answer.state == small.state()
    assert answer.nodes == ("cam0", "left", "cam1", "right", "top")
    assert (answer.fallback, answer.waited, answer.score) == (False, False, None)
    # Once by way of left, once directly.
    assert list(answer.probabilities) == [4, 2]
    assert truthful(small, answer)


def test_every_frame_is_answered_once(poster: Nodes) -> None:
    answers = [answer for number in range(2, 12) for answer in poster.frame(number)]
    assert [answer.frame for answer in answers] == list(range(2, 12))
    assert {answer.state for answer in answers} == {poster.state()}
    assert all(truthful(poster, answer) for answer in answers)


def test_the_age_is_that_since_the_beginning_of_the_frame(small: Nodes) -> None:
    small.now = small.frames.begins(1) + 7 * MS
    small.converge()
    assert [answer.age_ms for answer in small.answers if answer.frame == 1] == [7.0]


def test_the_wall_clock_is_for_people_only(small: Nodes) -> None:
    small.frame(1)
    small.wall -= 3600 * SECOND
    [back] = small.frame(2)
    small.wall += 7200 * SECOND
    [forth] = small.frame(3)
    assert (back.frame, back.state) == (2, small.state())
    assert (forth.frame, forth.state) == (3, small.state())


def test_several_tensors_a_link() -> None:
    nodes = Nodes(small_topology(), tensors={"left": 3, "right": 2})
    [answer] = nodes.frame(1)
    # 2 (frame and one) times 1 + 2 + 3 by way of left, and once directly; 2 times 1 + 2.
    assert list(answer.probabilities) == [14, 6]
    assert truthful(nodes, answer)


@pytest.mark.parametrize("encoding", ["float16", "int8"])
def test_encoded_messages_arrive(encoding: Any) -> None:
    nodes = Nodes(small_topology(), encoding=encoding)
    [answer] = nodes.frame(1)
    assert list(answer.probabilities) == pytest.approx(nodes.truth(answer).tolist(), rel=0.01)


# -- failures --------------------------------------------------------------------------------------


def test_a_dead_node_is_not_waited_for(poster: Nodes) -> None:
    poster.kill("fog4")
    poster.now = poster.frames.begins(2)
    poster.converge()
    answer = poster.answers[-1]
    assert (answer.frame, answer.waited, answer.age_ms) == (2, False, 0)
    assert "fog4" not in answer.nodes
    assert truthful(poster, answer)


def test_a_hung_node_is_waited_for_twice_and_no_longer(poster: Nodes) -> None:
    poster.held.add("fog4")
    waits = [answer for number in range(2, 6) for answer in poster.frame(number)]
    assert [answer.waited for answer in waits] == [True, True, False, False]
    assert [answer.age_ms for answer in waits] == [90, 90, 0, 0]
    assert all(truthful(poster, answer) for answer in waits)
    poster.held.clear()
    answers = [answer for number in range(6, 9) for answer in poster.frame(number)]
    assert answers[-1].state == poster.state()
    assert all(truthful(poster, answer) for answer in answers)


@pytest.mark.parametrize(
    ("node", "sends"), [("fog2", 0), ("fog2", 1), ("fog1", 0), ("fog1", 1), ("fog3", 1)]
)
def test_a_kill_between_two_sends_of_a_frame_gives_a_truthful_state(
    poster: Nodes, node: str, sends: int
) -> None:
    """The process ends inside `send`, after so many of them; nothing of it runs any more."""
    transport = poster.transports[node]
    send, sent = transport.send, list[str]()

    def dies(target: str, header: bytes, payload: bytes) -> None:
        if target != METRICS:
            if len(sent) == sends:
                poster.kill(node)
                raise KilledError
            sent.append(target)
        send(target, header, payload)

    transport.send = dies  # type: ignore[method-assign]
    with pytest.raises(KilledError):
        poster.frame(2)
    assert node not in poster.nodes
    poster.converge()
    answer = poster.answers[-1]
    assert answer.frame == 2
    assert not answer.waited
    assert truthful(poster, answer)
    # What it had sent was used; what it had not is claimed by nobody.
    targets = [link.target for link in poster.topology.outgoing(node)]
    assert sent == targets[:sends]
    lost = [f"{node}->{target}" for target in targets[sends:]]
    if sends:
        whole, without = int(poster.state(), 16), int(poster.state(*lost), 16)
        assert int(answer.state, 16) == whole & ~without
    else:
        assert node not in answer.nodes
    # Whatever comes next is told just as truly.
    answers = [answer for number in (3, 4) for answer in poster.frame(number)]
    assert [answer.frame for answer in answers] == [3, 4]
    assert all(truthful(poster, answer) and node not in answer.nodes for answer in answers)


def test_a_node_that_heard_nothing_says_so(poster: Nodes) -> None:
    poster.views["cam2"].blind = True
    heard: list[Message] = []
    send = poster.transports["edge2"].send

    def listen(target: str, header: bytes, payload: bytes) -> None:
        if target != METRICS:
            heard.append(decode(header, payload))
        send(target, header, payload)

    poster.transports["edge2"].send = listen  # type: ignore[method-assign]
    calls = poster.sections["edge2"].calls
    [answer] = poster.frame(2)
    [message] = heard
    assert (message.silent, message.state, message.frame) == (True, 0, 2)
    assert answer.age_ms == 0
    assert "edge2" not in answer.nodes
    assert "cam2" not in answer.nodes
    assert poster.sections["edge2"].calls == calls
    assert truthful(poster, answer)


def test_the_fallback_answers_when_nobody_heard_anything(small: Nodes) -> None:
    for views in small.views.values():
        views.blind = True
    [answer] = small.frame(1)
    assert answer.fallback
    assert (answer.state, answer.nodes, answer.answer) == ("0", (), "like cam1")
    assert list(answer.probabilities) == [0, 1]
    assert answer.score == 0.5


def test_a_source_that_ends_is_not_waited_for_until_it_returns(small: Nodes) -> None:
    small.frame(1)
    small.views["cam1"].ended = True
    answers = [answer for number in range(2, 6) for answer in small.frame(number)]
    # The first frames wait for `right`, which cannot know that there is one.
    assert [answer.waited for answer in answers] == [True, True, False, False]
    assert {answer.nodes for answer in answers} == {("cam0", "left", "top")}
    small.views["cam1"].ended = False
    returned = [answer for number in range(6, 9) for answer in small.frame(number)]
    assert returned[-1].state == small.state()
    assert [x for x in small.notices if x[0] == "right" and x[2] == "cam1"] == [
        ("right", "ended", "cam1"),
        ("right", "returned", "cam1"),
    ]


def test_a_sensor_without_a_source_is_not_waited_for() -> None:
    topology = small_topology()
    section = Adding(topology, "left", {})
    with MemoryNetwork(waits=False).open("left") as transport:
        node = Node(
            manifest_of(topology, "left", section),
            section,
            transport,
            {},
            None,
            LiveSettings(deadline_ns=MS),
        )
        assert node.assembler.condition("cam0") != "expected"


def test_a_restarted_node_is_heard_again(poster: Nodes) -> None:
    poster.kill("fog3")
    poster.frame(2)
    poster.start("fog3")
    answers = [answer for number in range(3, 6) for answer in poster.frame(number)]
    assert answers[-1].state == poster.state()
    assert all(truthful(poster, answer) for answer in answers)
    assert len({answer.frame for answer in answers}) == len(answers)


@pytest.mark.parametrize("topology", [POSTER, "poster-edge-skip"])
@pytest.mark.parametrize("seed", range(4))
def test_what_survives_answers_as_the_simulation_of_a_bundle_says(topology: str, seed: int) -> None:
    nodes = Nodes(Topology.load(topology))
    rng, number = random.Random(seed), 1
    for _ in range(3):
        down = rng.sample(nodes.topology.order[:-1], rng.randrange(1, 5))
        for name in down:
            nodes.kill(name)
        nodes.frame(number)
        answers = nodes.frame(number + 1)
        # `Bundle.answer` computes this state, as `truth` does, for any mask of a trace.
        states = output_states(nodes.topology, mask_without(nodes.topology, down)[None])
        [state], _ = state_keys(states)
        # Where nothing gets through, the output node may not even learn that there is a frame.
        wanted = [f"{state:x}"] if state else []
        assert [a.state for a in answers if not a.fallback] == wanted
        assert all(truthful(nodes, a) for a in answers if not a.fallback)
        for name in down:
            nodes.start(name)
        nodes.frame(number + 2)
        number += 3


@pytest.mark.parametrize(
    ("other", "refusals"),
    [
        ("edge1", [("fog2", "refused", "edge1")]),
        # Where both ends have something to say, each refuses the other; fog3 hears nothing else,
        # and so says nothing.
        ("fog3", [("fog3", "refused", "fog1"), ("fog3", "refused", "fog2")]),
    ],
)
def test_a_node_of_another_model_is_refused_and_named_once(
    poster: Nodes, other: str, refusals: list[tuple[str, str, str]]
) -> None:
    poster.kill(other)
    poster.start(other, fingerprint="cd" * 32)
    answers = [answer for number in range(2, 6) for answer in poster.frame(number)]
    assert [answer.frame for answer in answers] == [2, 3, 4, 5]
    assert not any(other in answer.nodes for answer in answers)
    assert all(truthful(poster, answer) for answer in answers)
    assert sorted(x for x in poster.notices if x[1] == "refused") == refusals


def test_a_name_that_is_misused_again_and_again_is_told_once(poster: Nodes) -> None:
    told: tuple[str, Notice, str] = ("fog2", "refused", "edge1")
    for number in range(2, 6):
        header, payload = encode(
            Message(
                frame=number,
                sender="edge1",
                incarnation=poster.transports["edge1"].incarnation or 0,
                fingerprint=short_fingerprint("cd" * 32),
                state=3,
                age_ns=0,
                tensors=(np.ones(6, np.float32),),
            )
        )
        poster.transports["edge1"].send("fog2", header, payload)
        [answer] = poster.frame(number)
        assert "edge1" in answer.nodes
        assert poster.notices.count(told) == 1
    poster.kill("edge1")
    poster.start("edge1", fingerprint="cd" * 32)
    poster.frame(6)
    assert poster.notices.count(told) == 2


@pytest.mark.parametrize("seed", range(30))
def test_whatever_is_lost_or_late_no_answer_claims_more_than_went_into_it(seed: int) -> None:
    rng = random.Random(seed)
    nodes = Nodes(Topology.load("poster-edge-skip"))
    answered: list[int] = []
    for number in range(1, 25):
        if rng.random() < 0.3:
            victim = rng.choice(nodes.topology.order[:-1])
            if victim in nodes.held:
                nodes.held.discard(victim)
            elif victim not in nodes.nodes:
                nodes.start(victim)
            elif rng.random() < 0.5:
                nodes.held.add(victim)
            else:
                nodes.kill(victim)
        for views in nodes.views.values():
            views.blind = rng.random() < 0.1
        nodes.network.holding = True
        nodes.now = max(nodes.now, nodes.frames.begins(number))
        while nodes.now < nodes.frames.begins(number + 1) - 5 * MS:
            nodes.now += rng.randrange(5 * MS)
            nodes.step()
            flights = nodes.network.in_flight
            # Answers and metrics go to the test itself.
            for flight in [f for f in flights if f.message.target.startswith("@")]:
                nodes.network.deliver(flights.index(flight))
            rng.shuffle(flights)
            while flights and rng.random() < 0.8:
                fate = rng.random()
                if fate < 0.05:
                    nodes.network.discard()
                else:
                    nodes.network.deliver(keep=fate < 0.2)
        nodes.look()
        for answer in nodes.answers:
            answered.append(answer.frame)
            if answer.fallback:
                assert answer.state == "0"
            else:
                assert truthful(nodes, answer), (seed, answer)
        nodes.answers.clear()
    assert len(set(answered)) == len(answered) > 9


# -- the name --------------------------------------------------------------------------------------


def test_without_its_name_a_node_neither_sends_nor_answers(poster: Nodes) -> None:
    poster.network.pause("cloud")
    poster.held.add("cloud")
    poster.frame(2)
    poster.network.resume("cloud")
    # It has heard that its name went, and not yet that it has it again.
    cloud, transport = poster.nodes["cloud"], poster.transports["cloud"]
    events = []
    while (event := transport.receive(0)) is not None:
        if isinstance(event, PeerUp | PeerDown):
            events.append(event)
    down, up = (event for event in events if event.node == "cloud")
    assert isinstance(down, PeerDown)
    assert isinstance(up, PeerUp)
    for event in events:
        if event is not up:
            transport._mailbox.presence(event)
    poster.held.clear()
    assert poster.frame(3) == []
    assert ("cloud", "unnamed", "cloud") in poster.notices
    transport._mailbox.presence(up)
    assert [answer.frame for answer in poster.frame(4)] == [4]
    assert poster.notices.count(("cloud", "named", "cloud")) == 2
    assert cloud.assembler.counters.frames_complete > 0


def test_a_node_that_was_stopped_keeps_quiet_until_it_may_know_of_a_rival(poster: Nodes) -> None:
    transport = poster.transports["cloud"]
    receive = transport.receive
    stops = [400 * MS]

    def stopped(timeout_s: float | None) -> Any:
        if timeout_s:
            poster.now += stops.pop() if stops else 0
        return receive(timeout_s)

    transport.receive = stopped  # type: ignore[method-assign]
    poster.now = poster.frames.begins(2) - 10 * MS
    poster.step("cloud")
    assert not stops
    assert poster.now == poster.frames.begins(6) - 10 * MS
    # Twice `settle_ns`.
    assert [len(poster.frame(number)) for number in range(6, 11)] == [0, 0, 1, 1, 1]


def test_a_name_that_is_taken_ends_a_node_before_it_takes_part(small: Nodes) -> None:
    with pytest.raises(InputError, match="'top' of deployment 'default' is already running"):
        small.start("top")


# -- what it tells of itself -----------------------------------------------------------------------


def test_metrics_come_once_a_second_and_when_the_peers_change(poster: Nodes) -> None:
    counts = dict.fromkeys(poster.topology.order, 0)
    look = poster.look

    def counting() -> None:
        poster.metrics.clear()
        look()
        for name in poster.metrics:
            counts[name] += 1

    poster.look = counting  # type: ignore[method-assign]
    for number in range(2, 31):
        poster.frame(number)
    assert set(counts.values()) <= {2, 3}
    before = dict(counts)
    poster.kill("fog4")
    poster.step()
    more = {name for name in counts if counts[name] > before[name]}
    assert "cloud" in more
    assert "fog1" not in more  # it hears nothing of fog4


def test_metrics_say_who_is_waited_for_and_what_was_sent(poster: Nodes) -> None:
    for number in range(2, 14):
        poster.frame(number)
    poster.kill("fog4")
    poster.step()
    cloud = poster.metrics["cloud"]
    assert cloud.peers == {"fog4": "absent", "fog3": "expected"}
    assert cloud.incarnation == poster.transports["cloud"].incarnation
    assert (cloud.frames, cloud.payload_bytes) == (14, 0)
    poster.advance(SECOND)
    fog2 = poster.metrics["fog2"]
    assert fog2.peers == {"edge1": "expected"}
    # Six float32 on each of two links.
    assert fog2.payload_bytes == fog2.frames * 2 * 6 * 4
    assert fog2.header_bytes > 0
    assert fog2.dropped == {}
    assert fog2.resident_mb > 1


def test_notices_are_of_peers_with_a_link(poster: Nodes) -> None:
    seen = {about for name, what, about in poster.notices if name == "fog4" and what == "up"}
    assert seen == {"fog2", "fog1", "fog3", "cloud"}
    poster.kill("edge1")
    poster.step()
    assert [x[0] for x in poster.notices if x[1:] == ("down", "edge1")] == ["fog2"]


# -- the loop --------------------------------------------------------------------------------------


def test_a_flood_does_not_keep_a_node_from_computing(small: Nodes) -> None:
    small.frame(1)
    small.now = small.frames.begins(2)
    small.step("left", "right")
    transport = small.transports["top"]
    receive = transport.receive
    taken = 0

    def flood(timeout_s: float | None) -> Any:
        nonlocal taken
        event = receive(timeout_s)
        if event is not None:
            return event
        taken += 1
        return Received("left", "top", b"\x01nonsense", b"")

    transport.receive = flood  # type: ignore[method-assign]
    small.step("top")
    small.look()
    assert small.answers[-1].frame == 2
    assert taken <= MOST_EVENTS
    assert small.nodes["top"].assembler.counters.malformed > 0


def test_a_late_turn_still_takes_the_present_frame(small: Nodes) -> None:
    small.frame(1)
    small.now = small.frames.begins(4) + 60 * MS
    assert small.nodes["left"]._patience(small.now) == 0
    small.converge()
    assert [answer.frame for answer in small.answers] == [0, 1, 4]


def test_it_waits_until_something_is_due(small: Nodes) -> None:
    small.frame(1)
    small.now = small.frames.begins(2) - 30 * MS
    assert small.nodes["left"]._patience(small.now) == 30 * MS


def test_run_ends_soon_after_stop_and_closes_its_sources() -> None:
    topology = small_topology()
    section, views = Adding(topology, "left", {}), Views(0, 2)
    with MemoryNetwork().open("left") as transport:
        node = Node(
            manifest_of(topology, "left", section),
            section,
            transport,
            {"cam0": views},
            Nodes(topology).frames,
            LiveSettings(deadline_ns=100 * MS),
        )
        thread = threading.Thread(target=node.run)
        thread.start()
        node.stop()
        thread.join(timeout=30)
        assert not thread.is_alive()
    assert views.closed


def test_a_node_that_is_stopped_before_it_starts_takes_no_name() -> None:
    topology = small_topology()
    section = Adding(topology, "right", {})
    with MemoryNetwork().open("right") as transport:
        node = Node(
            manifest_of(topology, "right", section),
            section,
            transport,
            {},
            None,
            LiveSettings(deadline_ns=MS),
        )
        node.stop()
        node.run()
        assert transport.incarnation is None


def test_the_last_word_of_a_node_is_its_sums() -> None:
    network = MemoryNetwork()
    observer = network.open(topics=[METRICS])
    topology = small_topology()
    section = Adding(topology, "right", {})
    with network.open("right") as transport:
        node = Node(
            manifest_of(topology, "right", section),
            section,
            transport,
            {},
            None,
            LiveSettings(deadline_ns=MS),
            # Ends it as soon as it has its name.
            notice=lambda what, about: node.stop(),
        )
        node.run()
    told = [e for e in iter(lambda: observer.receive(0), None) if isinstance(e, Received)]
    assert msgspec.json.decode(told[-1].payload)["node"] == "right"


# -- bad input -------------------------------------------------------------------------------------


def refused(manifest: Any, section: Any, sources: Any, frames: Any = None) -> str:
    with (
        MemoryNetwork(waits=False).open(manifest.node) as transport,
        pytest.raises(InputError) as caught,
    ):
        Node(manifest, section, transport, sources, frames, LiveSettings(deadline_ns=MS))
    return str(caught.value)


def test_a_source_of_a_sensor_that_it_does_not_host() -> None:
    topology = small_topology()
    section = Adding(topology, "left", {})
    message = refused(manifest_of(topology, "left", section), section, {"cam1": Views(0, 2)})
    assert "'left' hosts cam0, not cam1" in message


def test_sources_need_a_frame_clock() -> None:
    topology = small_topology()
    section = Adding(topology, "left", {})
    message = refused(manifest_of(topology, "left", section), section, {"cam0": Views(0, 2)})
    assert "needs a frame clock" in message


def test_the_output_node_needs_a_task() -> None:
    topology = small_topology()
    section = Adding(topology, "top", {})
    manifest = msgspec.structs.replace(manifest_of(topology, "top", section), task=None)
    assert "no task or links (at $.task)" in refused(manifest, section, {})


def test_a_sensor_may_be_read_by_several_nodes() -> None:
    topology = small_topology(
        nodes=(Place("left", "edge"), Place("right", "edge"), Place("top", "cloud")),
        links=(
            Link("cam0", "left"),
            Link("cam0", "right"),
            Link("cam1", "right"),
            Link("left", "top"),
            Link("right", "top"),
        ),
        survivabilities={},
    )
    nodes = Nodes(topology)
    [answer] = nodes.frame(1)
    assert list(answer.probabilities) == [4, 2]
    assert truthful(nodes, answer)


@pytest.mark.parametrize(
    ("via", "incarnation", "reason"), [("left", 999, "stale_incarnation"), ("right", 0, "foreign")]
)
def test_a_message_that_only_claims_to_be_of_a_node(
    small: Nodes, via: str, incarnation: int, reason: str
) -> None:
    # A node believes its transport, not the message, in who is there and who sends; and a message
    # must be of the model and of the incarnation that holds the name.
    small.frame(1)
    header, payload = encode(
        Message(
            frame=2,
            sender="left",
            incarnation=incarnation or small.transports["left"].incarnation or 0,
            fingerprint=short_fingerprint(FINGERPRINT),
            state=1,
            age_ns=0,
            tensors=(np.ones(2, np.float32),),
        )
    )
    small.transports[via].send("top", header, payload)
    [answer] = small.frame(2)
    assert truthful(small, answer)
    assert getattr(small.nodes["top"].assembler.counters, reason) == 1


def test_answers_go_to_the_topic(small: Nodes) -> None:
    watcher = small.network.open(topics=[ANSWERS])
    small.frame(1)
    event = watcher.receive(0)
    while not isinstance(event, Received):
        event = watcher.receive(0)
    assert (event.sender, event.target, event.header) == ("top", ANSWERS, b"")
    assert msgspec.json.decode(event.payload)["frame"] == 1


# -- exits -----------------------------------------------------------------------------------------


def test_exits_say_what_they_answer_only_when_asked() -> None:
    topology = Topology.load(POSTER).with_exits()
    quiet = Nodes(topology)
    assert {answer.node for answer in quiet.frame(1)} == {"cloud"}
    nodes = Nodes(topology, answer="any")
    answers = nodes.frame(1)
    assert sorted(answer.node for answer in answers) == sorted(topology.answering)
    assert {answer.node for answer in answers if answer.exit} == set(topology.exits)
    assert all(truthful(nodes, answer) for answer in answers)
    cloud = next(answer for answer in answers if answer.node == "cloud")
    assert cloud.state == quiet.answers[-1].state, "the nodes above see no difference"
    edge1 = next(answer for answer in answers if answer.node == "edge1")
    assert edge1.nodes == ("cam0", "edge1", "cam1")


def test_exits_answer_when_the_nodes_above_are_dead() -> None:
    nodes = Nodes(Topology.load(POSTER).with_exits(["edge3", "fog1"]), answer="any")
    nodes.frame(1)
    nodes.kill("cloud")
    nodes.kill("fog1")
    answers = nodes.frame(2)
    assert [answer.node for answer in answers] == ["edge3"]
    assert truthful(nodes, answers[0])


def test_an_exit_that_hears_nothing_says_so() -> None:
    nodes = Nodes(small_topology().with_exits(["left"]), answer="any")
    nodes.frame(1)
    nodes.views["cam0"].blind = True
    said = {answer.node: answer for answer in nodes.frame(2)}
    assert (said["left"].fallback, said["left"].state, said["left"].exit) == (True, "0", True)
    assert (said["top"].fallback, said["top"].exit) == (False, False)
