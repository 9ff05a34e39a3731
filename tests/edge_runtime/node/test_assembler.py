import itertools
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from edge_runtime.answers.records import Condition, Dropped
from edge_runtime.arrays import TensorSpec
from edge_runtime.bundle.manifest import IncomingLink
from edge_runtime.bundle.tensors import PRESENT, complete
from edge_runtime.errors import InputError
from edge_runtime.node.assembler import TOKENS, WINDOW, FrameAssembler, ReadyFrame
from edge_runtime.transport.wire import Message, Sealed, WireError, decode, encode

SPECS = {
    "cam": TensorSpec((2, 2), "uint8"),
    "fog__0": TensorSpec((3,), "float32"),
    "fog__1": TensorSpec((1,), "float32"),
    "edge": TensorSpec((3,), "float32"),
    PRESENT: TensorSpec((3,), "float32"),
}
SENDERS = ("edge", "cam", "fog")


def tensors(batch: int = 4) -> dict[str, NDArray[Any]]:
    return {
        "cam": np.full((batch, 2, 2), 7, np.uint8),
        "fog__0": np.zeros((batch, 3), np.float32),
        "fog__1": np.ones((batch, 1), np.float32),
        "edge": np.ones((batch, 3), np.float32),
    }


@given(senders=st.sets(st.sampled_from(SENDERS), min_size=1))
def test_what_is_missing_is_zeros_and_absent_and_the_rest_stays(senders: set[str]) -> None:
    delivered = {n: x for n, x in tensors().items() if n.partition("__")[0] in senders}
    inputs = complete(delivered, SPECS, SENDERS)
    assert set(inputs) == set(SPECS)
    for name, spec in SPECS.items():
        assert inputs[name].shape == (4, *spec.shape)
        assert inputs[name].dtype == spec.dtype
        if name in delivered:
            assert inputs[name] is delivered[name]
        elif name != PRESENT:
            assert not inputs[name].any()
    flags = [float(sender in senders) for sender in SENDERS]
    assert (inputs[PRESENT] == flags).all(), "in the order of the links"


def test_a_sender_whose_tensors_are_all_zero_is_present() -> None:
    zeros = {name: np.zeros_like(x) for name, x in tensors().items()}
    assert complete(zeros, SPECS, SENDERS)[PRESENT].all()


def test_flags_are_given_only_to_a_section_that_asks() -> None:
    specs = {"edge": SPECS["edge"]}
    assert set(complete({"edge": tensors()["edge"]}, specs, ("edge",))) == {"edge"}


@pytest.mark.parametrize(
    ("delivered", "fragment"),
    [
        ({"lost": np.zeros((4, 3), np.float32)}, "unknown input 'lost'; expected cam, fog__0"),
        ({"edge": np.zeros((4, 2), np.float32)}, r"expected float32 of shape \(batch, 3\), got"),
        ({"edge": np.zeros((4, 3))}, r"'edge': expected float32 .* got float64 \(4, 3\)"),
        ({"cam": np.zeros((4, 4), np.uint8)}, r"'cam': expected uint8 of shape \(batch, 2, 2\)"),
        (
            {"cam": np.zeros((4, 2, 2), np.uint8), "edge": np.zeros((5, 3), np.float32)},
            "'edge': expected a batch of 4, got 5",
        ),
        ({}, "silent node has nothing to compute"),
    ],
)
def test_what_does_not_fit_is_refused(delivered: dict[str, Any], fragment: str) -> None:
    with pytest.raises(InputError, match=fragment):
        complete(delivered, SPECS, SENDERS)


# -- FrameAssembler: each row of each table of docs/explanation/runtime.md ------------------------

