import msgspec
import pytest

from edge_runtime.answers.records import Answer, Condition, Metrics
from edge_runtime.answers.selector import AnswerSelector
from edge_runtime.testbed.observer import Observer
from edge_runtime.topology import Topology
from edge_runtime.transport.base import ANSWERS, METRICS, PeerDown, PeerUp, Received
from tests.reference import small_topology

TOPOLOGY = small_topology()


def metrics(
    node: str, incarnation: int = 1, *, frames: int = 0, peers: dict[str, Condition] | None = None
) -> Metrics:
    return Metrics(
        node=node,
        incarnation=incarnation,
        frames=frames,
        at_deadline=0,
        silent=0,
        skipped=0,
        answers=0,
        fallbacks=0,
        answers_ns=0,
        received=0,
        unread=0,
        payload_bytes=100 * frames,
        header_bytes=10 * frames,
        dropped={},
        peers=peers or {},
        compute_ns=100_000 * frames,
        resident_mb=60.0,
    )


def top(left: Condition, right: Condition) -> Metrics:
    return metrics("top", peers={"left": left, "right": right})


def answer(frame: int) -> Answer:
    return Answer(
        frame=frame,
        answer="car",
        probabilities=(0.2, 0.8),
        confidence=0.8,
        node="top",
        state="1f",
        nodes=("left",),
        age_ms=1.0,
        score=None,
        score_name="accuracy",
        fallback=False,
        waited=False,
    )


def tell(observer: Observer, *told: Metrics | Answer) -> None:
    for record in told:
        topic = METRICS if isinstance(record, Metrics) else ANSWERS
        observer.take(Received(record.node, topic, b"", msgspec.json.encode(record)))


@pytest.fixture
def observer() -> Observer:
    """Everybody is there, and knows of it."""
    found = Observer(TOPOLOGY)
    for node in TOPOLOGY.order:
        found.take(PeerUp(node, 1))
    tell(
        found,
        metrics("left"),
        metrics("right"),
        top("expected", "expected"),
    )
    return found


def test_converged(observer: Observer) -> None:
    assert observer.not_converged(()) is None


def test_nothing_has_converged_at_first() -> None:
    observer = Observer(TOPOLOGY)
    assert observer.not_converged(()) == "left is not there"
    observer.take(PeerUp("left", 1))
    assert observer.not_converged(()) == "left has not reported"


def test_it_has_converged_once_a_failure_is_known(observer: Observer) -> None:
    assert observer.not_converged({"left"}) == "left is still seen"
    observer.take(PeerDown("left", 1))
    assert observer.not_converged(()) == "left is not there"
    assert observer.not_converged({"left"}) == "top still sees left"
    tell(observer, top("absent", "expected"))
    assert observer.not_converged({"left"}) is None


def test_it_has_converged_once_a_receiver_knows_that_its_link_failed(observer: Observer) -> None:
    assert observer.not_converged({"left->top"}) == "top still sees left"
    tell(observer, top("absent", "expected"))
    assert observer.not_converged({"left->top"}) is None
    assert observer.not_converged(()) == "top does not wait for left"


def test_it_has_converged_once_a_return_is_known(observer: Observer) -> None:
    observer.take(PeerDown("left", 1))
    observer.take(PeerUp("left", 2))
    # What its predecessor told says nothing of it.
    assert observer.not_converged(()) == "left has not reported"
    tell(observer, metrics("left", 2), top("unproven", "expected"))
    assert observer.not_converged(()) == "top does not wait for left"
    tell(observer, top("expected", "expected"))
    assert observer.not_converged(()) is None


def test_a_node_that_no_frame_reaches_is_not_waited_for() -> None:
    topology = Topology.load("poster-residual")
    observer = Observer(topology)
    down = {"edge1", "fog4"}
    for node in topology.order:
        if node not in down:
            observer.take(PeerUp(node, 1))
            peers: dict[str, Condition] = {
                x.source: "absent" if x.source in down else "expected"
                for x in topology.incoming(node)
                if x.source not in topology.sensor_names
            }
            # It is there, and has nothing to say.
            if "fog2" in peers:
                peers["fog2"] = "unproven"
            tell(observer, metrics(node, peers=peers))
    assert observer.not_converged(down) is None


def test_the_news_of_an_older_incarnation_changes_nothing(observer: Observer) -> None:
    observer.take(PeerUp("left", 2))
    observer.take(PeerDown("left", 1))
    assert observer.presence["left"] == 2


