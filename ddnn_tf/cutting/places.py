"""Where to cut a model: which node computes which call, and what then travels."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from keras import layers

from edge_runtime.errors import InputError
from edge_runtime.topology import Topology

from .graph import Call, Graph, Value

#: Which node computes each call.
Homes = dict[Call, str]

#: The least share of compute that a section should have, as a part of an equal share; the first
#: that can be had.
BALANCES = (0.5, 0.25, 0.1, 0.0)

#: A cut before one of these separates it from the layer whose kernel would have taken it in.
FUSED = (
    layers.BatchNormalization,
    layers.Activation,
    layers.ReLU,
    layers.LeakyReLU,
    layers.ELU,
    layers.PReLU,
    layers.Softmax,
    layers.Dropout,
    layers.SpatialDropout1D,
    layers.SpatialDropout2D,
    layers.GaussianNoise,
    layers.GaussianDropout,
    layers.Rescaling,
)
FUSED_OPERATIONS = frozenset(
    {"Relu", "Relu6", "Silu", "HardSilu", "HardSigmoid", "Sigmoid", "Softmax", "Tanh", "Gelu"}
)


@dataclass(frozen=True, eq=False)
class Cuts:
    """A model's calls on the nodes of a topology.

    `calls`: what each node computes, in order; `sends`: the tensors that it sends, in order, some
    of which it may only hand on; `needs`: the tensors that it takes, and from which sender.
    """

    graph: Graph
    topology: Topology
    calls: Mapping[str, tuple[Call, ...]]
    sends: Mapping[str, tuple[Value, ...]]
    needs: Mapping[str, Mapping[Value, str]]

    @property
    def names(self) -> list[str]:
        """By node but for the output node: the layers that it ends with, joined by `+`.

        Given as `at`, they make the same cuts again.
        """
        last = {n: self.graph.last(calls) for n, calls in self.calls.items()}
        return [
            "+".join(dict.fromkeys(call.name for call in last[node]))
            for node in self.topology.order
            if node != self.topology.output
        ]

    @property
    def shares(self) -> dict[str, float]:
        """The share of the compute that each node has."""
        total = sum(call.work for call in self.graph.calls)
        return {n: sum(c.work for c in self.calls[n]) / total for n in self.topology.order}

    @property
    def link_bytes(self) -> dict[str, int]:
        """Payload of one frame over each link between nodes, uncompressed."""
        return {
            link.name: sum(value.nbytes for value in self.sends[link.source])
            for link in self.topology.links
            if link.source not in self.topology.sensor_names
        }


# -- at named layers -----------------------------------------------------------------------------


def named_cuts(
    graph: Graph, topology: Topology, at: Mapping[str, Sequence[str]], inputs: Mapping[Value, str]
) -> Cuts:
    """Cut where a node's section ends with the layers named, and all that they need is below.

    `at`: layers by node, for all but the output node; `inputs`: which sensor each input is.
    """
    placement: Homes = {}
    for node in topology.order:
        if node == topology.output:
            continue
        for call in graph.closure(c for name in at[node] for c in graph.named(name)):
            placement.setdefault(call, node)
    for call in graph.calls:
        placement.setdefault(call, topology.output)
    return route(graph, topology, placement, inputs)


# -- at the cuts of least traffic ----------------------------------------------------------------


def min_traffic_cuts(
    graph: Graph, topology: Topology, inputs: Mapping[Value, str], balance: float | None = None
) -> Cuts:
    """Cut where the fewest bytes cross.

    Nodes that share a model's inputs out among them take what depends on theirs alone, up to where
    that is least; the chain of nodes above, or the whole chain, is cut by dynamic programming over
    the order of the calls, each section having at least `balance` of an equal share of the compute.

    Raises `InputError` where the topology is no such one, or no cuts are so balanced.
    """
    chain, readers = _shape(topology)
    placement: Homes = {}
    sent: list[Value] = [] if readers else list(graph.inputs)
    for reader in readers:
        seen = [v for v in graph.inputs if inputs[v] in _reads(topology, reader)]
        own = [c for c in graph.calls if graph.sources(c) <= set(seen)]
        part = _least_traffic(graph, own, seen, reader)
        placement |= dict.fromkeys(part, reader)
        sent += [*seen, *(v for c in part for v in c.outputs)]
    rest = [c for c in graph.calls if c not in placement]
    sent = [v for v in sent if any(c not in placement for c in graph.consumers.get(v, ()))]
    for node, part in zip(chain, _balanced(graph, rest, sent, chain, balance), strict=True):
        placement |= dict.fromkeys(part, node)
    return route(graph, topology, placement, inputs)


def _shape(topology: Topology) -> tuple[list[str], list[str]]:
    """The chain of nodes, lowest first, and the nodes with sensors of their own below it."""
    above = {
        n: [x.target for x in topology.outgoing(n) if x.kind == "primary"] for n in topology.order
    }
    below = {n: [x for x in topology.order if n in above[x]] for n in topology.order}
    chain = [topology.output]
    while len(below[chain[0]]) == 1:
        chain.insert(0, below[chain[0]][0])
    readers = below[chain[0]]
    simple = all(not below[r] and len(above[r]) == 1 for r in readers)
    if not simple or not _read_apart(topology, chain, readers):
        raise InputError(
            f"topology {topology.name!r} is neither a chain nor readers of sensors of their own "
            "under a chain, so cuts of least traffic cannot be sought; name the layers with which "
            "each node ends"
        )
    return chain, readers


def _read_apart(topology: Topology, chain: Sequence[str], readers: Sequence[str]) -> bool:
    """Whether no two readers have a sensor in common, and the chain above them has none."""
    read = [sensor for reader in readers for sensor in _reads(topology, reader)]
    above = readers and any(_reads(topology, node) for node in chain)
    return not above and len(set(read)) == len(read)


def _reads(topology: Topology, node: str) -> list[str]:
    return [
        x.source
        for x in topology.incoming(node)
        if x.kind == "primary" and x.source in topology.sensor_names
    ]


def _least_traffic(
    graph: Graph, own: Sequence[Call], seen: Iterable[Value], reader: str
) -> Sequence[Call]:
    """The beginning of a reader's own calls after which the fewest bytes leave it."""
    crossing = _Crossing(graph, own, seen)
    places = range(1, len(own) + 1)
    found = crossing.clean(places) or crossing.possible(places)
    if not found:
        raise InputError(
            f"no layer of model {graph.name!r} can end the section of {reader!r}: "
            f"{str(crossing) or 'none depends on its sensors alone'}"
        )
    return own[: min(found, key=lambda i: (crossing.bytes[i], -i))]


