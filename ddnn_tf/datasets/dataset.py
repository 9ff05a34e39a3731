"""A data set: everything that was read, and its splits."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_runtime.errors import InputError
from edge_runtime.samples import Samples
from edge_runtime.task import Regression, Task

from .batches import Batches
from .splits import Table, group_names, leak_of, rows_of, split_names, training_split
from .summary import Range, Summary


@dataclass(frozen=True, eq=False)
class Dataset:
    """All samples of a source, with what is known about each.

    Use `train`, `validation` and `test`, or `split(name)`; see `split_names`.

    Attributes:
        samples: Everything that was read.
        visible: `(N, sensors)`, bool: the camera sees the object; else its view is blank.
        table: Class, folder, object, frame and group of each sample.
        source: Where it came from.
        form: In which form it came.
        family: The splits that `train`, `validation` and `test` mean, such as `"time"`,
            `"train_dir"`, `"group"` or `"npz"`.
        events: What the reader merged, dropped, filled or skipped, and how often.
        notes: The same in sentences.
        seed: Seed of the order of the training samples.
        batch_size: Samples per batch.
    """

    samples: Samples
    visible: NDArray[np.bool_]
    table: Table
    source: str
    form: str
    family: str
    events: Mapping[str, int] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    seed: int = 0
    batch_size: int = 64

    def __post_init__(self) -> None:
        expected = (len(self.samples), len(self.samples.inputs))
        if self.visible.shape != expected:
            raise InputError(f"visible must have shape {expected}; came {self.visible.shape}")
        families = {name.partition(":")[0] for name in self.split_names}
        family = self.family.partition(":")[0]
        if family not in families:
            raise InputError(
                f"there is no split '{self.family}': this data has {', '.join(self.split_names)}"
            )
        object.__setattr__(self, "family", family)

    def __len__(self) -> int:
        """Number of samples."""
        return len(self.samples)

    @property
    def class_names(self) -> tuple[str, ...]:
        """The classes, by label; sorted by name in folders, as stored in an `.npz`.

        Raises `InputError` where the labels are no classes, see `task`.
        """
        return self.samples.class_names

    @property
    def task(self) -> Task:
        """What the labels mean."""
        return self.samples.task

    @property
    def labels(self) -> NDArray[Any]:
        """What each sample is, one row a sample; see the task's `checked`."""
        return self.samples.labels

    @property
    def sensors(self) -> tuple[str, ...]:
        """The sensors' names, in the order of the columns of `visible`."""
        return tuple(self.samples.inputs)

    @property
    def split_names(self) -> tuple[str, ...]:
        """The names that `split` understands."""
        return split_names(self.table)

    @property
    def groups(self) -> NDArray[Any] | None:
        """Whom, which day or which site each sample is of, `(N,)`; None where that is unknown."""
        return self.table.groups

    @property
    def frames(self) -> NDArray[np.int64] | None:
        """When each sample was seen, as the number of a frame, `(N,)`; None where unknown."""
        return self.table.frames

    def leak(self, name: str, trained: str | None = None) -> str | None:
        """What a split shares with the one that is trained on, in one line; None for nothing.

        See `ddnn_tf.datasets.splits.leak_of`.

        Args:
            name: The split that is reported.
            trained: The split that is trained on; by default the one that belongs to `name`.

        Raises:
            InputError: There is no such split, or it is empty.
        """
        return leak_of(name, self.table, trained)

    @cached_property
    def train(self) -> Batches:
        """The training split, shuffled again every epoch."""
        return self.split("all" if self.family == "all" else f"{self.family}:train", shuffle=True)

    @cached_property
    def validation(self) -> Batches:
        """The split to choose on."""
        return self.split("all" if self.family == "all" else f"{self.family}:validation")

    @cached_property
    def test(self) -> Batches:
        """The split to report; for a folder with its own splits, `test_dir`."""
        if self.family == "all":
            return self.split("all")
        return self.split("test_dir" if self.family.endswith("_dir") else f"{self.family}:test")

    def split(self, name: str, *, shuffle: bool = False, batch_size: int | None = None) -> Batches:
        """The samples of a named split.

        Args:
            name: One of `split_names`; `ddnn_tf.datasets.splits` has the rules.
            shuffle: Whether the order changes every epoch, from `seed`.
            batch_size: Samples per batch; the data set's own by default.

        Raises:
            InputError: There is no such split, or it is empty.
        """
        rows = rows_of(name, self.table)
        return Batches(
            self.samples.take(rows),
            visible=self.visible[rows],
            task=self._learned(name),
            name=name,
            batch_size=self.batch_size if batch_size is None else batch_size,
            shuffle=shuffle,
            rng=np.random.default_rng(self.seed),
        )

    def batched(self, size: int) -> Dataset:
        """The same data in batches of another size."""
        return replace(self, batch_size=size)

    def _learned(self, name: str) -> Task:
        """What the training data of a split say before anything is seen."""
        try:
            rows = rows_of(training_split(name, self.table), self.table)
        except InputError:  # a short sequence may have no training part
            rows = rows_of(name, self.table)
        return self.task.learned(self.labels[rows])

    @cached_property
    def summary(self) -> Summary:
        """What was read, merged, dropped or filled, and the size of every split."""
        splits: dict[str, dict[str, int]] = {}
        sizes: dict[str, int] = {}
        leaks: dict[str, str] = {}
        for name in self.split_names:
            try:
                rows = rows_of(name, self.table)
            except InputError:  # an empty split is no news in a summary
                continue
            if name != "all":
                splits[name] = self.task.counts(self.labels[rows])
                sizes[name] = len(rows)
                if (leak := self.leak(name)) is not None:
                    leaks[name] = leak
        return Summary(
            source=self.source,
            form=self.form,
            samples=len(self),
            sensors={
                name: f"{'x'.join(map(str, values.shape[1:])) or 'scalar'} {values.dtype}"
                for name, values in self.samples.inputs.items()
            },
            seen={
                name: int(count)
                for name, count in zip(self.sensors, self.visible.sum(axis=0), strict=True)
            },
            kind=self.task.kind,
            classes=self.task.counts(self.labels),
            splits=splits,
            sizes=sizes,
            values=_ranges(self.task, self.labels),
            groups=None if self.groups is None else len(group_names(self.groups)),
            leaks=leaks,
            events={what: count for what, count in self.events.items() if count},
            notes=self.notes,
        )


def _ranges(task: Task, labels: NDArray[Any]) -> dict[str, Range]:
    """Of each value of a regression, from where to where it goes; empty for all else."""
    if not isinstance(task, Regression):
        return {}
    return {
        name: Range(
            float(column.min()), float(column.mean(dtype=np.float64)), float(column.max()), unit
        )
        for name, column, unit in zip(task.names, labels.T, task.units, strict=True)
    }
