import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_runtime.clock import SECOND, FrameClock
from edge_runtime.errors import InputError

rates = st.one_of(st.floats(0.01, 1000), st.sampled_from([1.0, 25.0, 30.0, 30_000 / 1001]))
times = st.integers(0, 10**19)


def clock(fps: float, *, wall: int = 10**18, monotonic: int = 0) -> FrameClock:
    return FrameClock.at(fps, wall_ns=wall, monotonic_ns=monotonic)


@given(rates, times)
def test_every_instant_lies_in_its_frame(fps: float, now: int) -> None:
    c = clock(fps)
    frame = c.frame(now)
    assert c.begins(frame) <= now < c.begins(frame + 1)
    assert c.frame(c.begins(frame)) == frame
    assert c.frame(c.begins(frame + 1) - 1) == frame


@given(rates, st.integers(-(10**15), 10**15), times)
def test_machines_whose_wall_clocks_agree_number_alike(fps: float, offset: int, later: int) -> None:
    here, there = clock(fps), clock(fps, monotonic=offset)
    assert here.frame(later) == there.frame(later + offset)


def test_ids_are_exact_years_later() -> None:
    c = FrameClock.at(30, wall_ns=0, monotonic_ns=0)
    assert c.frame(10**9 * SECOND) == 30 * 10**9
    assert c.begins(30 * 10**9) == 10**9 * SECOND


@pytest.mark.parametrize("fps", [0, -1, float("nan"), float("inf")])
def test_a_rate_is_positive(fps: float) -> None:
    with pytest.raises(InputError, match="frames per second above 0"):
        clock(fps)


def test_an_epoch_is_in_the_past() -> None:
    with pytest.raises(InputError, match=r"got one 2\.0 s ahead"):
        FrameClock.at(30, wall_ns=SECOND, monotonic_ns=0, epoch_ns=3 * SECOND)