def _balanced(
    graph: Graph,
    calls: Sequence[Call],
    outer: Iterable[Value],
    nodes: Sequence[str],
    balance: float | None,
) -> list[Sequence[Call]]:
    """Cut a list of calls into a part for each node, so that the fewest bytes cross."""
    count = len(nodes)
    crossing = _Crossing(graph, calls, outer)
    works = [0.0]
    for call in calls:
        works.append(works[-1] + call.work)
    between = range(1, len(calls))
    for places in (crossing.clean(between), crossing.possible(between)):
        for part in BALANCES if balance is None else (balance,):
            ends = _least(crossing.bytes, works, places, count, part * works[-1] / count)
            if ends is not None:
                return [calls[a:b] for a, b in pairwise([0, *ends, len(calls)])]
    why = str(crossing)
    if balance and calls:
        heaviest = max(calls, key=lambda c: c.work)
        why = (
            f"its heaviest layer, {heaviest.name!r}, has {heaviest.work / works[-1]:.0%}; ask for "
            f"less balance{'; ' if why else ''}{why}"
        )
    raise InputError(
        f"model {graph.name!r} cannot be cut into a section with at least "
        f"{(balance or 0) / count:.0%} of the compute for each of {', '.join(nodes)}: "
        f"{why or f'it has only {len(calls)} operations there'}"
    )


def _least(
    cost: Sequence[int], works: Sequence[float], places: Iterable[int], count: int, least: float
) -> tuple[int, ...] | None:
    """Ends of all but the last of `count` parts: least cost, and of these, most even work."""
    # best[i]: (bytes so far, unevenness, ends) of the parts that end at place i.
    best: dict[int, tuple[int, float, tuple[int, ...]]] = {0: (0, 0.0, ())}
    places = list(places)
    last = len(works) - 1
    for part in range(1, count + 1):
        found: dict[int, tuple[int, float, tuple[int, ...]]] = {}
        for i in places if part < count else [last]:
            for j, (bytes_, uneven, ends) in best.items():
                share = works[i] - works[j]
                if j < i and share >= least * (1 - 1e-9):
                    own = (bytes_ + cost[i], uneven + share * share, (*ends, i))
                    if i not in found or own < found[i]:
                        found[i] = own
        best = found
    return best[last][2][:-1] if last in best else None


class _Crossing:
    """What crosses each place of a list of calls: place i is before the i-th.

    `outer`: tensors from below that are at hand at place 0.
    """

    def __init__(self, graph: Graph, calls: Sequence[Call], outer: Iterable[Value]) -> None:
        count = len(calls)
        index = {call: i for i, call in enumerate(calls)}
        self.bytes = [0] * (count + 1)
        self.obstacles: list[str | None] = [None] * (count + 1)
        self._separates = [False] * (count + 1)
        born = dict.fromkeys(outer, 0)
        born |= {value: i + 1 for i, call in enumerate(calls) for value in call.outputs}
        for value, start in born.items():
            takers = graph.consumers.get(value, ())
            ends = [index.get(taker, count) for taker in takers]
            if value in graph.outputs:
                ends.append(count)
            for place in range(start, max(ends, default=-1) + 1):
                self.bytes[place] += value.nbytes
                if value.call is not None and value.obstacle:
                    self.obstacles[place] = f"after layer {value.name!r} {value.obstacle}"
                if start and len(takers) == 1 and _is_fused(takers[0]):
                    self._separates[place] = True
        self._obstruct_shared(graph, calls)

    def _obstruct_shared(self, graph: Graph, calls: Sequence[Call]) -> None:
        callers: dict[int, list[Call]] = {}
        for call in graph.calls:
            if call.stateful:
                callers.setdefault(id(call.operation), []).append(call)
        index = {call: i for i, call in enumerate(calls)}
        for own in callers.values():
            inside = [index[c] for c in own if c in index]
            if len(own) > 1 and inside:
                last = max(inside) if len(inside) == len(own) else len(calls)
                for place in range(min(inside) + 1, last + 1):
                    self.obstacles[place] = (
                        f"layer {own[0].name!r} is shared by calls on both sides"
                    )

    def possible(self, places: Iterable[int]) -> list[int]:
        """The places at which nothing stands in the way of a cut."""
        return [i for i in places if self.obstacles[i] is None]

    def clean(self, places: Iterable[int]) -> list[int]:
        """Of these, those that do not separate a layer from one that its kernel would take in."""
        return [i for i in self.possible(places) if not self._separates[i]]

    def __str__(self) -> str:
        """What stands in the way of a cut, for an error."""
        return "; ".join(list(dict.fromkeys(filter(None, self.obstacles)))[:3])


