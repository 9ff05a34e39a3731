"""How a live run looks to a person: a table where rich is installed, else a line a second."""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, TextIO

import numpy as np

from ..answers.records import Answer, Metrics, values_of
from ..arrays import Array
from ..clock import SECOND
from ..task import Task
from .observer import Observer
from .run import LiveRun, Monitor

#: Lines of what was done that a table shows.
SAID = 6


@dataclass(frozen=True)
class Row:
    """One node, of late: frames per second, milliseconds of computing, megabytes resident."""

    node: str
    state: str
    frames: float
    compute_ms: float
    resident_mb: float


@dataclass(frozen=True)
class View:
    """A run so far. Latencies in milliseconds; `score` of the answers, where targets are known."""

    seconds: float
    rows: tuple[Row, ...]
    answers: int
    answers_a_second: float
    p50: float | None
    p99: float | None
    score: str | None


class Viewer:
    """Looks at a run about every second."""

    def __init__(self, task: Task, targets: Array | None) -> None:
        self._task = task
        self._targets = None if targets is None else task.checked(targets)
        self._metrics: dict[str, Metrics] = {}
        self._at = self._begun = 0
        self._seen, self._sum = 0, 0.0

    def look(self, run: LiveRun, now: int) -> View:
        """The run as it is now, in monotonic nanoseconds."""
        self._begun = self._begun or now
        seconds = max(1e-9, (now - self._at) / SECOND)
        observer = run.observer
        states = run.deployment.states
        rows = tuple(
            self._row(node, states.get(node, "absent"), observer, seconds)
            for node in run.topology.order
        )
        count = observer.answered
        new = list(islice(reversed(observer.answers.values()), count - self._seen))
        ages = [a.age_ms for a in new if not a.fallback]
        score = None
        if self._targets is not None and count:
            self._sum += self._scored(new, self._targets)
            own = self._task.score
            score = f"{own.name} {own.text(self._sum / count)}"
        view = View(
            seconds=(now - self._begun) / SECOND,
            rows=rows,
            answers=count,
            answers_a_second=len(new) / seconds,
            p50=float(np.percentile(ages, 50)) if ages else None,
            p99=float(np.percentile(ages, 99)) if ages else None,
            score=score,
        )
        self._metrics, self._at, self._seen = dict(observer.metrics), now, count
        return view

    def _scored(self, answers: Sequence[Answer], targets: Array) -> float:
        """Sum of what answers score."""
        if not answers:
            return 0.0
        rows = np.array([answer.frame for answer in answers]) % len(targets)
        values = [values_of(self._task, answer) for answer in answers]
        scorer = self._task.scorer(targets[rows])
        return float(scorer.per_sample(scorer.points(np.stack(values))).sum())

    def _row(self, node: str, process: str, observer: Observer, seconds: float) -> Row:
        """A node whose process is in the state `process`, over the last `seconds`."""
        metrics, before = observer.metrics.get(node), self._metrics.get(node)
        unseen = process == "running" and node not in observer.presence
        state = "starting" if unseen else process
        if metrics is None:
            return Row(node, state, 0.0, 0.0, 0.0)
        frames = 0.0
        if before is not None and state == "running":
            frames = max(0.0, (metrics.frames - before.frames) / seconds)
        return Row(node, state, frames, metrics.compute_ms, metrics.resident_mb)


def summary(view: View) -> str:
    """A view in a line."""
    parts = [f"{view.seconds:6.1f} s", f"{view.answers} answers"]
    parts.append(f"{view.answers_a_second:.0f}/s")
    if view.p50 is not None:
        parts.append(f"latency {view.p50:.1f} ms (p99 {view.p99:.1f})")
    if view.score is not None:
        parts.append(view.score)
    return "  ".join(parts)


class PlainMonitor:
    """A line a second."""

    def __init__(self, viewer: Viewer, out: TextIO) -> None:
        self._viewer, self._out = viewer, out

    def show(self, run: LiveRun, now: int) -> None:
        """As in `Monitor`."""
        view = self._viewer.look(run, now)
        others = [f"{row.node} {row.state}" for row in view.rows if row.state != "running"]
        print("  ".join([summary(view), *others]), file=self._out, flush=True)

    def say(self, text: str) -> None:
        """As in `Monitor`."""
        print(f"-- {text}", file=self._out, flush=True)

    def close(self) -> None:
        """As in `Monitor`."""


class RichMonitor:
    """A table that stays in its place."""

    def __init__(self, viewer: Viewer, live: Any, table: Any) -> None:
        self._viewer, self._live, self._table = viewer, live, table
        self._said: deque[str] = deque(maxlen=SAID)
        self._live.start()

    def show(self, run: LiveRun, now: int) -> None:
        """As in `Monitor`."""
        view = self._viewer.look(run, now)
        caption = "\n".join([summary(view), *self._said])
        table = self._table(caption=caption, caption_justify="left")
        for heading in ("node", "state", "frames/s", "compute ms", "MB"):
            table.add_column(heading, justify="left" if heading in ("node", "state") else "right")
        for row in view.rows:
            style = None if row.state == "running" else "red"
            table.add_row(
                row.node,
                row.state,
                f"{row.frames:.0f}",
                f"{row.compute_ms:.2f}",
                f"{row.resident_mb:.0f}",
                style=style,
            )
        self._live.update(table, refresh=True)

    def say(self, text: str) -> None:
        """As in `Monitor`."""
        self._said.append(text)

    def close(self) -> None:
        """As in `Monitor`."""
        self._live.stop()


def open_monitor(task: Task, targets: Array | None, out: TextIO | None = None) -> Monitor:
    """A table on a terminal where rich is installed, else lines."""
    viewer = Viewer(task, targets)
    out = out or sys.stdout
    if out.isatty():
        try:
            from rich.console import Console
            from rich.live import Live
            from rich.table import Table
        except ModuleNotFoundError:
            pass
        else:
            live = Live(console=Console(file=out), auto_refresh=False)
            return RichMonitor(viewer, live, Table)
    return PlainMonitor(viewer, out)
