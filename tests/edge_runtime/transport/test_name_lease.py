"""Who holds a name: the rules, stepped with a clock of the test's own."""

from collections.abc import Iterator
from itertools import count

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_runtime.transport.name_lease import Action, Declare, Lose, NameLease, Withdraw

LEASE, SETTLE, TICK = 0.5, 0.1, 0.125


class Stage:
    """One name_lease, its surroundings, and what it did."""

    def __init__(self, draw: Iterator[int] | None = None) -> None:
        self.name_lease = NameLease(LEASE, SETTLE, (draw or count(100)).__next__)
        self.now = 1000.0
        self.links = 1
        self.lost = 0
        self.tokens: set[int] = set()

    def step(self) -> list[Action]:
        """All actions that are due; its own token is seen as the others see it."""
        actions = []
        while action := self.name_lease.step(
            self.now, links=self.links, links_lost=self.lost, tokens=frozenset(self.tokens)
        ):
            actions.append(action)
            if isinstance(action, Declare):
                self.tokens.add(action.incarnation)
            elif isinstance(action, Withdraw):
                self.tokens.discard(action.incarnation)
        return actions

    def after(self, seconds: float) -> list[Action]:
        actions = []
        end = self.now + seconds
        while self.now < end:
            self.now = min(end, self.now + TICK)
            actions += self.step()
        return actions

    def pause(self, seconds: float, *, lost: int = 1) -> list[Action]:
        """No step for a while, and then news of `lost` broken links."""
        self.now += seconds
        actions = self.step()
        self.lost += lost
        return actions + self.step()

    def held(self) -> "Stage":
        self.name_lease.claim(self.now)
        assert self.step() == []
        assert self.after(2 * SETTLE) == [Declare(100)]
        assert self.name_lease.settled
        return self


def test_a_free_name_is_taken_once_the_tokens_can_have_come() -> None:
    stage = Stage()
    stage.name_lease.claim(stage.now)
    assert stage.after(0.9 * SETTLE) == []
    assert not stage.name_lease.settled
    assert stage.after(0.2 * SETTLE) == [Declare(100)]


def test_a_taken_name_is_lost_after_patience() -> None:
    stage = Stage()
    stage.tokens = {7}
    stage.name_lease.claim(stage.now)
    assert stage.step() == []
    assert stage.after(1.4 * LEASE) == []
    assert stage.after(0.2 * LEASE) == [Lose(7)]
    stage.tokens = set()
    assert stage.after(10) == [], "what is lost stays lost"


def test_a_token_that_outlived_its_process_is_waited_for() -> None:
    stage = Stage()
    stage.tokens = {7}
    stage.name_lease.claim(stage.now)
    assert stage.after(LEASE) == []
    stage.tokens = set()
    assert stage.after(3 * SETTLE) == [Declare(100)]


def test_alone_a_name_is_held_without_showing_it() -> None:
    stage = Stage()
    stage.links = 0
    stage.name_lease.claim(stage.now)
    assert stage.after(10) == []
    assert stage.name_lease.settled
    stage.links = 1
    assert stage.after(0.9 * SETTLE) == []
    assert stage.after(3 * SETTLE) == [Declare(100)]


def test_alone_and_then_connected_to_the_holder() -> None:
    stage = Stage()
    stage.links = 0
    stage.name_lease.claim(stage.now)
    stage.after(10)
    stage.links, stage.tokens = 1, {500}
    assert stage.after(2 * LEASE) == [Lose(500)], "however young it is"


def test_a_link_that_comes_late_is_given_its_time() -> None:
    stage = Stage()
    stage.links = 0
    stage.name_lease.claim(stage.now)
    assert stage.after(0.9 * SETTLE) == []
    stage.links = 1
    assert stage.after(0.9 * SETTLE) == []
    assert stage.after(2 * SETTLE) == [Declare(100)]


def test_all_links_lost_and_back() -> None:
    stage = Stage().held()
    stage.links, stage.lost = 0, 1
    assert stage.after(5 * LEASE) == [Withdraw(100)]
    assert stage.name_lease.settled, "alone, it goes on"
    stage.links = 2
    assert stage.after(5 * SETTLE) == [Declare(101)]


def test_some_links_lost_changes_nothing() -> None:
    stage = Stage()
    stage.links = 2
    stage.held()
    stage.links, stage.lost = 1, 1
    assert stage.after(5 * LEASE) == []


@pytest.mark.parametrize("seconds", [0.8 * LEASE, 3 * LEASE, 3600.0])
def test_a_pause_that_broke_links_costs_the_incarnation(seconds: float) -> None:
    stage = Stage().held()
    assert stage.pause(seconds) == [Withdraw(100)]
    assert not stage.name_lease.settled
    assert stage.after(5 * SETTLE) == [Declare(101)]


def test_slowness_that_broke_no_link_costs_nothing() -> None:
    stage = Stage().held()
    assert stage.pause(3 * LEASE, lost=0) == []
    assert stage.after(LEASE) == []
    stage.lost += 1
    assert stage.after(LEASE) == [], "a link that breaks later has another cause"


def test_a_short_pause_costs_nothing() -> None:
    stage = Stage().held()
    assert stage.pause(0.5 * LEASE) == []


def test_a_resumed_process_finds_its_successor() -> None:
    stage = Stage().held()
    stage.tokens.add(300)
    assert stage.pause(4 * LEASE) == [Withdraw(100)]
    assert stage.after(2 * LEASE) == [Lose(300)]


def test_a_successor_outlasts_the_old_token_of_a_resumed_process() -> None:
    stage = Stage().held()
    stage.tokens.add(50)
    assert stage.after(0.5 * LEASE) == []
    stage.tokens.remove(50)
    assert stage.after(3 * LEASE) == []
    stage.tokens.add(50)
    assert stage.after(0.9 * LEASE) == [], "its time is counted again"


def test_of_two_tokens_that_stay_the_lower_one_keeps_the_name() -> None:
    older, newer = Stage(count(100)).held(), Stage(count(100)).held()
    newer.name_lease.incarnation = 200
    older.tokens = newer.tokens = {100, 200}
    newer.name_lease._drawn = {200}
    assert older.after(3 * LEASE) == []
    assert newer.after(1.5 * LEASE) == [Lose(100)]


def test_a_wall_clock_that_was_set_back_may_draw_lower_numbers() -> None:
    """A token of our own past is no rival."""
    stage = Stage(iter([100, 50, 60]))
    stage.held()
    stage.pause(2 * LEASE)
    stage.tokens.add(100)  # lives on for a moment, as some router sees it
    assert stage.after(3 * SETTLE) == [Declare(50)]


@given(
    st.lists(
        st.tuples(
            st.floats(0, 2 * LEASE), st.integers(0, 2), st.integers(0, 1), st.sets(st.just(7))
        ),
        max_size=40,
    )
)
def test_tokens_are_declared_and_withdrawn_in_turn(
    events: list[tuple[float, int, int, set[int]]],
) -> None:
    """Whatever happens: at most one token is shown, only to somebody, and none after a loss."""
    stage = Stage()
    stage.name_lease.claim(stage.now)
    shown: int | None = None
    lost = False
    for seconds, stage.links, broken, rivals in events:
        stage.now += seconds
        stage.lost += broken
        stage.tokens = rivals | ({shown} if shown else set())
        for action in stage.step():
            assert not lost
            match action:
                case Declare(number):
                    assert shown is None
                    assert stage.links
                    assert not rivals
                    shown = number
                case Withdraw(number):
                    assert shown == number
                    shown = None
                case Lose(other):
                    assert other == 7
                    shown, lost = None, True
        assert shown is None or stage.links
