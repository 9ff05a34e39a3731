"""What a node tells people, a line each; it goes on answering whether or not somebody reads it."""

from __future__ import annotations

import json
import os
import queue
import threading
from collections.abc import Callable, Mapping
from typing import Literal

#: What a person should hear of: a peer with a link to this node is there or gone, or runs another
#: model; a hosted sensor's source has ended or runs again; the name is held no more or again.
Notice = Literal["up", "down", "refused", "ended", "returned", "unnamed", "named"]

#: A node's notices; by what it computes, and why; where it serves its metrics; that a camera's
#: pictures do not fit its sensor, and why; how many lines nobody took.
Said = Notice | Literal["computed", "metrics", "unfit", "lost"]

#: How a person reads them.
SAYS: Mapping[Said, str] = {
    "up": "{} is there",
    "down": "{} is gone",
    "refused": "{} runs another model; what it sends is refused",
    "ended": "{} has no source now; it is used once it is there",
    "returned": "{} has its source again",
    "unnamed": "cut off; the others do not see this node",
    "named": "ready",
    "computed": "computed by {}",
    "metrics": "metrics at {}",
    "unfit": "{}",
    "lost": "{} lines before this one were lost: nobody read them, or they could not be written",
}

#: Lines that wait for a reader who is busy; those that come later are lost.
MOST_WAITING = 1000
#: Seconds that the last lines have to be written, once all is said.
CLOSE_S = 0.2


class StatusWriter:
    """Writes notices to a file descriptor in a thread of its own.

    Calling it never waits and never fails: a pipe may be full and its reader hang, a disk may be
    full or the reader gone. `as_json`: as objects. `write`: takes some of the bytes given to it,
    and says how many; by default of the file descriptor 1. Close it at the end.
    """

    def __init__(
        self,
        node: str,
        *,
        as_json: bool = False,
        write: Callable[[bytes], int] = lambda data: os.write(1, data),
    ) -> None:
        self._node, self._as_json, self._write = node, as_json, write
        self._waiting = queue.Queue[bytes | None](MOST_WAITING)
        # The first is counted where lines come in, the second where they go out.
        self._refused = self._failed = 0
        # A daemon: one that hangs in a write ends with the process.
        self._thread = threading.Thread(target=self._keep, name="ddnn status lines", daemon=True)
        self._thread.start()

    @property
    def lost(self) -> int:
        """Lines that were not written."""
        return self._refused + self._failed

    def __call__(self, what: Said, name: str) -> None:
        """Say something, unless too much waits already."""
        try:
            self._waiting.put_nowait(self._line(what, name))
        except queue.Full:
            self._refused += 1

    def close(self, wait_s: float = CLOSE_S) -> None:
        """Let what was said be written, if that takes no longer than this."""
        try:
            self._waiting.put_nowait(None)
        except queue.Full:
            return  # nobody reads
        self._thread.join(wait_s)

    def _line(self, what: Said, name: str) -> bytes:
        if self._as_json:
            line = json.dumps({"node": self._node, "event": what, "name": name})
        else:
            line = f"{self._node}: {SAYS[what].format(name)}"
        return f"{line}\n".encode()

    def _keep(self) -> None:
        reported = 0
        while (line := self._waiting.get()) is not None:
            lost = self.lost
            if lost > reported:
                line = self._line("lost", str(lost - reported)) + line
            try:
                while line:
                    line = line[self._write(line) :]
            except OSError:
                self._failed += 1
            else:
                reported = lost
