"""Nine real processes of the poster's system: latency, sustained rate, overload, bytes a link."""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edge_runtime.answers.records import Answer, Metrics
from edge_runtime.clock import SECOND, FrameClock
from edge_runtime.evaluation.bundle import Bundle
from edge_runtime.node.settings import LiveSettings
from edge_runtime.testbed.feed import golden_views
from edge_runtime.testbed.observer import Observer
from edge_runtime.testbed.processes import LocalDeployment
from edge_runtime.testbed.replay import Replay
from edge_runtime.testbed.run import LiveRun, Record, RunPlan
from edge_runtime.testbed.run_report import RunReport, judge
from edge_runtime.topology import Topology
from edge_runtime.transport.base import ANSWERS, METRICS, Event
from edge_runtime.transport.zenoh import ZenohTransport

from .bare import BareEcho, invoke_seconds, longest_path
from .bundles import exported

DEADLINE_MS = 100.0
#: Of frames that may be missed where a load is said to fit: a hiccup of the machine is no overload.
FITS = 0.02
#: Frames a second, doubled until they do not fit, and once more.
RATES = (120, 240, 480, 960, 1920, 3840)


class Timed(Observer):
    """Also notes when each answer came to it, on the clock that all processes here share."""

    def __init__(self, topology: Topology) -> None:
        super().__init__(topology)
        self.arrived: dict[int, int] = {}

    def take(self, event: Event, now: int = 0) -> Answer | Metrics | None:
        """As `Observer`."""
        found = super().take(event, now)
        if isinstance(found, Answer):
            self.arrived.setdefault(found.frame, time.monotonic_ns())
        return found


@dataclass(frozen=True)
class Run:
    """What a run came to; `ages_ms`: of the network's answers, from capture to the observer."""

    record: Record
    verdict: RunReport
    observer: Observer
    ages_ms: np.ndarray[tuple[int], np.dtype[np.float64]]

    @property
    def answered(self) -> float:
        """Share of the frames that the network answered within the deadline."""
        return float((self.ages_ms <= DEADLINE_MS).sum() / self.verdict.frames)


def run(bundle: Path, fps: float, frames: int) -> Run:
    """Start all nodes, and count so many frames once all are ready."""
    whole = Bundle(bundle)
    topology = whole.manifest.topology
    views = golden_views(bundle, whole.nodes)
    with tempfile.TemporaryDirectory(prefix="ddnn-") as name:
        folder = Path(name)
        np.savez(folder / "views.npz", allow_pickle=False, **views)
        sources = dict.fromkeys(topology.sensor_names, folder / "views.npz")
        settings = LiveSettings(fps=fps, deadline_ns=int(DEADLINE_MS * 1e6))
        with LocalDeployment(bundle, sources, folder, settings) as local:
            clock = FrameClock.at(
                fps,
                wall_ns=time.time_ns(),
                monotonic_ns=time.monotonic_ns(),
                epoch_ns=int((local.deployment.epoch or 0) * SECOND),
            )
            observer = Timed(topology)
            with ZenohTransport(local.deployment.observer(), topics=[ANSWERS, METRICS]) as seen:
                local.start()
                record = LiveRun(
                    local,
                    seen,
                    clock,
                    RunPlan(frames=frames),
                    observer=observer,
                ).run()
            record.crashes = list(local.crashes)
    verdict = judge(record, Replay(whole, views), None, ())
    network = [f for f in record.counted if f in record.answers and not record.answers[f].fallback]
    ages = [(observer.arrived[f] - clock.begins(f)) / 1e6 for f in network]
    if verdict.mixed_frames or verdict.duplicates or verdict.crashes:
        print(f"  NOT AS IT SHOULD BE: {verdict}")
    return Run(record, verdict, observer, np.array(ages))