MS = 1_000_000
MODEL = b"model-01"
BUDGET, DEADLINE = 36 * MS, 100 * MS
#: When the node started, on its own clock; later times are told from here.
START = 5_000_000 * MS
INPUTS = {
    "cam": TensorSpec((2,), "uint8"),
    "edge1": TensorSpec((3,), "float32"),
    "edge2__0": TensorSpec((3,), "float32"),
    "edge2__1": TensorSpec((), "float32"),
    PRESENT: TensorSpec((3,), "float32"),
}
#: Bits in a state: of the links that end here, and two that end below.
CAM, EDGE1, EDGE2, BELOW1, BELOW2 = 1 << 4, 1 << 0, 1 << 70, 1 << 1, 1 << 2


class Fog:
    """A node with a camera and two peers, and short words for what reaches it. Times in ms."""

    def __init__(self, *, proven: str = "", **changes: Any) -> None:
        kind = changes.pop("kind", FrameAssembler)
        options: dict[str, Any] = {"budget_ns": BUDGET, "deadline_ns": DEADLINE, **changes}
        self.assembler: FrameAssembler = kind(
            "fog",
            [
                IncomingLink(source="edge1", bit=0, sensor=False),
                IncomingLink(source="cam", bit=4, sensor=True),
                IncomingLink(source="edge2", bit=70, sensor=False),
            ],
            INPUTS,
            fingerprint=MODEL,
            start_ns=START,
            **options,
        )
        self.assembler.sensor_down("cam")
        for i, sender in enumerate(proven.split()):
            self.assembler.peer_up(sender, 1)
            self.send(sender, i, -1, age=0)  # a frame of the predecessor's time proves as well
            assert self.condition(sender) == "expected"
        self.before: dict[str, int] = {
            r: getattr(self.assembler.counters, r) for r in ("late", "received")
        }

    def send(self, sender: str, frame: int, at: float, *, age: float = 0, **changes: Any) -> Any:
        """A message arrives; returns why it was dropped."""
        below = {"edge1": BELOW1, "edge2": BELOW2}.get(sender, 0)
        tensors: tuple[NDArray[Any], ...] = (np.full(3, frame, np.float32),)
        if sender == "edge2":
            tensors += (np.float32(frame) * np.ones((), np.float32),)
        fields: dict[str, Any] = {
            "frame": frame,
            "sender": sender,
            "incarnation": 1,
            "fingerprint": MODEL,
            "state": below,
            "age_ns": int(age * MS),
            "tensors": tensors,
        }
        via = changes.pop("via", sender)
        fields |= changes
        if not fields["tensors"]:
            fields["state"] = 0
        return self.assembler.hear(via, *encode(Message(**fields)), START + int(at * MS))

    def silence(self, sender: str, frame: int, at: float, *, age: float = 0) -> Any:
        return self.send(sender, frame, at, age=age, tensors=())

    def see(self, frame: int, at: float, *, view: Any = (1, 2), **named: Any) -> Dropped | None:
        array = None if view is None else np.array(view, np.uint8)
        return self.assembler.sense("cam", frame, array, START + int(at * MS), **named)

    def ready(self, at: float) -> ReadyFrame | None:
        return self.assembler.ready(START + int(at * MS))

    def frame(self, at: float) -> int | None:
        ready = self.ready(at)
        return ready.frame if ready else None

    def wakeup(self) -> float | None:
        due = self.assembler.next_wakeup()
        return None if due is None else (due - START) / MS

    def condition(self, sender: str) -> Condition:
        return self.assembler.condition(sender)

    def count(self, counter: str) -> int:
        now: int = getattr(self.assembler.counters, counter)
        return now - self.before.get(counter, 0)


# The delivered-links state


def test_the_state_is_every_link_used_and_what_its_message_claims() -> None:
    fog = Fog(proven="edge1 edge2")
    fog.see(7, 0)
    fog.send("edge1", 7, 1)
    fog.send("edge2", 7, 2)
    ready = fog.ready(2)
    assert ready
    assert ready.state == CAM | EDGE1 | BELOW1 | EDGE2 | BELOW2
    assert ready.complete
    assert not ready.silent
    assert ready.missing == ()
    assert {n: x.tolist() for n, x in ready.inputs.items()} == {
        "cam": [[1, 2]],
        "edge1": [[7, 7, 7]],
        "edge2__0": [[7, 7, 7]],
        "edge2__1": [7],
    }
    inputs = complete(ready.inputs, INPUTS, ("edge1", "cam", "edge2"))
    assert inputs[PRESENT].tolist() == [[1, 1, 1]]


