"""The baselines of live measurements: Zenoh alone, LiteRT alone, in the same run."""

from __future__ import annotations

import json
import multiprocessing
import statistics
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from edge_runtime.bundle.manifest import read_bundle
from edge_runtime.bundle.sections import load_section, read_golden
from edge_runtime.topology import Topology
from edge_runtime.transport.config import ZenohConfig
from edge_runtime.transport.deployment import Deployment
from edge_runtime.transport.zenoh import zenoh_settings

#: Seconds until something that should have come is missed.
LIMIT = 30.0
#: Seconds after which a message is taken for lost: a machine that is busy drops links.
AGAIN = 2.0

spawn = multiprocessing.get_context("spawn")


def two_places() -> tuple[ZenohConfig, ZenohConfig]:
    """Transports of `driver`, which calls, and `echo`, on free loopback ports."""
    deployment = Deployment.on_one_host(("driver", "echo"), first_port=None)
    return deployment.transport("driver", ["echo"]), deployment.transport("echo", [])


@contextmanager
def child(target: Any, *arguments: Any) -> Iterator[Connection]:
    """A process that runs `target(connection, *arguments)` until the connection is closed."""
    ours, theirs = spawn.Pipe()
    process = spawn.Process(target=target, args=(theirs, *arguments), daemon=True)
    process.start()
    theirs.close()
    try:
        if not ours.poll(LIMIT):
            raise RuntimeError(f"{target.__name__} did not start within {LIMIT:.0f} s")
        ours.recv()
        yield ours
    finally:
        ours.close()
        process.join(LIMIT)
        if process.is_alive():
            process.kill()
            process.join()


@contextmanager
def until_closed(connection: Connection, stop: Callable[[], None]) -> Iterator[None]:
    """Say that this child is ready, and call `stop` when its parent closes the connection."""

    def wait() -> None:
        with suppress(EOFError, OSError):
            connection.recv()
        stop()

    thread = threading.Thread(target=wait, daemon=True)
    thread.start()
    connection.send("ready")
    yield
    thread.join()


def echo_bare(connection: Connection, settings: str) -> None:
    """Send back whatever comes, by nothing but Zenoh."""
    session = _open(settings)
    subscriber = session.declare_subscriber("bare/ping")
    publisher = _publisher(session, "bare/pong")
    with until_closed(connection, session.close):
        # Closing the session ends the samples.
        for sample in subscriber:
            publisher.put(sample.payload.to_bytes())


class BareEcho:
    """Round trips between two processes by nothing but Zenoh, set up as the transport is."""

    def __init__(self) -> None:
        here, there = two_places()
        self._child = child(echo_bare, _settings(there))
        self._child.__enter__()
        self._session = _open(_settings(here))
        self._pong = self._session.declare_subscriber("bare/pong")
        self._ping = _publisher(self._session, "bare/ping")
        end = time.monotonic() + LIMIT
        while not self._ping.matching_status.matching:
            if time.monotonic() > end:
                raise RuntimeError("two Zenoh processes of this machine did not meet")
            time.sleep(0.01)
        #: When the trip that is under way began, and what it carries: `recv` has no limit.
        self._open: tuple[float, bytes] | None = None
        self._ended = threading.Event()
        self._again = threading.Thread(target=self._send_again, daemon=True)
        self._again.start()

    def round_trip(self, payload: bytes) -> float:
        """Seconds until the payload is back; one that a lost link swallowed is sent again."""
        while self._pong.try_recv() is not None:
            pass  # the answers to what was sent again
        start = time.perf_counter()
        self._open = start, payload
        self._ping.put(payload)
        self._pong.recv().payload.to_bytes()
        seconds = time.perf_counter() - start
        self._open = None
        return seconds

    def _send_again(self) -> None:
        while not self._ended.wait(AGAIN):
            trip = self._open
            if trip is not None and time.perf_counter() - trip[0] > AGAIN:
                self._ping.put(trip[1])

    def __enter__(self) -> BareEcho:
        return self

    def __exit__(self, *exception: object) -> None:
        self._ended.set()
        self._again.join()
        self._session.close()
        self._child.__exit__(None, None, None)


def invoke_seconds(bundle: Path, times: int = 300) -> dict[str, float]:
    """Median seconds of one evaluation of each node's artifact, by LiteRT in this process.

    On one sample of what export kept; the nodes in turn.
    """
    _, nodes = read_bundle(bundle)
    work = {}
    for name, manifest in nodes.items():
        folder = bundle / "nodes" / name
        inputs, _ = read_golden(folder, manifest)
        work[name] = (load_section(folder, manifest), {n: x[:1] for n, x in inputs.items()})
    found: dict[str, list[float]] = {name: [] for name in work}
    for _ in range(times):
        for name, (section, inputs) in work.items():
            start = time.perf_counter()
            section(inputs)
            found[name].append(time.perf_counter() - start)
    return {name: statistics.median(seconds) for name, seconds in found.items()}


def longest_path(topology: Topology, seconds: dict[str, float]) -> float:
    """The most that nodes one after the other take, from the sensors to the answer."""
    until: dict[str, float] = dict.fromkeys(topology.sensor_names, 0.0)
    for node in topology.order:
        until[node] = seconds[node] + max(until[x.source] for x in topology.incoming(node))
    return until[topology.output]


def _settings(config: ZenohConfig) -> str:
    return json.dumps(zenoh_settings(config, "peer"))


def _open(settings: str) -> Any:
    import zenoh

    return zenoh.open(zenoh.Config.from_json5(settings))


def _publisher(session: Any, key: str) -> Any:
    import zenoh

    return session.declare_publisher(
        key, congestion_control=zenoh.CongestionControl.DROP, express=True
    )
