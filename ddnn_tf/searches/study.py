"""Small tables that answer one question each: settings, trained over seeds, measured alike.

Every training goes through an `ExperimentStore`, so that a study that was interrupted goes on, and
studies that need the same model share it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from edge_runtime.errors import InputError
from edge_runtime.task import Fallback

from ..datasets import Dataset
from ..names import StudyName
from ..training.methods import MERGE_WEIGHTS, POSTER_METHODS
from ..training.spread import Spread
from .experiments import Experiment, ExperimentStore, Measured, spread_of
from .rates import rate_groups, scaled_survival

#: What the poster prints, expected accuracy by method and survivability, in percent.
POSTER: Mapping[str, tuple[float, float, float]] = {
    "baseline": (94.4, 81.3, 71.9),
    "residual": (96.3, 88.1, 83.5),
    "dropout": (96.7, 89.8, 85.4),
}
#: Multiples of the true failure probabilities at which the curve of the study `rates` has a point.
FACTORS = (0.0, 0.5, 1.0, 1.5, 2.0, 3.0)


@dataclass(frozen=True)
class Row:
    """One line of a study: the run whose figure stands under each survivability.

    `regrouped`: trained and measured on views grouped as the poster's public code groups them.
    `x`: place on the axis of a figure, where the study is about a number.
    """

    label: str
    runs: Mapping[str, Experiment]
    fallback: Fallback = "prior"
    regrouped: bool = False
    x: float | None = None


@dataclass(frozen=True)
class Found:
    """A row and what its runs found, by survivability, over seeds."""

    row: Row
    measured: Mapping[str, Sequence[Measured]]

    def accuracy(self, survivability: str, *, balanced: bool = False) -> Spread:
        """On the split that the row's run reports."""
        split = self.row.runs[survivability].report[-1]
        return spread_of(
            m.accuracy(split, survivability, fallback=self.row.fallback, balanced=balanced)
            for m in self.measured[survivability]
        )

    def bound(self, survivability: str) -> float:
        """What no model can beat there."""
        split = self.row.runs[survivability].report[-1]
        return self.measured[survivability][0].bounds[split][survivability]


@dataclass(frozen=True)
class Table:
    """A study's rows, filled; prints as Markdown."""

    name: str
    title: str
    survivabilities: tuple[str, ...]
    seeds: int
    found: tuple[Found, ...]
    published: Mapping[str, Sequence[float]]

    def to_dict(self) -> dict[str, Any]:
        """Plain values, as `ddnn study --json` prints them."""
        return {
            "study": self.name,
            "title": self.title,
            "seeds": self.seeds,
            "rows": [
                {
                    "label": f.row.label,
                    "fallback": f.row.fallback,
                    **{
                        s: {
                            "expected_accuracy": f.accuracy(s).mean,
                            "half_range": f.accuracy(s).half_range,
                            "balanced_accuracy": f.accuracy(s, balanced=True).mean,
                            "bound": f.bound(s),
                        }
                        for s in self.survivabilities
                    },
                }
                for f in self.found
            ],
        }

    @property
    def numbered(self) -> bool:
        """Whether the rows stand for points of a number."""
        return all(f.row.x is not None for f in self.found)

    def curve(self) -> dict[str, list[tuple[float, float, float]]]:
        """By survivability: place, mean and half range of each row."""
        return {
            s: [
                (self._place(i), f.accuracy(s).mean, f.accuracy(s).half_range)
                for i, f in enumerate(self.found)
            ]
            for s in self.survivabilities
        }

    def limits(self) -> dict[str, list[tuple[float, float]]]:
        """By survivability: place of each row, and what no model can beat there."""
        return {
            s: [(self._place(i), f.bound(s)) for i, f in enumerate(self.found)]
            for s in self.survivabilities
        }

    def ticks(self) -> dict[float, str]:
        """Label of each row by its place."""
        return {self._place(i): f.row.label for i, f in enumerate(self.found)}

    def _place(self, i: int) -> float:
        x = self.found[i].row.x
        return float(i) if x is None else x

    def __str__(self) -> str:
        of = "one seed" if self.seeds == 1 else f"mean ± half the range of {self.seeds} seeds"
        lines = [
            f"{self.title}: % at {' / '.join(self.survivabilities)}, {of}",
            "",
            "| setting | fallback | expected accuracy | balanced | no model can beat |",
            "|---|---|---|---|---|",
        ]
        for f in self.found:
            cells = [str(f.accuracy(s)) for s in self.survivabilities]
            balanced = [
                f"{100 * f.accuracy(s, balanced=True).mean:.1f}" for s in self.survivabilities
            ]
            bounds = [f"{100 * f.bound(s):.2f}" for s in self.survivabilities]
            lines.append(
                f"| {f.row.label} | {f.row.fallback} | {' / '.join(cells)} | "
                f"{' / '.join(balanced)} | {' / '.join(bounds)} |"
            )
        for label, values in self.published.items():
            cells = [f"{v:.1f}" for v in values]
            lines.append(f"| {label}, as published | | {' / '.join(cells)} | | |")
        return "\n".join(lines)