def test_what_came_too_late_is_not_claimed() -> None:
    fog = Fog(proven="edge1 edge2")
    fog.send("edge1", 7, 1)
    ready = fog.ready(37)
    assert ready
    assert fog.send("edge2", 7, 37.001) == "late"
    assert ready.state == EDGE1 | BELOW1
    assert set(ready.inputs) == {"edge1"}
    assert ready.missing == ("edge2",)


def test_a_silent_sender_is_heard_but_claims_nothing() -> None:
    fog = Fog(proven="edge1 edge2")
    fog.silence("edge1", 7, 1)
    assert fog.ready(1) is None
    fog.send("edge2", 7, 2)
    ready = fog.ready(2)
    assert ready
    assert ready.complete
    assert ready.state == EDGE2 | BELOW2


# Frames


def test_two_frames_are_never_combined() -> None:
    fog = Fog(proven="edge1 edge2")
    fog.send("edge1", 7, 0)
    fog.send("edge2", 8, 1)
    assert fog.ready(1) is None
    frames = [fog.ready(40), fog.ready(40)]
    assert [(f.frame, set(f.inputs)) for f in frames if f] == [
        (8, {"edge2__0", "edge2__1"}),
        (7, {"edge1"}),
    ]


def test_the_age_is_that_of_the_oldest_arrival_whatever_the_order() -> None:
    for first, second in itertools.permutations([("edge1", 12, 2), ("edge2", 12, 9)]):
        fog = Fog(proven="edge1 edge2")
        for sender, at, age in (first, second):
            fog.send(sender, 7, at, age=age)
        ready = fog.ready(12)
        assert ready
        assert ready.age(START + 20 * MS) == (20 - 3) * MS


def test_what_waited_on_the_way_has_aged_by_it() -> None:
    fog = Fog(proven="edge1")
    theirs = 123 * 3600 * 1000  # their clock has nothing to do with ours
    for frame in range(7, 10):
        fog.send("edge1", frame, 30 * frame, age=2, sent_ns=(theirs + 30 * frame) * MS)
        ready = fog.ready(30 * frame)
        assert ready
        assert ready.age(START + 30 * frame * MS) == 2 * MS
    held = {"age": 2, "sent_ns": (theirs + 300) * MS}
    assert fog.send("edge1", 10, 300 + 150, **held) == "expired"
    fog.send("edge1", 11, 330 + 60, age=2, sent_ns=(theirs + 330) * MS)
    ready = fog.ready(390)
    assert ready
    assert ready.age(START + 390 * MS) == 62 * MS


def test_a_long_hold_up_shows_at_a_high_rate_too() -> None:
    # A thousand messages a second: what one second held back is more than any number of them.
    fog = Fog(proven="edge1")
    for i in range(300):
        assert fog.send("edge1", i, i, sent_ns=(i + 1) * MS) is None
        assert fog.frame(i) == i
    held = [fog.send("edge1", i, 1300, sent_ns=(i + 1) * MS) for i in range(300, 1200)]
    assert set(held) == {"expired"}
    assert fog.send("edge1", 1300, 1300, sent_ns=1301 * MS) is None


def test_a_clock_that_stood_still_is_forgotten() -> None:
    fog = Fog(proven="edge1")
    fog.send("edge1", 7, 0, sent_ns=10**15)
    dropped = [
        fog.send("edge1", 8 + i, 500 + 33 * i, sent_ns=10**15 + 33 * i * MS) for i in range(200)
    ]
    assert dropped[0] == "expired"
    assert set(dropped[2 * WINDOW :]) == {None}


def test_a_closed_frame_stays_closed() -> None:
    fog = Fog(proven="edge1")
    fog.send("edge1", 7, 1)
    assert fog.frame(1) == 7
    assert fog.send("edge2", 7, 2) == "late"
    assert fog.frame(200) is None
    assert fog.assembler.closed_frames == (7,)


