"""Two network namespaces with one cable between them, made and removed by the test."""

import os
import shutil
import subprocess
from contextlib import suppress
from types import TracebackType
from typing import Self

ADDRESSES = {"left": "10.255.77.1", "right": "10.255.77.2"}


class Cable:
    """Namespaces `left` and `right`, and a veth pair that can be unplugged or blocked one way.

    Everything in them stays in them: there is no way to the outside. Raises `OSError` with the
    reason where this machine does not let us make them.
    """

    def __init__(self) -> None:
        self._names = {side: f"ddnn-{os.getpid()}-{side}" for side in ADDRESSES}

    def inside(self, side: str) -> tuple[str, ...]:
        """What to put before a command that is to run in one of them."""
        return ("ip", "netns", "exec", self._names[side])

    def unplug(self) -> None:
        self._ip("left", "link", "set", "veth0", "down")

    def plug(self) -> None:
        self._ip("left", "link", "set", "veth0", "up")

    def block(self, source: str) -> None:
        """Lose every packet that `source` sends; what the other side sends arrives."""
        self._ip(source, "route", "add", "blackhole", f"{self._other(source)}/32")

    def unblock(self, source: str) -> None:
        self._ip(source, "route", "del", "blackhole", f"{self._other(source)}/32")

    def __enter__(self) -> Self:
        try:
            for side in ADDRESSES:
                run("ip", "netns", "add", self._names[side])
            left, right = self._names.values()
            pair = ("veth0", "type", "veth", "peer", "name", "veth0", "netns", right)
            run("ip", "-n", left, "link", "add", *pair)
            for side, address in ADDRESSES.items():
                self._ip(side, "addr", "add", f"{address}/24", "dev", "veth0")
                for device in ("lo", "veth0"):
                    self._ip(side, "link", "set", device, "up")
        except BaseException:
            self._remove()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._remove()

    def _remove(self) -> None:
        for name in self._names.values():
            with suppress(OSError):
                run("ip", "netns", "del", name)

    def _ip(self, side: str, *command: str) -> None:
        run("ip", "-n", self._names[side], *command)

    @staticmethod
    def _other(side: str) -> str:
        [address] = (a for s, a in ADDRESSES.items() if s != side)
        return address


def run(*command: str, text: str | None = None) -> None:
    """Run a command, with this on its standard input; `OSError` if it fails."""
    if shutil.which(command[0]) is None:
        raise OSError(f"no {command[0]!r} here: apt-get install iproute2")
    done = subprocess.run(
        command, input=text, capture_output=True, text=True, timeout=20, check=False
    )
    if done.returncode != 0:
        raise OSError(f"{' '.join(command)}: {done.stderr.strip()}")
