import math
from collections import Counter
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from edge_runtime.arrays import LabeledArrays
from edge_runtime.errors import InputError
from edge_runtime.evaluation.cache import SectionCache
from edge_runtime.evaluation.reliability import Reliability, evaluate
from edge_runtime.failures.configurations import (
    Configurations,
    enumerate_configurations,
    output_states,
)
from edge_runtime.failures.sampling import (
    SampledConfigurations,
    Sampling,
    draw_with_failures,
    failure_counts,
    find_configurations,
    sample_configurations,
)
from edge_runtime.task import Classification
from edge_runtime.topology import Group, Link, Node, Sensor, Share, Topology
from tests.reference import DenseSections
from tests.strategies import grouped, probabilities, samples, survivabilities, topologies


def ladder(rungs: int, survival: float) -> Topology:
    """Two chains side by side with a link across at each rung, and a node on top."""
    nodes = [Node(f"{side}{i}", "edge", survival) for i in range(rungs) for side in "ab"]
    links = [Link("cam0", "a0"), Link("cam1", "b0")]
    for i in range(1, rungs):
        links += [Link(f"{s}{i - 1}", f"{t}{i}") for s in "ab" for t in "ab"]
    links += [Link(f"{side}{rungs - 1}", "top") for side in "ab"]
    return Topology(
        name="ladder",
        sensors=(Sensor("cam0", (3,), "float32"), Sensor("cam1", (3,), "float32")),
        nodes=(*nodes, Node("top", "cloud")),
        links=tuple(links),
    )


def measured(
    topology: Topology, count: int = 20, survivabilities: Any = None, **options: Any
) -> Reliability:
    return evaluate(
        topology,
        DenseSections(topology, 3),
        LabeledArrays(samples(topology, count), np.random.default_rng(3).integers(0, 3, count)),
        Classification(("a", "b", "c"), (0.5, 0.3, 0.2)),
        survivabilities or {"s": None},
        sampling=Sampling(**options),
    )


def reached(configurations: Configurations) -> NDArray[np.float64]:
    """1 where anything reaches the output node."""
    states = output_states(configurations.topology, configurations.masks)
    return np.asarray(states.any(axis=1), np.float64)


# -- numbers of failures -----------------------------------------------------------------------


@given(st.lists(probabilities, max_size=7))
def test_how_probable_each_number_of_failures_is(survival: list[float]) -> None:
    expected = np.zeros(len(survival) + 1)
    for case in range(1 << len(survival)):
        failed = [case >> i & 1 for i in range(len(survival))]
        expected[sum(failed)] += math.prod(
            1 - p if f else p for p, f in zip(survival, failed, strict=True)
        )
    table = failure_counts(np.array(survival))
    assert table[0] == pytest.approx(expected, abs=1e-12)
    assert table.sum(axis=1) == pytest.approx(np.ones(len(survival) + 1))


def test_draws_given_a_number_of_failures_are_as_probable_as_they_should_be() -> None:
    survival, count = np.array([0.9, 0.5, 0.99, 0.7, 0.2]), 40_000
    table = failure_counts(survival)
    for failures in range(6):
        works = draw_with_failures(
            survival, table, np.full(count, failures), np.random.default_rng(failures)
        )
        assert ((~works).sum(axis=1) == failures).all()
        seen = Counter(map(tuple, works.tolist()))
        for case in range(32):
            up = [not case >> i & 1 for i in range(5)]
            chance = 0.0
            if up.count(False) == failures:
                odds = math.prod(p if u else 1 - p for p, u in zip(survival, up, strict=True))
                chance = odds / table[0, failures]
            assert seen[tuple(up)] / count == pytest.approx(chance, abs=5 * 0.5 / count**0.5)


@pytest.mark.parametrize("survival", [0.5, 0.9, 0.9999, 1e-6])
def test_many_causes_fail_exactly_as_often_as_asked(survival: float) -> None:
    chances = np.full(200, survival)
    table = failure_counts(chances)
    wanted = np.flatnonzero(table[0] > 1e-15)
    works = draw_with_failures(chances, table, wanted, np.random.default_rng(0))
    assert ((~works).sum(axis=1) == wanted).all()


# -- configurations ----------------------------------------------------------------------------


