"""The rates at which nodes should fail in training, for the greatest accuracy at true rates.

A search with Optuna. Rates are given as multiples of the true failure probabilities, so that one
means "as often as in use". Any number of processes and machines may work on one search: they
share its trials through its storage, and what was interrupted goes on when started again.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import numpy as np

from edge_runtime.errors import InputError
from edge_runtime.topology import Survival, Topology

from ..names import RatesPer
from ..training.spread import Spread
from .experiments import FINAL, Experiment, ExperimentStore, Final, Measured, Progress, spread_of

if TYPE_CHECKING:
    import optuna


PER: tuple[RatesPer, ...] = get_args(RatesPer)

#: An element that never works in training teaches nothing.
MOST_FAILURE = 0.95
#: The greatest multiple of a true failure probability that is tried.
MOST_FACTOR = 4.0
#: Trials drawn at random before the sampler has something to go by.
STARTUP = 8


def rate_groups(topology: Topology, survival: Survival, per: RatesPer) -> dict[str, list[str]]:
    """All that can fail at a survivability, in groups that share a factor.

    `all`: one group. `tier`: one for each tier, one for links, and one for what fails together.
    `node`: each by itself.
    """
    if per not in PER:
        raise InputError(f"unknown grouping of rates {per!r}; expected one of {', '.join(PER)}")
    tiers: dict[str, str] = {x.name: "links" for x in topology.links}
    tiers |= {x.name: x.tier for x in topology.sensors}
    tiers |= {x.name: x.tier for x in topology.nodes}
    tiers |= {x.name: "groups" for x in topology.groups}
    groups: dict[str, list[str]] = {}
    for name, works in zip(topology.components, topology.survival(survival), strict=True):
        if works < 1:
            group = {"all": "all", "tier": tiers[name], "node": name}[per]
            groups.setdefault(group, []).append(name)
    if not groups:
        raise InputError("nothing can fail at this survivability, so there is no rate to search")
    return groups


def scaled_survival(
    topology: Topology,
    survival: Survival,
    groups: Mapping[str, Sequence[str]],
    factors: Mapping[str, float],
) -> dict[str, float]:
    """Survival of all that can fail, each group's failure probability times its factor.

    At most `MOST_FAILURE`, unless it fails more often truly and the factor is one or more.
    """
    works = dict(zip(topology.components, topology.survival(survival).tolist(), strict=True))
    for group, names in groups.items():
        for name in names:
            fails = 1 - works[name]
            works[name] = 1 - min(factors[group] * fails, max(MOST_FAILURE, fails))
    return works


@dataclass(frozen=True)
class RateSearch:
    """What a search over rates found.

    `factors`: of the best trial, by group; `trials`: factors and score of every finished one, best
    first; `best`, `truth`: test figures of models trained at the best and at the true rates.
    """

    survivability: str
    groups: Mapping[str, Sequence[str]]
    trials: tuple[tuple[Mapping[str, float], float], ...]
    best: tuple[Measured, ...]
    truth: tuple[Measured, ...]
    validation: str
    test: str

    @property
    def factors(self) -> Mapping[str, float]:
        """Multiples of the true failure probabilities that scored best on validation data."""
        return self.trials[0][0]

    def test_accuracy(self, which: str, *, balanced: bool = False) -> Spread:
        """Over seeds, `which` being `best` or `truth`."""
        models = self.best if which == "best" else self.truth
        return spread_of(
            m.accuracy(self.test, self.survivability, balanced=balanced) for m in models
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain values, as `ddnn rates --json` prints them."""
        found: dict[str, Any] = {
            "survivability": self.survivability,
            "groups": {group: list(names) for group, names in self.groups.items()},
            "factors": dict(self.factors),
            "validation": self.validation,
            "validation_score": self.trials[0][1],
            "trials": [{"factors": dict(f), "score": s} for f, s in self.trials],
            "test": self.test,
        }
        for which in ("best", "truth") if self.best else ():
            accuracy = self.test_accuracy(which)
            found[which] = {
                "expected_accuracy": accuracy.mean,
                "half_range": accuracy.half_range,
                "balanced_accuracy": self.test_accuracy(which, balanced=True).mean,
                "seeds": accuracy.count,
            }
        return found

    def __str__(self) -> str:
        trials = f"{len(self.trials)} trials at {self.survivability}, chosen on {self.validation}"
        lines = [f"{trials}; above or below the true rates:"]
        for group, factor in self.factors.items():
            side = "above" if factor > 1 else "below" if factor < 1 else "at"
            lines.append(f"  {group:<12} fails {factor:.2f} times as often in training: {side}")
        for which, name in (("best", "these"), ("truth", "true")) if self.best else ():
            balanced = self.test_accuracy(which, balanced=True)
            lines.append(
                f"{name} rates, {self.test}: {self.test_accuracy(which)} % "
                f"({balanced} balanced), {balanced.count} seed{'s' * (balanced.count > 1)}"
            )
        return "\n".join(lines)


