"""What the end-to-end tests share: deployments of real processes over real Zenoh on loopback."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from edge_runtime.answers.rule import AnswerRule
from edge_runtime.clock import SECOND, FrameClock
from edge_runtime.evaluation.bundle import Bundle
from edge_runtime.node.settings import LiveSettings
from edge_runtime.samples import Samples
from edge_runtime.testbed.observer import Observer
from edge_runtime.testbed.processes import LocalDeployment
from edge_runtime.testbed.replay import Replay
from edge_runtime.testbed.run import FixedSchedule, LiveRun, Phase, RandomSchedule, Record, RunPlan
from edge_runtime.testbed.run_report import RunReport, judge
from edge_runtime.transport.base import ANSWERS, METRICS, Transport
from edge_runtime.transport.config import ZenohTuning
from edge_runtime.transport.deployment import Deployment
from edge_runtime.transport.zenoh import ZenohTransport
from tests.commands import Deployed
from tests.conftest import ROOT

#: Easy for a busy machine, so that what fails is not its speed.
FPS, DEADLINE_MS = 10.0, 800.0
#: Seconds within which whatever is waited for must have come about.
LIMIT = 60.0

#: By which a process that a busy machine lets wait does not count as hung, nor falls silent.
PATIENT = ZenohTuning(lease_ms=1000, settle_ms=300)
#: Seconds that an answer given at its deadline may take to the observer.
GRACE_S = 2.0

_T = TypeVar("_T")


def until(condition: Callable[[], _T], what: str) -> _T:
    """The first true value of a condition; looks often, and gives up after `LIMIT`."""
    end = time.monotonic() + LIMIT
    pause = threading.Event()
    while time.monotonic() < end:
        if value := condition():
            return value
        pause.wait(0.02)
    raise AssertionError(f"not within {LIMIT:.0f} s: {what}")


def exists(pid: int) -> bool:
    """Whether a process is there and not merely waiting to be reaped."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def looking_on(deployment: Deployment, folder: Path) -> Transport:
    """An observer in this process."""
    return ZenohTransport(deployment.observer(), topics=[ANSWERS, METRICS])


def local(
    bundle: Path,
    sources: Mapping[str, Path],
    folder: Path,
    settings: LiveSettings,
    *,
    kind: type[LocalDeployment] = LocalDeployment,
) -> LocalDeployment:
    """All nodes on this machine, which may be busy."""
    order = Bundle(bundle).manifest.topology.order
    places = Deployment.on_one_host(order, name="local", first_port=None, tuning=PATIENT)
    return kind(bundle, sources, folder, settings, deployment=places)


class Live:
    """A bundle's nodes as processes, and an observer of them.

    `nodes` makes the deployment, as `LocalDeployment` does; `watcher` what looks on.
    """

    def __init__(
        self,
        it: Deployed,
        folder: Path,
        *,
        encoding: Any = "raw",
        fps: float = FPS,
        deadline_ms: float = DEADLINE_MS,
        rule: AnswerRule = AnswerRule(),
        nodes: Callable[..., LocalDeployment] = local,
        watcher: Callable[[Deployment, Path], Transport] = looking_on,
    ) -> None:
        self.it, self.folder = it, folder
        self.topology = it.topology
        self.samples = Samples.load_npz(it.test)
        self.encoding = encoding
        folder.mkdir(exist_ok=True)
        self.nodes = nodes(
            it.bundle,
            dict.fromkeys(self.topology.sensor_names, it.test),
            folder,
            LiveSettings(fps=fps, deadline_ns=int(deadline_ms * 1e6), encoding=encoding, rule=rule),
        )
        epoch = self.nodes.deployment.epoch
        assert epoch is not None
        self.clock = FrameClock.at(
            fps,
            wall_ns=time.time_ns(),
            monotonic_ns=time.monotonic_ns(),
            epoch_ns=int(epoch * SECOND),
        )
        self.transport = watcher(self.nodes.deployment, folder)
        self.observer = Observer(self.topology)

    def close(self) -> None:
        pids = list(self.nodes.pids.values())
        self.transport.close()
        self.nodes.close()
        assert not [pid for pid in pids if exists(pid)]

    def hold(
        self, plan: RandomSchedule | FixedSchedule, frames: int | None = None
    ) -> tuple[Record, RunReport]:
        """Run configurations and judge what was answered."""
        run = LiveRun(
            self.nodes,
            self.transport,
            self.clock,
            RunPlan(plan, frames),
            observer=self.observer,
        )
        record = run.run()
        return record, self._judge(record, plan)

    def during(self, body: Callable[[], object], *down: str) -> tuple[Record, RunReport]:
        """Judge what is answered while `body` runs, and what it does to the deployment stands.

        `down`: what fails in it, for however short a time.
        """
        before = self.observer.duplicates
        start = time.monotonic_ns()
        first = self.clock.frame(start) + 1
        body()
        # The frames that began before it ended, once all are answered or can be no more.
        last = self.clock.frame(time.monotonic_ns())
        over = self.clock.begins(last) + self.nodes.settings.deadline_ns + int(GRACE_S * SECOND)
        self.watch(
            lambda: (
                time.monotonic_ns() > over
                or all(frame in self.observer.answers for frame in range(first, last + 1))
            ),
            "the last deadline",
        )
        self.watch(lambda: self.clock.frame(time.monotonic_ns()) > last, "the next frame")
        record = Record(
            self.topology,
            self.clock,
            self.nodes.settings.deadline_ns,
            first=first,
            last=last,
            counted=list(range(first, last + 1)),
            phases=[Phase(start, frozenset(down), converged=True)],
            answers={f: a for f, a in self.observer.answers.items() if first <= f <= last},
            duplicates=self.observer.duplicates - before,
            crashes=list(self.nodes.crashes),
        )
        return record, self._judge(record, ())

    def _judge(self, record: Record, plan: RandomSchedule | FixedSchedule | tuple[()]) -> RunReport:
        replay = Replay(Bundle(self.it.bundle), self.samples.inputs, self.encoding)
        return judge(record, replay, self.samples.labels, plan)

    def watch(self, condition: Callable[[], _T], what: str) -> _T:
        """Take what the deployment tells until a condition is true."""

        def look() -> _T:
            event = self.transport.receive(0.02)
            while event is not None:
                self.observer.take(event)
                event = self.transport.receive(0)
            return condition()

        return until(look, what)

    def converge(self, *down: str) -> None:
        """Wait until exactly these nodes have failed and all others know it."""
        self.watch(
            lambda: self.observer.not_converged(down) is None,
            f"all converged but {', '.join(down) or 'none'}: {self.observer.not_converged(down)}",
        )

    def answers(self, count: int) -> list[Any]:
        """The answers to frames that begin from now on, until there are so many."""
        first = self.clock.frame(time.monotonic_ns()) + 1

        def found() -> list[Any]:
            new = [a for f, a in self.observer.answers.items() if f >= first]
            return new if len(new) >= count else []

        return self.watch(found, f"{count} answers")

    def log(self, node: str) -> str:
        return self.nodes.log(node).read_text()


