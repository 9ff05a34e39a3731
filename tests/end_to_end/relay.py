"""Passes on every message of a deployment late, out of order, and some of them twice.

`python -m tests.end_to_end.relay DEPLOYMENT.json SEED`, until standard input ends. The nodes of
that deployment have no link but to this process, so that nothing else brings a message from one to
the other: Zenoh itself keeps the order of a link. It shows each node's presence to the others, too.

It prints a line when all is set up, and at the end what it did, as JSON.
"""

import heapq
import json
import random
import sys
import threading
import time
from itertools import count
from typing import Any

from edge_runtime.transport.deployment import Deployment
from tests.end_to_end.raw import open_session, prefix

#: Seconds that a message may be held back: several frames.
SPREAD_S = 0.12
TWICE = 0.3


class Relay:
    """Listens in one session and speaks in another, so that it does not hear itself."""

    def __init__(self, deployment: Deployment, seed: str) -> None:
        import zenoh

        self._put_kind = zenoh.SampleKind.PUT
        self._rng = random.Random(seed)
        self._ears, self._mouth = open_session(deployment), open_session(deployment)
        self._changed = threading.Condition()
        self._held: list[tuple[float, int, int, str, bytes, bytes]] = []
        self._numbers = count(1)
        self._tokens: dict[str, Any] = {}
        self._last: dict[str, int] = {}
        self._ended = False
        self.said = {"passed": 0, "twice": 0, "overtaken": 0}
        below = prefix(deployment)
        self._ears.liveliness().declare_subscriber(f"{below}/alive/*/*", self._token, history=True)
        self._ears.declare_subscriber(f"{below}/data/*/*", self._hear)

    def run(self) -> None:
        """Speak, until `end`."""
        while True:
            with self._changed:
                while not self._ended and not self._due():
                    wait = self._held[0][0] - time.monotonic() if self._held else None
                    self._changed.wait(wait)
                if self._ended:
                    break
                _, _, number, key, header, payload = heapq.heappop(self._held)
            if number < self._last.get(key, 0):
                self.said["overtaken"] += 1
            self._last[key] = max(number, self._last.get(key, 0))
            self.said["passed"] += 1
            self._mouth.put(key, payload, attachment=header)
        for session in (self._ears, self._mouth):
            session.close()

    def end(self) -> None:
        with self._changed:
            self._ended = True
            self._changed.notify()

    def _due(self) -> bool:
        return bool(self._held) and self._held[0][0] <= time.monotonic()

    def _hear(self, sample: Any) -> None:
        if sample.attachment is None:
            return
        key, number = str(sample.key_expr), next(self._numbers)
        message = (key, sample.attachment.to_bytes(), sample.payload.to_bytes())
        with self._changed:
            copies = 2 if self._rng.random() < TWICE else 1
            self.said["twice"] += copies - 1
            for _ in range(copies):
                due = time.monotonic() + self._rng.uniform(0, SPREAD_S)
                heapq.heappush(self._held, (due, next(self._numbers), number, *message))
            self._changed.notify()

    def _token(self, sample: Any) -> None:
        key = str(sample.key_expr)
        if sample.kind == self._put_kind:
            self._tokens[key] = self._mouth.liveliness().declare_token(key)
        elif key in self._tokens:
            self._tokens.pop(key).undeclare()


def main(path: str, seed: str) -> int:
    relay = Relay(Deployment.load(path), seed)

    def end() -> None:
        sys.stdin.read()
        relay.end()

    threading.Thread(target=end, daemon=True).start()
    print("ready", flush=True)
    relay.run()
    print(json.dumps(relay.said), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
