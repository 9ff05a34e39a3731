from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_runtime.errors import InputError
from edge_runtime.failures.configurations import draw
from edge_runtime.failures.distribution import FailureModel
from edge_runtime.failures.trace import FailureTrace, complete_uptimes
from edge_runtime.topology import Group, Share, Survival, Topology, Uptime
from tests.reference import small_topology
from tests.strategies import masks, topologies

# -- files -------------------------------------------------------------------------------------


@given(data=st.data(), topology=topologies())
def test_a_trace_gives_back_the_masks_it_was_made_of(
    data: st.DataObject, topology: Topology
) -> None:
    cases = data.draw(masks(topology, cases=4))
    frames = cases[data.draw(st.lists(st.integers(0, 3), min_size=1, max_size=12))]
    trace = FailureTrace.of(topology, frames)
    assert (trace.masks(len(frames)) == frames).all()


def test_a_saved_trace_is_read_back_the_same(tmp_path: Path) -> None:
    topology = small_topology()
    frames = draw(topology, "low", 50, np.random.default_rng(3))
    trace = FailureTrace.of(topology, frames)
    trace.save(tmp_path / "trace.jsonl")
    assert FailureTrace.load(tmp_path / "trace.jsonl", topology) == trace


@pytest.mark.parametrize(
    ("line", "fragment"),
    [
        ('{"frame": 3, "down": ["lost"]}', "unknown element 'lost'"),
        ('{"frame": 1, "down": []}', "rising order, got 1"),
        ('{"frame": 3, "down": "left"}', "Expected `array`, got `str`"),
        ('{"frame": 3}', "missing required field `down`"),
        ('{"frame": 3, "down": [], "up": []}', "unknown field `up`"),
        ("{", "truncated"),
    ],
)
def test_a_fault_in_a_trace_is_named_with_its_line(
    line: str, fragment: str, tmp_path: Path
) -> None:
    path = tmp_path / "trace.jsonl"
    path.write_text('{"frame": 1, "down": ["left"]}\n' + line + "\n")
    with pytest.raises(InputError) as caught:
        FailureTrace.load(path, small_topology())
    assert f"{path}, line 2" in str(caught.value)
    assert fragment in str(caught.value)


def test_a_missing_trace_is_one_clear_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot read the trace"):
        FailureTrace.load(tmp_path / "none.jsonl", small_topology())


def test_a_file_says_first_which_frames_it_is_about(tmp_path: Path) -> None:
    topology = small_topology()
    frames = np.ones((4, len(topology.elements)), bool)
    frames[2:, topology.index["left"]] = False
    FailureTrace.of(topology, frames, first=10).save(tmp_path / "trace.jsonl")
    assert (tmp_path / "trace.jsonl").read_text().splitlines() == [
        '{"first":10,"last":13}',
        '{"frame":12,"down":["left"]}',
    ]


def test_a_group_in_a_trace_takes_its_elements_along(tmp_path: Path) -> None:
    topology = small_topology(groups=(Group("switch", ("left", "cam0->top")),))
    (tmp_path / "trace.jsonl").write_text('{"frame": 1, "down": ["switch"]}')
    found = FailureTrace.load(tmp_path / "trace.jsonl", topology).masks(2)
    assert found[0].all()
    down = {n for n, up in zip(topology.elements, found[1], strict=True) if not up}
    assert down == {"left", "cam0->top"}


@pytest.mark.parametrize("line", ['{"first": 4, "last": 3}', '{"first": -1, "last": 3}'])
def test_frames_that_cannot_be_are_refused(line: str, tmp_path: Path) -> None:
    (tmp_path / "trace.jsonl").write_text(line)
    with pytest.raises(InputError, match="line 1: expected a first frame from 0 and a last one"):
        FailureTrace.load(tmp_path / "trace.jsonl", small_topology())


# -- as a survivability ------------------------------------------------------------------------


@given(data=st.data(), topology=topologies(), first=st.integers(0, 5))
def test_shares_are_how_many_of_the_frames_each_mask_held(
    data: st.DataObject, topology: Topology, first: int
) -> None:
    cases = data.draw(masks(topology, cases=4))
    frames = cases[data.draw(st.lists(st.integers(0, 3), min_size=1, max_size=12))]
    model = FailureModel.of(topology, FailureTrace.of(topology, frames, first=first).shares())
    found = {
        bytes(mask == 1): share for mask, share in zip(model.survival, model.shares, strict=True)
    }
    distinct, counts = np.unique(frames, axis=0, return_counts=True)
    assert found == {
        bytes(mask): pytest.approx(n / len(frames))
        for mask, n in zip(distinct, counts, strict=True)
    }


def test_without_its_frames_a_trace_is_no_survivability() -> None:
    with pytest.raises(InputError, match=r'which frames it is about.*\{"first": 0, "last": 199\}'):
        FailureTrace(small_topology(), ()).shares()