def search_rates(
    store: ExperimentStore,
    template: Experiment,
    *,
    per: RatesPer = "tier",
    trials: int = 30,
    storage: str | Path,
    seeds: Sequence[int] = (0,),
    final: Final = FINAL,
    progress: Progress = lambda what, done, total: None,
) -> RateSearch:
    """Search the rates of failure in training, and train at the best and at the true ones.

    Args:
        store: where trainings are kept.
        template: topology, split to train on, sections, recipe, and exactly one survivability, at
            which models are judged. Its first split to report is chosen on, its last reported. Its
            seed is the sampler's.
        per: what shares a factor, see `rate_groups`.
        trials: finished trials in all, of all processes that share the storage. Each process that
            is at work when their number is reached ends its own trial first.
        storage: a file, or the URL of a database such as `sqlite:///rates.db`; see Optuna's
            storages.
        seeds: over which a trial's accuracy is averaged.
        final: split and seeds of the models of the report; no seeds for no report.
        progress: told what is being done, how much of it is done, and of how much.

    Raises:
        InputError: for options that do not fit, where Optuna is missing, and for a storage that
            cannot be used or holds another search.
    """
    if len(template.survival) != 1:
        names = ", ".join(template.survival) or "none"
        raise InputError(f"expected one survivability to search for, got {names}")
    if trials < 1 or not seeds:
        raise InputError(f"expected one trial and one seed at least, got {trials} and {len(seeds)}")
    [(name, true)] = template.survival.items()
    groups = rate_groups(template.topology, true, per)
    rates = _Rates(store, template, groups)
    highest = rates.highest()
    choose = template.report[0]
    description = {
        **template.describe(),
        "data": store.fingerprint,
        "report": [choose],
        "per": per,
        "seeds": list(seeds),
        "highest": highest,
    }
    truth = dict.fromkeys(groups, 1.0)
    study = _study(storage, description, template.seed, truth)
    _work(study, trials, highest, truth, lambda x: rates.score(x, seeds), progress)
    finished = sorted(_finished(study), key=lambda t: (-t.value, t.number))
    ranked = tuple((dict(t.params), float(t.value)) for t in finished)
    reported = rates.report({"best": ranked[0][0], "truth": truth}, final, progress)
    return RateSearch(
        survivability=name,
        groups=groups,
        trials=ranked,
        best=tuple(reported["best"]),
        truth=tuple(reported["truth"]),
        validation=choose,
        test=template.report[-1],
    )


@dataclass(frozen=True)
class _Rates:
    """Trainings at multiples of the true rates, by group."""

    store: ExperimentStore
    template: Experiment
    groups: Mapping[str, Sequence[str]]

    def highest(self) -> dict[str, float]:
        """The greatest multiple of each group that is tried."""
        [true] = self.template.survival.values()
        topology = self.template.topology
        works = dict(zip(topology.components, topology.survival(true).tolist(), strict=True))
        return {
            group: min([MOST_FACTOR, *(max(1.0, MOST_FAILURE / (1 - works[n])) for n in names)])
            for group, names in self.groups.items()
        }

    def experiment(self, factors: Mapping[str, float], seed: int, **changes: Any) -> Experiment:
        """The training at these multiples."""
        [(name, true)] = self.template.survival.items()
        survival = scaled_survival(self.template.topology, true, self.groups, factors)
        # The weights of merges must not change with the rates, whose effect is looked for.
        weights = self.template.merge_weights or "one"
        changes = {"report": (self.template.report[0],), **changes}
        return replace(
            self.template,
            survival={name: survival},
            measure={name: true},
            merge_weights=weights,
            seed=seed,
            **changes,
        )

    def score(self, factors: Mapping[str, float], seeds: Iterable[int]) -> float:
        """Expected accuracy on the split that is chosen on, over the seeds."""
        [name] = self.template.survival
        found = [self.store.measured(self.experiment(factors, seed)) for seed in seeds]
        return float(np.mean([m.accuracy(self.template.report[0], name) for m in found]))

    def report(
        self, multiples: Mapping[str, Mapping[str, float]], final: Final, progress: Progress
    ) -> dict[str, list[Measured]]:
        """What models trained at each of these rates reach on the split that is reported."""
        reported: dict[str, list[Measured]] = {which: [] for which in multiples}
        total = len(reported) * len(final.seeds)
        train, splits = final.split or self.template.train, (self.template.report[-1],)
        for which, factors in multiples.items():
            for seed in final.seeds:
                progress("report", sum(map(len, reported.values())), total)
                again = self.experiment(factors, seed, train=train, report=splits)
                reported[which].append(self.store.measured(again))
        if total:
            progress("report", total, total)
        return reported


