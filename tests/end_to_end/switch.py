"""A switch between network namespaces: `python -m tests.end_to_end.switch SEED NAMESPACE=ADDRESS …`

Each namespace gets a device `tun0`; every IP packet that comes out of one is carried to the one
that it is addressed to, later or not at all, as a wireless link or a long way would. Packets are
lost and late, not messages, so that TCP at both ends does with it what TCP does.

Standard input says how: `DELAY LOSS`, in seconds and as a probability. Each line, and the start, is
answered by what was carried and what was lost since the last one, as JSON.
"""

import ctypes
import fcntl
import heapq
import json
import os
import random
import selectors
import struct
import sys
import time
from contextlib import suppress

CLONE_NEWNET = 0x40000000
TUNSETIFF, IFF_TUN, IFF_NO_PI = 0x400454CA, 0x0001, 0x1000
DEVICE = b"tun0"


def open_device(namespace: str) -> int:
    """A new device of a namespace; what is sent through it can be read here."""
    with open(f"/var/run/netns/{namespace}") as file:
        if ctypes.CDLL(None, use_errno=True).setns(file.fileno(), CLONE_NEWNET):
            number = ctypes.get_errno()
            raise OSError(number, f"cannot enter {namespace}: {os.strerror(number)}")
    device = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(device, TUNSETIFF, struct.pack("16sH", DEVICE, IFF_TUN | IFF_NO_PI))
    return device


def main(seed: str, *places: str) -> int:
    rng = random.Random(seed)
    devices: dict[bytes, int] = {}
    selector = selectors.DefaultSelector()
    for place in places:
        namespace, _, address = place.partition("=")
        device = open_device(namespace)
        devices[bytes(map(int, address.split(".")))] = device
        selector.register(device, selectors.EVENT_READ)
    selector.register(sys.stdin, selectors.EVENT_READ)
    delay = loss = 0.0
    carried = lost = number = 0
    #: When each packet on its way arrives; those of one moment in the order in which they came.
    way: list[tuple[float, int, bytes]] = []
    print(json.dumps({"carried": 0, "lost": 0}), flush=True)
    while True:
        wait = max(0.0, way[0][0] - time.monotonic()) if way else None
        for key, _ in selector.select(wait):
            if key.fd == sys.stdin.fileno():
                line = sys.stdin.readline()
                if not line:
                    return 0
                delay, loss = map(float, line.split())
                print(json.dumps({"carried": carried, "lost": lost}), flush=True)
                carried = lost = 0
                continue
            with suppress(OSError):  # it was set down
                packet = os.read(key.fd, 65536)
                if rng.random() < loss:
                    lost += 1
                else:
                    number += 1
                    heapq.heappush(way, (time.monotonic() + delay, number, packet))
        now = time.monotonic()
        while way and way[0][0] <= now:
            _, _, packet = heapq.heappop(way)
            # Of IPv4; what a namespace says of itself in IPv6 has nowhere to go.
            target = devices.get(packet[16:20])
            if target is not None:
                carried += 1
                with suppress(OSError):
                    os.write(target, packet)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