def test_answers_are_kept_once(observer: Observer) -> None:
    tell(observer, answer(3), answer(4), answer(3))
    assert list(observer.answers) == [3, 4]
    assert observer.duplicates == 1


def test_nonsense_is_counted(observer: Observer) -> None:
    for topic in (ANSWERS, METRICS):
        observer.take(Received("top", topic, b"", b"{"))
        observer.take(Received("top", topic, b"", b'{"frame": "x"}'))
    assert observer.malformed == 4


def test_nobody_speaks_for_another(observer: Observer) -> None:
    for sender, told in (("left", answer(3)), ("left", top("absent", "absent"))):
        topic = ANSWERS if isinstance(told, Answer) else METRICS
        observer.take(Received(sender, topic, b"", msgspec.json.encode(told)))
    tell(observer, metrics("stranger"))
    assert observer.foreign == 3
    assert observer.answers == {}
    assert set(observer.metrics) == set(TOPOLOGY.order)
    assert observer.not_converged(()) is None


def test_bytes_are_counted_through_restarts_and_pauses(observer: Observer) -> None:
    observer.restart_counts()
    tell(observer, metrics("left", 1, frames=5))
    # Paused and let go on: a new incarnation of the same process, whose sums go on.
    tell(observer, metrics("left", 2, frames=8))
    # A new process counts from 0.
    tell(observer, metrics("left", 3, frames=2))
    sums = observer.sums["left"]
    assert (sums.frames, sums.payload_bytes, sums.header_bytes) == (10, 1000, 100)


def test_with_a_chooser_one_answer_of_several_exits_is_taken() -> None:
    topology = TOPOLOGY.with_exits()
    observer = Observer(topology, AnswerSelector(ranking=("top", "left"), deadline_ns=10**9))
    exit_answer = msgspec.structs.replace(answer(1), node="left", state="1", exit=True)
    for said in (answer(1), exit_answer, exit_answer):
        tell(observer, said)
    assert observer.duplicates == 1
    assert observer.answers == {}
    observer.choose(0)
    assert [a.node for a in observer.answers.values()] == ["top"]
    assert set(observer.received) == {(1, "top"), (1, "left")}
    assert observer.selector is not None
    assert observer.selector.expected == {"top", "left"}
    observer.take(PeerUp("left", 1))
    observer.take(PeerDown("left", 1))
    assert observer.selector.expected == {"top"}


def test_without_one_an_exits_answer_is_not_the_frames(observer: Observer) -> None:
    tell(observer, msgspec.structs.replace(answer(1), node="left", exit=True), answer(1))
    assert [a.node for a in observer.answers.values()] == ["top"]
    assert observer.duplicates == 0


def test_exits_answers_are_given_away_and_forgotten_too() -> None:
    observer = Observer(
        TOPOLOGY.with_exits(), AnswerSelector(ranking=("top", "left"), deadline_ns=10**9)
    )

    def of_both(frame: int) -> tuple[Answer, Answer]:
        said = answer(frame)
        return said, msgspec.structs.replace(said, node="left", state="1", exit=True)

    for frame in (1, 2, 99):
        tell(observer, *of_both(frame))
    observer.choose(0)
    tell(observer, of_both(3)[1])  # is still being collected
    taken, heard = observer.drain(2, 50)
    assert list(taken) == [1]
    assert [(a.frame, a.node) for a in heard] == [(1, "top"), (1, "left")]
    # 99 is not expected yet.
    assert list(observer.answers) == [2]
    assert sorted(observer.received) == [(2, "left"), (2, "top"), (3, "left")]
    observer.drain(4, 50)
    observer.choose(10**9)
    tell(observer, *of_both(1))
    assert (observer.answers, observer.received) == ({}, {})
    assert (observer.answered, observer.late) == (3, 3)


def test_nobody_speaks_for_an_exit() -> None:
    observer = Observer(TOPOLOGY.with_exits(), AnswerSelector(deadline_ns=10**9))
    forged = msgspec.structs.replace(answer(1), node="left", state="1", exit=True)
    observer.take(Received("right", ANSWERS, b"", msgspec.json.encode(forged)))
    stranger = msgspec.structs.replace(forged, node="stranger")
    tell(observer, stranger)
    observer.choose(10**9)
    assert observer.foreign == 2
    assert (observer.answers, observer.received) == ({}, {})
