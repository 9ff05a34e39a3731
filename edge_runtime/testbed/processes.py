"""All nodes of a bundle as processes of this machine, which can be made to fail for real."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import msgspec

from ..bundle.manifest import read_bundle
from ..clock import time_text
from ..errors import InputError
from ..node.settings import LiveSettings
from ..process.closing import Closing
from ..process.launch import command, environment
from ..topology import Topology
from ..transport.deployment import Deployment

#: `running` as far as its process goes; `killed` and `hung` were done to it; `crashed` was not.
ProcessState = Literal["running", "hung", "killed", "crashed"]

#: Seconds that a process has to end by itself.
END_S = 10.0


@dataclass
class _Process:
    popen: subprocess.Popen[bytes]
    state: ProcessState = "running"


class LocalDeployment(Closing):
    """The processes of a bundle's nodes: `ddnn-edge run`, one each.

    Use it in a `with` block: when that ends, in whatever way, so have all the processes. Should
    this process itself be killed, the kernel ends them.

    Args:
        bundle: the bundle's folder.
        sources: where each sensor's views come from, as for `--source`.
        folder: for `deployment.json` and the nodes' logs.
        settings: by which all of them run; where its rule has thresholds, nodes answer early, each
            by its own.
        deployment: where the nodes are; by default on free loopback ports.

    Attributes:
        settings: as given.
        deployment: the same, with frames counted from the moment this was made.
        folders: each node's, of the bundle; another one is used from the node's next start on.
        crashes: nodes that ended without being told to, or not well, in order.
    """

    def __init__(
        self,
        bundle: str | Path,
        sources: Mapping[str, str | Path],
        folder: str | Path,
        settings: LiveSettings = LiveSettings(),
        *,
        deployment: Deployment | None = None,
    ) -> None:
        self.bundle, self.folder = Path(bundle), Path(folder)
        self._manifest, self._nodes = read_bundle(bundle)
        self.settings, self._options = settings, _options(settings)
        self._sources = {sensor: str(source) for sensor, source in sources.items()}
        self._processes: dict[str, _Process] = {}
        self.folders = {node: self.bundle / "nodes" / node for node in self.nodes}
        self.crashes: list[str] = []
        self.deployment = msgspec.structs.replace(
            deployment or Deployment.on_one_host(self.nodes, name="local", first_port=None),
            epoch=time.time(),
            deadline_ms=settings.deadline_ns / 1e6,
        )
        self.path = self.folder / "deployment.json"
        self.deployment.save(self.path)

    @property
    def nodes(self) -> tuple[str, ...]:
        """Their names, in topology order."""
        return self.topology.order

    @property
    def topology(self) -> Topology:
        """The bundle's."""
        return self._manifest.topology

    @property
    def states(self) -> dict[str, ProcessState]:
        """What each process that was started is in."""
        self._look()
        return {node: process.state for node, process in self._processes.items()}

    @property
    def pids(self) -> dict[str, int]:
        """Process ids of the nodes whose process exists."""
        self._look()
        return {
            node: process.popen.pid
            for node, process in self._processes.items()
            if process.popen.returncode is None
        }

    def log(self, node: str) -> Path:
        """Where a node's process writes what it says."""
        return self.folder / f"{node}.log"

    def command(self, node: str) -> list[str]:
        """What starts a node's process."""
        arguments = ["run", str(self.folders[node]), "--deployment", str(self.path)]
        arguments += [*self._options, "--json", "--parent", str(os.getpid())]
        for link in self._nodes[node].incoming:
            if link.sensor and link.source in self._sources:
                arguments += ["--source", f"{link.source}={self._sources[link.source]}"]
        return command(*arguments)

    def start(self, nodes: Sequence[str] | None = None) -> None:
        """Start these nodes, by default all; whether they are ready is for an observer to see."""
        for node in self.nodes if nodes is None else nodes:
            self._start(node)

    def kill(self, node: str) -> None:
        """End a process as a crash or a power failure does: SIGKILL."""
        process = self._process(node)
        process.state = "killed"
        process.popen.kill()
        process.popen.wait()

    def hang(self, node: str) -> None:
        """Stop a process as a deadlock or an overload does, its sockets left open: SIGSTOP."""
        process = self._process(node)
        if process.popen.poll() is None and process.state == "running":
            process.state = "hung"
            process.popen.send_signal(signal.SIGSTOP)

    def restore(self, node: str) -> None:
        """Let a hung process go on, or start an ended one again."""
        process = self._process(node)
        if process.state == "hung":
            process.state = "running"
            process.popen.send_signal(signal.SIGCONT)
        elif process.state != "running":
            self._start(node)

    def close(self) -> None:
        """End all processes, those that hang as well. May be called again."""
        self._look()
        alive = {n: p for n, p in self._processes.items() if p.popen.returncode is None}
        for process in alive.values():
            process.popen.send_signal(signal.SIGTERM)
            process.popen.send_signal(signal.SIGCONT)
        end = time.monotonic() + END_S
        for node, process in alive.items():
            try:
                code = process.popen.wait(max(0.0, end - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.popen.kill()
                code = process.popen.wait()
            # One that hung may find that its name is another's now, which is no fault.
            if code and process.state == "running":
                self.crashes.append(node)
            process.state = "killed"

    def _process(self, node: str) -> _Process:
        if node not in self._processes:
            raise InputError(
                f"no node {node!r} was started; there are {', '.join(self._processes) or 'none'}"
            )
        self._look()
        return self._processes[node]

    def _start(self, node: str) -> None:
        with self.log(node).open("ab") as log:
            popen = subprocess.Popen(
                self.command(node),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=environment(),
                # Ctrl-C is for the process that started these, which then ends them.
                start_new_session=True,
            )
        self._processes[node] = _Process(popen)

    def _look(self) -> None:
        """Notice processes that ended by themselves."""
        for node, process in self._processes.items():
            if process.state in ("running", "hung") and process.popen.poll() is not None:
                process.state = "crashed"
                self.crashes.append(node)


def _options(settings: LiveSettings) -> list[str]:
    """Settings as the options of `ddnn-edge run`."""
    options = ["--fps", str(settings.fps), "--deadline", time_text(settings.deadline_ns)]
    options += ["--encoding", settings.encoding, "--answer", settings.rule.mode]
    options += ["--early"] if settings.rule.early else []
    if settings.smooth_ns is not None:
        options += ["--smooth", time_text(settings.smooth_ns)]
    return [*options, *settings.compute.options()]
