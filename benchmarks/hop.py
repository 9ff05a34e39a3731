"""What a hop costs above bare Zenoh: encoding, transport, decoding, gathering, the node's loop.

A driver sends a frame to a real node in another process, whose section hands its input back at
once; the driver takes the node's message in as a node would. Half that round trip is a hop. Beside
it, round trip by round trip, the same bytes go to and fro by nothing but Zenoh, set up alike.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Mapping
from contextlib import ExitStack
from multiprocessing.connection import Connection
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_runtime.arrays import TensorSpec
from edge_runtime.bundle.manifest import IncomingLink, NodeManifest
from edge_runtime.node.assembler import FrameAssembler
from edge_runtime.node.node import Node
from edge_runtime.node.settings import LiveSettings
from edge_runtime.transport.base import Received
from edge_runtime.transport.config import ZenohConfig
from edge_runtime.transport.wire import Message, decode, encode, short_fingerprint
from edge_runtime.transport.zenoh import ZenohTransport

from .bare import AGAIN, LIMIT, BareEcho, child, invoke_seconds, two_places, until_closed
from .bundles import exported

#: float32 values of a message, so 4 KB and 131 KB; what a hop may cost above bare Zenoh, in ms.
SIZES = {1024: 0.15, 32768: 0.3}
FINGERPRINT = "ab" * 32
DEADLINE = 10**10
BATCH = 50


class Same:
    """A section that computes nothing."""

    def __init__(self, values: int) -> None:
        self.inputs = {"driver": TensorSpec((values,), "float32")}

    def with_exit(self, inputs: Mapping[str, NDArray[Any]]) -> tuple[NDArray[Any], ...]:
        return (inputs["driver"],)


def echo_node(connection: Connection, config: ZenohConfig, values: int) -> None:
    """A node that hands back what it gets."""
    section = Same(values)
    manifest = NodeManifest(
        node="echo",
        tier="edge",
        fingerprint=FINGERPRINT,
        quantization="none",
        incoming=(IncomingLink(source="driver", bit=0, sensor=False),),
        outgoing=("driver",),
        inputs=section.inputs,
        outputs=(TensorSpec((values,), "float32"),),
        files={},
        tolerance=0.0,
        budget=0.9,
    )
    with ZenohTransport(config, "echo") as transport:
        node = Node(manifest, section, transport, {}, None, LiveSettings(deadline_ns=DEADLINE))
        with until_closed(connection, node.stop):
            node.run()


class Driver:
    """Round trips to an `echo_node`, the driver's side as a node's loop has it."""

    def __init__(self, values: int) -> None:
        here, there = two_places()
        self._child = child(echo_node, there, values)
        self._child.__enter__()
        self._transport = ZenohTransport(here, "driver")
        self._incarnation = self._transport.claim()
        self._assembler = FrameAssembler(
            "driver",
            (IncomingLink(source="echo", bit=1, sensor=False),),
            {"echo": TensorSpec((values,), "float32")},
            budget_ns=DEADLINE,
            deadline_ns=DEADLINE,
            fingerprint=short_fingerprint(FINGERPRINT),
            start_ns=0,
        )
        self._frame = 0
        self._values = np.arange(values, dtype=np.float32)
        # The first answers to what was sent before the two had met.
        end = time.monotonic() + LIMIT
        while self._round_trip(0.1) is None:
            if time.monotonic() > end:
                raise RuntimeError("the node did not answer")

    def round_trip(self) -> float:
        """Seconds until the node's message for a new frame is ready to be computed from.

        A frame that a lost link swallowed, or for which the node had to be silent, is not measured.
        """
        end = time.monotonic() + LIMIT
        while time.monotonic() < end:
            start = time.perf_counter()
            tensor = self._round_trip(AGAIN)
            seconds = time.perf_counter() - start
            if tensor is not None:
                if not np.array_equal(tensor, self._values):
                    raise RuntimeError("the node answered something else")
                return seconds
        raise RuntimeError(f"the node answered nothing within {LIMIT:.0f} s")

    def _round_trip(self, limit: float) -> NDArray[Any] | None:
        self._frame += 1
        now = time.monotonic_ns()
        message = Message(
            frame=self._frame,
            sender="driver",
            incarnation=self._incarnation,
            fingerprint=short_fingerprint(FINGERPRINT),
            state=0,
            age_ns=0,
            sent_ns=now,
            tensors=(self._values,),
        )
        self._transport.send("echo", *encode(message))
        while (event := self._transport.receive(limit)) is not None:
            if isinstance(event, Received):
                message = decode(event.header, event.payload)
                self._assembler.receive(message, time.monotonic_ns())
                ready = self._assembler.ready(time.monotonic_ns())
                if ready is not None and ready.frame == self._frame:
                    tensor: NDArray[Any] = ready.inputs["echo"][0]
                    return tensor
        return None

    def __enter__(self) -> Driver:
        return self

    def __exit__(self, *exception: object) -> None:
        self._transport.close()
        self._child.__exit__(None, None, None)


def wire_seconds(values: int, times: int = 300) -> tuple[float, float]:
    """Median seconds of encoding and of decoding a message, without a network."""
    message = Message(
        frame=1,
        sender="driver",
        incarnation=1,
        fingerprint=short_fingerprint(FINGERPRINT),
        state=0,
        age_ns=0,
        tensors=(np.arange(values, dtype=np.float32),),
    )
    encoding, decoding = [], []
    for _ in range(times):
        start = time.perf_counter()
        header, payload = encode(message)
        middle = time.perf_counter()
        decode(header, payload)
        encoding.append(middle - start)
        decoding.append(time.perf_counter() - middle)
    return statistics.median(encoding), statistics.median(decoding)


def measure(rounds: int) -> dict[int, tuple[list[float], list[float]]]:
    """By size: seconds a hop of bare Zenoh, and of ours; the median of each round's batch."""
    found: dict[int, tuple[list[float], list[float]]] = {size: ([], []) for size in SIZES}
    with ExitStack() as stack:
        bare = stack.enter_context(BareEcho())
        drivers = {size: stack.enter_context(Driver(size)) for size in SIZES}
        for i in range(-1, rounds):
            for size, driver in drivers.items():
                payload = bytes(4 * size)
                ping = [(bare.round_trip(payload), driver.round_trip()) for _ in range(BATCH)]
                if i >= 0:
                    for kept, taken in zip(found[size], zip(*ping, strict=True), strict=True):
                        kept.append(statistics.median(taken) / 2)
    return found


