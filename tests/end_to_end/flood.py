"""A peer that sends nonsense, forgeries and what others have sent.

`python -m tests.end_to_end.flood DEPLOYMENT.json SEED RATE NODE …`, to these nodes and to whoever
reads answers, at most RATE messages a second (0: as fast as it can), until standard input ends and
it has sent `LEAST`. It prints a line once it has heard what it copies, and at the end how much of
each kind it sent, as JSON.
"""

import json
import random
import sys
import threading
import time
from collections import Counter, deque
from typing import Any

import msgspec
import numpy as np

from edge_runtime.transport.base import ANSWERS, METRICS
from edge_runtime.transport.deployment import Deployment
from edge_runtime.transport.wire import decode, encode
from tests.end_to_end.raw import open_session, prefix

SELF = "mallory"
#: Messages between two looks at whether it is to end.
MANY = 50
#: Messages that it sends at the least, however little it is let run.
LEAST = 5000
#: In incarnations, which are milliseconds and 20 random bits.
DAY = 86_400_000 << 20


def forged(rng: random.Random, header: bytes, payload: bytes) -> tuple[str, tuple[bytes, bytes]]:
    """A message that is of a frame to come, and not true; the kind, and its bytes.

    Of an incarnation of the day before, since while a flood has cut a sender off, so that nobody
    holds its name, a node takes any later one for that of a successor, as its rules say.
    """
    message = decode(header, payload)
    tensors = tuple(rng.choice((-1e6, 1e6)) * np.ones_like(x) for x in message.tensors)
    changes: dict[str, Any] = {"frame": message.frame + rng.randrange(4), "tensors": tensors}
    kind = rng.choice(("another incarnation", "another model", "another sender"))
    if kind == "another incarnation":
        changes["incarnation"] = message.incarnation - DAY
    elif kind == "another model":
        changes["fingerprint"] = rng.randbytes(len(message.fingerprint))
    return kind, encode(msgspec.structs.replace(message, **changes))


def main(path: str, seed: str, rate: str, *nodes: str) -> int:
    import zenoh

    deployment, rng = Deployment.load(path), random.Random(seed)
    session, below = open_session(deployment), prefix(deployment)
    heard: deque[tuple[str, bytes, bytes]] = deque(maxlen=64)
    ended, ready = threading.Event(), threading.Event()

    def hear(sample: Any) -> None:
        if sample.attachment is not None:
            heard.append(
                (str(sample.key_expr), sample.attachment.to_bytes(), sample.payload.to_bytes())
            )
            if len(heard) == heard.maxlen:
                ready.set()

    def end() -> None:
        sys.stdin.read()
        ended.set()
        ready.set()

    for node in nodes:
        session.declare_subscriber(
            f"{below}/data/{node}/*", hear, allowed_origin=zenoh.Locality.REMOTE
        )
    threading.Thread(target=end, daemon=True).start()
    ready.wait()
    print("ready", flush=True)
    said: Counter[str] = Counter()

    def send(kind: str, key: str, header: bytes, payload: bytes) -> None:
        session.put(
            key,
            payload,
            attachment=header,
            congestion_control=zenoh.CongestionControl.DROP,
            express=True,
            allowed_destination=zenoh.Locality.REMOTE,
        )
        said[kind] += 1

    pause_s = MANY / int(rate) if int(rate) else 0.0
    due = time.monotonic()
    while not ended.is_set() or said.total() < LEAST:
        # What it was too slow for it does not make up for: that would be a flood at another rate.
        due = max(due + pause_s, time.monotonic())
        for _ in range(MANY):
            key, header, payload = rng.choice(heard)
            own = f"{key.rpartition('/')[0]}/{SELF}"
            match rng.randrange(5):
                case 0:
                    junk = rng.randbytes(rng.randrange(200))
                    send("junk", rng.choice((key, own)), junk, rng.randbytes(200))
                case 1:
                    send("again", key, header, payload)
                case 2:
                    send("another's", own, header, payload)
                case 3:
                    kind, false = forged(rng, header, payload)
                    send(kind, own if kind == "another sender" else key, *false)
                case _:
                    topic = rng.choice((ANSWERS, METRICS))
                    text = b'{"node": "cloud", "frame": 1}' + rng.randbytes(rng.randrange(9))
                    send("answers", f"{below}/data/{topic}/{SELF}", b"", text)
        time.sleep(max(0.0, due - time.monotonic()))
    print(json.dumps(said), flush=True)
    session.close()
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
