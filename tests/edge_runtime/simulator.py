"""A whole deployment under faults, simulated: real cores, an injected clock, network and fate.

One seed decides everything: the topology, its timing, the network, the faults. Time is a heap of
events, so that a seed replays exactly. Each node is a `FrameAssembler` in a small model of a
process. Sections are replaced by a ledger: what a node computes is the number of an entry that says
exactly which views, which links and which other computations went into it. The checker compares
that truth with what the nodes claim, at each step.

    python -m tests.edge_runtime.simulator --seed 17 --log     replay one seed, event by event
    python -m tests.edge_runtime.simulator --seeds 10000       search for a seed that fails
"""

from __future__ import annotations

import argparse
import hashlib
import heapq
import random
import sys
import time
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from operator import methodcaller
from typing import Any, Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from edge_runtime.answers.policies import Policy
from edge_runtime.answers.records import Answer as Said
from edge_runtime.answers.selector import AnswerSelector
from edge_runtime.arrays import Array, TensorSpec
from edge_runtime.bundle.manifest import IncomingLink
from edge_runtime.bundle.tensors import PRESENT, complete
from edge_runtime.clock import FrameClock
from edge_runtime.evaluation.answering import state_keys
from edge_runtime.failures.configurations import output_states
from edge_runtime.node.assembler import FrameAssembler, ReadyFrame
from edge_runtime.topology import Link
from edge_runtime.transport.wire import Message, decode, encode
from tests.edge_runtime.ledger import InvariantError, Ledger, ensure
from tests.edge_runtime.onlooker import ONLOOKER, Onlooker, Taken
from tests.edge_runtime.scenarios import (
    COMPUTE_JITTER,
    LINK_FAULTS,
    MS,
    SENSOR_FAULTS,
    US,
    Fault,
    S,
    Scenario,
    draw_scenario,
)

DEADLINE = 100 * MS
MODEL, OTHER_MODEL = b"model-01", b"model-02"
#: Messages that a process has received and not yet taken; the oldest make room.
RING = 256
#: The wall clock when the simulation begins, whose own time begins at 0.
WALL = 1_700_000_000 * S
VIEW = TensorSpec((2,), "int64")
TOKEN = TensorSpec((1,), "int64")


@dataclass(frozen=True)
class Answer:
    """`age_ns` as the node knows it; `latency_ns` in true time, from the frame's beginning."""

    frame: int
    incarnation: int
    state: int
    at: int
    age_ns: int
    latency_ns: int
    fallback: bool


@dataclass
class Outcome:
    """What a run came to, and `digest`, a hash over every event of it.

    `taken`, `answerable_by_any`, `untaken`, `unheard`: the same as `answers`, `answerable`,
    `unanswered` and `incomplete`, of what the onlooker takes of the exits'.
    """

    scenario: Scenario
    digest: str
    events: int
    answers: dict[int, Answer]
    answerable: frozenset[int]
    unanswered: frozenset[int]
    steady: int
    incomplete: frozenset[int]
    counters: Counter[str]
    log: list[str]
    taken: dict[int, Taken]
    answerable_by_any: frozenset[int]
    untaken: frozenset[int]
    unheard: frozenset[int]


# -- processes and the network between them --------------------------------------------------------


class Process:
    """One node's process: an inbox, a loop, a clock that shares nothing with the others'."""

    def __init__(
        self,
        simulation: Simulation,
        node: str,
        incarnation: int,
        *,
        model: bytes = MODEL,
        shift: int = 0,
    ) -> None:
        self.simulation, self.node = simulation, node
        self.incarnation, self.model = incarnation, model
        self.alive, self.hung, self.suspended = True, False, False
        #: Wrongly numbers its frames by so many.
        self.shift = shift
        self.inbox: deque[tuple[str, bytes, bytes]] = deque(maxlen=RING)
        #: What was addressed to it lately; a flood repeats it.
        self.recent: deque[tuple[str, bytes, bytes]] = deque(maxlen=8)
        self.control: deque[Callable[[FrameAssembler], None]] = deque()
        self.wake: int | None = None
        #: What it computes, and when that is done.
        self.computing: tuple[ReadyFrame, int] | None = None
        self.done_at = 0
        scenario = simulation.scenario
        self.assembler = simulation.gather_class(
            node,
            simulation.incoming[node],
            simulation.inputs[node],
            budget_ns=simulation.budget[node],
            deadline_ns=DEADLINE,
            fingerprint=model,
            start_ns=self.local(simulation.now),
            most_open=scenario.most_open,
            most_closed=scenario.most_closed,
        )

    def local(self, now: int) -> int:
        """This machine's monotonic clock."""
        return now + self.simulation.offset[self.node]

    @property
    def running(self) -> bool:
        return self.alive and not self.hung

    def receive(self, sender: str, header: bytes, payload: bytes) -> None:
        self.inbox.append((sender, header, payload))
        self.step()

    def step(self) -> None:
        """One turn of the loop: take what has come, then compute the newest frame that is due."""
        simulation = self.simulation
        if not self.running or self.computing:
            return
        now = self.local(simulation.now)
        while self.control:
            self.control.popleft()(self.assembler)
        while self.inbox:
            dropped = self.assembler.hear(*self.inbox.popleft(), now)
            simulation.record("hear", self.node, dropped)
        simulation.check_memory(self)
        if self.suspended:
            return
        ready = self.assembler.ready(now)
        if ready is not None:
            simulation.start(self, ready)
            return
        due = self.assembler.next_wakeup()
        if due is not None:
            at = max(due - simulation.offset[self.node], simulation.now)
            if self.wake is None or at < self.wake or self.wake <= simulation.now:
                self.wake = at
                simulation.at(at, self.step)