def latency(bundle: Path, what: str, fps: float, frames: int, runs: int) -> None:
    """Print how much later than its own computing an answer comes."""
    topology = Bundle(bundle).manifest.topology
    rows, alone, round_trips = [], [], []
    with BareEcho() as bare:
        for _ in range(runs):
            invoke = invoke_seconds(bundle)
            alone.append(1e3 * longest_path(topology, invoke))
            round_trips += [1e3 * bare.round_trip(bytes(128)) for _ in range(50)]
            found = run(bundle, fps, frames)
            own = {n: m.compute_ms for n, m in found.observer.metrics.items()}
            rows.append((*np.percentile(found.ages_ms, (50, 99)), longest_path(topology, own)))
    p50, p99, own_ms = (statistics.median(column) for column in zip(*rows, strict=True))
    compute = statistics.median(alone)
    print(
        f"  {what} at {fps:g} frames/s: median {p50:.2f} ms, p99 {p99:.2f} ms from capture to the "
        f"observer\n"
        f"    critical-path compute {compute:.3f} ms (bare LiteRT; {own_ms:.3f} ms as the nodes "
        f"took it): + {p50 - compute:.2f} ms median (goal 4), + {p99 - compute:.2f} ms p99 "
        f"(goal 10)\n"
        f"    bare Zenoh round trip of 128 bytes {statistics.median(round_trips):.3f} ms; "
        f"{runs} runs of {frames} frames: "
        + ", ".join(f"{row[0]:.2f}/{row[1]:.2f}" for row in rows)
    )


def sustained(bundle: Path, rates: Sequence[float], seconds: float) -> None:
    """Print what is missed at each rate, up to the second that does not fit."""
    fit: float | None = None
    fitted, over = 0.0, 0
    for rate in rates:
        found = run(bundle, rate, max(1, round(rate * seconds)))
        per_second = _row(found, rate, seconds)
        if not over and found.answered >= 1 - FITS:
            fit, fitted = rate, per_second
            continue
        if fit is None:
            print(f"    {rate:g} frames/s do not fit here")
            return
        print(
            f"      at {rate / fit:g} times the {fit:g} frames/s that fit, "
            f"{per_second / fitted:.2f} times their answers in time"
        )
        over += 1
        if over == 2:
            return
    print(f"    {fit:g} frames/s still fit")


def _row(found: Run, fps: float, seconds: float) -> float:
    in_time = found.ages_ms[found.ages_ms <= DEADLINE_MS]
    p50, p99 = np.percentile(found.ages_ms, (50, 99)) if len(found.ages_ms) else (0.0, 0.0)
    per_second = len(in_time) / seconds
    print(
        f"    {fps:g} frames/s: {100 * (1 - found.answered):.2f} % of {found.verdict.frames} missed"
        f" (deadline {DEADLINE_MS:.0f} ms), {per_second:.0f} answers/s in time, age {p50:.2f} ms "
        f"median, {p99:.2f} ms p99, agreement {found.verdict.agreement:g}"
    )
    return per_second


def payload(bundle: Path, what: str, frames: int) -> Run:
    """Print what every link carries for one inference; returns the run."""
    found = run(bundle, 30, frames)
    topology = found.record.topology
    pictures = sum(int(np.prod(s.shape)) for s in topology.sensors)
    print(
        f"  {what}: {found.verdict.payload_bytes} bytes of payload and "
        f"{found.verdict.header_bytes} of headers an inference over "
        f"{sum(x.source in topology.order for x in topology.links)} links; the raw pictures are "
        f"{pictures} bytes a hop"
    )
    for node in topology.order:
        sums, targets = found.observer.sums[node], topology.outgoing(node)
        if targets and sums.frames:
            each = sums.frames * len(targets)
            print(
                f"    {node} -> {', '.join(x.target for x in targets)}: "
                f"{sums.payload_bytes / each:.0f} + {sums.header_bytes / each:.0f} bytes a link"
            )
    return found


def main(frames: int = 600, runs: int = 3, seconds: float = 10.0) -> None:
    """Print all of it."""
    from ddnn_tf import FullyConnected

    with exported("poster-residual") as bundle:
        latency(bundle, "FC-32", 30, frames, runs)
        print("  sustained, FC-32:")
        sustained(bundle, RATES, seconds)
    with exported("poster-residual", "conv") as bundle:
        latency(bundle, "convolutional", 30, frames, runs)
    with exported("poster-edge-skip", FullyConnected(units=8)) as bundle:
        payload(bundle, "edge-skip, 8 float32 units a link", frames=60)


if __name__ == "__main__":
    main()
