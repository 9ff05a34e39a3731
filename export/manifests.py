"""What describes a bundle: its manifests, and the tables of what its answers are worth."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from edge_runtime.bundle.manifest import (
    BUNDLE_FILE,
    MODEL_FILE,
    NODE_FILE,
    BundleManifest,
    IncomingLink,
    NodeManifest,
    Quantization,
    ReliabilityTable,
    encode,
    fingerprint,
)
from edge_runtime.evaluation.reliability import Reliability
from edge_runtime.failures.configurations import Configurations
from edge_runtime.failures.distribution import Mask
from edge_runtime.files import sha256
from edge_runtime.task import Task
from edge_runtime.topology import Topology

from .artifact import TOLERANCES, Artifact

#: Share of a deployment's deadline by which the output node computes; the rest is for computing
#: and for handing the answer over.
BUDGET = 0.9

#: A reliability table with more states than this would be megabytes on the answering device.
MOST_STATES = 1 << 13


@dataclass(frozen=True)
class Manifests:
    """The manifests of a bundle: one of each node, and one of the whole.

    `folder`: the bundle's; `by_node`: the quantization of each node; `artifacts`: what stands in
    the nodes' folders already.
    """

    folder: Path
    topology: Topology
    task: Task
    quantization: Quantization | Literal["mixed"]
    by_node: Mapping[str, Quantization]
    artifacts: Mapping[str, Artifact]

    def write(
        self, tables: Mapping[str, ReliabilityTable], priority: tuple[str, ...] | None = None
    ) -> None:
        """Write them; again once the reliability tables, by node that answers, are known."""
        bits = self.topology.bits
        models = [artifact.files[MODEL_FILE] for artifact in self.artifacts.values()]
        own = fingerprint(self.topology, self.task, models)
        output = self.topology.output
        hashes = {}
        for node, artifact in self.artifacts.items():
            answers = node in self.topology.answering
            manifest = NodeManifest(
                node=node,
                tier=self.topology.node(node).tier,
                fingerprint=own,
                quantization=self.by_node[node],
                incoming=tuple(
                    IncomingLink(
                        source=link.source,
                        bit=bits[link.name],
                        sensor=link.source in self.topology.sensor_names,
                    )
                    for link in self.topology.incoming(node)
                ),
                outgoing=tuple(link.target for link in self.topology.outgoing(node)),
                inputs=artifact.inputs,
                outputs=artifact.outputs,
                files=artifact.files,
                tolerance=TOLERANCES[self.by_node[node]],
                budget=BUDGET * self.topology.depths[node] / self.topology.depths[output],
                exit=node in self.topology.exits,
                links=tuple(bits) if answers else None,
                task=self.task if answers else None,
                reliability=tables.get(node),
            )
            data = encode(manifest)
            (self.folder / "nodes" / node / NODE_FILE).write_bytes(data)
            hashes[node] = sha256(data)
        manifest_of_all = BundleManifest(
            fingerprint=own,
            topology=self.topology,
            task=self.task,
            quantization=self.quantization,
            reliability=tables.get(output),
            priority=priority,
            nodes=hashes,
        )
        (self.folder / BUNDLE_FILE).write_bytes(encode(manifest_of_all))


def reliability_tables(found: Reliability) -> dict[str, ReliabilityTable]:
    """What the answers of each node that can answer are worth, from an evaluation of the output."""
    topology = found.topology
    also = _one_more_failure(topology, found.configurations)
    return {node: _table(found, node, also) for node in topology.answering}


def _table(found: Reliability, node: str, also: Mask) -> ReliabilityTable:
    """One node's; of several outputs, each has one of its own beside it."""
    if node == found.topology.output:
        expected = {s: found.expected_score(s) for s in found.survivabilities}
    else:
        worth = {s: found.exit_score(node, s) for s in found.survivabilities}
        expected = {s: value for s, value in worth.items() if value is not None}
    return ReliabilityTable(
        samples=found.samples,
        states={f"{state:x}": value for state, value in found.states(also, node).items()},
        expected=expected,
        outputs={name: _table(own, node, also) for name, own in found.by_output().items()},
    )


def _one_more_failure(topology: Topology, configurations: Configurations) -> Mask:
    """Each configuration with one more element failed, which need not be one that usually fails.

    So the table knows what an answer is worth when, in the field, a camera dies or a link goes.
    None where that would make too many states.
    """
    masks = configurations.masks
    others = [i for i in range(len(topology.elements)) if i not in configurations.fallible]
    if len(masks) * len(others) > MOST_STATES:
        return masks[:0]
    worse = np.repeat(masks, len(others), axis=0)
    worse[np.arange(len(worse)), np.tile(others, len(masks))] = False
    return worse
