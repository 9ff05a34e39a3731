"""The search over rates: its arithmetic, that it goes on, and that workers share it."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ddnn_tf.names import RatesPer
from ddnn_tf.searches.experiments import Experiment, Final, Measured
from ddnn_tf.searches.rates import RateSearch, rate_groups, scaled_survival, search_rates
from edge_runtime.errors import InputError
from edge_runtime.topology import Group, Uptime
from tests.conftest import ROOT
from tests.reference import chain_topology

CHAIN = chain_topology()


class Trainings:
    """Stands for `ExperimentStore`: a model is best where left fails as truly, and right never."""

    def __init__(
        self, interrupt: Callable[[int], None] = lambda count: None, fingerprint: str = "0"
    ) -> None:
        self.runs: list[Experiment] = []
        self.fingerprint = fingerprint
        self._interrupt = interrupt

    def measured(self, run: Experiment) -> Measured:
        self._interrupt(len(self.runs))
        self.runs.append(run)
        [(name, works)] = run.survival.items()
        assert isinstance(works, dict)
        score = 1 - abs(works["left"] - 0.6) - (1 - works["right"])
        found = {"expected_accuracy": {name: score}, "balanced_accuracy": {name: score / 2}}
        return Measured({split: {"prior": found} for split in run.report}, {}, 0)


def search(trainings: Trainings, storage: str | Path, **changes: Any) -> RateSearch:
    template = Experiment(CHAIN, "train", ("validation", "test"), {"low": "low"})
    options: dict[str, Any] = {"per": "node", "trials": 12, "final": Final(seeds=()), **changes}
    return search_rates(trainings, template, storage=storage, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("per", "groups"),
    [
        ("all", {"all": ["left", "right", "middle", "left->middle"]}),
        ("tier", {"edge": ["left", "right"], "fog": ["middle"], "links": ["left->middle"]}),
        ("node", {n: [n] for n in ("left", "right", "middle", "left->middle")}),
    ],
)
def test_what_shares_a_rate(per: RatesPer, groups: dict[str, list[str]]) -> None:
    survival = {**CHAIN.survivabilities["low"], "left->middle": 0.9}
    assert rate_groups(CHAIN, survival, per) == groups


def test_rates_are_multiples_of_the_true_ones() -> None:
    groups = rate_groups(CHAIN, "low", "tier")
    found = scaled_survival(CHAIN, "low", groups, {"edge": 2.0, "fog": 0.0})
    assert found["left"] == pytest.approx(0.2)
    assert found["right"] == pytest.approx(0.4)
    assert (found["middle"], found["cam0"], found["top"]) == (1, 1, 1)
    truth = scaled_survival(CHAIN, "low", groups, {"edge": 1.0, "fog": 1.0})
    assert [truth[n] for n in CHAIN.elements] == pytest.approx(CHAIN.survival("low"))
    most = scaled_survival(CHAIN, "low", groups, {"edge": 9.0, "fog": 9.0})
    assert most["left"] == pytest.approx(0.05)
    dead = scaled_survival(CHAIN, {"left": 0.0}, {"all": ["left"]}, {"all": 1.0})
    assert dead["left"] == 0


def test_what_fails_together_has_a_rate_too() -> None:
    chain = chain_topology(groups=(Group("switch", ("left", "right"), 0.8),))
    groups = rate_groups(chain, "low", "tier")
    assert groups["groups"] == ["switch"]
    found = scaled_survival(chain, "low", groups, {**dict.fromkeys(groups, 1.0), "groups": 2.0})
    assert found["switch"] == pytest.approx(0.6)


def test_a_topology_that_never_fails_has_no_rates() -> None:
    with pytest.raises(InputError, match="nothing can fail"):
        rate_groups(CHAIN, {"left": 1.0}, "all")


def test_the_search_finds_the_best_and_reports_it_beside_the_truth(tmp_path: Path) -> None:
    trainings = Trainings()
    found = search(
        trainings, tmp_path / "rates", trials=40, seeds=(3, 4), final=Final(seeds=(0, 1))
    )
    assert len(found.trials) == 40
    truth = {"left": 1.0, "right": 1.0, "middle": 1.0}
    assert [score for f, score in found.trials if f == truth] == pytest.approx([1 - 0.3])
    scores = [score for _, score in found.trials]
    assert scores == sorted(scores, reverse=True)
    assert found.factors["right"] < 0.5
    assert found.factors["left"] == pytest.approx(1, abs=0.3)
    assert found.test_accuracy("best").mean > found.test_accuracy("truth").mean
    assert "right" in str(found)
    assert [r.seed for r in trainings.runs[:2]] == [3, 4]
    assert trainings.runs[0].measure == {"low": "low"}
    assert {r.merge_weights for r in trainings.runs} == {"one"}
    assert {r.report for r in trainings.runs[:-4]} == {("validation",)}
    assert {r.report for r in trainings.runs[-4:]} == {("test",)}


@pytest.mark.parametrize("form", ["journal", "sqlite"])
def test_an_interrupted_search_goes_on_as_it_would_have(tmp_path: Path, form: str) -> None:
    def storage(name: str) -> str:
        return (
            f"sqlite:///{tmp_path}/{name}.db" if form == "sqlite" else f"{tmp_path}/{name}.{form}"
        )

    def interrupt(count: int) -> None:
        if count == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        search(Trainings(interrupt), storage("interrupted"))
    resumed = Trainings()
    found = search(resumed, storage("interrupted"))
    assert len(resumed.runs) == 12 - 5
    assert found.trials == search(Trainings(), storage("whole")).trials
    # Finished, it trains nothing more.
    again = Trainings()
    assert search(again, storage("interrupted")).trials == found.trials
    assert again.runs == []


def test_a_storage_holds_one_search(tmp_path: Path) -> None:
    search(Trainings(), tmp_path / "rates", trials=1)
    with pytest.raises(InputError, match="holds another search"):
        search(Trainings(), tmp_path / "rates", per="tier")
    with pytest.raises(InputError, match="other data, splits"):
        search(Trainings(fingerprint="1"), tmp_path / "rates")


def test_the_true_rates_are_scored_though_their_first_trial_was_interrupted(tmp_path: Path) -> None:
    def interrupt(count: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        search(Trainings(interrupt), tmp_path / "rates", trials=2)
    found = search(Trainings(), tmp_path / "rates", trials=2)
    truth = dict.fromkeys(found.groups, 1.0)
    assert [factors for factors, _ in found.trials].count(truth) == 1
    assert len(found.trials) == 2


def test_the_true_rates_are_scored_though_their_first_trial_was_killed(tmp_path: Path) -> None:
    """Outright, so that nobody said that it had failed."""
    search(Trainings(), tmp_path / "rates", trials=1)
    killed = tmp_path / "killed"
    lines = (tmp_path / "rates").read_text().splitlines(keepends=True)
    # All but that its value was told.
    killed.write_text("".join(lines[:-1]))
    assert '"values"' in lines[-1]
    found = search(Trainings(), killed, trials=2)
    truth = dict.fromkeys(found.groups, 1.0)
    assert [factors for factors, _ in found.trials].count(truth) == 1
    assert len(found.trials) == 3


def test_survival_may_be_given_by_times(tmp_path: Path) -> None:
    true: dict[str, float | Uptime] = {"left": Uptime(mtbf=900, mttr=100), "right": 0.8}
    template = Experiment(CHAIN, "train", ("validation", "test"), {"own": true})
    found = search_rates(
        Trainings(),  # type: ignore[arg-type]
        template,
        per="node",
        trials=1,
        storage=tmp_path / "rates",
        final=Final(seeds=()),
    )
    assert set(found.groups) == {"left", "right"}
    assert template.describe()["survival"]["own"]["left"] == {"mtbf": 900, "mttr": 100}


@pytest.mark.parametrize("storage", ["nodriver://here/db", "postgresql://nobody@127.0.0.1:1/x"])
def test_a_storage_that_cannot_be_used_is_refused(storage: str) -> None:
    with pytest.raises(InputError, match="cannot use the storage"):
        search(Trainings(), storage)


def test_options_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="one trial and one seed"):
        search(Trainings(), tmp_path / "rates", trials=0)
    with pytest.raises(InputError, match="unknown grouping"):
        search(Trainings(), tmp_path / "rates", per="rack")
    two = Experiment(CHAIN, "train", ("test",), {"low": "low", "high": "high"})
    with pytest.raises(InputError, match="one survivability to search for"):
        search_rates(Trainings(), two, storage=tmp_path / "rates")  # type: ignore[arg-type]


# Each worker's first trial lasts until the other has one too, so that neither can do all alone.
WORKER = """
import sys, time
from pathlib import Path
from tests.ddnn_tf.searches.test_rates import Trainings, search

here, mine, theirs = (Path(word) for word in sys.argv[1:])

def meet(count):
    mine.touch()
    limit = time.monotonic() + 120
    while not theirs.exists():
        assert time.monotonic() < limit, "the other worker never came"
        time.sleep(0.02)

found = search(Trainings(meet), here / "shared.journal", trials=10)
print(len(found.trials), found.trials[0][1])
"""


def test_two_processes_share_one_search(tmp_path: Path) -> None:
    marks = [tmp_path / "one", tmp_path / "two"]
    workers = [
        subprocess.Popen(
            [sys.executable, "-c", WORKER, tmp_path, *order],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for order in (marks, marks[::-1])
    ]
    for worker in workers:
        said, errors = worker.communicate(timeout=240)
        assert worker.returncode == 0, errors
        # The last two may have begun their trials together.
        assert int(said.split()[0]) in (10, 11)
    alone = Trainings()
    found = search(alone, tmp_path / "shared.journal", trials=10)
    assert alone.runs == []
    drawn = [tuple(sorted(factors.items())) for factors, _ in found.trials]
    assert len(set(drawn)) == len(drawn)
    assert found.trials[0][1] > found.trials[-1][1]
