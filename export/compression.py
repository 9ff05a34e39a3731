"""How a node's section is made smaller, and the order in which more and more is tried."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Literal, TypeVar, get_args

from edge_runtime.bundle.manifest import Quantization
from edge_runtime.errors import InputError
from edge_runtime.topology import Topology

T = TypeVar("T")

#: In what form a budget counts an artifact: as it lies on a device that runs it, or packed.
Stored = Literal["raw", "zstd"]


@dataclass(frozen=True)
class Compression:
    """What is done to a section; by default nothing.

    Args:
        sparsity: share of each kernel's weights that become zero, the smallest ones (Zhu and Gupta,
            2017); 0 for none.
        clusters: most distinct values of each kernel, zero among them; 0 for any number.
        qat: learn with weights and activations rounded to int8 in every step, and take the ranges
            so learned; sparsity and clusters are kept.
        quantize: how the artifact stores and computes; `int8` where `qat` is asked for.
        coarse: in int8, per-tensor scales (one for each kernel in place of one for each of its
            channels), but for depthwise convolutions.
        steps: of learning, for each of pruning, clustering and quantization.
        batch_size: samples a step.
        learning_rate: of Adam at the start; it falls to zero along a cosine.
    """

    sparsity: float = 0.0
    clusters: int = 0
    qat: bool = False
    quantize: Quantization = "none"
    coarse: bool = False
    steps: int = 500
    batch_size: int = 128
    learning_rate: float = 1e-3

    def __post_init__(self) -> None:
        if not 0 <= self.sparsity < 1:
            raise InputError(f"expected a sparsity from 0 to below 1, got {self.sparsity}")
        least = 3 if self.sparsity else 2
        if self.clusters and not least <= self.clusters <= 256:
            raise InputError(f"expected clusters from {least} to 256, got {self.clusters}")
        if self.quantize not in get_args(Quantization):
            raise InputError(
                f"unknown quantization {self.quantize!r}; "
                f"expected {', '.join(get_args(Quantization))}"
            )
        if self.qat and self.quantize != "int8":
            raise InputError(
                f"quantization-aware training is for int8, got quantize={self.quantize!r}"
            )
        if self.coarse and self.quantize != "int8":
            raise InputError(f"coarse scales are for int8, got quantize={self.quantize!r}")
        for name in ("steps", "batch_size"):
            if getattr(self, name) < 1:
                raise InputError(f"expected {name} of at least 1, got {getattr(self, name)}")
        if not (math.isfinite(self.learning_rate) and self.learning_rate > 0):
            raise InputError(f"expected a learning_rate above 0, got {self.learning_rate}")

    @property
    def learns(self) -> bool:
        """Whether the section's weights change."""
        return bool(self.sparsity or self.clusters or self.qat)

    def __str__(self) -> str:
        parts = [f"pruned:{self.sparsity:g}"] if self.sparsity else []
        parts += [f"clustered:{self.clusters}"] if self.clusters else []
        parts += ["qat"] if self.qat else []
        parts += [] if self.quantize == "none" and parts else [self.quantize]
        parts += ["coarse"] if self.coarse else []
        return "+".join("float32" if part == "none" else part for part in parts)

    @classmethod
    def parse(cls, text: str) -> Compression:
        """Read what `str` writes: `pruned:0.8+clustered:16+int8`, `float16`, `int8+coarse`."""
        found: dict[str, object] = {}
        for part in text.split("+"):
            word, _, number = part.strip().partition(":")
            try:
                if word == "pruned":
                    found["sparsity"] = float(number)
                elif word == "clustered":
                    found["clusters"] = int(number)
                elif number:
                    raise ValueError
                elif word == "qat":
                    found |= {"qat": True, "quantize": "int8"}
                elif word == "coarse":
                    found["coarse"] = True
                elif word == "float32":
                    found["quantize"] = "none"
                elif word in get_args(Quantization):
                    found["quantize"] = word
                else:
                    raise ValueError
            except ValueError:
                raise InputError(
                    f"cannot read {part.strip()!r} in the compression {text!r}; expected "
                    "pruned:SHARE, clustered:NUMBER, qat, float32, float16, dynamic, int8 or "
                    "coarse, joined by +"
                ) from None
        return cls(**found)  # type: ignore[arg-type]