def test_a_frame_from_before_the_start_belongs_to_the_predecessor() -> None:
    fog = Fog()
    assert fog.send("edge1", 7, 4, age=5) == "late"
    assert fog.see(7, 4, captured_ns=START - 1) == "late"
    assert fog.send("edge1", 8, 4, age=4) is None
    assert fog.frame(4) == 8


def test_the_last_closed_ids_are_kept_and_no_more() -> None:
    fog = Fog(proven="edge1", most_closed=10)
    for frame in range(30):
        fog.send("edge1", frame, frame)
        assert fog.frame(frame) == frame
    assert fog.assembler.closed_frames == tuple(range(20, 30))
    assert fog.send("edge1", 20, 31) == "duplicate"


def test_a_wrong_clock_does_not_silence_the_others() -> None:
    fog = Fog(proven="edge1 edge2", most_closed=10)
    for i in range(50):
        fog.send("edge1", 10**9 + i, 100 * i)
        fog.send("edge2", i, 100 * i + 1)
        found = [fog.ready(100 * i + 50), fog.ready(100 * i + 50)]
        assert {f.frame for f in found if f} == {10**9 + i, i}


def test_memory_stays_bounded_under_a_flood() -> None:
    fog = Fog(proven="edge1 edge2")
    for frame in range(10_000):
        fog.send("edge1", frame, frame / 1000)
        assert len(fog.assembler.open_frames) <= 64
        assert len(fog.assembler.closed_frames) <= 1024
    assert sorted(fog.assembler.open_frames) == list(range(9936, 10_000))
    assert fog.count("overflow") == 10_000 - 64
    # What is older than all that is open does not push anything out.
    assert fog.send("edge1", 20_000, 60, age=55) == "overflow"
    assert len(fog.assembler.open_frames) == 64


# Whom a node waits for


def test_an_absent_sender_is_not_waited_for_but_used() -> None:
    fog = Fog(proven="edge1")
    assert fog.condition("edge2") == "absent"
    fog.send("edge2", 7, 1)
    assert fog.condition("edge2") == "absent", "a message without a token proves nothing"
    fog.send("edge1", 7, 2)
    ready = fog.ready(2)
    assert ready
    assert ready.state == EDGE1 | BELOW1 | EDGE2 | BELOW2


def test_a_token_alone_is_not_waited_for() -> None:
    fog = Fog(proven="edge1")
    fog.assembler.peer_up("edge2", 1)
    assert fog.condition("edge2") == "unproven"
    fog.send("edge1", 7, 1)
    assert fog.frame(1) == 7


def test_token_and_first_message_make_a_sender_expected() -> None:
    fog = Fog(proven="edge1")
    fog.assembler.peer_up("edge2", 1)
    fog.send("edge2", 7, 1)
    assert fog.condition("edge2") == "expected"
    fog.send("edge1", 8, 2)
    assert fog.ready(2) is None
    assert fog.wakeup() == 1 + 36


def test_a_first_message_that_is_late_proves_if_it_was_in_time() -> None:
    """Else a sender whose path is longer than another's would never be waited for."""
    fog = Fog(proven="edge1")
    fog.assembler.peer_up("edge2", 1)
    fog.send("edge1", 7, 1)
    assert fog.frame(1) == 7
    assert fog.send("edge2", 7, 37.001) == "late"
    assert fog.condition("edge2") == "unproven", "after the deadline"
    fog.send("edge1", 8, 51)
    assert fog.frame(51) == 8
    assert fog.send("edge2", 8, 86) == "late"
    assert fog.condition("edge2") == "expected", "before it"


def test_a_sender_is_forsaken_when_its_token_goes() -> None:
    fog = Fog(proven="edge1 edge2")
    fog.send("edge1", 7, 1)
    assert fog.ready(1) is None
    fog.assembler.peer_down("edge2", 1)
    assert fog.condition("edge2") == "absent"
    ready = fog.ready(1)
    assert ready
    assert ready.complete


