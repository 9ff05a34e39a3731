"""Real nodes on the memory transport, in one thread, with a clock that the test moves.

Their sections only add up, so that an answer shows which views went into it, and how often.
"""

from collections.abc import Mapping

import msgspec
import numpy as np

from edge_runtime.answers.policies import AnswerMode
from edge_runtime.answers.records import Answer, Metrics
from edge_runtime.arrays import Array, TensorSpec
from edge_runtime.bundle.manifest import IncomingLink, NodeManifest, ReliabilityTable
from edge_runtime.bundle.tensors import complete, named
from edge_runtime.clock import SECOND, FrameClock
from edge_runtime.evaluation.cache import SectionCache
from edge_runtime.node.node import Node
from edge_runtime.node.settings import Clocks, LiveSettings
from edge_runtime.node.sources import Source
from edge_runtime.node.status import Notice
from edge_runtime.task import Classification
from edge_runtime.topology import Topology
from edge_runtime.transport.base import ANSWERS, METRICS, Received
from edge_runtime.transport.memory import MemoryNetwork, MemoryTransport
from edge_runtime.transport.wire import Encoding

MS = SECOND // 1000
FPS = 10
FINGERPRINT = "ab" * 32


class Adding:
    """A section of `tensors` outputs: the k-th is k + 1 times the sum of all inputs' tensors.

    With an exit there is one more, the same sum as a share of itself.
    """

    def __init__(self, topology: Topology, node: str, tensors: Mapping[str, int]) -> None:
        self._tensors = tensors.get(node, 1)
        self._exit = node in topology.exits
        width = (len(topology.sensors),)
        self.inputs: dict[str, TensorSpec] = {}
        for link in topology.incoming(node):
            specs = (TensorSpec(width, "float32"),) * tensors.get(link.source, 1)
            self.inputs |= named(link.source, specs)
        self.calls = 0

    def with_exit(self, inputs: Mapping[str, Array]) -> tuple[Array, ...]:
        self.calls += 1
        total = sum(inputs.values(), np.zeros(1, np.float32))
        sent = tuple((k + 1) * total for k in range(self._tensors))
        return (*sent, total / total.sum()) if self._exit else sent


class Views:
    """A sensor's views: its own column holds the frame's number plus one."""

    def __init__(self, column: int, width: int) -> None:
        self._column, self._width = column, width
        self.ended = self.closed = self.blind = False

    def read(self, frame: int) -> Array | None:
        return None if self.blind else self.view(frame)

    def view(self, frame: int) -> Array:
        view = np.zeros(self._width, np.float32)
        view[self._column] = frame + 1
        return view

    def close(self) -> None:
        self.closed = True


def task_of(topology: Topology) -> Classification:
    """A class for each sensor, the second one the most frequent."""
    count = len(topology.sensors)
    prior = np.array([0.1, 0.6, *[0.3] * (count - 2)])
    names = tuple(f"like {s.name}" for s in topology.sensors)
    return Classification(names, tuple((prior / prior.sum()).tolist()))


def manifest_of(
    topology: Topology,
    node: str,
    section: Adding,
    *,
    fingerprint: str = FINGERPRINT,
    early: float | None = None,
) -> NodeManifest:
    """As export writes it."""
    bits = {link.name: i for i, link in enumerate(topology.links)}
    answers = node in topology.answering
    count = len(topology.sensors)
    table = ReliabilityTable(samples=9, states={"0": 0.5}, expected={})
    return NodeManifest(
        node=node,
        tier=topology.node(node).tier,
        fingerprint=fingerprint,
        quantization="none",
        incoming=tuple(
            IncomingLink(
                source=x.source, bit=bits[x.name], sensor=x.source in topology.sensor_names
            )
            for x in topology.incoming(node)
        ),
        outgoing=tuple(x.target for x in topology.outgoing(node)),
        inputs=section.inputs,
        outputs=(TensorSpec((count,), "float32"),) * (1 + (node in topology.exits)),
        exit=node in topology.exits,
        files={},
        tolerance=1e-5,
        budget=0.9 * topology.depths[node] / topology.depths[topology.output],
        links=tuple(bits) if answers else None,
        # A class a sensor; the second is the most frequent.
        task=task_of(topology) if answers else None,
        reliability=table if answers else None,
        early=early,
    )


