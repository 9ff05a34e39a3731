"""Sums of a run."""

from edge_runtime.live.run import Phase, time_down


def phase(start: int, *down: str) -> Phase:
    return Phase(start, frozenset(down), settled=True)


def test_time_down_is_counted_from_the_start_of_the_run() -> None:
    phases = [phase(0, "a"), phase(10), phase(30, "a", "b"), phase(50, "b")]
    assert time_down(phases, 4, 60) == {"a": 6 + 20, "b": 20 + 10}
    assert time_down(phases, 40, 60) == {"a": 10, "b": 10 + 10}


def test_parts_add_up_and_one_without_a_change_has_nothing() -> None:
    phases = [phase(0, "a"), phase(10), phase(30, "b")]
    whole = time_down(phases, 0, 60)
    assert time_down(phases[:2], 0, 30) + time_down(phases[2:], 0, 60) == whole
    assert time_down([], 0, 60) == {}