def run_study(
    name: StudyName,
    store: ExperimentStore,
    template: Experiment,
    *,
    seeds: Sequence[int] = (0, 1, 2),
    final: str | None = None,
    progress: Callable[[str, int, int], None] = lambda what, done, total: None,
) -> Table:
    """Train what a study has not trained yet, and fill its table.

    Args:
        name: one of `STUDIES`.
        store: where trainings are kept.
        template: topology, survivabilities, sections, recipe, split to train on and, last, the one
            to report: a study chooses nothing.
        seeds: of each row.
        final: split to train on instead.
        progress: told what is being trained, how many trainings are done, and of how many.
    """
    if name not in STUDIES:
        raise InputError(f"unknown study {name!r}; expected one of {', '.join(STUDIES)}")
    if not seeds:
        raise InputError("expected one seed at least, got none")
    title, rows_of = STUDIES[name]
    names = tuple(template.survival)
    template = replace(
        template,
        train=final or template.train,
        report=template.report[-1:],
        measure=dict(template.survival),
        fallbacks=FALLBACKS,
    )
    rows = list(rows_of(store.data, template))
    wrong = (
        ExperimentStore(store.folder, regrouped(store.data))
        if any(r.regrouped for r in rows)
        else store
    )
    total, done = len(rows) * len(names) * len(seeds), 0
    measured: list[dict[str, list[Measured]]] = [{s: [] for s in names} for _ in rows]
    # All rows with the first seed come first: an interrupted study has something to show.
    for seed in seeds:
        for row, figures in zip(rows, measured, strict=True):
            for s in names:
                progress(f"{row.label}, seed {seed}", done, total)
                where = wrong if row.regrouped else store
                figures[s].append(where.measured(replace(row.runs[s], seed=seed)))
                done += 1
    found = [Found(row, figures) for row, figures in zip(rows, measured, strict=True)]
    progress(name, done, total)
    shown = POSTER if name == "table" and names == ("high", "medium", "low") else {}
    return Table(name, title, names, len(seeds), tuple(found), shown)


