from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_runtime.answers.records import Answer
from edge_runtime.answers.selector import AnswerSelector
from edge_runtime.errors import InputError

MS = 1_000_000
DEADLINE = 100 * MS
#: `top` hears both, `left` and `right` one camera each.
STATES = {"top": 0b1111, "left": 0b0001, "right": 0b0010}


def said(
    frame: int, node: str, p: float = 0.6, *, age: float = 0, state: int | None = None
) -> Answer:
    held = STATES[node] if state is None else state
    return Answer(
        frame=frame,
        answer="a",
        probabilities=(p, 1 - p),
        confidence=max(p, 1 - p),
        node=node,
        state=f"{held:x}",
        nodes=(),
        age_ms=age,
        score=None,
        score_name="accuracy",
        fallback=not held,
        waited=False,
        exit=node != "top",
    )


def selector(policy: Any = "maximal", **options: Any) -> AnswerSelector:
    return AnswerSelector(policy, tuple(STATES), deadline_ns=DEADLINE, **options)


def warm(**options: Any) -> AnswerSelector:
    """One that waits for all three."""
    found = selector(**options)
    for node in STATES:
        found.take(said(0, node), 0)
        found.ready(0)
    assert found.expected == set(STATES)
    return found


def test_it_waits_for_all_that_have_answered_before() -> None:
    found = warm()
    found.take(said(1, "left", 0.9), 10 * MS)
    found.take(said(1, "right", 0.8), 11 * MS)
    assert found.ready(12 * MS) is None
    assert found.next_wakeup() == 10 * MS + 95 * MS
    assert found.take(said(1, "top", age=20), 30 * MS) is None
    answer = found.ready(30 * MS)
    assert answer is not None
    assert (answer.node, answer.waited, answer.age_ms) == ("top", False, 20)
    assert found.ready(30 * MS) is None
    assert found.next_wakeup() is None


@pytest.mark.parametrize(
    ("policy", "who"),
    [("maximal", "right"), ("confident", "right"), ("highest", "left"), ("priority", "left")],
)
def test_at_the_deadline_the_policy_chooses_of_those_that_came(policy: Any, who: str) -> None:
    found = warm(policy=policy)
    found.take(said(1, "left", 0.7), 0)
    found.take(said(1, "right", 0.8), 0)
    assert found.ready(95 * MS - 1) is None
    answer = found.ready(95 * MS)
    assert answer is not None
    assert (answer.node, answer.waited, answer.age_ms) == (who, True, 95)


def test_of_all_policies_only_maximal_looks_at_what_an_answer_was_computed_from() -> None:
    for policy, who in (("maximal", "top"), ("confident", "left"), ("highest", "top")):
        found = warm(policy=policy)
        for node, p in (("left", 0.9), ("right", 0.8), ("top", 0.7)):
            found.take(said(1, node, p), 0)
        answer = found.ready(0)
        assert answer is not None
        assert answer.node == who


def test_who_misses_two_frames_or_goes_is_not_waited_for_until_it_answers_again() -> None:
    found = warm()
    for frame in (1, 2):
        for node in ("left", "right"):
            found.take(said(frame, node), 0)
        assert found.ready(94 * MS) is None
        assert found.ready(95 * MS)
    assert found.expected == {"left", "right"}
    assert found.take(said(2, "top"), 99 * MS) == "late"
    assert found.expected == set(STATES)
    found.gone("right")
    found.take(said(3, "left"), 0)
    found.take(said(3, "top"), 0)
    answer = found.ready(0)
    assert answer is not None
    assert not answer.waited


def test_a_fallback_is_taken_where_there_is_nothing_better() -> None:
    found = warm()
    for node in ("left", "top"):
        found.take(said(1, node, 0.99, state=0), 0)
    found.take(said(1, "right", 0.5), 0)
    answer = found.ready(0)
    assert answer is not None
    assert answer.node == "right"
    for node in STATES:
        found.take(said(2, node, state=0), 0)
    answer = found.ready(0)
    assert answer is not None
    assert (answer.node, answer.fallback) == ("top", True)


def test_what_is_not_considered() -> None:
    found = warm()
    assert found.take(said(1, "left"), 0) is None
    assert found.take(said(1, "left", 0.9), 0) == "duplicate"
    assert found.take(said(0, "left"), 0) == "duplicate"
    assert found.take(said(2, "top", age=101), 0) == "expired"
    assert found.take(said(2, "top", age=float("inf")), 0) == "expired"
    for change in ({"state": "x"}, {"state": "-1"}, {"confidence": None}):
        assert found.take(msgspec.structs.replace(said(2, "top"), **change), 0) == "malformed"
    stranger = msgspec.structs.replace(said(2, "top"), node="stranger")
    assert found.take(stranger, 0) == "foreign"
    assert AnswerSelector(deadline_ns=DEADLINE).take(stranger, 0) is None
    with pytest.raises(InputError, match="the policy highest needs to know the nodes; give the"):
        AnswerSelector("highest", deadline_ns=DEADLINE)


events = st.lists(
    st.tuples(
        st.integers(0, 12),  # frame
        st.sampled_from(sorted(STATES)),
        st.integers(0, 120),  # milliseconds of age
        st.integers(0, 40),  # milliseconds until it comes
        st.booleans(),  # fallback
        st.integers(0, 9),  # 0: its process goes instead
    ),
    max_size=60,
)