def test_two_deadlines_in_a_row_without_a_sender_are_enough() -> None:
    fog = Fog(proven="edge1 edge2")
    conditions = []
    for i, hears in enumerate([False, True, False, False]):
        fog.send("edge1", i, 100 * i)
        if hears:
            fog.send("edge2", i, 100 * i)
        assert fog.frame(100 * i + 36) == i
        conditions.append(fog.condition("edge2"))
    assert conditions == ["expected", "expected", "expected", "unproven"]
    fog.send("edge1", 9, 500)
    assert fog.frame(500) == 9, "no wait"
    fog.send("edge2", 10, 600)
    assert fog.condition("edge2") == "expected"


def test_a_sensor_is_waited_for_until_its_source_ends() -> None:
    fog = Fog(proven="edge1")
    fog.assembler.sensor_up("cam")
    for frame in range(4):
        fog.send("edge1", frame, 100 * frame)
        assert fog.ready(100 * frame) is None
        assert fog.frame(100 * frame + 36) == frame
    fog.assembler.sensor_down("cam")
    fog.send("edge1", 9, 900)
    assert fog.frame(900) == 9
    assert fog.condition("cam") == "absent"


def test_a_sensor_without_a_view_is_not_waited_for_further() -> None:
    fog = Fog(proven="edge1")
    fog.assembler.sensor_up("cam")
    fog.send("edge1", 7, 1)
    fog.see(7, 2, view=None)
    ready = fog.ready(2)
    assert ready
    assert ready.state == EDGE1 | BELOW1


# When a frame is computed


def test_the_deadline_computes_with_what_is_there() -> None:
    fog = Fog(proven="edge1 edge2")
    fog.send("edge1", 7, 5, age=2)
    assert fog.wakeup() == 3 + 36
    assert fog.ready(38.999) is None
    ready = fog.ready(39)
    assert ready
    assert not ready.complete
    assert fog.count("frames_at_deadline") == 1


def test_a_complete_frame_is_due_at_once() -> None:
    fog = Fog(proven="edge1")
    assert fog.wakeup() is None
    fog.send("edge1", 7, 5)
    due = fog.wakeup()
    assert due is not None
    assert due <= 5


@pytest.mark.parametrize("at", [2, 37])
def test_nothing_but_silence_makes_a_silent_frame(at: int) -> None:
    fog = Fog(proven="edge1 edge2")
    fog.silence("edge1", 7, 1)
    if at == 2:
        fog.silence("edge2", 7, 2)
    ready = fog.ready(at)
    assert ready
    assert ready.silent
    assert (ready.state, ready.inputs) == (0, {})
    assert fog.count("frames_silent") == 1


def test_the_newest_comes_first_and_older_ones_follow() -> None:
    fog = Fog(proven="edge1")
    for frame in (1, 3, 2):
        fog.send("edge1", frame, 10 * frame)
    assert [fog.frame(31) for _ in range(4)] == [3, 2, 1, None]


def test_a_frame_older_than_the_whole_deadline_is_skipped() -> None:
    fog = Fog(proven="edge1")
    fog.send("edge1", 1, 0, age=0)
    fog.send("edge1", 2, 50, age=0)
    assert [fog.frame(100.001) for _ in range(2)] == [2, None]
    assert fog.count("frames_skipped") == 1
    assert fog.count("expired") == 1
    assert fog.send("edge2", 1, 101) == "late"


# What is dropped, and counted


def sent_by(sender: str, **changes: Any) -> Any:
    return lambda fog: fog.send(sender, 7, 1, **changes)