def _is_fused(call: Call) -> bool:
    kind = type(call.operation)
    return isinstance(call.operation, FUSED) or kind.__name__ in FUSED_OPERATIONS


# -- what travels --------------------------------------------------------------------------------


def route(graph: Graph, topology: Topology, placement: Homes, inputs: Mapping[Value, str]) -> Cuts:
    """Find how each tensor gets to the nodes that need it, over primary links.

    Raises `InputError` where a node would compute nothing, where a layer's weights would be on
    several nodes, where a tensor cannot travel, and where no path leads.
    """
    calls = _calls_by_node(graph, topology, placement)
    _check_shared(calls)
    sends: dict[str, dict[Value, None]] = {n: {} for n in topology.order}
    needs: dict[str, dict[Value, str]] = {n: {} for n in topology.order}
    below = {
        n: [x.source for x in topology.incoming(n) if x.kind == "primary"] for n in topology.order
    }
    for value in {**graph.consumers, **dict.fromkeys(graph.outputs)}:
        home = inputs[value] if value.call is None else placement[value.call]
        takers = _takers(graph, topology.output, placement, value)
        for node in topology.order:
            if node == home or node not in takers:
                continue
            path = _way(value, below, home, node, takers[node])
            for sender, receiver in pairwise(path):
                needs[receiver].setdefault(value, sender)
                if sender in sends:
                    sends[sender][value] = None
    sends[topology.output] = dict.fromkeys(graph.outputs)
    return Cuts(graph, topology, calls, {n: tuple(v) for n, v in sends.items()}, needs)


def _takers(graph: Graph, output: str, placement: Homes, value: Value) -> dict[str, str]:
    """Which nodes need a tensor, and for which layer; an output the output node always."""
    takers = {placement[c]: c.name for c in reversed(graph.consumers.get(value, ()))}
    return takers | ({} if value not in graph.outputs else {output: takers.get(output, value.name)})


def _calls_by_node(
    graph: Graph, topology: Topology, placement: Homes
) -> dict[str, tuple[Call, ...]]:
    calls = {n: tuple(c for c in graph.calls if placement[c] == n) for n in topology.order}
    for node, own in calls.items():
        if not own:
            raise InputError(
                f"node {node!r} would compute nothing; let its section end with a later layer than "
                "those below it, or leave the node out"
            )
    return calls


def _way(
    value: Value, below: Mapping[str, Sequence[str]], home: str, node: str, taker: str
) -> list[str]:
    """The nodes by which a tensor gets from its home to a node, where `taker` needs it."""
    if value.call is not None and value.obstacle:
        raise InputError(
            f"cannot cut after layer {value.name!r}: {value.obstacle}; cut before it, or "
            "after what takes its output"
        )
    path = _path(below, home, node)
    if path is None:
        what = f"layer {value.name!r}" if value.call else f"input {value.name!r}"
        raise InputError(
            f"layer {taker!r} on {node!r} needs {what} from {home!r}, from where no "
            f"primary links lead to {node!r}; cut elsewhere, or add the link"
        )
    return path


def _check_shared(calls: Mapping[str, Sequence[Call]]) -> None:
    homes: dict[int, str] = {}
    for node, own in calls.items():
        for call in own:
            home = homes.setdefault(id(call.operation), node)
            if home != node and call.stateful:
                raise InputError(
                    f"layer {call.name!r} is shared: it is called on {home!r} and on {node!r}, and "
                    "its weights cannot be on two machines; cut before or after all of its calls, "
                    "or give each call a layer of its own"
                )


def _path(below: Mapping[str, Sequence[str]], home: str, node: str) -> list[str] | None:
    """The shortest way from where a tensor is to a node."""
    ways = [[node]]
    seen = {node}
    while ways:
        way = ways.pop(0)
        for sender in below.get(way[0], ()):
            if sender == home:
                return [sender, *way]
            if sender not in seen:
                seen.add(sender)
                ways.append([sender, *way])
    return None
