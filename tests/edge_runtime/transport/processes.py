"""Real processes that hold names, for tests that kill, hang and cut them off."""

import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import msgspec

from edge_runtime.transport.config import ZenohConfig
from tests.conftest import ROOT
from tests.edge_runtime.transport.contract import LIMIT


class Peer:
    """A process of `peer.py`, and what it says."""

    def __init__(
        self, node: str, config: ZenohConfig, folder: Path, *, prefix: tuple[str, ...] = ()
    ) -> None:
        path = folder / f"{node}-{time.monotonic_ns()}.json"
        path.write_bytes(msgspec.json.encode(config))
        self.node = node
        self._process = subprocess.Popen(
            [*prefix, sys.executable, "-m", f"{__package__}.peer", node, path],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
        )
        self._facts: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def wait(self, kind: str, *content: object) -> Any:
        """Read what the process says until it says this; its content, which starts with `content`.

        Everything before it is forgotten.
        """
        end = time.monotonic() + LIMIT
        passed: list[dict[str, Any]] = []
        while True:
            try:
                fact = self._facts.get(timeout=max(0.0, end - time.monotonic()))
            except queue.Empty:
                raise AssertionError(
                    f"{self.node} did not say {kind} {content} in {LIMIT} s, but {passed}"
                ) from None
            if kind in fact and (not content or fact[kind][: len(content)] == list(content)):
                return fact[kind]
            passed.append(fact)

    def ready(self) -> int:
        """Wait until it has its name; its incarnation."""
        return int(self.wait("ready"))

    def send(self, target: str, size: int = 1) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(f"{target} {size}\n")
        self._process.stdin.flush()

    def signal(self, number: signal.Signals) -> None:
        os.kill(self._process.pid, number)

    @property
    def running(self) -> bool:
        return self._process.poll() is None

    def stop(self) -> int:
        """Let it end by itself; its exit code."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        return self.exit_code()

    def exit_code(self) -> int:
        code = self._process.wait(LIMIT)
        self._reader.join(LIMIT)
        return code

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        # SIGKILL ends a stopped process as well.
        self._process.kill()
        self.exit_code()
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with suppress(BrokenPipeError):
            self._process.stdin.close()
        self._process.stdout.close()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._facts.put(json.loads(line))
