"""How soon a dead, hung or cut-off node is known, and how soon one that returns is heard again.

`python -m benchmarks.presence DEPLOYMENT.json` is the watcher: it prints what it sees, and when.
"""

from __future__ import annotations

import json
import queue
import random
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from edge_runtime.answers.records import Metrics
from edge_runtime.evaluation.bundle import Bundle
from edge_runtime.testbed.feed import golden_views
from edge_runtime.testbed.processes import LocalDeployment
from edge_runtime.transport.base import METRICS, PeerDown, PeerUp, Received
from edge_runtime.transport.deployment import Deployment, Place
from edge_runtime.transport.zenoh import ZenohTransport
from tests.edge_runtime.transport.namespaces import ADDRESSES, Cable

from .bare import LIMIT, BareEcho, invoke_seconds
from .bundles import exported

#: The node that is made to fail, and one that hears it.
NODE, RECEIVER = "edge1", "fog2"
LEASE_MS = 500
#: How long a link stays away, at most, once it is known to be.
LONGEST_S = 1.5

Fact = dict[str, Any]


# -- the watcher -----------------------------------------------------------------------------------


def watch(path: str) -> None:
    """Print every change of presence, and of whom each node waits for, until stdin ends."""
    with ZenohTransport(Deployment.load(path).observer(), topics=[METRICS]) as transport:

        def wait() -> None:
            sys.stdin.read()
            transport.close()

        threading.Thread(target=wait).start()
        while (event := transport.receive(None)) is not None:
            at = time.monotonic_ns()
            match event:
                case PeerUp(node):
                    fact: Fact = {"up": node}
                case PeerDown(node):
                    fact = {"down": node}
                case Received(payload=payload):
                    metrics = msgspec.json.decode(payload, type=Metrics)
                    fact = {"node": metrics.node, "peers": metrics.peers}
            print(json.dumps({"at": at, **fact}), flush=True)


