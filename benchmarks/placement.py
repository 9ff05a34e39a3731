"""CPU time to place a chain of 100 layers on 10 machines, on networks drawn at random."""

from __future__ import annotations

import time

import numpy as np

from ddnn_tf.placement.choosing import place
from ddnn_tf.placement.network import Block, Device, DeviceLink, Network
from ddnn_tf.placement.placement import Limits, Placement
from edge_runtime.errors import InputError

LAYERS, MACHINES = 100, 10


def main(networks: int = 3) -> None:
    """On a line of machines, and with a wire between any two; without limits and with two."""
    for line in (True, False):
        for seed in range(networks):
            network = drawn(seed, line=line)
            seconds, free = _timed(network, Limits())
            assert isinstance(free, Placement)
            limits = Limits(bytes=round(0.7 * free.bytes), accuracy=0.95 * free.accuracy)
            limited, found = _timed(network, limits)
            within = f"{found.latency_ms:.1f} ms" if isinstance(found, Placement) else "none exists"
            print(
                f"  {len(network.wires):>2} wires, seed {seed}: {seconds:.2f} s without limits "
                f"({free.latency_ms:.1f} ms an inference), {limited:.2f} s with limits of bytes "
                f"and accuracy ({within})",
                flush=True,
            )


def drawn(seed: int, *, line: bool) -> Network:
    """Costs, memory and wires at random; the later a machine, the faster it is."""
    rng = np.random.default_rng(seed)
    blocks = tuple(Block(f"b{i}", int(rng.integers(1_000, 200_000))) for i in range(LAYERS))
    devices = tuple(
        Device(
            f"d{k}",
            tuple(rng.uniform(0.1, 5, LAYERS) / (k + 1)),
            tuple(rng.uniform(0.1, 2, LAYERS)),
            tuple(rng.uniform(0.01, 0.5, LAYERS)),
            most_memory_mb=30,
            most_storage_mb=8,
            survival=0.97,
        )
        for k in range(MACHINES)
    )
    pairs = [(a, b) for a in range(MACHINES) for b in range(a + 1, MACHINES)]
    wires = tuple(
        DeviceLink(f"d{a}", f"d{b}", float(rng.choice([10, 100])), 1.0, 0.99)
        for a, b in pairs
        if b == a + 1 or not line
    )
    return Network(blocks, 110_592, devices, wires, alive=0.95, fallback=0.4, output="d9")


def _timed(network: Network, limits: Limits) -> tuple[float, Placement | None]:
    began = time.process_time()
    try:
        found = place(network, "latency", limits)
    except InputError:
        found = None
    return time.process_time() - began, found


if __name__ == "__main__":
    main()
