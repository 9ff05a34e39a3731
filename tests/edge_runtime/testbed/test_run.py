"""Live runs, with nodes and a clock that are made up."""

from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from edge_runtime.answers.selector import AnswerSelector
from edge_runtime.clock import SECOND, FrameClock
from edge_runtime.node.settings import LiveSettings
from edge_runtime.testbed.observer import Observer
from edge_runtime.testbed.run import LiveRun, Parts, Phase, Record, RunPlan, time_down
from edge_runtime.transport.base import ANSWERS, METRICS, Event, PeerUp, Received
from tests.edge_runtime.testbed.test_observer import TOPOLOGY, answer, metrics, tell, top

#: Ten frames per second; a deadline of half a frame.
CLOCK, FRAME = FrameClock(0, 10, 1), SECOND // 10
EXITS = TOPOLOGY.with_exits()

SETTINGS = LiveSettings(deadline_ns=FRAME // 2)


class Answering:
    """Nodes that all answer every frame at once, and a clock that goes on as one waits for them.

    `tells`: of themselves as well, with frame 20; 100 bytes a frame.
    """

    def __init__(self, nodes: tuple[str, ...], *, tells: tuple[str, ...] = ()) -> None:
        self.now, self._nodes, self._told = CLOCK.begins(10), nodes, list[Event]()
        self._frame, self._tells = 10, tells

    def receive(self, timeout: float) -> Event | None:
        if not self._told:
            end = self.now + int(timeout * SECOND)
            begins = CLOCK.begins(self._frame + 1)
            self.now = max(self.now, min(end, begins))
            if self.now < begins:
                return None
            self._frame += 1
            for node in self._nodes:
                said = msgspec.structs.replace(
                    answer(self._frame), node=node, exit=node != "top", age_ms=0.0
                )
                self._told.append(Received(node, ANSWERS, b"", msgspec.json.encode(said)))
            for node in self._tells if self._frame == 20 else ():
                says = msgspec.json.encode(metrics(node, frames=9))
                self._told.append(Received(node, METRICS, b"", says))
        return self._told.pop()

    def wake(self) -> None:
        """It never sleeps."""


@pytest.mark.parametrize("nodes", [("top",), ("top", "left", "right")])
def test_a_run_without_an_end_keeps_no_node_s_answers(nodes: tuple[str, ...]) -> None:
    answering: Any = Answering(nodes)
    selector = AnswerSelector(ranking=nodes, deadline_ns=FRAME // 2) if len(nodes) > 1 else None
    observer = Observer(EXITS, selector)
    for node in EXITS.order:
        observer.take(PeerUp(node, 1))
    tell(observer, metrics("left"), metrics("right"), top("expected", "expected"))
    deployment: Any = SimpleNamespace(states={}, crashes=[], topology=EXITS, settings=SETTINGS)
    parts: list[Record] = []
    held: list[int] = []

    def part(record: Record) -> None:
        parts.append(record)
        held.append(len(observer.received))
        if len(parts) == 20:
            run.stop()

    run = LiveRun(
        deployment,
        answering,
        CLOCK,
        observer=observer,
        now=lambda: answering.now,
        parts=Parts(part, keep_s=2.0),
    )
    rest = run.run()
    # Two seconds of answers, and those of the second that one waits for more.
    assert max(held) <= 40 * len(nodes)
    assert len(observer.answers) <= 40
    frames = [frame for record in (*parts, rest) for frame in record.counted]
    assert frames == list(range(frames[0], frames[0] + len(frames)))
    for record in parts:
        assert list(record.answers) == record.counted
        said = sorted((a.frame, a.node) for a in record.received)
        assert said == sorted((frame, node) for frame in record.counted for node in nodes)
    assert (observer.late, observer.duplicates) == (0, 0)


@pytest.mark.parametrize(
    ("tells", "payload", "waited"),
    [(("left", "right", "top"), 300, 8), (("left", "right"), 200, 15), ((), 0, 15)],
)
def test_the_bytes_of_a_run_of_a_moment_are_waited_for(
    tells: tuple[str, ...], payload: int, waited: int
) -> None:
    answering: Any = Answering(("top",), tells=tells)
    observer = Observer(TOPOLOGY)
    for node in TOPOLOGY.order:
        observer.take(PeerUp(node, 1))
    tell(observer, metrics("left"), metrics("right"), top("expected", "expected"))
    deployment: Any = SimpleNamespace(states={}, crashes=[], topology=TOPOLOGY, settings=SETTINGS)
    run = LiveRun(
        deployment,
        answering,
        CLOCK,
        RunPlan(frames=2),
        observer=observer,
        now=lambda: answering.now,
    )
    record = run.run()
    assert (record.counted, record.payload_bytes) == ([11, 12], payload)
    # Not for ever, and no longer than it takes.
    assert CLOCK.frame(answering.now) - record.last in (waited - 1, waited, waited + 1)


def phase(start: int, *down: str) -> Phase:
    return Phase(start, frozenset(down), converged=True)


def test_time_down_is_counted_from_the_start_of_the_run() -> None:
    phases = [phase(0, "a"), phase(10), phase(30, "a", "b"), phase(50, "b")]
    assert time_down(phases, 4, 60) == {"a": 6 + 20, "b": 20 + 10}
    assert time_down(phases, 40, 60) == {"a": 10, "b": 10 + 10}


def test_parts_add_up_and_one_without_a_change_has_nothing() -> None:
    phases = [phase(0, "a"), phase(10), phase(30, "b")]
    whole = time_down(phases, 0, 60)
    assert time_down(phases[:2], 0, 30) + time_down(phases[2:], 0, 60) == whole
    assert time_down([], 0, 60) == {}