def regrouped(data: Dataset, seed: int = 0) -> Dataset:
    """The views grouped as the poster's public code groups them.

    It lists the pictures of a class and frame in the order of the directory, which is none, and
    takes as many at a time as there are cameras: the first goes where the first camera's belongs.
    So a sample's views are of one class and moment, but of any cameras and objects. Emulated by
    an order drawn for each folder, class and frame; for each folder and class where data have no
    frames.

    Raises:
        InputError: for sensors that are not alike.
    """
    inputs, table = data.samples.inputs, data.table
    if len({(x.shape, x.dtype) for x in inputs.values()}) > 1:
        shapes = ", ".join(f"{name} {x.shape[1:]} {x.dtype}" for name, x in inputs.items())
        raise InputError(f"views can be grouped wrongly where all sensors are alike, got {shapes}")
    pictures = np.stack(list(inputs.values()), axis=1)
    visible = data.visible.copy()
    parts = [x for x in (table.folders, table.labels, table.frames) if x is not None]
    together: dict[tuple[Any, ...], list[int]] = {}
    for row, key in enumerate(zip(*(x.tolist() for x in parts), strict=True)):
        together.setdefault(key, []).append(row)
    rng = np.random.default_rng(seed)
    for rows in together.values():
        order = rng.permutation(visible[rows].size)
        for x in (pictures, visible):
            x[rows] = x[rows].reshape(-1, *x.shape[2:])[order].reshape(x[rows].shape)
    views = {name: np.ascontiguousarray(pictures[:, i]) for i, name in enumerate(inputs)}
    return replace(data, samples=replace(data.samples, inputs=views), visible=visible)


# -- the studies -----------------------------------------------------------------------------------

#: With which every run is measured; together, because training is what takes the time.
FALLBACKS: tuple[Fallback, ...] = ("prior", "prior-random")


def _alike(template: Experiment, **changes: Any) -> dict[str, Experiment]:
    """One run, trained for all survivabilities."""
    return dict.fromkeys(template.survival, replace(template, **changes))


def _each(template: Experiment, **changes: Any) -> dict[str, Experiment]:
    """A run for each survivability, trained for it alone, as the poster trains."""
    return {s: replace(template, survival={s: v}, **changes) for s, v in template.survival.items()}


def _merge_weights(data: Dataset, template: Experiment) -> Iterator[Row]:
    for weights in MERGE_WEIGHTS:
        yield Row(weights, _each(template, merge_weights=weights))


def _survivability(data: Dataset, template: Experiment) -> Iterator[Row]:
    for name, value in template.survival.items():
        yield Row(f"trained at {name}", _alike(template, survival={name: value}))
    yield Row("trained at all", _alike(template))


def _grouping(data: Dataset, template: Experiment) -> Iterator[Row]:
    for method in POSTER_METHODS[1:]:
        for wrong in (False, True):
            label = f"{method}, {'as listed' if wrong else 'grouped rightly'}"
            yield Row(label, _alike(template, method=method), "prior-random", wrong)


def _splits(data: Dataset, template: Experiment) -> Iterator[Row]:
    own = template.report[-1]
    yield Row(f"{template.train} to {own}", _alike(template))
    for family in ("time", "time-backward"):
        train, test = f"{family}:train", f"{family}:test"
        if train in data.split_names and train != template.train:
            yield Row(f"{train} to {test}", _alike(template, train=train, report=(test,)))


def _table(data: Dataset, template: Experiment) -> Iterator[Row]:
    for fallback in FALLBACKS:
        for method in POSTER_METHODS:
            yield Row(method, _each(template, method=method), fallback)


def _rates(data: Dataset, template: Experiment) -> Iterator[Row]:
    for factor in FACTORS:
        runs = {}
        for name, value in template.survival.items():
            groups = rate_groups(template.topology, value, "all")
            survival = scaled_survival(template.topology, value, groups, {"all": factor})
            # The weights of merges must not change with the rates.
            runs[name] = replace(template, survival={name: survival}, merge_weights="one")
        yield Row(f"{factor:g} times the true rates", runs, x=factor)


#: Title and rows of each study, by name.
STUDIES: Mapping[StudyName, tuple[str, Callable[[Dataset, Experiment], Iterator[Row]]]] = {
    "grouping": ("views grouped as the poster's code lists them, and rightly", _grouping),
    "merge-weights": ("what links that are added are multiplied by", _merge_weights),
    "rates": ("accuracy by how often nodes fail in training", _rates),
    "splits": ("the poster's split, and past to future and back", _splits),
    "survivability": ("trained at one survivability, run at another", _survivability),
    "table": ("the poster's table, each cell trained for its survivability", _table),
}
