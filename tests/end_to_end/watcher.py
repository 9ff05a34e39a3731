"""An observer on a machine of its own, and the transport that brings here what it sees.

`python -m tests.end_to_end.watcher CONFIG.json` prints every event as a line of JSON.
"""

import subprocess
import sys
import threading
from pathlib import Path
from types import TracebackType
from typing import Self

import msgspec

from edge_runtime.transport.base import (
    ANSWERS,
    METRICS,
    Counters,
    Event,
    PeerDown,
    PeerUp,
    Received,
)
from edge_runtime.transport.config import ZenohConfig
from edge_runtime.transport.deployment import Deployment
from edge_runtime.transport.mailbox import Mailbox
from edge_runtime.transport.zenoh import ZenohTransport
from tests.conftest import ROOT

KINDS: dict[str, type[Event]] = {kind.__name__: kind for kind in (PeerDown, PeerUp, Received)}


class Watcher:
    """As an observer's `Transport`; `prefix` puts its process where it is to look from."""

    node = incarnation = None
    counters = Counters()

    def __init__(self, deployment: Deployment, folder: Path, prefix: tuple[str, ...] = ()) -> None:
        path = folder / "watcher.json"
        path.write_bytes(msgspec.json.encode(deployment.observer()))
        self._mailbox = Mailbox(256, 16 << 20)
        self._process = subprocess.Popen(
            [*prefix, sys.executable, "-m", "tests.end_to_end.watcher", path],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=ROOT,
        )
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def claim(self) -> int:
        raise RuntimeError("an observer has no name")

    def send(self, target: str, header: bytes, payload: bytes) -> None:
        raise RuntimeError("an observer sends nothing")

    def receive(self, timeout_s: float | None) -> Event | None:
        return self._mailbox.receive(timeout_s)

    def wake(self) -> None:
        self._mailbox.wake()

    def close(self) -> None:
        self._mailbox.close()
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.kill()
        self._process.wait()
        self._reader.join()
        self._process.stdout.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            name, fields = msgspec.json.decode(line)
            event = msgspec.convert(fields, KINDS[name])
            if isinstance(event, Received):
                self._mailbox.message(event)
            else:
                self._mailbox.presence(event)


def main(path: str) -> int:
    config = msgspec.json.decode(Path(path).read_bytes(), type=ZenohConfig)
    with ZenohTransport(config, topics=[ANSWERS, METRICS]) as transport:

        def end() -> None:
            sys.stdin.read()
            transport.wake()

        threading.Thread(target=end, daemon=True).start()
        while (event := transport.receive(None)) is not None:
            line = msgspec.json.encode([type(event).__name__, msgspec.to_builtins(event)])
            print(line.decode(), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
