"""What a bundle says of itself, read strictly.

Layout of a bundle:

    manifest.json                the whole: topology, task, reliability
    nodes/NODE/node.json         one device's part: its links, its files
    nodes/NODE/model.tflite      its section
    nodes/NODE/golden.npz        inputs and outputs that prove its numbers
    nodes/NODE/saved_model/1/    the section for TensorFlow, where it was asked for
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import msgspec
from msgspec import Meta

from ..answers.early import check_thresholds
from ..answers.policies import AnswerMode
from ..answers.rule import AnswerRule
from ..arrays import TensorSpec
from ..errors import InputError
from ..files import read_checked
from ..task import Task
from ..topology import Topology

SCHEMA = 2
BUNDLE_FILE, NODE_FILE, MODEL_FILE, GOLDEN_FILE = (
    "manifest.json",
    "node.json",
    "model.tflite",
    "golden.npz",
)

#: Of normalized entropy.
_Threshold = Annotated[float, Meta(ge=0, le=1)]
Quantization = Literal["none", "float16", "dynamic", "int8"]


class _Record(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    pass


class ReliabilityTable(_Record, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What an answer is worth.

    `states`: the task's score by delivered-links state, a bit mask in hexadecimal (bit i stands for
    the topology's link i; "0" is the fallback). `expected`: expected score by survivability; of an
    exit, given that it has an answer. Accuracies are fractions of 1. Measured on `samples` held-out
    samples with the artifacts themselves. `outputs`: where a task has several outputs, the same of
    each, by name.
    """

    samples: int
    states: dict[str, float]
    expected: dict[str, float]
    outputs: dict[str, ReliabilityTable] = {}