def main(rounds: int = 40) -> None:
    """Print a row a size."""
    for size, (bare, ours) in measure(rounds).items():
        above = [b - a for a, b in zip(bare, ours, strict=True)]
        encoding, decoding = wire_seconds(size)
        print(
            f"  {4 * size:>6} bytes: {_us(ours)} a hop, {_us(above)} above bare Zenoh's {_us(bare)}"
            f" (round trip {2e3 * statistics.median(bare):.3f} ms); goal {1e3 * SIZES[size]:.0f} us"
        )
        print(
            f"  {'':>6}        of it {1e6 * encoding:.0f} us encoding, {1e6 * decoding:.0f} us "
            "decoding"
        )
    with exported("poster-residual") as bundle:
        invoke = invoke_seconds(bundle)
    print(
        f"  beside it, LiteRT alone: {1e6 * min(invoke.values()):.0f} to "
        f"{1e6 * max(invoke.values()):.0f} us a node (FC-32)"
    )
    print(f"  medians of {rounds} rounds of {BATCH} round trips each way, in turn; quartiles")


def _us(seconds: list[float]) -> str:
    if len(seconds) < 2:
        return f"{1e6 * seconds[0]:.0f} us"
    low, middle, high = statistics.quantiles(seconds, n=4)
    return f"{1e6 * middle:.0f} us ({1e6 * low:.0f} to {1e6 * high:.0f})"


if __name__ == "__main__":
    main()