@pytest.mark.parametrize(
    ("shares", "said"),
    [
        ([Share((), 0.5)], "sum to 1, got a sum of 0.5"),
        ([Share((), 1.5), Share(("left",), -0.5)], "from 0 to 1 that sum to 1"),
        ([], "sum to 1, got a sum of 0"),
        ([Share(("lost",), 1.0)], "unknown element 'lost'"),
        ([Share((), 0.5), "left"], "expected a survivability"),
    ],
)
def test_shares_that_are_none_are_refused(shares: Any, said: str) -> None:
    with pytest.raises(InputError, match=said):
        FailureModel.of(small_topology(), shares)


# -- mean times --------------------------------------------------------------------------------


def test_each_cause_works_for_its_share_of_a_drawn_trace() -> None:
    topology = small_topology(groups=(Group("switch", ("right", "cam0->top")),))
    uptimes = {"left": Uptime(8, 2), "right": Uptime(3, 1), "switch": Uptime(30, 10)}
    frames, rate = 60_000, 2.0
    trace = FailureTrace.drawn(topology, uptimes, frames, np.random.default_rng(4), rate=rate)
    found = trace.masks(frames).mean(axis=0)
    expected = FailureModel.of(topology, uptimes).element_marginals
    assert expected[topology.index["right"]] == pytest.approx(0.75 * 0.75)
    # Frames are correlated over some mttr; 60,000 of them are worth 1,500 independent ones or more.
    assert found == pytest.approx(expected, abs=5 * 0.5 / 1500**0.5)
    assert (found < 1).sum() == 3


def test_times_between_failures_and_repairs_are_exponential_with_their_means() -> None:
    topology, rate = small_topology(), 50.0
    frames = 400_000
    uptimes = {"left": Uptime(mtbf=6.0, mttr=2.0)}
    trace = FailureTrace.drawn(topology, uptimes, frames, np.random.default_rng(5), rate=rate)
    ends = np.array([change.frame for change in trace.changes])
    assert len(ends) > 1500
    lengths, down = np.diff(ends) / rate, np.array([bool(c.down) for c in trace.changes[:-1]])
    for times, mean in ((lengths[~down], 6.0), (lengths[down], 2.0)):
        # What happens between two frames is not seen, which loses states of less than 1/50.
        slack = 5 * mean / len(times) ** 0.5 + 2 / rate
        assert times.mean() == pytest.approx(mean, abs=slack)
        assert times.std() == pytest.approx(mean, abs=2 * slack)
        assert (times > mean).mean() == pytest.approx(
            np.exp(-1), abs=2.5 / len(times) ** 0.5 + 0.02
        )


def test_a_drawn_trace_is_the_seeds() -> None:
    topology = small_topology()

    def drawn(seed: int) -> FailureTrace:
        uptimes = {"left": Uptime(4, 4)}
        return FailureTrace.drawn(topology, uptimes, 100, np.random.default_rng(seed))

    assert drawn(1) == drawn(1) != drawn(2)


def test_what_is_repaired_at_once_and_what_is_not_named_never_fail() -> None:
    topology = small_topology()
    trace = FailureTrace.drawn(topology, {"left": Uptime(4, 0)}, 100, np.random.default_rng(0))
    assert trace.changes == ()


@pytest.mark.parametrize("rate", [0.0, -1.0, float("nan"), float("inf")])
def test_a_rate_that_is_none_is_refused(rate: float) -> None:
    with pytest.raises(InputError, match="expected a rate above 0"):
        FailureTrace.drawn(small_topology(), {}, 10, np.random.default_rng(0), rate=rate)


def test_the_mean_time_that_is_missing_follows_from_the_survival() -> None:
    topology = small_topology()
    survival: Survival = {"left": 0.9, "right": Uptime(30, 2)}
    by_repair = complete_uptimes(topology, survival, mttr=5.0)
    assert by_repair["left"].mtbf == pytest.approx(45.0)
    assert by_repair["left"].mttr == 5.0
    assert by_repair.keys() == {"left", "right"}
    assert by_repair["right"] == Uptime(30, 2)
    by_failure = complete_uptimes(topology, survival, mtbf=90.0)
    assert by_failure["left"].mttr == pytest.approx(10.0)
    assert by_failure["left"].mtbf == 90.0
    assert complete_uptimes(topology, {"right": Uptime(30, 2)}) == {"right": Uptime(30, 2)}


@pytest.mark.parametrize(
    ("survival", "mean", "said"),
    [
        ({"left": 0.9}, {}, "'left' has a survival but no mean times"),
        ({"left": 0.0}, {"mttr": 1.0}, "'left' never works"),
        ({"left": 0.9}, {"mttr": 1.0, "mtbf": 9.0}, "expected one mean time"),
        ((Share((), 1.0),), {"mttr": 1.0}, "expected a survivability"),
    ],
)
def test_mean_times_that_stay_open_are_refused(
    survival: Survival, mean: dict[str, float], said: str
) -> None:
    with pytest.raises(InputError, match=said):
        complete_uptimes(small_topology(), survival, **mean)