@pytest.mark.parametrize(
    ("reason", "send"),
    [
        ("foreign", sent_by("stranger")),
        ("foreign", sent_by("cam")),
        ("foreign", sent_by("edge1", target="cloud")),
        ("foreign", sent_by("edge1", via="edge2")),
        ("foreign", sent_by("edge1", via="stranger")),
        ("stale_model", sent_by("edge1", fingerprint=b"model-02")),
        ("stale_incarnation", sent_by("edge1", incarnation=0)),
        ("malformed", sent_by("edge1", tensors=(np.ones(4, np.float32),))),
        ("malformed", sent_by("edge1", tensors=(np.ones(3, np.uint8),))),
        ("malformed", sent_by("edge1", tensors=(np.ones(3, np.float32),) * 2)),
        ("malformed", sent_by("edge2", tensors=(np.ones(3, np.float32),))),
        ("malformed", lambda fog: fog.assembler.hear("edge1", b"\x01junk", b"", START)),
        ("expired", sent_by("edge1", age=100.001)),
    ],
)
def test_what_is_dropped_is_counted_and_opens_nothing(reason: str, send: Any) -> None:
    fog = Fog(proven="edge1 edge2")
    assert send(fog) == reason
    assert fog.count(reason) == fog.count("received") == 1
    assert fog.assembler.open_frames == {}


def test_a_second_message_is_a_duplicate_before_and_after() -> None:
    fog = Fog(proven="edge1 edge2")
    fog.send("edge1", 7, 1)
    assert fog.send("edge1", 7, 2) == "duplicate"
    fog.send("edge2", 7, 3)
    assert fog.frame(3) == 7
    assert fog.send("edge1", 7, 4) == "duplicate"
    assert fog.count("duplicate") == 2


def test_a_late_message_is_a_duplicate_the_second_time() -> None:
    fog = Fog(proven="edge1")
    fog.send("edge1", 7, 1)
    assert fog.frame(1) == 7
    assert [fog.send("edge2", 7, 2), fog.send("edge2", 7, 3)] == ["late", "duplicate"]


def test_a_peer_with_another_model_is_named() -> None:
    fog = Fog(proven="edge1")
    for frame in (7, 8):
        fog.send("edge1", frame, 1, fingerprint=b"model-02")
    assert fog.assembler.refused == {"edge1": b"model-02"}
    fog.send("edge1", 9, 2)
    assert fog.assembler.refused == {}


@given(st.lists(st.tuples(st.sampled_from(["edge1", "edge2", "cam"]), st.integers(0, 4))))
def test_every_message_is_used_dropped_or_held(arrivals: list[tuple[str, int]]) -> None:
    fog = Fog(proven="edge1 edge2", most_open=3)
    counters = fog.assembler.counters
    for i, (sender, frame) in enumerate(arrivals):
        if sender == "cam":
            fog.see(frame, 10 * i)
        else:
            fog.send(sender, frame, 10 * i, age=i % 7)
        if i % 3 == 0:
            fog.ready(10 * i)
        held = sum(fog.assembler.open_frames.values())
        assert counters.received == counters.used + counters.dropped + held


@given(st.permutations([("cam", 0), ("edge1", 0), ("edge2", 0), ("edge1", 1), ("edge2", 1)]))
def test_the_order_of_arrival_does_not_matter(arrivals: list[tuple[str, int]]) -> None:
    fog = Fog(proven="edge1 edge2")
    for sender, frame in arrivals:
        _ = fog.see(frame, 1) if sender == "cam" else fog.send(sender, frame, 1)
    both = EDGE1 | BELOW1 | EDGE2 | BELOW2
    found = {r.frame: r.state for r in (fog.ready(2), fog.ready(2)) if r}
    assert found == {0: CAM | both, 1: both}


#: Of edge1's shape, of another, of another dtype, several, none; and some that no link is for.
TENSORS: list[tuple[NDArray[Any], ...]] = [
    (np.array([1, -2, 1e-3], np.float32),),
    (np.array([[1, 2, 3]], np.float32),),
    (np.array([1, 2, 3], np.float64),),
    (np.array([1, 2, 3], np.float32), np.array(0.5, np.float32)),
    (),
]