#: From the mildest on: each stores no more than the one before, and changes no less.
LADDER: tuple[Compression, ...] = (
    Compression(),
    Compression(quantize="float16"),
    Compression(quantize="int8"),
    Compression(quantize="int8", coarse=True),
    Compression(clusters=16, quantize="int8"),
    *(Compression(sparsity=s, clusters=16, quantize="int8") for s in (0.5, 0.7, 0.8, 0.9)),
)


def ladder(stored: Stored) -> tuple[Compression, ...]:
    """What to try for a budget, the mildest first.

    Zeros and equal weights take as many bytes in a `.tflite` as any others, so that they are worth
    something only where it is packed.
    """
    return LADDER if stored == "zstd" else tuple(level for level in LADDER if not level.learns)


@dataclass(frozen=True)
class Budget:
    """Most bytes of the artifacts of some nodes: by name, pattern such as `edge*`, or tier.

    `stored`: whether the `.tflite` counts as it is, which is how a device stores and loads it, or
    packed by zstd, as it may be sent or archived.
    """

    bytes: Mapping[str, int]
    stored: Stored = "raw"


def by_node(choices: Mapping[str, T], topology: Topology) -> dict[str, T]:
    """What was chosen for each node; of several patterns that name a node, the last one's.

    `choices`: by the name of a node or tier, or a pattern of nodes' names, such as `edge*`. Nodes
    that none names are left out. Raises `InputError` for a pattern that names no node.
    """
    found: dict[str, T] = {}
    tiers = {node.name: node.tier for node in topology.nodes}
    for pattern, choice in choices.items():
        named = [n for n, tier in tiers.items() if pattern == tier or fnmatchcase(n, pattern)]
        if not named:
            raise InputError(
                f"{pattern!r} names no node and no tier; the topology has the nodes "
                f"{', '.join(topology.order)} on the tiers "
                f"{', '.join(dict.fromkeys(tiers.values()))}"
            )
        found |= dict.fromkeys(named, choice)
    return found


@dataclass(frozen=True)
class Attempts:
    """What is to be tried on the nodes of a topology.

    `levels`: of each node, the mildest first; `limits`: most bytes of nodes with a budget, the
    others get their first level; `stored`: in which form the bytes count.
    """

    levels: Mapping[str, tuple[Compression, ...]]
    limits: Mapping[str, int]
    stored: Stored = "raw"

    @property
    def first(self) -> dict[str, Compression]:
        """The mildest of each node."""
        return {node: levels[0] for node, levels in self.levels.items()}


def planned(
    topology: Topology,
    otherwise: Compression,
    compression: Compression | Mapping[str, Compression] | None,
    budget: Budget | None,
) -> Attempts:
    """What to try on each node: what was chosen for it, or the ladder where it has a budget.

    `otherwise`: done to nodes for which nothing is said. Raises `InputError` for a pattern that
    names nothing, or a node that has both a compression and a budget.
    """
    if isinstance(compression, Compression):
        otherwise, compression = compression, None
    chosen = by_node(compression or {}, topology)
    limits = by_node(budget.bytes, topology) if budget else {}
    both = [node for node in topology.order if node in chosen and node in limits]
    if both:
        raise InputError(
            f"{', '.join(both)}: a compression and a budget were given; "
            "a budget chooses the compression, so give one of the two"
        )
    levels: dict[str, tuple[Compression, ...]] = {}
    levels |= {node: (chosen.get(node, otherwise),) for node in topology.order}
    levels |= {node: ladder(budget.stored) for node in limits if budget}
    return Attempts(levels, limits, budget.stored if budget else "raw")


_UNITS = {"": 1, "b": 1, "kb": 10**3, "kib": 2**10, "mb": 10**6, "mib": 2**20}


def parse_size(text: str) -> int:
    """Bytes, of `64KB` (64,000), `64KiB` (65,536), `1.5MB`, `2000`."""
    number = text.strip().rstrip("BbIiKkMm")
    unit = text.strip()[len(number) :].lower()
    try:
        size = float(number) * _UNITS[unit]
        if not 0 < size < math.inf:
            raise ValueError
    except (KeyError, ValueError):
        raise InputError(f"expected a size such as 64KB, 64KiB or 2000, got {text!r}") from None
    return int(size)