class IncomingLink(_Record, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A link that ends at the node; `bit` is its place in a delivered-links state."""

    source: str
    bit: int
    sensor: bool


class NodeManifest(_Record, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """`node.json`: all that one device needs to know.

    `fingerprint` is the model's: nodes of one deployment share it. `budget`: how old a frame may
    grow here, as a share of the deployment's deadline (docs/explanation/runtime.md).
    `files`: sha256 by name. `tolerance`: by how much the device's outputs may differ from the
    golden ones, times max(1, max|golden|). `exit`: it has a classifier of its own, whose answer is
    the last of `outputs` and is not sent. What an answer needs is there on nodes that can answer
    only; `links` are the topology's, by the bit that stands for each. `early`: the threshold of
    normalized entropy below which an exit's answer is given early; without it none is.
    """

    schema: int = SCHEMA
    node: str
    tier: str
    fingerprint: str
    quantization: Quantization
    incoming: tuple[IncomingLink, ...]
    outgoing: tuple[str, ...]
    inputs: dict[str, TensorSpec]
    outputs: tuple[TensorSpec, ...]
    files: dict[str, str]
    tolerance: float
    budget: Annotated[float, Meta(gt=0, le=1)]
    exit: bool = False
    links: tuple[str, ...] | None = None
    task: Task | None = None
    reliability: ReliabilityTable | None = None
    early: _Threshold | None = None

    def rule(self, mode: AnswerMode = "output", *, early: bool = False) -> AnswerRule:
        """Who answers, as this node needs to know it; `early`: whether any node does so early.

        This one then does so by its own threshold; by 0, which is never, if it has none.
        """
        return AnswerRule(mode, early={self.node: self.early or 0.0} if early else {})

    @property
    def sent(self) -> tuple[TensorSpec, ...]:
        """What it sends, of its section's outputs."""
        return self.outputs[:-1] if self.exit else self.outputs

    @property
    def senders(self) -> tuple[str, ...]:
        """Of the incoming links, in topology order."""
        return tuple(link.source for link in self.incoming)


class BundleManifest(_Record, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """`manifest.json`: what describes the whole. `nodes`: sha256 of each node's `node.json`.

    `quantization`: of all its nodes, or `mixed` where theirs differ.
    `priority`: the nodes that can answer, the most accurate on validation data first; where nodes
    have exits and labeled data were given. `early`: the thresholds below which nodes answer early,
    by node, as `ddnn-edge exits` chose them.
    """

    schema: int = SCHEMA
    fingerprint: str
    topology: Topology
    task: Task
    quantization: Quantization | Literal["mixed"]
    reliability: ReliabilityTable | None = None
    priority: tuple[str, ...] | None = None
    early: dict[str, _Threshold] | None = None
    nodes: dict[str, str]

    def rule(self, rule: AnswerRule = AnswerRule(), *, early: bool = False) -> AnswerRule:
        """A rule with the bundle's own order of nodes and, if wanted, its thresholds.

        Raises `InputError` where nodes are to answer early and the bundle has no thresholds.
        """
        if early and not self.early:
            raise InputError(
                "this bundle has no thresholds, so no node answers early; choose them with "
                "`ddnn-edge exits`"
            )
        own = self.early if early and self.early else {}
        return msgspec.structs.replace(rule, priority=self.priority, early=own)


def fingerprint(topology: Topology, task: Task, models: Iterable[str]) -> str:
    """Identifies a model version: all that its nodes must agree on to understand each other.

    `models`: sha256 of each node's artifact, in the topology's order. Hexadecimal.
    """
    digest = hashlib.sha256(repr((topology.to_dict(), task.kind, task.names)).encode())
    for model in models:
        digest.update(model.encode())
    return digest.hexdigest()


def read_bundle(folder: str | Path) -> tuple[BundleManifest, dict[str, NodeManifest]]:
    """The manifest of a bundle and of each of its nodes, checked against each other."""
    folder = Path(folder)
    path = folder / BUNDLE_FILE
    manifest = _decode(_read(path), BundleManifest, path)
    expected = {n.name for n in manifest.topology.nodes}
    if set(manifest.nodes) != expected:
        raise InputError(
            f"{path}: expected nodes {', '.join(sorted(expected))}, got "
            f"{', '.join(sorted(manifest.nodes))} (at $.nodes); export the bundle again"
        )
    nodes = {}
    for name, digest in manifest.nodes.items():
        node_file = folder / "nodes" / name / NODE_FILE
        nodes[name] = _decode(read_checked(node_file, digest), NodeManifest, node_file)
        if nodes[name].node != name or nodes[name].fingerprint != manifest.fingerprint:
            raise InputError(
                f"{node_file}: expected node {name!r} of model {manifest.fingerprint[:12]}, got "
                f"{nodes[name].node!r} of {nodes[name].fingerprint[:12]}; export the bundle again"
            )
        _check_links(manifest.topology, nodes[name], node_file)
    _check_answers(manifest, nodes[manifest.topology.output], path)
    _check_early(manifest, nodes, path)
    models = [nodes[name].files.get(MODEL_FILE, "") for name in manifest.topology.order]
    if fingerprint(manifest.topology, manifest.task, models) != manifest.fingerprint:
        raise InputError(
            f"{path}: topology, survival values or artifacts are not those that were exported (at "
            "$.fingerprint); a file was edited: copy or export the bundle again, and give other "
            "survival values where they are asked for (--survival)"
        )
    return manifest, nodes


def _check_answers(manifest: BundleManifest, output: NodeManifest, path: Path) -> None:
    """What answers mean is said twice, here and on the device that gives them."""
    for name in ("task", "reliability"):
        if getattr(manifest, name) != getattr(output, name):
            raise InputError(
                f"{path}: not what node {output.node!r} was exported with (at $.{name}); the file "
                "was edited: copy or export the bundle again"
            )


def _check_early(manifest: BundleManifest, nodes: dict[str, NodeManifest], path: Path) -> None:
    """Thresholds are said twice as well, here and on each node."""
    try:
        check_thresholds(manifest.topology, manifest.early)
    except InputError as error:
        raise InputError(f"{path}: {error} (at $.early)") from error
    own = {name: node.early for name, node in nodes.items() if node.early is not None}
    if own != (manifest.early or {}):
        raise InputError(
            f"{path}: expected the thresholds of its nodes, {own}, got {manifest.early} "
            "(at $.early); the file was edited: choose them again with `ddnn-edge exits`"
        )


def _check_links(topology: Topology, node: NodeManifest, path: Path) -> None:
    """The node's own links are the topology's, bit by bit, or one of the two was edited."""
    own = [(link.source, link.bit) for link in node.incoming]
    expected = [(x.source, topology.bits[x.name]) for x in topology.incoming(node.node)]
    targets = tuple(link.target for link in topology.outgoing(node.node))
    if node.exit != (node.node in topology.exits):
        raise InputError(
            f"{path}: whether {node.node!r} has an exit is not as in the bundle's topology "
            f"({BUNDLE_FILE}, at $.topology.nodes); export the bundle again"
        )
    if own != expected or node.outgoing != targets:
        raise InputError(
            f"{path}: the links of {node.node!r} are not those of the bundle's topology "
            f"({BUNDLE_FILE}, at $.topology.links); export the bundle again"
        )


def read_node(folder: str | Path) -> NodeManifest:
    """The manifest of one node's folder."""
    path = Path(folder) / NODE_FILE
    return _decode(_read(path), NodeManifest, path)


def encode(record: msgspec.Struct) -> bytes:
    """Readable JSON."""
    return msgspec.json.format(msgspec.json.encode(record), indent=1) + b"\n"


_T = TypeVar("_T", BundleManifest, NodeManifest)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(
            f"{path}: cannot be read ({error.strerror}); expected a folder that export wrote"
        ) from error


def _decode(data: bytes, kind: type[_T], path: Path) -> _T:
    try:
        plain: Any = msgspec.json.decode(data)
        schema = plain.get("schema") if isinstance(plain, dict) else None
        if schema != SCHEMA:
            raise InputError(
                f"{path}: expected schema {SCHEMA}, got {schema!r} (at $.schema); "
                "export it again, or install the version that wrote it"
            )
        return msgspec.convert(plain, kind)
    except InputError:
        raise
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InputError(f"{path}: {error}; export it again") from error