@st.composite
def sent(draw: st.DrawFn) -> tuple[str, bytes, bytes, int]:
    """From whom a message came, its bytes, and when (ms); most differ from what is expected."""
    sender = draw(st.sampled_from(["edge1", "edge1", "edge2", "cam", "mallory"]))
    tensors = draw(st.sampled_from(TENSORS))
    message = Message(
        frame=draw(st.integers(0, 3)),
        sender=sender,
        incarnation=draw(st.sampled_from([1, 1, 1, 2])),
        fingerprint=draw(st.sampled_from([MODEL, MODEL, MODEL, b"model-02"])),
        state=(BELOW1 | 1 << 300) if tensors else 0,
        age_ns=draw(st.sampled_from([0, 0, 50, 200])) * MS,
        sent_ns=draw(st.sampled_from([0, 7, 7 + 40 * MS])),
        wall_ns=draw(st.integers(0, 9)),
        target=draw(st.sampled_from(["", "", "fog", "cloud"])),
        tensors=tensors,
        answered=not tensors and draw(st.booleans()),
    )
    header, payload = encode(message, draw(st.sampled_from(["raw", "float16", "int8"])))
    damage = draw(st.sampled_from(["", "", "", "header", "payload"]))
    header = header[:-1] if damage == "header" else header
    payload += b"x" if damage == "payload" else b""
    via = draw(st.sampled_from([sender, sender, sender, "edge2"]))
    return via, header, payload, draw(st.integers(0, 60))


class DecodesFirst(FrameAssembler):
    """Makes tensors of every message before it looks at who sent it, and whether it is of use."""

    def hear(self, sender: str, header: bytes, payload: bytes, now: int) -> Dropped | None:
        try:
            message = decode(header, payload, self._limits)
        except WireError:
            self.counters.received += 1
            return self._drop("malformed")
        if message.sender != sender:
            self.counters.received += 1
            return self._drop("foreign")
        return self.receive(message, now)


def plain(ready: ReadyFrame | None) -> Any:
    """What can be compared: bits, not numbers."""
    if ready is None:
        return None
    fields = {name: getattr(ready, name) for name in ReadyFrame.__struct_fields__}
    return fields | {"inputs": {name: x.tobytes() for name, x in ready.inputs.items()}}


@given(st.lists(sent(), max_size=20), st.sampled_from(["", "edge1", "edge1 edge2"]))
def test_a_payload_that_is_touched_last_changes_nothing(
    arrivals: list[tuple[str, bytes, bytes, int]], proven: str
) -> None:
    fogs = [Fog(proven=proven, most_open=3, kind=kind) for kind in (FrameAssembler, DecodesFirst)]
    for i, (via, header, payload, at) in enumerate(arrivals):
        found = [fog.assembler.hear(via, header, payload, START + at * MS) for fog in fogs]
        assert found[0] == found[1]
        if i % 3 == 0:
            assert plain(fogs[0].ready(at)) == plain(fogs[1].ready(at))
    assert fogs[0].assembler.counters == fogs[1].assembler.counters
    assert fogs[0].assembler.refused == fogs[1].assembler.refused
    assert fogs[0].assembler.open_frames == fogs[1].assembler.open_frames
    assert fogs[0].assembler.closed_frames == fogs[1].assembler.closed_frames


