"""Section outputs, each distinct (node, delivered-links state) evaluated once."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from typing import Protocol

from ..arrays import Array
from ..bundle.tensors import answer_in, messages
from ..topology import Topology

#: Bytes of section outputs that are remembered; sampled configurations can have millions of them.
MOST_REMEMBERED = 1 << 28


class Runner(Protocol):
    """Anything that evaluates one node's section on a batch."""

    def run(self, node: str, inputs: Mapping[str, Array]) -> Array | tuple[Array, ...]:
        """Evaluate `node`'s section.

        `inputs` holds what was delivered, by sender (`sender__k` where a sender's section has
        several outputs), each with the batch first. What is missing counts as zeros and, to a
        section with presence flags, as absent. The last output of a node with an exit is what the
        exit answers, which is not sent on.
        """


class SectionCache:
    """Section outputs on one batch, each distinct (node, delivered-links state) evaluated once.

    `evaluations` counts them. Above `most_bytes` of outputs, those not used for longest are
    forgotten, and evaluated again when needed.
    """

    def __init__(
        self,
        topology: Topology,
        runner: Runner,
        inputs: Mapping[str, Array],
        *,
        most_bytes: int = MOST_REMEMBERED,
    ) -> None:
        self.topology = topology
        self._runner = runner
        self._inputs = inputs
        self._bit = {name: 1 << place for name, place in topology.bits.items()}
        self._outputs: OrderedDict[tuple[str, int], tuple[Array, ...]] = OrderedDict()
        self._bytes, self._most_bytes = 0, most_bytes
        self._evaluations = 0
        #: Bytes of a message of each node that was evaluated, on one link and for one sample.
        self.message_bytes: dict[str, int] = {}

    @property
    def samples(self) -> int:
        """Size of the batch."""
        return len(next(iter(self._inputs.values())))

    @property
    def evaluations(self) -> int:
        """How many section evaluations there were so far; distinct ones, unless some forgotten."""
        return self._evaluations

    def answer(self, state: int, node: str | None = None) -> Array:
        """The output node's answer in a delivered-links state of its own that is not empty.

        With `node`, that of the node's exit.
        """
        answering = self.topology.output if node is None else node
        outputs: dict[str, tuple[Array, ...]] = {}
        own: dict[str, int] = {}
        for node in self.topology.order:
            delivering = [x for x in self.topology.incoming(node) if state & self._bit[x.name]]
            if not delivering:
                continue
            own[node] = 0
            delivered: dict[str, Array] = {}
            for link in delivering:
                own[node] |= self._bit[link.name] | own.get(link.source, 0)
                if link.source in outputs:
                    delivered.update(messages(self.topology, link.source, outputs[link.source]))
                else:
                    delivered[link.source] = self._inputs[link.source]
            outputs[node] = self._section(node, own[node], delivered)
        return answer_in(outputs[answering], exit=answering != self.topology.output)

    def _section(self, node: str, state: int, delivered: dict[str, Array]) -> tuple[Array, ...]:
        key = node, state
        found = self._outputs.get(key)
        if found is None:
            result = self._runner.run(node, delivered)
            found = result if isinstance(result, tuple) else (result,)
            self._evaluations += 1
            sent = messages(self.topology, node, found).values()
            self.message_bytes[node] = sum(x.nbytes // len(x) for x in sent)
            self._outputs[key] = found
            self._bytes += sum(output.nbytes for output in found)
            while self._bytes > self._most_bytes:
                _, forgotten = self._outputs.popitem(last=False)
                self._bytes -= sum(output.nbytes for output in forgotten)
        else:
            self._outputs.move_to_end(key)
        return found
