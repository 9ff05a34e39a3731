"""Logs of body-worn motion sensors, in the form of the MHEALTH set: windows of one activity.

    mHealth_subject{n}.log

One subject's log a file; one instant a line, 50 a second; 23 channels and the number of the
activity between white space (Banos et al., *mHealthDroid: a novel framework for agile development
of mobile health applications*, IWAAL 2014). Activity 0 means that none is known.
"""

from __future__ import annotations

import os
import re
import warnings
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edge_runtime.errors import InputError
from edge_runtime.samples import Samples

from .dataset import Dataset
from .splits import Table, default_family

FORM = "mhealth"
#: The one sensor's name: what all channels together are to the `health` topology.
SENSOR = "body"
#: Three accelerations of the chest, two leads of ECG, then acceleration, rotation and magnetic
#: field along three axes each, at the left ankle and at the right lower arm.
CHANNELS = 23
#: Instants in a window: a second.
WINDOW = 50
#: The activities by their number in the logs, less one.
ACTIVITIES = (
    "standing", "sitting", "lying", "walking", "climbing_stairs", "waist_bends", "raising_arms",
    "crouching", "cycling", "jogging", "running", "jumping",
)  # fmt: skip
_FILE = re.compile(r"mHealth_subject(\d+)\.log", re.IGNORECASE)

Rows = NDArray[np.float32]


def is_mhealth(source: Path) -> bool:
    """Whether a folder has this form: it holds a log named after a subject."""
    return source.is_dir() and any(_FILE.fullmatch(path.name) for path in source.iterdir())


def read_mhealth(
    source: str | os.PathLike[str],
    *,
    split: str | None = None,
    seed: int = 0,
    batch_size: int = 64,
    window: int = WINDOW,
    stride: int | None = None,
) -> Dataset:
    """Read the logs, and cut them into windows in which one activity goes on.

    A sample is a window: float32 (window, 23), in the logs' own units. No window spans two
    activities or two subjects. Instants without an activity, and what is left over at the end of
    one, are dropped and counted in `Dataset.summary`. The classes are `ACTIVITIES`.

    Args:
        source: The folder that holds the logs.
        split: The splits that `train`, `validation` and `test` stand for; by default `group`, by
            subject, so that nobody is both trained on and reported; `npz` where there is one alone.
        seed: Seed of the order of the training samples.
        batch_size: Samples per batch.
        window: Instants in a window, 50 a second.
        stride: Instants from one window's start to the next's; `window` by default.

    Raises:
        InputError: A log is empty, damaged or has other columns; or no window fits.
    """
    step = window if stride is None else stride
    if window < 1 or step < 1:
        raise InputError(f"expected a window and a stride of at least 1, got {window} and {step}")
    root = Path(source)
    windows: list[Rows] = []
    labels: list[int] = []
    subjects: list[int] = []
    events: Counter[str] = Counter()
    for subject, path in _logs(root):
        rows, activities = _read(path)
        for activity, run in _runs(activities):
            part = rows[run]
            if activity == 0:
                events["dropped instants without activity"] += len(part)
                continue
            starts = range(0, len(part) - window + 1, step)
            windows += [part[start : start + window] for start in starts]
            labels += [activity - 1] * len(starts)
            subjects += [subject] * len(starts)
            used = starts[-1] + window if starts else 0
            events["dropped instants at the end of an activity"] += len(part) - used
    if not windows:
        raise InputError(
            f"{root}: no activity lasts for {window} instants; choose a shorter window"
        )
    samples = Samples(
        {SENSOR: np.stack(windows)}, np.array(labels, np.int64), ACTIVITIES, np.array(subjects)
    )
    table = Table(labels=samples.labels, groups=samples.groups)
    return Dataset(
        samples=samples,
        visible=np.ones((len(windows), 1), bool),
        table=table,
        source=str(root),
        form=FORM,
        family=default_family(table) if split is None else split,
        events=events,
        seed=seed,
        batch_size=batch_size,
    )


def _logs(root: Path) -> list[tuple[int, Path]]:
    found: dict[int, Path] = {}
    for path in sorted(root.iterdir()):
        match = _FILE.fullmatch(path.name)
        if match is None:
            continue
        subject = int(match.group(1))
        if subject in found:
            raise InputError(
                f"{path} is subject {subject} a second time, after {found[subject].name}; "
                "remove one of them"
            )
        found[subject] = path
    return sorted(found.items())


def _read(path: Path) -> tuple[Rows, NDArray[np.int64]]:
    expected = f"expected {CHANNELS} channels and the number of an activity in every line"
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "loadtxt: input contained no data")
            table = np.loadtxt(path, dtype=np.float64, comments=None, ndmin=2)
    except ValueError as error:  # numpy names the line
        raise InputError(f"{path}: {expected}; {error}. Restore the log") from error
    if not table.size:
        raise InputError(f"{path} is empty: {expected}. Restore the log, or remove it")
    if table.shape[1] != CHANNELS + 1:
        raise InputError(f"{path}: {expected}, got {table.shape[1]} columns")
    channels, activities = table[:, :CHANNELS], table[:, CHANNELS]
    known = np.isin(activities, range(len(ACTIVITIES) + 1))
    wrong = ~(known & np.isfinite(channels).all(axis=1))
    if wrong.any():
        line = int(wrong.argmax())
        raise InputError(
            f"{path}, line {line + 1}: expected finite numbers and an activity from 0 to "
            f"{len(ACTIVITIES)}, got {' '.join(f'{x:g}' for x in table[line])}. Restore the log"
        )
    return channels.astype(np.float32), activities.astype(np.int64)


def _runs(activities: NDArray[np.int64]) -> Iterator[tuple[int, slice]]:
    """Each activity that goes on without a break, and where."""
    ends = [*(np.flatnonzero(np.diff(activities)) + 1).tolist(), len(activities)]
    start = 0
    for end in ends:
        yield int(activities[start]), slice(start, end)
        start = end