@settings(max_examples=40)
@given(data=st.data(), topology=st.one_of(topologies(), grouped()), seed=st.integers(0, 99))
def test_with_enough_samples_nothing_is_left_to_chance(
    data: st.DataObject, topology: Topology, seed: int
) -> None:
    survival = {"s": data.draw(survivabilities(topology))}
    found = measured(topology, survivabilities=survival, configurations=2000, seed=seed)
    exact = measured(topology, survivabilities=survival)
    assert found.configurations.method == "stratified"
    for name, value in found.intervals.of("s").items():
        expected = exact.intervals.of("s")[name]
        ours, theirs = (
            (np.array(list(x.values())) if isinstance(x, dict) else np.array(x))
            for x in (value, expected)
        )
        assert ours == pytest.approx(theirs, abs=1e-9)
    # Whatever is summed over configurations agrees, so all else of the interface does.
    importance = exact.importance("s")
    assert found.importance("s") == pytest.approx(importance, abs=1e-9)
    by_failures = {row["failures"]: row for row in found.by_failures("s")}
    for row in exact.by_failures("s"):
        if row["probability"] > 1e-12:
            assert by_failures[row["failures"]] == pytest.approx(row, abs=1e-9)
    assert found.all_alive == exact.all_alive


@settings(max_examples=40)
@given(data=st.data(), topology=st.one_of(topologies(), grouped()), seed=st.integers(0, 99))
def test_weights_sum_to_one_and_every_mask_is_possible(
    data: st.DataObject, topology: Topology, seed: int
) -> None:
    survival = data.draw(survivabilities(topology, most=9))
    found = sample_configurations(topology, {"s": survival, "own": None}, 120, seed=seed)
    exact = enumerate_configurations(topology, {"s": survival}, limit=1 << 30)
    possible = {
        row.tobytes() for row, p in zip(exact.components, exact.weights["s"], strict=True) if p
    }
    assert found.components[0].all()
    for name in ("s", "own"):
        assert found.weights[name].sum() == pytest.approx(1)
        assert (found.weights[name] >= 0).all()
    rows = found.components[found.weights["s"] > 0]
    assert {row.tobytes() for row in rows} <= possible
    assert len(found) <= 2 * 120 + 1


def test_estimates_are_right_on_average_and_intervals_hold_the_truth() -> None:
    topology = ladder(4, 0.8)
    exact = measured(topology)
    truth = exact.intervals.of("s")
    assert len(exact.configurations) == 256
    estimates, widths = [], []
    for seed in range(150):
        found = measured(topology, configurations=110, seed=seed)
        drawn = found.configurations
        assert isinstance(drawn, SampledConfigurations)
        assert (drawn.strata["s"] >= 0).sum() > 60, "most must be left to chance"
        for name in ("expected_accuracy", "balanced_accuracy", "reach_probability"):
            low, high = found.intervals.of("s")[name]
            assert low <= truth[name][0] <= high, (seed, name)
        for name, (low, high) in found.intervals.of("s")["class_recalls"].items():
            assert low <= truth["class_recalls"][name][0] <= high, (seed, name)
        estimates.append(found.expected_accuracy("s"))
        low, high = found.intervals.of("s")["expected_accuracy"]
        widths.append(high - low)
    # Five standard deviations of the mean of so many estimates.
    slack = 5 * float(np.std(estimates)) / len(estimates) ** 0.5
    assert 0 < slack < 0.01
    assert np.mean(estimates) == pytest.approx(exact.expected_accuracy("s"), abs=slack)
    assert np.mean(widths) < 0.3


def test_intervals_shrink_with_the_samples_and_are_no_wider_than_they_must() -> None:
    topology = ladder(12, 0.9)

    def spread(count: int) -> tuple[float, float]:
        runs = [
            sample_configurations(topology, {"s": None}, count, seed=seed) for seed in range(20)
        ]
        estimates = [run.weights["s"] @ reached(run) for run in runs]
        bounds = [run.interval("s", reached(run)) for run in runs]
        return float(np.std(estimates)), float(np.mean([high - low for low, high in bounds]))

    (_, few), (deviation, many) = spread(1000), spread(16_000)
    assert many < few / 3.5
    # A normal interval would have 2 * 2.58 deviations.
    assert 5 * deviation < many < 12 * deviation


def test_a_quarter_of_an_interval_misses_the_truth_too_often() -> None:
    """That the tests of coverage can fail."""
    topology = ladder(12, 0.9)
    found = []
    for seed in range(60):
        run = sample_configurations(topology, {"s": None}, 1000, seed=seed)
        values = reached(run)
        low, high = run.interval("s", values)
        found.append((float(run.weights["s"] @ values), high - low))
    center = float(np.mean([estimate for estimate, _ in found]))
    assert sum(abs(estimate - center) > width / 8 for estimate, width in found) > 6


# -- rare failures -----------------------------------------------------------------------------


