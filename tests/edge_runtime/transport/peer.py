"""A process that holds a name: `python -m tests.edge_runtime.transport.peer NODE CONFIG.json`.

It prints what it sees as JSON lines. Standard input says what it does: `TARGET SIZE` sends, the end
of it closes. Exit code 3: the name is taken.
"""

import json
import os
import sys
import threading
from pathlib import Path

import msgspec

from edge_runtime.transport.base import NameTakenError, PeerDown, PeerUp, Received
from edge_runtime.transport.config import ZenohConfig
from edge_runtime.transport.zenoh import ZenohTransport


def main(node: str, path: str) -> int:
    config = msgspec.json.decode(Path(path).read_bytes(), type=ZenohConfig)
    try:
        with ZenohTransport(config, node) as transport:
            tell(ready=transport.claim())
            commands = threading.Thread(target=obey, args=[transport], daemon=True)
            commands.start()
            while commands.is_alive():
                match transport.receive(None):
                    case Received(sender, payload=payload):
                        tell(message=[sender, len(payload)])
                    case PeerUp(name, incarnation):
                        tell(up=[name, incarnation])
                    case PeerDown(name, incarnation):
                        tell(down=[name, incarnation])
                    case None:
                        commands.join()
    except NameTakenError as error:
        tell(taken=error.incarnation)
        # The interpreter cannot end orderly while a thread waits for standard input.
        os._exit(3)
    return 0


def obey(transport: ZenohTransport) -> None:
    for line in sys.stdin:
        target, size = line.split()
        transport.send(target, b"h", bytes(int(size)))
    transport.wake()


def tell(**fact: object) -> None:
    print(json.dumps(fact), flush=True)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
