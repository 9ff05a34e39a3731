"""Answers computed again, each from the delivered-links state that it claims."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray

from ..answers.records import Answer, OutputAnswer, told_values
from ..answers.rule import AnswerRule
from ..arrays import Array
from ..errors import InputError
from ..evaluation.answering import BoundRule, Taken
from ..evaluation.bundle import Bundle
from ..evaluation.cache import SectionCache
from ..scoring import TOLD_FROM, Scorer
from ..task import Classification, MultiLabel, Several, Single, Task, Told
from ..transport.wire import Encoding, Message, decode, encode

#: By how much a replayed probability may differ. Messages are encoded for the replay as they were
#: for the run; where that rounds, another machine's last digit can round the other way.
TOLERANCES: Mapping[Encoding, float] = {"raw": 1e-5, "float16": 1e-3, "int8": 2e-2}


#: Samples whose computations are kept, for when they are shown again.
CACHES = 1024


class Recorded(msgspec.Struct, frozen=True):
    """What a replay needs of a recorded answer; `state` is hexadecimal.

    `node`: who answered; where it says nothing, the output node.
    """

    frame: int
    answer: Told
    probabilities: tuple[float, ...]
    state: str
    node: str | None = None
    others: dict[str, OutputAnswer] = {}


def read_answers(path: str | Path) -> list[Recorded]:
    """Read recorded answers, a JSON object a line; `InputError` names the line of a fault."""
    try:
        lines = Path(path).read_bytes().splitlines()
    except OSError as error:
        raise InputError(f"cannot read the answers {path}: {error.strerror}") from error
    answers = []
    for number, line in enumerate(lines, 1):
        try:
            answer = msgspec.json.decode(line, type=Recorded)
            bits = int(answer.state, 16)
        except (msgspec.DecodeError, UnicodeDecodeError, ValueError) as error:
            raise InputError(f"{path}, line {number}: {error}") from error
        if answer.frame < 0 or bits < 0:
            raise InputError(f"{path}, line {number}: expected a frame and a state from 0")
        answers.append(answer)
    if not answers:
        raise InputError(f"{path}: it holds no answers")
    return answers


class Replay:
    """Answers, computed again from the state that each claims.

    `inputs`: per sensor, samples first; frame i shows sample i modulo their number. `rule`:
    who answers, and whose answer is taken, see `BundleManifest.rule`.
    """

    def __init__(
        self,
        bundle: Bundle,
        inputs: Mapping[str, Array],
        encoding: Encoding = "raw",
        rule: AnswerRule = AnswerRule(),
    ) -> None:
        self.task: Task = bundle.manifest.task
        self.answering = BoundRule(bundle.manifest.topology, rule, self.task)
        self._bundle, self._inputs, self._encoding = bundle, inputs, encoding
        self.samples = len(next(iter(inputs.values())))
        self._tolerance = TOLERANCES[encoding]
        self._caches: OrderedDict[int, SectionCache] = OrderedDict()
        self._whole = SectionCache(bundle.manifest.topology, self, inputs)
        self._joint_states: dict[tuple[int, ...], Taken] = {}

    def run(self, node: str, inputs: Mapping[str, Array]) -> tuple[Array, ...]:
        """As `Runner`: what a node's receivers get of its outputs."""
        found = self._bundle.run(node, inputs)
        outputs = found if isinstance(found, tuple) else (found,)
        if self._encoding == "raw" or node == self._bundle.manifest.topology.output:
            return outputs
        sent = len(self._bundle.nodes[node].sent)
        rows = [self._sent(tuple(x[i] for x in outputs[:sent])) for i in range(len(outputs[0]))]
        return (*(np.stack(column) for column in zip(*rows, strict=True)), *outputs[sent:])

    @property
    def tolerance(self) -> float:
        """By how much a number of an answer may differ, times max(1, |number|)."""
        return self._tolerance

    def values(self, frame: int, state: int, node: str | None = None) -> Array:
        """What the output node answers to a frame in a delivered-links state; float (width,).

        Or what `node`'s exit answers in a state of its own.
        """
        if not state:
            return self.task.fallback()
        sample = frame % self.samples
        if sample not in self._caches:
            # One row, as on the device: a kernel for many rows may sum in another order.
            row = {name: x[sample : sample + 1] for name, x in self._inputs.items()}
            self._caches[sample] = SectionCache(self._bundle.manifest.topology, self, row)
            if len(self._caches) > CACHES:
                self._caches.popitem(last=False)
        answer: Array = self._caches[sample].answer(state, node)[0]
        return answer

    def confirms(self, answer: Answer | Recorded) -> bool:
        """Whether its own frame and its own state give this answer; a state must be one."""
        try:
            state = int(answer.state, 16)
            told_values(self.task, answer.answer, answer.probabilities, answer.others)
        except ValueError:
            return False
        topology = self._bundle.manifest.topology
        node = topology.output if answer.node is None else answer.node
        if node not in topology.answering or not self._possible(state, node):
            return False
        expected = self.values(answer.frame, state, node)
        task = self.task
        if not isinstance(task, Several):
            return self._same(task, answer.answer, answer.probabilities, expected)
        main = next(iter(task.outputs))
        told = {main: (answer.answer, answer.probabilities)} | {
            name: (x.answer, x.probabilities) for name, x in answer.others.items()
        }
        return all(
            self._same(own, *told[name], expected[task.answer_of(name)])
            for name, own in task.outputs.items()
        )

    def count(self, answers: Iterable[Answer | Recorded]) -> tuple[int, int]:
        """How many answers the replay confirms, and how many it does not."""
        found = [self.confirms(answer) for answer in answers]
        return sum(found), len(found) - sum(found)

    def scores(self, scorer: Scorer, joint_state: Sequence[int]) -> NDArray[np.float64]:
        """What the answers taken in a joint_state score on each sample; float64 (samples,).

        `scorer`: of the samples' targets; `joint_state`: see `BoundRule.joint_states`.
        """
        taken = self._taken(joint_state)
        nothing = scorer.per_sample(scorer.of_constant(self.task.fallback()))
        if (taken.places < 0).all():
            return nothing
        found = scorer.per_sample(scorer.points(taken.answers))
        return np.where(taken.places < 0, nothing, found)

    def answered(self, joint_state: Sequence[int]) -> NDArray[np.bool_]:
        """Which samples the network answers in a joint_state, not the fallback; bool (samples,)."""
        return np.asarray(self._taken(joint_state).places >= 0)

    def _same(
        self, task: Single, told: Told, probabilities: tuple[float, ...], expected: Array
    ) -> bool:
        """Whether an output's answer is what it should be, within the tolerance."""
        if not isinstance(task, (Classification, MultiLabel)):
            off = np.abs(task.read(told, ()) - expected)
            return bool((off <= self._tolerance * np.maximum(1.0, np.abs(expected))).all())
        if len(probabilities) != len(expected):
            return False
        off = np.abs(np.asarray(probabilities) - expected).max()
        # Of classes that tie, either is right; so is a label at the edge, told or not.
        own = task.read(told, probabilities)
        if isinstance(task, Classification):
            best = float(expected[own.argmax()]) >= expected.max() - 2 * self._tolerance
        else:
            edge = np.abs(expected - TOLD_FROM) <= 2 * self._tolerance
            best = bool((((expected >= TOLD_FROM) == own.astype(bool)) | edge).all())
        return bool(off <= self._tolerance and best)

    def _taken(self, joint_state: Sequence[int]) -> Taken:
        key = tuple(joint_state)
        if key not in self._joint_states:
            self._joint_states[key] = self.answering.take(self._whole, key)
        return self._joint_states[key]

    def _possible(self, state: int, node: str) -> bool:
        """Whether each link of a state leads from a sensor to the node, by others of it."""
        topology = self._bundle.manifest.topology
        if state >> len(topology.links):
            return False
        links = [x for i, x in enumerate(topology.links) if state >> i & 1]
        received = {x.target for x in links} | topology.sensor_names
        sends = {x.source for x in links} | {node}
        return all(x.source in received and x.target in sends for x in links)

    def _sent(self, row: tuple[Array, ...]) -> tuple[Array, ...]:
        message = Message(
            frame=0,
            sender="replay",
            incarnation=0,
            fingerprint=bytes(8),
            state=0,
            age_ns=0,
            tensors=row,
        )
        return decode(*encode(message, self._encoding)).tensors
