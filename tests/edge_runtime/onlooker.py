"""Who looks on at a simulated deployment and takes one of the exits' answers, and the checks of it.

The real `Observer` and `AnswerSelector`, behind links that lose, hold back, double and reorder as
those between the nodes do. What is taken is compared with what has come by then, which is written
down here by itself, and with the ledger.
"""

from __future__ import annotations

import random
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import msgspec

from edge_runtime.answers.policies import Policy, highest_first
from edge_runtime.answers.records import Answer
from edge_runtime.answers.selector import WAIT, AnswerSelector
from edge_runtime.testbed.observer import Observer
from edge_runtime.topology import Topology
from edge_runtime.transport.base import ANSWERS, PeerDown, PeerUp, Received
from tests.edge_runtime.ledger import Ledger, ensure

#: Its name at the end of the links to it; no node's.
ONLOOKER = "@onlooker"


class World(Protocol):
    """What it needs of a simulation."""

    now: int
    ledger: Ledger

    def at(self, when: int, event: Callable[[], None]) -> None: ...

    def record(self, what: str, where: str, detail: object = "") -> None: ...

    def captured(self, frame: int) -> int: ...


@dataclass(frozen=True)
class Taken:
    """An answer that was taken, and the states of all that had come by then, by node."""

    answer: Answer
    heard: Mapping[str, int]