def _work(
    study: optuna.Study,
    trials: int,
    highest: Mapping[str, float],
    truth: Mapping[str, float],
    score: Callable[[Mapping[str, float]], float],
    progress: Progress,
) -> None:
    """Take part in a study until it has enough finished trials, one of them at the true rates."""
    from optuna.trial import TrialState

    while True:
        finished = _finished(study)
        done = len(finished)
        if done >= trials:
            if any(trial.params == truth for trial in finished):
                break
            # Whoever was to score it was killed.
            study.enqueue_trial(dict(truth))
        progress("trials", done, trials)
        trial = study.ask()
        try:
            value = score({g: trial.suggest_float(g, 0.0, most) for g, most in highest.items()})
        except BaseException:
            # Not left as running, so that who goes on draws what this one would have drawn.
            study.tell(trial, state=TrialState.FAIL)
            raise
        study.tell(trial, value)
    progress("trials", done, trials)


def _finished(study: optuna.Study) -> list[Any]:
    from optuna.trial import TrialState

    return study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))


def _study(
    storage: str | Path, description: Mapping[str, Any], seed: int, first: Mapping[str, float]
) -> optuna.Study:
    """Open or begin the study of this search; its first trial is at the true rates."""
    try:
        import optuna
        from optuna.exceptions import StorageInternalError
        from optuna.storages import JournalStorage
        from optuna.storages.journal import JournalFileBackend
        from sqlalchemy.exc import SQLAlchemyError  # Optuna's own way to databases
    except ModuleNotFoundError as error:
        raise InputError('a search needs optuna: pip install "ddnn-tf[train]"') from error
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    text = json.dumps(description, sort_keys=True)
    try:
        place: Any = str(storage)
        if "://" not in place:
            Path(place).parent.mkdir(parents=True, exist_ok=True)
            place = JournalStorage(JournalFileBackend(place))
        study = optuna.create_study(
            storage=place,
            study_name="rates",
            direction="maximize",
            load_if_exists=True,
            sampler=_sampler(seed, first),
        )
        found = study.user_attrs.get("search")
        if found is None:
            study.set_user_attr("search", text)
    except (OSError, ValueError, ImportError, SQLAlchemyError, StorageInternalError) as error:
        raise InputError(
            f"cannot use the storage {storage}: {error}; give a file that can be written, or the "
            "URL of a database that runs and whose driver is installed"
        ) from error
    if found not in (None, text):
        raise InputError(
            f"{storage} holds another search: other data, splits, topology, survivability, seeds "
            "or recipe; search in the same way, or name another storage"
        )
    return study


def _sampler(seed: int, first: Mapping[str, float]) -> optuna.samplers.BaseSampler:
    import optuna
    from optuna.trial import TrialState

    places: dict[int, int] = {}

    class Repeatable(optuna.samplers.BaseSampler):
        """Bergstra et al.'s tree-structured Parzen estimator (2011), seeded trial by trial.

        So a search that was interrupted goes on as it would have, and workers that start from the
        same seed do not draw the same. The first trial is given here rather than enqueued: workers
        that begin a study together would both enqueue it.
        """

        def infer_relative_search_space(self, study: Any, trial: Any) -> dict[str, Any]:
            return {}

        def sample_relative(self, study: Any, trial: Any, search_space: Any) -> dict[str, Any]:
            return {}

        def sample_independent(self, study: Any, trial: Any, name: str, distribution: Any) -> Any:
            before = self._before(study, trial)
            if before == 0:
                return first[name]
            rng = np.random.default_rng([seed, before, *name.encode()])
            tpe = optuna.samplers.TPESampler(
                seed=int(rng.integers(1 << 31)), n_startup_trials=STARTUP
            )
            return tpe.sample_independent(study, trial, name, distribution)

        def _before(self, study: Any, trial: Any) -> int:
            """How many trials came before this one: the same for all that it draws."""
            if trial.number not in places:
                states = (TrialState.COMPLETE, TrialState.RUNNING)
                trials = study.get_trials(deepcopy=False, states=states)
                places[trial.number] = sum(t.number < trial.number for t in trials)
            return places[trial.number]

    return Repeatable()
