"""A deployment whose nodes are on machines of their own, as far as the network can tell."""

import json
import os
import subprocess
import sys
from collections.abc import Iterable
from contextlib import ExitStack, suppress
from types import TracebackType
from typing import Any, Self

from edge_runtime.testbed.processes import LocalDeployment
from edge_runtime.transport.config import ZenohTuning
from edge_runtime.transport.deployment import Deployment, Place
from tests.conftest import ROOT
from tests.edge_runtime.transport.namespaces import run

#: Whose namespace has the one who looks on.
WATCHER = "watcher"
PORT = 7450


class Machines:
    """A network namespace for each of these names, and a switch between them.

    Everything in them stays in them: there is no way to the outside. Raises `OSError` with the
    reason where this machine does not let us make them.
    """

    def __init__(self, names: Iterable[str], *, seed: int = 0) -> None:
        self.addresses = {name: f"10.255.78.{i}" for i, name in enumerate(names, 1)}
        self._seed = seed
        self._stack = ExitStack()

    def inside(self, name: str) -> tuple[str, ...]:
        """What to put before a command that is to run on one of them."""
        return ("ip", "netns", "exec", self._namespace(name))

    def unplug(self, name: str) -> None:
        """Take its only cable away: it reaches nobody."""
        run("ip", "-n", self._namespace(name), "link", "set", "tun0", "down")

    def plug(self, name: str) -> None:
        run("ip", "-n", self._namespace(name), "link", "set", "tun0", "up")

    def block(self, source: str, target: str) -> None:
        """Lose every packet from one to the other; those of the other way arrive."""
        self._route("add", source, target)

    def unblock(self, source: str, target: str) -> None:
        self._route("del", source, target)

    def shape(self, delay_s: float = 0.0, loss: float = 0.0) -> dict[str, int]:
        """Delay and lose packets on every way from now on; what was carried and lost before."""
        assert self._switch.stdin is not None
        self._switch.stdin.write(f"{delay_s} {loss}\n")
        self._switch.stdin.flush()
        said: dict[str, int] = self._said()
        return said

    def __enter__(self) -> Self:
        with self._stack:
            for name in self.addresses:
                run("ip", "netns", "add", self._namespace(name))
                self._stack.callback(self._remove, name)
            self._switch = self._stack.enter_context(self._start())
            self._stack.callback(self._switch.kill)
            self._said()
            for name, address in self.addresses.items():
                lines = f"addr add {address}/24 dev tun0\nlink set lo up\nlink set tun0 up\n"
                run("ip", "-n", self._namespace(name), "-batch", "-", text=lines)
            self._stack = self._stack.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._stack.close()

    def _start(self) -> subprocess.Popen[str]:
        places = [f"{self._namespace(n)}={address}" for n, address in self.addresses.items()]
        return subprocess.Popen(
            [sys.executable, "-m", "tests.end_to_end.switch", str(self._seed), *places],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=ROOT,
        )

    def _said(self) -> Any:
        assert self._switch.stdout is not None
        line = self._switch.stdout.readline()
        if not line:
            _, err = self._switch.communicate()
            raise OSError(f"the switch ended: {err.strip().splitlines()[-1:]}")
        return json.loads(line)

    def _namespace(self, name: str) -> str:
        return f"ddnn-{os.getpid()}-{name}"

    def _remove(self, name: str) -> None:
        with suppress(OSError):
            run("ip", "netns", "del", self._namespace(name))

    def _route(self, what: str, source: str, target: str) -> None:
        blackhole = ("route", what, "blackhole", f"{self.addresses[target]}/32")
        run("ip", "-n", self._namespace(source), *blackhole)


class SpreadDeployment(LocalDeployment):
    """Each node on a machine of its own. What fails here is the network; every process goes on.

    A node that hangs, to the others, was unplugged; one that is killed is killed. A link that is
    `killed` is blocked both ways; one that hangs in the way that `ways` says, of the way of its
    messages (`forward`, if it says nothing) or the one back (`reverse`).
    """

    def __init__(
        self, machines: Machines, *args: Any, ways: dict[str, str] | None = None, **options: Any
    ) -> None:
        self.machines, self._ways = machines, ways or {}
        self._faults: dict[str, ExitStack] = {}
        super().__init__(*args, deployment=self._places(), **options)

    def command(self, node: str) -> list[str]:
        return [*self.machines.inside(node), *super().command(node)]

    def kill(self, node: str) -> None:
        if "->" in node:
            source, target = node.split("->")
            self._block(node, (source, target), (target, source))
        else:
            super().kill(node)

    def hang(self, node: str) -> None:
        if "->" in node:
            source, target = node.split("->")
            forward = self._ways.get(node, "forward") == "forward"
            self._block(node, (source, target) if forward else (target, source))
        elif node not in self._faults:
            self.machines.unplug(node)
            self._faults[node] = ExitStack()
            self._faults[node].callback(self.machines.plug, node)

    def restore(self, node: str) -> None:
        if node in self._faults:
            self._faults.pop(node).close()
        else:
            super().restore(node)

    def close(self) -> None:
        for name in list(self._faults):
            self.restore(name)
        super().close()

    def _block(self, link: str, *ways: tuple[str, str]) -> None:
        self._faults[link] = ExitStack()
        for source, target in ways:
            self.machines.block(source, target)
            self._faults[link].callback(self.machines.unblock, source, target)

    def _places(self) -> Deployment:
        return Deployment(
            schema=1,
            name="spread",
            nodes={
                name: Place(listen=(f"tcp/{address}:{PORT}",))
                for name, address in self.machines.addresses.items()
                if name != WATCHER
            },
            # As docs/explanation/runtime.md and FACTS say of links that lose packets.
            tuning=ZenohTuning(lease_ms=1000),
        )