class Onlooker:
    """Stands at the end of a link of every node that can answer, as a process does."""

    running = alive = True
    suspended = False

    def __init__(
        self,
        world: World,
        topology: Topology,
        policy: Policy,
        *,
        deadline: int,
        offset: int,
        most_open: int,
        most_closed: int,
        model: str,
        early: bool = False,
        selector_class: type[AnswerSelector] = AnswerSelector,
    ) -> None:
        self.world, self.topology, self.policy = world, topology, policy
        self.ranking = highest_first(topology)
        self._deadline, self._offset, self._model = deadline, offset, model
        self._most_open, self._most_closed = most_open, most_closed
        #: Of the nodes that may answer early.
        self.depths = {n: topology.depths[n] for n in self.ranking[1:]} if early else {}
        self.selector = selector_class(
            policy,
            self.ranking,
            deadline_ns=deadline,
            most_open=most_open,
            most_closed=most_closed,
            model=model,
            early_depths=self.depths,
        )
        self.observer = Observer(topology, self.selector)
        self.taken: dict[int, Taken] = {}
        #: By frame and node, the first answer that came while none was taken, and when.
        self.heard: dict[int, dict[str, tuple[Answer, int]]] = defaultdict(dict)
        self.recent: deque[tuple[str, bytes, bytes]] = deque(maxlen=8)
        self.control: deque[Callable[[Any], None]] = deque()
        self._wake: int | None = None

    # -- as a process -----------------------------------------------------------------------------

    def peer_up(self, node: str, incarnation: int) -> None:
        self.observer.take(PeerUp(node, incarnation))

    def peer_down(self, node: str, incarnation: int) -> None:
        self.observer.take(PeerDown(node, incarnation))

    def receive(self, sender: str, header: bytes, payload: bytes) -> None:
        local = self.world.now + self._offset
        said = self.observer.take(Received(sender, ANSWERS, header, payload), local)
        self.world.record("told", ONLOOKER, (sender, said is not None))
        if isinstance(said, Answer) and said.frame not in self.taken:
            ours = said.node in self.ranking and said.model == self._model
            if ours and said.age_ms * 1e6 <= self._deadline:
                self.heard[said.frame].setdefault(said.node, (said, self.world.now))
        self.step()

    def step(self) -> None:
        """Take all that is complete or due."""
        world = self.world
        while self.control:
            self.control.popleft()(self)
        while (answer := self.selector.ready(world.now + self._offset)) is not None:
            self._check(answer)
        ensure(self.selector.open_frames <= self._most_open, f"{ONLOOKER}: too many open frames")
        ensure(
            self.selector.closed_frames <= self._most_closed, f"{ONLOOKER}: too many closed frames"
        )
        ensure(self.selector.expected <= set(self.ranking), f"{ONLOOKER}: waits for a stranger")
        due = self.selector.next_wakeup()
        if due is None:
            return
        at = due - self._offset
        ensure(at > world.now, f"{ONLOOKER}: something due was not taken")
        if self._wake is None or at < self._wake or self._wake <= world.now:
            self._wake = at
            world.at(at, self.step)

    # -- checks -----------------------------------------------------------------------------------

    def _check(self, answer: Answer) -> None:
        """One answer that is taken: the only one, a true one, and the right one of those heard."""
        world, frame = self.world, answer.frame
        where = f"{ONLOOKER}, frame {frame} at {world.now}"
        ensure(frame not in self.taken, f"{where}: answered twice")
        heard = self.heard.pop(frame, {})
        said, _ = heard.get(answer.node, (None, 0))
        ensure(said is not None, f"{where}: {answer.node} has not answered it in time")
        assert said is not None
        same = msgspec.structs.replace(answer, age_ms=said.age_ms, waited=said.waited)
        ensure(same == said, f"{where}: not as {answer.node} said it")
        number = int(str(answer.answer))
        ensure(number >= 0, f"{where}: {answer.node}'s, of another model")
        entry, state = world.ledger.entries[number], int(answer.state, 16)
        ensure(entry.node == answer.node, f"{where}: {answer.node} says {entry.node}'s answer")
        ensure(entry.frame == frame, f"{where}: is of frame {entry.frame}")
        ensure(entry.state == state, f"{where}: claims {state:#x}, used {entry.state:#x}")
        ensure(bool(entry.views) != answer.fallback, f"{where}: an answer from nothing")
        world.ledger.check_replay(number)
        since = world.captured(frame)
        # To a nanosecond: it is carried as a float of milliseconds.
        ensure(answer.age_ms * 1e6 <= world.now - since + 1, f"{where}: older than it is")
        states = {n: 0 if a.fallback else int(a.state, 16) for n, (a, _) in heard.items()}
        sure = {n: max(a.probabilities) for n, (a, _) in heard.items()}
        early = {n for n, (a, _) in heard.items() if a.early}
        waits = set(self.selector.expected)
        if early:
            least = min(self.depths[n] for n in early)
            first = [n for n in early if self.depths[n] == least]
            surest = max(sure[n] for n in first)
            ensure(answer.node in first, f"{where}: not an early answer of least depth")
            ensure(sure[answer.node] == surest, f"{where}: not the surest early answer")
            waits = {n for n in waits if self.depths.get(n, least + 1) <= least}
        else:
            self._check_choice(where, answer, states, sure)
        # The last word was its cue, or the time was up, or the room.
        oldest = min(at - int(a.age_ms * 1e6) for a, at in heard.values())
        spoken = waits <= heard.keys()
        late = world.now - oldest
        wait = int(WAIT * self._deadline)
        full = self.selector.open_frames + 1 >= self._most_open
        ensure(spoken or late >= wait or full, f"{where}: did not wait, {late}")
        # What comes when the time is up is taken as it comes.
        newest = max(at for _, at in heard.values())
        ensure(late <= wait or newest == world.now, f"{where}: waited too long, {late}")
        world.record("taken", ONLOOKER, (frame, answer.node, state))
        self.taken[frame] = Taken(answer, states)

    def _check_choice(
        self, where: str, answer: Answer, states: dict[str, int], sure: dict[str, float]
    ) -> None:
        node = answer.node
        available = [n for n in self.ranking if states.get(n)]
        if not available:
            ensure(answer.fallback, f"{where}: from nothing")
            return
        ensure(node in available, f"{where}: {node}'s fallback, and {available} have answers")
        if self.policy in ("highest", "priority"):
            ensure(node == available[0], f"{where}: {node}'s, not {available[0]}'s")
            return
        if self.policy == "maximal":
            above = [n for n in available if states[node] | states[n] == states[n] != states[node]]
            ensure(not above, f"{where}: {node}'s, whose state {above} contain")
            available = [
                n
                for n in available
                if not any(states[n] | states[o] == states[o] != states[n] for o in available)
            ]
        surest = max(sure[n] for n in available)
        ensure(sure[node] == surest, f"{where}: {node}'s, which is not the surest")

    # -- what others send it ----------------------------------------------------------------------

    def junk(self, rng: random.Random) -> tuple[str, bytes, bytes]:
        """A message as no node of the deployment sends it, or again one that came lately."""
        if not self.recent or rng.random() < 0.2:
            return "stranger", rng.randbytes(rng.randrange(20)), rng.randbytes(rng.randrange(80))
        sender, header, payload = rng.choice(self.recent)
        match rng.randrange(4):
            case 0:
                return sender, header, payload
            case 1:
                return "stranger", header, payload
            case 2:
                return sender, header, payload[: rng.randrange(len(payload))]
            case _:
                fields = msgspec.json.decode(payload)
                return sender, header, msgspec.json.encode({**fields, "node": "nobody"})

    def account(self) -> Counter[str]:
        """What was told and what became of it."""
        seen = self.observer
        return Counter(
            exits_taken=len(self.taken),
            exits_fallback=sum(t.answer.fallback for t in self.taken.values()),
            exits_early=sum(t.answer.early for t in self.taken.values()),
            exits_below=sum(t.answer.exit for t in self.taken.values()),
            exits_malformed=seen.malformed,
            exits_foreign=seen.foreign,
            exits_duplicates=seen.duplicates,
        )