def test_what_is_dropped_for_its_header_costs_no_more_than_that(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fog = Fog(proven="edge1")
    fog.send("edge1", 7, 1)
    monkeypatch.setattr(Sealed, "unpack", lambda self: pytest.fail("made tensors of it"))
    assert fog.send("edge1", 7, 1) == "duplicate"
    assert fog.send("mallory", 8, 1) == "foreign"
    assert fog.send("edge1", 8, 1, via="edge2") == "foreign"
    assert fog.send("edge1", 8, 1, target="cloud") == "foreign"
    assert fog.send("edge1", 8, 1, fingerprint=b"model-02") == "stale_model"
    assert fog.send("edge1", 8, 1, incarnation=2) == "stale_incarnation"
    assert fog.send("edge1", 8, 1, tensors=TENSORS[1]) == "malformed"
    assert fog.send("edge1", 8, 1, age=200) == "expired"
    assert fog.send("edge1", 3, 1, age=20) == "late"


# Identity, as a receiver sees it


def test_the_first_token_seen_holds_the_name_until_it_goes() -> None:
    fog = Fog(proven="edge1")
    fog.assembler.peer_up("edge1", 5)
    assert fog.condition("edge1") == "expected"
    assert fog.send("edge1", 7, 1, incarnation=5) == "stale_incarnation"
    assert fog.send("edge1", 7, 1, incarnation=1) is None
    fog.assembler.peer_down("edge1", 1)
    assert fog.condition("edge1") == "unproven"
    assert fog.send("edge1", 8, 2, incarnation=1) == "stale_incarnation"
    assert fog.send("edge1", 8, 2, incarnation=5) is None


def test_a_claim_that_fails_changes_nothing() -> None:
    fog = Fog(proven="edge1")
    fog.assembler.peer_up("edge1", 5)
    fog.assembler.peer_down("edge1", 5)
    assert fog.condition("edge1") == "expected"
    assert fog.send("edge1", 7, 1) is None


def test_a_lower_incarnation_is_right_when_its_token_says_so() -> None:
    """A wall clock that was set back numbers a new process below the old one."""
    fog = Fog()
    fog.assembler.peer_up("edge1", 100)
    fog.assembler.peer_down("edge1", 100)
    assert fog.send("edge1", 7, 1, incarnation=50) == "stale_incarnation"
    fog.assembler.peer_up("edge1", 50)
    assert fog.send("edge1", 7, 1, incarnation=50) is None
    assert fog.condition("edge1") == "expected"
    assert fog.send("edge1", 8, 1, incarnation=100) == "stale_incarnation"


def test_the_last_words_of_a_sender_may_follow_its_token() -> None:
    fog = Fog(proven="edge1")
    fog.assembler.peer_down("edge1", 1)
    assert fog.send("edge1", 7, 1) is None
    assert fog.condition("edge1") == "absent"


def test_tokens_that_never_go_do_not_pile_up_nor_keep_out_a_new_one() -> None:
    fog = Fog()
    for incarnation in range(1, 100):
        fog.assembler.peer_up("edge1", incarnation)
        fog.assembler.peer_up("edge1", incarnation)
    assert len(fog.assembler._senders["edge1"].tokens) == TOKENS
    fog.assembler.peer_down("edge1", 1)
    assert fog.send("edge1", 7, 1, incarnation=99 - TOKENS + 2) is None


def test_presence_of_strangers_and_sensors_is_ignored() -> None:
    fog = Fog()
    for name in ("stranger", "cam"):
        fog.assembler.peer_up(name, 1)
        fog.assembler.peer_down(name, 1)
    assert fog.condition("cam") == "absent"


# What a node is made of


@pytest.mark.parametrize(
    ("changes", "fragment"),
    [
        ({"budget_ns": 0}, "expected a budget above 0"),
        ({"budget_ns": DEADLINE + 1}, "at most the deadline"),
    ],
)
def test_a_budget_lies_within_the_deadline(changes: dict[str, Any], fragment: str) -> None:
    with pytest.raises(InputError, match=fragment):
        Fog(**changes)


def test_every_sender_has_an_input() -> None:
    link = IncomingLink(source="edge9", bit=0, sensor=False)
    with pytest.raises(
        InputError, match="named after the sender 'edge9'; expected it, or edge9__0"
    ):
        FrameAssembler(
            "fog",
            [link],
            INPUTS,
            budget_ns=1,
            deadline_ns=1,
            fingerprint=MODEL,
            start_ns=0,
        )


def test_a_view_must_fit() -> None:
    fog = Fog()
    with pytest.raises(InputError, match=r"'cam': expected uint8 \[2\], got uint8 \[3\]"):
        fog.see(7, 1, view=(1, 2, 3))
    with pytest.raises(InputError, match="hosts no sensor 'edge1'; it hosts cam"):
        fog.assembler.sense("edge1", 7, None, START)


def test_an_old_view_is_expired() -> None:
    fog = Fog()
    assert fog.see(7, 200, captured_ns=START) == "expired"
