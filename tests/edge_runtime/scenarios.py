"""What a seed decides of a simulated deployment, and what can befall one."""

from __future__ import annotations

import random
from dataclasses import dataclass, field, replace

from edge_runtime.answers.policies import POLICIES, Policy
from edge_runtime.topology import Topology

US, MS, S = 1_000, 1_000_000, 1_000_000_000
COMPUTE_JITTER = 200 * US
SHIPPED = ("poster-baseline", "poster-residual", "poster-edge-skip")


@dataclass(frozen=True)
class Network:
    """Delays in ns; `held`: what a dead link swallows is delivered when it returns in time."""

    delay: int = 200 * US
    jitter: int = 100 * US
    loss: float = 0.0
    duplication: float = 0.0
    reordered: bool = False
    held: bool = True
    lease: int = 300 * MS


@dataclass(frozen=True)
class Fault:
    at: int
    kind: str
    where: str
    lasts: int
    amount: int = 0


@dataclass(frozen=True)
class Scenario:
    """One deployment and what befalls it. `frames` are counted from the start of the run.

    `exits`: by which policy somebody looking on takes an answer of any node; None where only the
    output node answers. `early`: how probably a node below the output is sure of a frame, so that
    it answers early, where somebody looks on.
    """

    topology: Topology
    fps: int = 30
    frames: int = 64
    network: Network = field(default_factory=Network)
    compute: int = MS
    faults: tuple[Fault, ...] = ()
    several: frozenset[str] = frozenset()
    flagged: frozenset[str] = frozenset()
    most_open: int = 64
    most_closed: int = 1024
    exits: Policy | None = None
    early: float = 0.0

    @property
    def length(self) -> int:
        return self.frames * S // self.fps

    @property
    def hop(self) -> int:
        """The most that computing and one link take while nothing is slow."""
        return self.network.delay + self.network.jitter + self.compute + COMPUTE_JITTER


NODE_FAULTS = (
    "kill",
    "kill-between-sends",
    "hang",
    "replace",
    "slow",
    "flood",
    "stale-model",
    "claim",
    "wrong-clock",
    "wall-jump",
)
LINK_FAULTS = ("link-down", "block-forward", "block-reverse")
SENSOR_FAULTS = ("sensor-quiet", "sensor-empty", "sensor-ended")


def draw_scenario(seed: int, topology: Topology | None = None) -> Scenario:
    """The scenario of a seed; of one given topology, or of one of the poster's."""
    rng = random.Random(seed)
    name = rng.choice(SHIPPED)
    topology = topology or Topology.load(name)
    network = Network(
        delay=rng.choice([100 * US, 500 * US, 2 * MS, rng.randrange(5 * MS, 25 * MS)]),
        jitter=rng.choice([0, 200 * US, MS, 5 * MS]),
        loss=rng.choice([0.0, 0.0, 0.0, 0.02, 0.1]),
        duplication=rng.choice([0.0, 0.0, 0.05, 0.3]),
        reordered=rng.random() < 0.25,
        held=rng.random() < 0.5,
        lease=rng.randrange(150 * MS, 500 * MS),
    )
    scenario = Scenario(
        topology,
        fps=rng.choice([20, 30, 40, 60]),
        network=network,
        compute=rng.choice([100 * US, MS, 3 * MS]),
        several=frozenset(n for n in topology.order[:-1] if rng.random() < 0.2),
        flagged=frozenset(n for n in topology.order if rng.random() < 0.5),
        most_open=rng.choice([64, 64, 12]),
        most_closed=rng.choice([1024, 1024, 48]),
    )
    links = [x.name for x in topology.links if x.source not in topology.sensor_names]
    faults = []
    for _ in range(rng.choice([0, 1, 1, 2, 3, 5])):
        kind = rng.choice(NODE_FAULTS + 2 * LINK_FAULTS + SENSOR_FAULTS if links else NODE_FAULTS)
        if kind in LINK_FAULTS:
            where = rng.choice(links)
        elif kind in SENSOR_FAULTS:
            where = rng.choice(sorted(topology.sensor_names))
        else:
            where = rng.choice(topology.order)
        at = rng.randrange(scenario.length * 3 // 4)
        lasts = rng.choice([20 * MS, 150 * MS, rng.randrange(100 * MS, S), 10 * S])
        faults.append(Fault(at, kind, where, lasts, rng.randrange(1 << 30)))
    # Drawn by itself: the other half of the seeds are what they were before there were exits.
    rng = random.Random(f"exits {seed}")
    exits = rng.choice(POLICIES) if rng.random() < 0.5 else None
    if exits and rng.random() < 0.2:
        at = rng.randrange(scenario.length * 3 // 4)
        faults.append(Fault(at, "junk", "", 0, rng.randrange(1 << 30)))
    return replace(scenario, faults=tuple(sorted(faults, key=lambda f: f.at)), exits=exits)