def check(
    record: Record, verdict: RunReport, *, least: int = 20, crashes: Sequence[str] = ()
) -> None:
    """What holds whatever happens."""
    check_truth(verdict, least=least, crashes=crashes)
    assert verdict.unanswered <= few(verdict.answerable)
    assert len(record.answers) >= verdict.frames - few(verdict.frames)


def few(frames: int) -> float:
    """How many of these a busy machine may cost: one, or one in a hundred.

    That a failure costs none is for the simulation to hold, where no machine is busy.
    """
    return max(1.0, 0.01 * frames)


def check_truth(verdict: RunReport, *, least: int = 20, crashes: Sequence[str] = ()) -> None:
    """What holds however slow the machine is: whatever is answered is true, and nobody fell."""
    assert (verdict.agreement, verdict.mixed_frames, verdict.duplicates) == (1.0, 0, 0)
    assert verdict.crashes == tuple(crashes)
    assert verdict.answerable == verdict.frames >= least


def check_logs(deployment: Live) -> None:
    """No node met an error that it did not know."""
    for node in deployment.topology.order:
        assert "Traceback" not in deployment.log(node)


@contextmanager
def live(it: Deployed, folder: Path, *, start: bool = True, **options: Any) -> Iterator[Live]:
    """A deployment that is up and converged, and gone afterwards."""
    found = Live(it, folder, **options)
    try:
        if start:
            found.nodes.start()
            found.converge()
        yield found
    finally:
        found.close()


@contextmanager
def command(*arguments: str | Path, **options: Any) -> Iterator[subprocess.Popen[str]]:
    """`ddnn-edge` in a process of its own, which is ended if it has not."""
    words = [sys.executable, "-m", "edge_runtime", *(os.fspath(a) for a in arguments)]
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True} | options
    process = subprocess.Popen(words, **options)
    try:
        yield process
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGKILL)
        process.communicate()


class Companion:
    """A process of one of the modules here, from its first line to what it says at its end."""

    def __init__(self, module: str, *arguments: str | Path) -> None:
        words = [os.fspath(argument) for argument in arguments]
        self._process = subprocess.Popen(
            [sys.executable, "-m", f"{__package__}.{module}", *words],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
        )
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == "ready\n"

    def end(self) -> dict[str, int]:
        """Let it end; what it did."""
        out, _ = self._process.communicate(timeout=LIMIT)
        assert self._process.returncode == 0
        found: dict[str, int] = json.loads(out)
        return found

    def close(self) -> None:
        if self._process.poll() is None:
            self._process.kill()
            self._process.communicate()


def descendants(pid: int) -> set[int]:
    """Process ids of the children of a process, and theirs."""
    found: set[int] = set()
    todo = [pid]
    while todo:
        parent = todo.pop()
        for path in Path(f"/proc/{parent}/task").glob("*/children"):
            try:
                children = {int(word) for word in path.read_text().split()}
            except (FileNotFoundError, ProcessLookupError):
                continue
            todo += children - found
            found |= children
    return found