class Watcher:
    """A watcher in a process, so that it can be in another network namespace."""

    def __init__(self, path: Path, prefix: tuple[str, ...] = ()) -> None:
        self._process = subprocess.Popen(
            [*prefix, sys.executable, "-m", "benchmarks.presence", str(path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._facts: queue.SimpleQueue[Fact] = queue.SimpleQueue()
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def until(self, what: str, holds: Callable[[Fact], bool], since: int = 0) -> int:
        """When, in monotonic nanoseconds and not before `since`, it saw something first."""
        end = time.monotonic() + LIMIT
        while True:
            try:
                fact = self._facts.get(timeout=max(0.0, end - time.monotonic()))
            except queue.Empty:
                raise RuntimeError(f"not seen within {LIMIT:.0f} s: {what}") from None
            if fact["at"] >= since and holds(fact):
                return int(fact["at"])

    def gone(self, node: str, since: int) -> int:
        """When its presence went."""
        return self.until(f"{node} is gone", lambda fact: fact.get("down") == node, since)

    def heard(self, condition: str, since: int = 0) -> int:
        """When the receiver told that it stands so with the node."""
        return self.until(
            f"{RECEIVER} has {NODE} {condition}",
            lambda fact: fact.get("node") == RECEIVER and fact["peers"].get(NODE) == condition,
            since,
        )

    def close(self) -> None:
        """End it."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()
        self._reader.join()

    def _read(self) -> None:
        assert self._process.stdout is not None
        with self._process.stdout as lines:
            for line in lines:
                self._facts.put(json.loads(line))

    def __enter__(self) -> Watcher:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


# -- kill and hang ---------------------------------------------------------------------------------


def processes(bundle: Path, runs: int) -> Mapping[str, list[float]]:
    """Milliseconds until a killed, a hung, and a restarted node is known; by what was done."""
    found: dict[str, list[float]] = {"SIGKILL": [], "restart": [], "SIGSTOP": [], "SIGCONT": []}
    with _folder(bundle) as (folder, sources):
        local = LocalDeployment(bundle, sources, folder)
        with local, Watcher(local.path) as watcher:
            local.start()
            watcher.heard("expected")
            for _ in range(runs):
                start = time.monotonic_ns()
                local.kill(NODE)
                found["SIGKILL"].append(_ms(watcher.gone(NODE, start) - start))
                watcher.heard("absent", start)
                local.log(NODE).write_text("")
                local.restore(NODE)
                start = _ready(local.log(NODE))
                found["restart"].append(_ms(watcher.heard("expected", start) - start))
                start = time.monotonic_ns()
                local.hang(NODE)
                found["SIGSTOP"].append(_ms(watcher.gone(NODE, start) - start))
                watcher.heard("absent", start)
                start = time.monotonic_ns()
                local.restore(NODE)
                found["SIGCONT"].append(_ms(watcher.heard("expected", start) - start))
    return found


def _ready(log: Path) -> int:
    """When a process said that it is ready, in monotonic nanoseconds."""
    end = time.monotonic() + LIMIT
    pause = threading.Event()
    while '"event": "named"' not in log.read_text():
        if time.monotonic() > end:
            raise RuntimeError(f"not ready within {LIMIT:.0f} s: {log.read_text()}")
        pause.wait(0.001)
    return time.monotonic_ns()


# -- the link --------------------------------------------------------------------------------------


def link(bundle: Path, runs: int) -> Mapping[str, list[float]]:
    """Milliseconds until a link that went down or returned is known. Raises `OSError` if not root.

    The node and its receiver are in network namespaces of their own, with one cable between them.
    """
    found: dict[str, list[float]] = {"link down": [], "link returns": []}
    with _folder(bundle) as (folder, sources), Cable() as cable, ExitStack() as stack:
        sides = dict(zip(ADDRESSES, (NODE, RECEIVER), strict=True))
        deployment = Deployment(
            schema=1,
            nodes={
                node: Place(listen=(f"tcp/{ADDRESSES[side]}:7450",)) for side, node in sides.items()
            },
            epoch=time.time(),
        )
        path = folder / "deployment.json"
        deployment.save(path)
        for side, node in sides.items():
            command = [*cable.inside(side), sys.executable, "-m", "edge_runtime", "run"]
            command += [str(bundle / "nodes" / node), "--deployment", str(path)]
            for name, source in sources.items() if node == NODE else ():
                if any(name == x.source for x in Bundle(bundle).nodes[node].incoming):
                    command += ["--source", f"{name}={source}"]
            process = stack.enter_context(subprocess.Popen(command, stdout=subprocess.DEVNULL))
            stack.callback(process.terminate)
        watcher = stack.enter_context(Watcher(path, cable.inside("right")))
        watcher.heard("expected")
        # The receiver calls again and again, in a rhythm that starts when the link goes: so that no
        # moment of it is preferred, the link stays away for a while, drawn again each time.
        rng = random.Random(0)
        for _ in range(runs):
            start = time.monotonic_ns()
            cable.unplug()
            found["link down"].append(_ms(watcher.heard("absent", start) - start))
            time.sleep(rng.uniform(0.0, LONGEST_S))
            start = time.monotonic_ns()
            cable.plug()
            found["link returns"].append(_ms(watcher.heard("expected", start) - start))
    return found


@contextmanager
def _folder(bundle: Path) -> Iterator[tuple[Path, dict[str, Path]]]:
    """A folder, and in it what each sensor sees."""
    whole = Bundle(bundle)
    with tempfile.TemporaryDirectory(prefix="ddnn-") as name:
        views = Path(name) / "views.npz"
        np.savez(views, allow_pickle=False, **golden_views(bundle, whole.nodes))
        yield Path(name), dict.fromkeys(whole.manifest.topology.sensor_names, views)


def _ms(nanoseconds: int) -> float:
    return nanoseconds / 1e6


# -- the rows --------------------------------------------------------------------------------------

ROWS: Mapping[str, tuple[str, str]] = {
    "SIGKILL": ("known dead after SIGKILL", "20"),
    "SIGSTOP": (f"known dead after SIGSTOP, lease {LEASE_MS} ms", "550"),
    "link down": (f"known dead after its link went down, lease {LEASE_MS} ms", "550"),
    "restart": ("waited for again, from when the restarted process is ready", "250"),
    "SIGCONT": ("waited for again, from SIGCONT", "none set"),
    "link returns": ("waited for again, from when the link is back", "1200"),
}


def main(runs: int = 9, links: int = 30) -> None:
    """Print a row each."""
    with exported("poster-residual") as bundle:
        found = dict(processes(bundle, runs))
        try:
            found |= link(bundle, links)
        except OSError as error:
            print(f"  link down, link returns: skipped, needs root and iproute2: {error}")
        invoke = statistics.median(invoke_seconds(bundle).values())
    with BareEcho() as bare:
        round_trip = statistics.median(bare.round_trip(bytes(128)) for _ in range(300))
    for kind, (what, goal) in ROWS.items():
        if kind in found:
            ms = found[kind]
            nine = sorted(ms)[9 * (len(ms) - 1) // 10]
            print(
                f"  {what}: {statistics.median(ms):.1f} ms ({min(ms):.1f} to {max(ms):.1f}, "
                f"nine in ten by {nine:.1f}, {len(ms)} runs; goal {goal})"
            )
    print(
        f"  beside it, bare Zenoh round trip {1e3 * round_trip:.3f} ms, bare LiteRT invoke "
        f"{1e3 * invoke:.3f} ms"
    )


if __name__ == "__main__":
    watch(sys.argv[1])