@given(events=events, policy=st.sampled_from(["maximal", "confident", "highest"]))
def test_whatever_comes_each_frame_is_answered_once_at_most_and_in_time(
    events: Any, policy: Any
) -> None:
    found = selector(policy, most_open=4)
    now = 0
    taken: dict[int, dict[str, Answer]] = {}
    given_out: dict[int, Answer] = {}

    def ask() -> None:
        while (answer := found.ready(now)) is not None:
            assert answer.frame not in given_out, "answered twice"
            assert answer.age_ms <= 100 + 40, "older than the deadline and one pause"
            considered = taken[answer.frame]
            mine = considered[answer.node]
            assert (mine.state, mine.probabilities) == (answer.state, answer.probabilities)
            if answer.fallback:
                assert all(other.fallback for other in considered.values())
            given_out[answer.frame] = answer

    for frame, node, age, wait, silent, goes in events:
        due = found.next_wakeup()
        if due is not None and due <= now + wait * MS:
            now = max(now, due)
            ask()
        now += wait * MS
        if goes == 0:
            found.gone(node)
        else:
            answer = said(frame, node, 0.6, age=age, state=0 if silent else None)
            refused = found.take(answer, now)
            assert (refused == "expired") == (age > 100)
            if refused is None:
                assert frame not in given_out
                taken.setdefault(frame, {})[node] = answer
        ask()
        assert found.open_frames <= 4
    while (due := found.next_wakeup()) is not None:
        now = max(now, due)
        ask()
    assert given_out.keys() <= taken.keys()


def test_memory_is_bounded() -> None:
    found = selector(most_open=3, most_closed=5)
    for frame in range(100):
        found.take(said(frame, "left"), frame)
        assert found.open_frames <= 3
        assert found.closed_frames <= 5


def test_the_oldest_frame_makes_room_by_being_answered() -> None:
    found = warm(most_open=3)
    for frame in (1, 2):
        found.take(said(frame, "left"), frame)
        assert found.ready(frame) is None, "right is waited for"
    found.take(said(3, "left"), 3)
    answer = found.ready(3)
    assert answer is not None
    assert (answer.frame, answer.node, answer.waited) == (1, "left", True)
    assert found.ready(3) is None
    assert "right" in found.expected, "it had no chance, and is not blamed"


#: `left` and `right` may answer early, and `top` may not.
EARLY = {"right": 1, "left": 1}


def early(frame: int, node: str, p: float = 0.9) -> Answer:
    return msgspec.structs.replace(said(frame, node, p), early=True)


def test_an_early_answer_is_taken_once_nobody_can_better_it() -> None:
    found = warm(early_depths=EARLY)
    found.take(early(1, "left"), 0)
    assert found.ready(0) is None, "right may be surer"
    found.take(said(1, "right", 0.99), 0)
    answer = found.ready(0)
    assert answer is not None
    assert (answer.node, answer.waited) == ("left", False)
    # Nothing is held against who need not have spoken, and what it says is too late.
    assert found.expected == set(STATES)
    assert found.take(said(1, "top"), 0) == "late"


@pytest.mark.parametrize(("p", "who"), [(0.8, "left"), (0.9, "right"), (0.95, "right")])
def test_of_early_answers_of_one_depth_the_surest_is_taken(p: float, who: str) -> None:
    found = warm(early_depths=EARLY)
    for answer in (early(1, "left", 0.9), early(1, "right", p)):
        found.take(answer, 0)
    taken = found.ready(0)
    assert taken is not None
    assert taken.node == who


def test_of_early_answers_that_nearest_to_the_sensors_is_taken() -> None:
    found = warm(early_depths={"right": 2, "left": 1})
    found.take(early(1, "right", 0.99), 0)
    assert found.ready(0) is None
    found.take(early(1, "left", 0.8), 0)
    taken = found.ready(0)
    assert taken is not None
    assert taken.node == "left"
    found.take(early(2, "left"), 0)
    assert found.ready(0) is not None, "right is deeper, and not waited for"


def test_who_could_better_an_early_answer_and_does_not_come_misses_the_frame() -> None:
    found = warm(early_depths=EARLY)
    for frame in (1, 2):
        found.take(early(frame, "left"), 0)
        assert found.ready(95 * MS - 1) is None
        answer = found.ready(95 * MS)
        assert answer is not None
        assert (answer.node, answer.waited) == ("left", True)
    assert found.expected == {"left", "top"}


def test_where_the_output_answers_an_exit_that_is_not_early_is_heard_and_not_taken() -> None:
    found = AnswerSelector("maximal", ("top",), deadline_ns=DEADLINE, early_depths=EARLY)
    found.take(said(1, "left", 0.99), 0)
    assert found.ready(0) is None, "the output node may be new, and its answer on its way"
    found.take(said(1, "top"), 0)
    answer = found.ready(0)
    assert answer is not None
    assert answer.node == "top"
    found.gone("top")
    found.take(said(2, "left", 0.99), 0)
    assert found.ready(95 * MS) is None, "there is no answer"
    assert found.open_frames == 0