def test_rare_states_are_seen_and_weigh_what_they_are_worth() -> None:
    """Where two of 200 must fail together: plain draws at 0.9999 would see that once in 10^6."""
    rungs = 100
    topology = ladder(rungs, 0.9999)
    found = sample_configurations(topology, {"s": None}, 4000, seed=1)
    values = reached(found)
    assert len(found.fallible) == 200
    # A rung is lost when both of its nodes are; rungs are independent.
    unreliability = 1 - (1 - 1e-8) ** rungs
    estimate = float(found.weights["s"] @ (1 - values))
    assert (values == 0).sum() > 20
    assert estimate == pytest.approx(unreliability, rel=0.5)
    low, high = found.interval("s", values)
    assert low <= 1 - unreliability <= high
    assert high - low < 1e-5


def test_single_failures_of_many_are_all_there() -> None:
    topology = ladder(100, 0.9999)
    found = sample_configurations(topology, {"s": None}, 4000)
    single = found.failures == 1
    assert single.sum() == 200
    assert found.weights["s"][single] == pytest.approx(np.full(200, 1e-4 * 0.9999**199))
    assert (found.strata["s"][found.failures < 2] == -1).all()


# -- which way ---------------------------------------------------------------------------------


def test_above_the_limit_configurations_are_sampled() -> None:
    topology = ladder(4, 0.8)
    assert type(find_configurations(topology, {"s": None}, Sampling(limit=256))) is Configurations
    assert isinstance(
        find_configurations(topology, {"s": None}, Sampling(limit=255)), SampledConfigurations
    )
    asked = find_configurations(topology, {"s": None}, Sampling(configurations=60))
    assert isinstance(asked, SampledConfigurations)
    assert len(asked) <= 61


def test_the_seed_gives_the_same_again() -> None:
    topology = ladder(6, 0.8)
    first, again, other = (
        sample_configurations(topology, {"s": None}, 200, seed=seed).components
        for seed in (1, 1, 2)
    )
    assert (first == again).all()
    assert first.shape != other.shape or (first != other).any()


def test_what_was_recorded_is_taken_whole_beside_what_is_drawn() -> None:
    topology = ladder(6, 0.8)
    shares = [Share(("a0", "b0"), 0.25), Share((), 0.75)]
    found = measured(topology, survivabilities={"s": None, "seen": shares}, configurations=200)
    exact = measured(topology, survivabilities={"seen": shares})
    assert found.expected_accuracy("seen") == pytest.approx(exact.expected_accuracy("seen"))
    assert found.intervals.of("seen")["expected_accuracy"] == pytest.approx(
        [exact.expected_accuracy("seen")] * 2
    )


def test_groups_count_among_what_fails() -> None:
    base = ladder(6, 1.0)
    topology = Topology(
        name="grouped",
        sensors=base.sensors,
        nodes=base.nodes,
        links=base.links,
        groups=tuple(Group(f"rung{i}", (f"a{i}", f"b{i}"), 0.9) for i in range(6)),
    )
    found = sample_configurations(topology, {"s": None}, 1000)
    assert found.weights["s"] @ reached(found) == pytest.approx(0.9**6)


def test_too_few_configurations_are_refused_with_how_many_it_takes() -> None:
    with pytest.raises(
        InputError, match=r"more than 20 configurations for 24 elements .* ask for \d+"
    ):
        sample_configurations(ladder(12, 0.5), {"s": None}, 20)
    for count in (20, 100):
        try:
            sample_configurations(ladder(12, 0.5), {"s": None}, count)
        except InputError as error:
            enough = int(str(error).split("ask for ")[1].split()[0])
            sample_configurations(ladder(12, 0.5), {"s": None}, enough)


def test_the_printed_object_says_how_sure_it_is_only_where_it_is_not() -> None:
    topology = ladder(6, 0.8)
    plain = measured(topology, configurations=200).to_dict()
    assert plain["method"] == "stratified"
    assert plain["interval"]["level"] == 0.99
    low, high = plain["interval"]["expected_accuracy"]["s"]
    assert 0 <= low < plain["expected_accuracy"]["s"] < high <= 1
    assert set(plain["interval"]["class_recalls"]["s"]) == {"a", "b", "c"}
    assert plain["interval"]["reach_probability"]["s"][1] <= 1
    exact = measured(topology).to_dict()
    assert set(plain) - set(exact) == {"method", "interval"}


# -- memory ------------------------------------------------------------------------------------


def test_what_is_forgotten_is_evaluated_again_and_the_answers_stay() -> None:
    topology = ladder(4, 0.8)
    inputs = samples(topology, 5)
    states = output_states(topology, enumerate_configurations(topology, {"s": None}).masks)
    keys = sorted({sum(1 << int(i) for i in np.flatnonzero(row)) for row in states} - {0})
    remembering = SectionCache(topology, DenseSections(topology, 3), inputs)
    forgetting = SectionCache(topology, DenseSections(topology, 3), inputs, most_bytes=600)
    for key in keys:
        assert (remembering.answer(key) == forgetting.answer(key)).all()
    assert forgetting.evaluations > remembering.evaluations