class Connection:
    """A link of the topology between two processes, with its session."""

    def __init__(self, link: Link) -> None:
        self.link = link
        self.up = True
        self.blocked: Literal["", "forward", "reverse"] = ""
        self.was_healthy = False
        self.established = False
        self.generation = 0
        self.incarnation = 0
        self.free = 0
        self.held: list[tuple[int, bytes, bytes]] = []


class Simulation:
    """Runs one scenario; `seed` draws what the scenario leaves open."""

    def __init__(
        self,
        seed: int,
        scenario: Scenario | None = None,
        *,
        gather_class: type[FrameAssembler] = FrameAssembler,
        selector_class: type[AnswerSelector] = AnswerSelector,
        keep_log: bool = False,
    ) -> None:
        self.seed = seed
        self.scenario = scenario or draw_scenario(seed)
        self.rng = random.Random(f"run {seed}")
        self.gather_class = gather_class
        self.now = 0
        self.ledger = Ledger(self.scenario.topology)
        self.answers: dict[int, Answer] = {}
        self.counters: Counter[str] = Counter()
        self.log: list[str] | None = [] if keep_log else None
        self._heap: list[tuple[int, int, Callable[[], None]]] = []
        self._count = 0
        self._hash = hashlib.sha256()
        self._describe()
        topology, rng = self.scenario.topology, self.rng
        self.offset = {n: rng.randrange(1, 10**15) for n in topology.order}
        self.wall_jump = dict.fromkeys(topology.order, 0)
        self.slow: dict[str, int] = {}
        self.sensor_faults: dict[str, str] = {}
        self.clock = FrameClock.at(self.scenario.fps, wall_ns=WALL, monotonic_ns=0, epoch_ns=WALL)
        self.down: dict[str, list[list[int]]] = defaultdict(list)
        self.lost: dict[int, set[str]] = defaultdict(set)
        self.disturbed: dict[str, int] = {}
        self.dies_between_sends: set[str] = set()
        #: By frame, the nodes that answered it early.
        self.early: dict[int, set[str]] = defaultdict(set)
        self.connections = {
            x.name: Connection(x) for x in topology.links if x.source not in topology.sensor_names
        }
        self.processes: dict[str, Any] = {}
        self.onlooker: Onlooker | None = None
        if self.scenario.exits:
            self._add_onlooker(self.scenario.exits, selector_class)

    def _add_onlooker(self, policy: Policy, selector_class: type[AnswerSelector]) -> None:
        scenario = self.scenario
        self.onlooker = self.processes[ONLOOKER] = Onlooker(
            self,
            scenario.topology.with_exits(),
            policy,
            deadline=DEADLINE,
            offset=self.rng.randrange(1, 10**15),
            most_open=scenario.most_open,
            most_closed=scenario.most_closed,
            model=MODEL.hex(),
            early=scenario.early > 0,
            selector_class=selector_class,
        )
        for node in scenario.topology.order:
            link = Link(node, ONLOOKER)
            self.connections[link.name] = Connection(link)

    def _describe(self) -> None:
        """What each node's `node.json` would say."""
        topology, scenario = self.scenario.topology, self.scenario
        bit = {x.name: i for i, x in enumerate(topology.links)}
        depth = topology.depths
        self.incoming: dict[str, list[IncomingLink]] = {}
        self.inputs: dict[str, dict[str, TensorSpec]] = {}
        self.budget: dict[str, int] = {}
        for node in topology.order:
            links = topology.incoming(node)
            self.incoming[node] = [
                IncomingLink(
                    source=x.source, bit=bit[x.name], sensor=x.source in topology.sensor_names
                )
                for x in links
            ]
            inputs: dict[str, TensorSpec] = {}
            for link in links:
                if link.source in topology.sensor_names:
                    inputs[link.source] = VIEW
                elif link.source in scenario.several:
                    inputs |= {f"{link.source}__0": TOKEN, f"{link.source}__1": TOKEN}
                else:
                    inputs[link.source] = TOKEN
            if node in scenario.flagged:
                inputs[PRESENT] = TensorSpec((len(links),), "float32")
            self.inputs[node] = inputs
            self.budget[node] = DEADLINE * 9 * depth[node] // (10 * depth[topology.output])

    # -- time ------------------------------------------------------------------------------------

    def at(self, when: int, event: Callable[[], None]) -> None:
        self._count += 1
        heapq.heappush(self._heap, (when, self._count, event))

    def after(self, wait: int, event: Callable[[], None]) -> None:
        self.at(self.now + wait, event)

    def record(self, what: str, where: str, detail: object = "") -> None:
        """A line of the event log."""
        line = f"{self.now} {what} {where} {detail}"
        self._hash.update(line.encode())
        if self.log is not None:
            self.log.append(line)

    def run(self) -> Outcome:
        """Everything, to the end; `InvariantError` at the step at which an invariant fails."""
        for node in self.scenario.topology.order:
            self.start_process(node)
        for fault in self.scenario.faults:
            self.at(fault.at, partial(self._befall, fault))
        self.at(self.clock.begins(1), partial(self._tick, 1))
        end = self.scenario.length + 3 * DEADLINE
        events = 0
        while self._heap and self._heap[0][0] <= end:
            self.now, _, event = heapq.heappop(self._heap)
            event()
            events += 1
        return self._outcome(events)

    # -- a process's life ------------------------------------------------------------------------

    def start_process(self, node: str, *, model: bytes = MODEL, shift: int = 0) -> None:
        """A new process takes a name that nobody holds."""
        old = self.processes.get(node)
        if old is not None and old.alive:
            return
        # As a device does it: a number from a wall clock that may have jumped back.
        incarnation = WALL + self.now + self.wall_jump[node]
        self.processes[node] = Process(self, node, incarnation, model=model, shift=shift)
        self.record("start", node, incarnation)
        self.note_node(node)
        for sensor, kind in self.sensor_faults.items():
            if kind == "sensor-ended":
                self._sensor_source(sensor, up=False)
        self._touch_all(node)

    def kill(self, node: str) -> None:
        process = self.processes[node]
        if not process.alive:
            return
        self.record("kill", node)
        process.alive = False
        self._account(process)
        self.note_node(node)
        for connection in self._of(node):
            healthy, established = connection.was_healthy, connection.established
            connection.was_healthy = connection.established = False
            connection.generation += 1
            self._lose(connection)
            if connection.link.source == node and established:
                # Its machine closes the connection at once, if it can still say so.
                wait = (
                    self.rng.randrange(5 * MS, 8 * MS) if healthy else self.scenario.network.lease
                )
                self._tell_down(connection, wait)
            self.note_link(connection)

    def hang(self, node: str) -> None:
        self.record("hang", node)
        self.processes[node].hung = True
        self.note_node(node)
        self._touch_all(node)

    def resume(self, node: str, process: Process, since: int) -> None:
        if not process.alive:
            return
        self.record("resume", node)
        process.hung = False
        self.disturbed[node] = self.now
        if self.processes[node] is not process:
            # Another holds the name: it exits, after a moment in which it sends nothing.
            process.suspended = True
            self.after(self.rng.randrange(30 * MS), partial(self._account, process))
        elif self.now - since > self.scenario.network.lease:
            # Its token went: nothing is sent before it has a new one.
            process.suspended = True
            self.after(self.rng.randrange(20 * MS, 60 * MS), partial(self._rejoin, process))
        if process.suspended:
            process.computing = None
        elif process.computing and process.done_at <= self.now:
            self.after(0, partial(self._finish, process, process.computing))
        self.after(0, process.step)
        self.note_node(node)
        self._touch_all(node)

    def _rejoin(self, process: Process) -> None:
        if not process.running or self.processes[process.node] is not process:
            return
        process.incarnation = max(
            process.incarnation + 1, WALL + self.now + self.wall_jump[process.node]
        )
        self.record("rejoin", process.node, process.incarnation)
        process.suspended = False
        for connection in self._of(process.node):
            if connection.link.source == process.node:
                self._sever(connection)
        self.note_node(process.node)
        self._touch_all(process.node)
        process.step()

    # -- computing -------------------------------------------------------------------------------

    def start(self, process: Process, ready: ReadyFrame) -> None:
        """`process` begins to compute a frame that is ready."""
        node, local = process.node, process.local(self.now)
        where = f"{node}, frame {ready.frame} at {self.now}"
        age = ready.age(local)
        ensure(age <= DEADLINE, f"{where}: computed at the age of {age}")
        if ready.answered:
            self._pass_on(process, ready, age)
            return
        ensure(ready.complete or age >= self.budget[node], f"{where}: did not wait, age {age}")
        ensure(age <= self.now - self.captured(ready.frame), f"{where}: older than it is, {age}")
        if process.model == MODEL:
            inputs = ready.inputs and complete(
                ready.inputs, self.inputs[node], tuple(x.source for x in self.incoming[node])
            )
            number = self.ledger.compute(node, process, ready, inputs)
        else:
            number = -1
        self.record("compute", node, (ready.frame, ready.state, ready.complete))
        cost = self.scenario.compute + self.rng.randrange(COMPUTE_JITTER) + self.slow.get(node, 0)
        process.computing, process.done_at = (ready, number), self.now + cost
        self.after(cost, partial(self._finish, process, process.computing))

    def _pass_on(self, process: Process, ready: ReadyFrame, age: int) -> None:
        """`process` has heard that a frame is answered early: it does not compute it."""
        node = process.node
        where = f"{node}, frame {ready.frame} at {self.now}"
        if process.model == MODEL:
            below = {n for n in self.early[ready.frame] if self._leads(n, node)}
            ensure(bool(below), f"{where}: told of an early answer that nobody below gave")
            ensure(not ready.inputs and not ready.state, f"{where}: claims what it passes on")
            self.ledger.close(node, process, ready.frame)
        self.record("pass on", node, ready.frame)
        self._send(process, ready, -1, age)
        self.after(0, process.step)

    def _leads(self, source: str, target: str) -> bool:
        """Whether links lead from one node to another."""
        onward = (x.target for x in self.scenario.topology.outgoing(source))
        return any(node == target or self._leads(node, target) for node in onward)

    def _is_sure(self, process: Process, ready: ReadyFrame) -> bool:
        """Whether it answers early: its section's whim, which the seed decides."""
        output = self.scenario.topology.output
        if not self.scenario.early or ready.silent or process.node == output:
            return False
        if not self.connections[f"{process.node}->{ONLOOKER}"].established:
            return False  # as a node does that nobody sees: it has lost its name
        whim = random.Random(f"early {self.seed} {process.node} {ready.frame}")
        return whim.random() < self.scenario.early

    def _finish(self, process: Process, computed: tuple[ReadyFrame, int]) -> None:
        if not process.running or process.computing is not computed:
            return
        process.computing = None
        ready, number = computed
        age = ready.age(process.local(self.now))
        if process.node == self.scenario.topology.output:
            self.ledger.check_replay(number)
            self._answer(process, ready, age)
        else:
            early = self._is_sure(process, ready)
            if early:
                # The answer first, then the marks.
                self._say(process, ready, number, age, early=True)
                ready = ReadyFrame(
                    ready.frame, {}, 0, ready.captured_ns, ready.wall_ns, True, (), answered=True
                )
            self._send(process, ready, number, age)
            if early:
                process.step()
                return
        if self.onlooker is not None:
            self._say(process, ready, number, age)
        process.step()

    def _send(self, process: Process, ready: ReadyFrame, number: int, age: int) -> None:
        node = process.node
        tensors: tuple[Array, ...] = ()
        if not (ready.silent or ready.answered):
            token = np.array([number + 1], np.int64)
            tensors = (token, -token) if node in self.scenario.several else (token,)
        message = Message(
            frame=ready.frame,
            sender=node,
            incarnation=process.incarnation,
            fingerprint=process.model,
            state=ready.state,
            age_ns=age,
            sent_ns=process.local(self.now),
            wall_ns=max(0, WALL + self.now + self.wall_jump[node]),
            tensors=tensors,
            answered=ready.answered,
        )
        header, payload = encode(message)
        for i, connection in enumerate(self._to_nodes(node)):
            put = partial(self._transmit, process, connection, ready.frame, header, payload)
            self.after(i * 10 * US, put)
        if node in self.dies_between_sends:
            self.dies_between_sends.discard(node)
            self.after(5 * US, partial(self.kill, node))

    def _say(
        self, process: Process, ready: ReadyFrame, number: int, age: int, *, early: bool = False
    ) -> None:
        """What its exit answers, to who looks on, once it has sent its messages; early, before."""
        node, sure = process.node, 0.5 + self.rng.random() / 2
        said = Said(
            frame=ready.frame,
            answer=str(number),
            probabilities=(sure, 1 - sure),
            confidence=sure,
            node=node,
            state=f"{ready.state:x}",
            nodes=(),
            age_ms=age / 1e6,
            score=None,
            score_name="accuracy",
            fallback=ready.silent,
            waited=not ready.complete,
            exit=node != self.scenario.topology.output,
            model=process.model.hex(),
            early=early,
        )
        payload = msgspec.json.encode(said)
        connection = self.connections[f"{node}->{ONLOOKER}"]
        put = partial(self._transmit, process, connection, ready.frame, b"", payload)
        if early:
            self.early[ready.frame].add(node)
            put()
        else:
            self.after(len(list(self._to_nodes(node))) * 10 * US, put)

    def _answer(self, process: Process, ready: ReadyFrame, age: int) -> None:
        ensure(ready.frame not in self.answers, f"frame {ready.frame} answered twice")
        latency = self.now - self.captured(ready.frame)
        self.record("answer", process.node, (ready.frame, ready.state, age))
        self.answers[ready.frame] = Answer(
            ready.frame, process.incarnation, ready.state, self.now, age, latency, ready.silent
        )
        calm = self.now - self.disturbed.get(process.node, -S) > 2 * DEADLINE
        if calm and process.node not in self.slow:
            latest = DEADLINE + self.scenario.compute + COMPUTE_JITTER
            ensure(age <= latest, f"frame {ready.frame} answered at the age of {age}")

    # -- the network -----------------------------------------------------------------------------

    def _of(self, node: str) -> Iterator[Connection]:
        return (x for x in self.connections.values() if node in (x.link.source, x.link.target))

    def _to_nodes(self, node: str) -> Iterator[Connection]:
        return (x for x in self._of(node) if node == x.link.source and x.link.target != ONLOOKER)

    def _touch_all(self, node: str) -> None:
        for connection in list(self._of(node)):
            self._touch(connection)

    def _touch(self, connection: Connection) -> None:
        """Something about a connection may have changed."""
        link = connection.link
        ends = [self.processes.get(link.source), self.processes.get(link.target)]
        running = all(p is not None and p.running for p in ends)
        healthy = running and connection.up and not connection.blocked
        if healthy != connection.was_healthy:
            connection.was_healthy = healthy
            connection.generation += 1
            if healthy and connection.established:
                for frame, header, payload in connection.held:
                    self._arrive(connection, self.processes[link.target], frame, header, payload)
                connection.held.clear()
            elif healthy:
                self._if_it_stays_so(
                    connection, self.rng.randrange(20 * MS, 200 * MS), self._establish
                )
            elif connection.established:
                self._if_it_stays_so(connection, self.scenario.network.lease, self._sever)
        self.note_link(connection)

    def _if_it_stays_so(
        self, connection: Connection, wait: int, action: Callable[[Connection], None]
    ) -> None:
        generation = connection.generation

        def act() -> None:
            if connection.generation == generation:
                action(connection)

        self.after(wait, act)

    def _establish(self, connection: Connection) -> None:
        link = connection.link
        source, target = self.processes[link.source], self.processes[link.target]
        if source.suspended:
            connection.was_healthy = False
            return
        connection.established = True
        connection.incarnation = incarnation = source.incarnation
        self.record("up", link.name, incarnation)
        target.control.append(methodcaller("peer_up", link.source, incarnation))
        self.after(0, target.step)
        self.note_link(connection)

    def _sever(self, connection: Connection) -> None:
        if connection.established:
            connection.established = connection.was_healthy = False
            connection.generation += 1
            self._lose(connection)
            self._tell_down(connection, 0)
            self.note_link(connection)

    def _tell_down(self, connection: Connection, wait: int) -> None:
        link, incarnation = connection.link, connection.incarnation
        target = self.processes[link.target]

        def tell() -> None:
            self.record("down", link.name, incarnation)
            target.control.append(methodcaller("peer_down", link.source, incarnation))
            target.step()

        self.after(wait, tell)

    def _lose(self, connection: Connection) -> None:
        for frame, _, _ in connection.held:
            self.lost[frame].add(connection.link.name)
        connection.held.clear()

    def _transmit(
        self, process: Process, connection: Connection, frame: int, header: bytes, payload: bytes
    ) -> None:
        if not process.running:
            return
        network, rng = self.scenario.network, self.rng
        name, target = connection.link.name, self.processes[connection.link.target]
        if not connection.established or rng.random() < network.loss:
            self.lost[frame].add(name)
            return
        target.recent.append((process.node, header, payload))
        copies = 2 if rng.random() < network.duplication else 1
        for _ in range(copies):
            arrival = self.now + network.delay + rng.randrange(network.jitter + 1)
            if not network.reordered:
                arrival = connection.free = max(arrival, connection.free + 1)
            self.at(arrival, partial(self._arrive, connection, target, frame, header, payload))

    def _arrive(
        self, connection: Connection, target: Process, frame: int, header: bytes, payload: bytes
    ) -> None:
        if not target.alive:
            self.lost[frame].add(connection.link.name)
        elif connection.up and connection.blocked != "forward":
            target.receive(connection.link.source, header, payload)
        elif self.scenario.network.held and connection.established:
            connection.held.append((frame, header, payload))
        else:
            self.lost[frame].add(connection.link.name)

    # -- sensors ---------------------------------------------------------------------------------

    def captured(self, frame: int) -> int:
        """True time at which a frame begins, also of one that a wrong clock has numbered."""
        return self.clock.begins(frame % self._shift)

    #: A clock that is wrong is so by this many frames, beyond those of any run.
    _shift = 1 << 20

    def _tick(self, frame: int) -> None:
        """A frame begins: each node reads its sensors, a moment later."""
        topology = self.scenario.topology
        for link in topology.links:
            if link.source in topology.sensor_names:
                process = self.processes[link.target]
                view = partial(self._sense, process, link.source, frame)
                self.after(self.rng.randrange(2 * MS), view)
        if frame < self.scenario.frames:
            self.at(self.clock.begins(frame + 1), partial(self._tick, frame + 1))

    def _sense(self, process: Process, sensor: str, frame: int) -> None:
        if not process.running or process.suspended:
            return
        fault = self.sensor_faults.get(sensor)
        if fault in ("sensor-quiet", "sensor-ended"):
            return
        numbered = frame + process.shift * self._shift
        view = None if fault == "sensor-empty" else self.ledger.view(sensor, numbered)
        local = process.local(self.now)
        process.control.append(
            lambda assembler: self.record(
                "sense", sensor, assembler.sense(sensor, numbered, view, local, captured_ns=local)
            )
        )
        process.step()

    def _sensor_source(self, sensor: str, *, up: bool) -> None:
        for link in self.scenario.topology.outgoing(sensor):
            process = self.processes.get(link.target)
            if process is not None:
                process.control.append(methodcaller("sensor_up" if up else "sensor_down", sensor))

    # -- faults ----------------------------------------------------------------------------------

    def _befall(self, fault: Fault) -> None:
        self.record(fault.kind, fault.where, fault.lasts)
        self.counters[fault.kind] += 1
        where = fault.where
        if fault.kind in LINK_FAULTS:
            self._fail_link(fault, self.connections[where])
        elif fault.kind in SENSOR_FAULTS:
            self._fail_sensor(fault)
        elif fault.kind == "junk":
            assert self.onlooker is not None
            for i in range(50 + fault.amount % 400):
                self.after(i * 20 * US, self._junk)
        elif fault.kind == "wall-jump":
            self.wall_jump[where] += 3600 * S * (1 if fault.amount % 2 else -1)
        elif self.processes[where].running:
            self._fail_node(fault, where, self.processes[where])

    def _fail_link(self, fault: Fault, connection: Connection) -> None:
        def mend() -> None:
            connection.up, connection.blocked = True, ""
            self._touch(connection)

        if fault.kind == "link-down":
            connection.up = False
        else:
            connection.blocked = "forward" if fault.kind == "block-forward" else "reverse"
        self._touch(connection)
        self.after(fault.lasts, mend)

    def _fail_sensor(self, fault: Fault) -> None:
        sensor = fault.where

        def mend() -> None:
            if self.sensor_faults.pop(sensor, None) == "sensor-ended":
                self._sensor_source(sensor, up=True)
            self.note(sensor, True)

        if sensor not in self.sensor_faults:
            self.sensor_faults[sensor] = fault.kind
            if fault.kind == "sensor-ended":
                self._sensor_source(sensor, up=False)
            self.note(sensor, False)
            self.after(fault.lasts, mend)

    def _fail_node(self, fault: Fault, node: str, process: Process) -> None:
        kind, lasts = fault.kind, fault.lasts
        # Even the quickest start takes longer than a message is on its way, hop by hop.
        network = self.scenario.network
        way = len(self.scenario.topology.nodes) * (network.delay + network.jitter)
        restart = max(lasts, way + 10 * MS)
        if kind == "kill":
            self.kill(node)
            self.after(restart, partial(self.start_process, node))
        elif kind == "kill-between-sends":
            self.dies_between_sends.add(node)
            self.after(restart, partial(self.start_process, node))
        elif kind in ("hang", "replace"):
            self.hang(node)
            self.after(lasts, partial(self.resume, node, process, self.now))
            if kind == "replace":
                lease = self.scenario.network.lease
                self.after(lease + 200 * MS, partial(self._replace, node, process))
        elif kind == "slow":
            self.slow[node] = 5 * MS + fault.amount % (80 * MS)
            self.note_node(node)
            self.after(lasts, partial(self._quicken, node))
        elif kind == "flood":
            self._flood(node, 50 + fault.amount % 400)
        elif kind in ("stale-model", "wrong-clock"):
            if kind == "stale-model" and node == self.scenario.topology.output:
                return
            if kind == "wrong-clock" and not self._hosts(node):
                return
            shift = 1 + fault.amount % 2 if kind == "wrong-clock" else 0
            model = OTHER_MODEL if kind == "stale-model" else MODEL
            self.kill(node)
            self.after(200 * MS, partial(self.start_process, node, model=model, shift=shift))
            self.after(restart + 300 * MS, partial(self._kill_wrong, node))
            self.after(restart + 600 * MS, partial(self.start_process, node))
        elif kind == "claim":
            self._claim(node, process)

    def _hosts(self, node: str) -> bool:
        topology = self.scenario.topology
        return any(x.source in topology.sensor_names for x in topology.incoming(node))

    def _kill_wrong(self, node: str) -> None:
        if self.processes[node].shift or self.processes[node].model != MODEL:
            self.kill(node)

    def _replace(self, node: str, old: Process) -> None:
        """Somebody starts the hung node again, on another machine; the old one may wake up."""
        if old.hung and self.processes[node] is old:
            for connection in self._of(node):
                self._sever(connection)
                connection.was_healthy = False
                connection.generation += 1
            self.processes.pop(node)
            self.start_process(node)

    def _quicken(self, node: str) -> None:
        self.slow.pop(node, None)
        self.disturbed[node] = self.now
        self.note_node(node)

    def _flood(self, node: str, count: int) -> None:
        process, rng = self.processes[node], self.rng
        recent = list(process.recent)
        stranger = encode(
            Message(
                frame=1 + self.now * self.scenario.fps // S,
                sender="stranger",
                incarnation=1,
                fingerprint=MODEL,
                state=1,
                age_ns=0,
                tensors=(np.array([7], np.int64),),
            )
        )
        for i in range(count):
            choice = rng.randrange(5)
            sender = "stranger"
            if choice == 0 or not recent:
                header, payload = rng.randbytes(rng.randrange(80)), rng.randbytes(8)
            elif choice == 1:
                header, payload = stranger
            elif choice == 2:
                sender, header, payload = rng.choice(recent)
                header = header[: rng.randrange(len(header))]
            elif choice == 3:
                sender, header, payload = rng.choice(recent)
            else:
                header, payload = self._forged(*rng.choice(recent))
            self.after(i * 20 * US, partial(process.receive, sender, header, payload))

    def _junk(self) -> None:
        if self.onlooker is not None:
            self.onlooker.receive(*self.onlooker.junk(self.rng))

    def _forged(self, sender: str, header: bytes, payload: bytes) -> tuple[bytes, bytes]:
        """As the true holder of a name would say it of the coming frame, but for its tensors."""
        message = decode(header, payload)
        # A number that no ledger has: whoever uses it finds no entry.
        token = np.array([1 << 40], np.int64)
        return encode(
            msgspec.structs.replace(
                message,
                frame=self.clock.frame(self.now) + 1,
                age_ns=0,
                tensors=(token, -token) if sender in self.scenario.several else (token,),
                answered=False,
            )
        )

    def _claim(self, node: str, holder: Process) -> None:
        """A second process claims a name: its token shows, it sends, then it sees and exits."""
        impostor = holder.incarnation + self.rng.choice([-1, 1]) * self.rng.randrange(1, S)
        leaves = self.rng.randrange(20 * MS, 60 * MS)
        for connection in self._of(node):
            link, target = connection.link, self.processes[connection.link.target]
            if link.source != node or not connection.established or not connection.was_healthy:
                continue
            target.control.append(methodcaller("peer_up", node, impostor))
            gone = methodcaller("peer_down", node, impostor)
            self.after(leaves, partial(target.control.append, gone))
            if link.target == ONLOOKER:
                # Who looks on takes the news of the impostor's end for that of the holder's, and
                # waits for the holder again from its next answer on.
                self.note(link.name, False)
                self.after(leaves, partial(self.note_link, connection))
            # A number that no ledger has: whoever uses it finds no entry.
            token = np.array([1 << 40], np.int64)
            message = Message(
                frame=self.clock.frame(self.now) + 1,
                sender=node,
                incarnation=impostor,
                fingerprint=MODEL,
                state=0,
                age_ns=0,
                tensors=(token, token) if node in self.scenario.several else (token,),
            )
            # Behind the true holder's token, which `established` says was announced.
            self.after(MS, partial(target.receive, node, *encode(message)))

    # -- accounts --------------------------------------------------------------------------------

    def check_memory(self, process: Process) -> None:
        assembler, scenario = process.assembler, self.scenario
        held, closed = assembler.open_frames, len(assembler.closed_frames)
        if len(held) > scenario.most_open:
            raise InvariantError(f"{process.node}: {len(held)} open frames")
        if closed > scenario.most_closed:
            raise InvariantError(f"{process.node}: {closed} closed frames")
        counters = assembler.counters
        known = counters.used + counters.dropped + sum(held.values())
        if counters.received != known:
            raise InvariantError(
                f"{process.node}: {counters.received} messages received, {known} accounted for"
            )

    def _account(self, process: Process) -> None:
        process.alive = False
        counters = process.assembler.counters
        self.counters.update({n: getattr(counters, n) for n in counters.__struct_fields__})

    def note(self, element: str, up: bool) -> None:
        """From now on an element works, or does not, for what is answerable."""
        spans = self.down[element]
        if up and spans and spans[-1][1] == sys.maxsize:
            spans[-1][1] = self.now
        elif not up and not (spans and spans[-1][1] == sys.maxsize):
            spans.append([self.now, sys.maxsize])

    def note_node(self, node: str) -> None:
        p = self.processes[node]
        works = p.running and not p.suspended and p.model == MODEL and not p.shift
        self.note(node, works and node not in self.slow)

    def note_link(self, connection: Connection) -> None:
        self.note(connection.link.name, connection.established and connection.was_healthy)

    def _outcome(self, events: int) -> Outcome:
        topology, network = self.scenario.topology, self.scenario.network
        slack = DEADLINE + len(topology.nodes) * (network.delay + network.jitter)
        frames = range(1, self.scenario.frames + 1)
        # What has just come back is used once it is proven, by a first message in time.
        worked = self._masks(frames, 2 * S // self.scenario.fps + 20 * MS, slack)
        steady = self._masks(frames, 500 * MS, slack)
        touched = self._masks(frames, 500 * MS, slack, any_up=True)
        keys, which = state_keys(output_states(topology, worked))
        ideal = {frame: keys[i] for frame, i in zip(frames, which, strict=True)}
        answerable = frozenset(frame for frame in frames if ideal[frame])
        unanswered = frozenset(
            f for f in answerable if f not in self.answers or self.answers[f].fallback
        )
        # Those that were answered early are another matter: somebody below has answered them.
        unanswered -= self.early.keys()
        # Nothing changed from half a second before the frame until after its deadline.
        calm = [f for i, f in enumerate(frames) if (steady[i] == touched[i]).all() and ideal[f]]
        incomplete = frozenset(
            f for f in calm if f not in self.answers or ideal[f] & ~self.answers[f].state
        )
        incomplete -= self.early.keys()
        for node in topology.order:
            if node in self.processes and self.processes[node].alive:
                self._account(self.processes[node])
        answerable_by_any, untaken, unheard = self._outcome_of_exits(frames, slack)
        return Outcome(
            scenario=self.scenario,
            digest=self._hash.hexdigest(),
            events=events,
            answers=self.answers,
            answerable=answerable,
            unanswered=unanswered,
            steady=len(calm),
            incomplete=incomplete,
            counters=self.counters,
            log=self.log or [],
            taken=self.onlooker.taken if self.onlooker else {},
            answerable_by_any=answerable_by_any,
            untaken=untaken,
            unheard=unheard,
        )

    def _outcome_of_exits(self, frames: range, slack: int) -> tuple[frozenset[int], ...]:
        """Frames that some exit could answer; those of them that were not answered; calm ones in
        which an exit that had an answer was not heard in time."""
        if self.onlooker is None:
            return (frozenset(),) * 3
        self.counters += self.onlooker.account()
        topology, ranking = self.scenario.topology, self.onlooker.ranking
        ways = [f"{node}->{ONLOOKER}" for node in ranking]

        def exits(before: int) -> NDArray[Any]:
            """Of each frame, the states in which the exits have an answer that gets through."""
            masks = self._masks(frames, before, slack)
            columns = [state_keys(output_states(topology, masks, node)) for node in ranking]
            states = np.array([[keys[i] for i in which] for keys, which in columns], object).T
            return np.where(self._masks(frames, before, slack, names=ways), states, 0)

        states = exits(2 * S // self.scenario.fps + 20 * MS)
        taken = self.onlooker.taken
        answerable = frozenset(f for f, row in zip(frames, states, strict=True) if any(row))
        untaken = frozenset(f for f in answerable if f not in taken or taken[f].answer.fallback)
        everything = (*topology.elements, *ways)
        steady = self._masks(frames, 500 * MS, slack, names=everything)
        touched = self._masks(frames, 500 * MS, slack, any_up=True, names=everything)
        unheard = set()
        for i, frame in enumerate(frames):
            calm = (steady[i] == touched[i]).all() and frame not in self.early
            if calm and frame in taken:
                heard = taken[frame].heard
                for node, state in zip(ranking, states[i], strict=True):
                    if state & ~heard.get(node, 0):
                        unheard.add(frame)
        return answerable, untaken, frozenset(unheard)

    def _masks(
        self,
        frames: range,
        before: int,
        after: int,
        *,
        any_up: bool = False,
        names: Sequence[str] = (),
    ) -> NDArray[np.bool_]:
        """Which elements worked all the time around each frame (`any_up`: some of the time).

        `names`: of them, and of the links to the onlooker; by default those of the topology.
        """
        elements = names or self.scenario.topology.elements
        masks = np.ones((len(frames), len(elements)), bool)
        begins = np.array([self.clock.begins(frame) for frame in frames])
        first, last = begins - before, begins + after
        for column, element in enumerate(elements):
            for a, b in self.down.get(element, []):
                down = (a <= first) & (last < b) if any_up else (a <= last) & (first < b)
                masks[down, column] = False
        for row, frame in enumerate(frames):
            for name in self.lost.get(frame, set()).intersection(elements):
                masks[row, elements.index(name)] = any_up
        return masks


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--seed", type=int, help="replay this one")
    parser.add_argument("--seeds", type=int, default=500, help="try seeds from 0 to this")
    parser.add_argument("--log", action="store_true", help="print every event")
    options = parser.parse_args()
    seeds = range(options.seeds) if options.seed is None else [options.seed]
    total: Counter[str] = Counter()
    began = time.perf_counter()
    for seed in seeds:
        simulation = Simulation(seed, keep_log=options.log)
        try:
            outcome = simulation.run()
        except InvariantError as violation:
            print(*simulation.log or [], sep="\n")
            sys.exit(f"seed {seed}: {violation}")
        print(*outcome.log, sep="\n", end="\n" if outcome.log else "")
        total.update(
            seeds=1,
            events=outcome.events,
            answers=len(outcome.answers),
            answerable=len(outcome.answerable),
            unanswered=len(outcome.unanswered),
            steady=outcome.steady,
            incomplete=len(outcome.incomplete),
            taken=len(outcome.taken),
            answerable_by_any=len(outcome.answerable_by_any),
            untaken=len(outcome.untaken),
            unheard=len(outcome.unheard),
        )
        total += outcome.counters
        if options.seed is not None:
            print(
                outcome.scenario.network,
                *outcome.scenario.faults,
                f"digest {outcome.digest}",
                sep="\n",
            )
            print("unanswered", sorted(outcome.unanswered))
            print("incomplete", sorted(outcome.incomplete))
            print("untaken", sorted(outcome.untaken))
            print("unheard", sorted(outcome.unheard))
    print(*(f"{name}: {number}" for name, number in total.items()), sep="\n")
    print(f"{(time.perf_counter() - began) / len(seeds) * 1e3:.0f} ms a seed")


if __name__ == "__main__":
    main()