class Nodes:
    """A deployment in one thread. `now` is everybody's monotonic clock."""

    def __init__(
        self,
        topology: Topology,
        *,
        tensors: Mapping[str, int] | None = None,
        encoding: Encoding = "raw",
        deadline_ns: int = 100 * MS,
        answer: AnswerMode = "output",
        early: Mapping[str, float] | None = None,
        smooth_ns: int | None = None,
    ) -> None:
        self.early = early or {}
        self.smooth_ns = smooth_ns
        self.topology, self.tensors = topology, tensors or {}
        self.encoding, self.deadline_ns, self.answer = encoding, deadline_ns, answer
        self.network = MemoryNetwork(waits=False)
        self.now, self.wall = 0, 1_700_000_000 * SECOND
        self.frames = FrameClock(0, FPS, 1)
        self.views = {
            s.name: Views(i, len(topology.sensors)) for i, s in enumerate(topology.sensors)
        }
        self.observer = self.network.open(topics=[ANSWERS, METRICS])
        self.answers: list[Answer] = []
        self.metrics: dict[str, Metrics] = {}
        self.notices: list[tuple[str, Notice, str]] = []
        self.nodes: dict[str, Node] = {}
        self.sections: dict[str, Adding] = {}
        self.transports: dict[str, MemoryTransport] = {}
        self.held: set[str] = set()
        for name in topology.order:
            self.start(name)
        self.converge()

    def start(self, name: str, *, fingerprint: str = FINGERPRINT) -> Node:
        """A new process of a node."""
        section = Adding(self.topology, name, self.tensors)
        manifest = manifest_of(
            self.topology, name, section, fingerprint=fingerprint, early=self.early.get(name)
        )
        hosted: dict[str, Source] = {
            x.source: self.views[x.source] for x in manifest.incoming if x.sensor
        }
        transport = self.network.open(name)
        node = Node(
            manifest,
            section,
            transport,
            hosted,
            self.frames if hosted else None,
            LiveSettings(
                deadline_ns=self.deadline_ns,
                encoding=self.encoding,
                rule=manifest.rule(self.answer, early=bool(self.early)),
                smooth_ns=self.smooth_ns,
            ),
            clocks=Clocks(lambda: self.now, lambda: self.wall),
            notice=lambda what, about: self.notices.append((name, what, about)),
        )
        node.start()
        self.nodes[name], self.sections[name], self.transports[name] = node, section, transport
        return node

    def kill(self, name: str) -> None:
        self.transports[name].close()
        del self.nodes[name]

    def step(self, *names: str) -> None:
        """One turn of these nodes' loops, or of all that run."""
        for name in names or tuple(self.nodes):
            if name not in self.held:
                self.nodes[name].step()
        self.look()

    def converge(self) -> None:
        """Turns until nothing moves at this moment: a frame passes one node a turn."""
        for _ in range(len(self.topology.order) + 2):
            self.step()

    def advance(self, ns: int) -> None:
        """Let time pass, a millisecond after the other."""
        end = self.now + ns
        while self.now < end:
            self.now = min(end, self.now + MS)
            self.step()
        self.converge()

    def frame(self, number: int) -> list[Answer]:
        """Run a frame from its beginning to just before the next one; what was answered."""
        before = len(self.answers)
        self.now = max(self.now, self.frames.begins(number))
        self.converge()
        self.advance(self.frames.begins(number + 1) - MS - self.now)
        return self.answers[before:]

    def look(self) -> None:
        """Take what an observer sees."""
        while (event := self.observer.receive(0)) is not None:
            if isinstance(event, Received) and event.target == ANSWERS:
                self.answers.append(msgspec.json.decode(event.payload, type=Answer))
            elif isinstance(event, Received):
                metrics = msgspec.json.decode(event.payload, type=Metrics)
                self.metrics[metrics.node] = metrics

    # -- the truth ---------------------------------------------------------------------------------

    def run(self, node: str, inputs: Mapping[str, Array]) -> tuple[Array, ...]:
        """As `Runner`."""
        section = Adding(self.topology, node, self.tensors)
        return section.with_exit(complete(inputs, section.inputs, ()))

    def truth(self, answer: Answer) -> Array:
        """What this answer's state makes of this answer's frame."""
        views = {name: v.view(answer.frame)[None] for name, v in self.views.items()}
        cache = SectionCache(self.topology, self, views)
        found: Array = cache.answer(int(answer.state, 16), answer.node)[0]
        return found

    def state(self, *links: str) -> str:
        """The state in which these links delivered; all of them if none is named."""
        names = [x.name for x in self.topology.links]
        return f"{sum(1 << names.index(x) for x in (links or names)):x}"
