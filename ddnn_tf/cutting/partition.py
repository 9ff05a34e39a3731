"""An existing Keras model as a resilient one: cut into sections, with residual links over the cuts.

Each node's section is made of the model's own layers, with copies of their weights; the model
itself is left as it was.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, get_args

import keras
import numpy as np
from keras import layers

from edge_runtime.arrays import Array
from edge_runtime.bundle.tensors import PRESENT, named
from edge_runtime.errors import InputError
from edge_runtime.task import Single, Task
from edge_runtime.topology import Link, Node, Sensor, Survival, Topology, Uptime
from edge_runtime.topology.topology import RESERVED, TIERS, Dtype, Tier
from export.litert import check_convertible
from export.split import split
from export.state import copy_state

from ..datasets import Batches
from ..datasets.arrays import sensor_arrays
from ..model import ResilientModel, build
from ..names import Merge
from ..sections import Site, bypassed, missing, multiplexed
from .comparison import Probe, compare
from .graph import Call, Graph, Value, copy_of, read_graph, words_of
from .head import Head, Kind, Numbers, heads_of, task_of
from .places import Cuts, min_traffic_cuts, named_cuts
from .portable import Portable, portable
from .projection import project

Tensor = Any  # a Keras tensor, which has no public type

#: Samples of data that a cut model is compared on.
SAMPLES = 3
#: Begins the names of layers that are not the model's own; `__` keeps them apart.
OURS = "ddnn__"
#: What to do about bytes where a model takes floats.
BYTES_STAND_FOR = (
    "say what the bytes 0 and 255 stand for there: byte_range (on the command line "
    "--byte-range 0:1, or -1:1, 0:255)"
)
#: Names of the survivabilities that three chances of a node are for, as in shipped topologies.
PRESETS = ("high", "medium", "low")
#: The survival of each node of a chain, or one for each of `PRESETS`.
Chances = Mapping[str, float | Sequence[float]]
MERGES: tuple[Merge, ...] = get_args(Merge)


@dataclass(frozen=True)
class Partition:
    """A cut model, and what was cut where.

    `model`: an ordinary `ResilientModel`. `cuts`: by node but for the output node, the layers that
    its section ends with, joined by `+`; given as `at`, they make the same cuts. `link_bytes`: of
    one frame over each link between nodes, uncompressed. `shares`: of the compute, by node.
    `heads`: what each output means, what was put over it, and how that is known.
    `max_relative_error`: of all tensors sent and of the answers against the original's, without a
    failure. `training_only`: layers that do nothing at inference, by name. `portable`: what had to
    be changed for devices.
    """

    model: ResilientModel
    heads: tuple[Head, ...]
    cuts: tuple[str, ...]
    link_bytes: dict[str, int]
    shares: dict[str, float]
    max_relative_error: float
    training_only: tuple[str, ...]
    portable: Portable

    @classmethod
    def of(
        cls,
        model: ResilientModel,
        heads: tuple[Head, ...],
        cuts: Cuts,
        error: float,
        changed: Portable,
    ) -> Partition:
        """A cut that was made, compared with the original and converted."""
        calls = cuts.graph.calls
        return cls(
            model=model,
            heads=heads,
            cuts=tuple(cuts.names),
            link_bytes=cuts.link_bytes,
            shares=cuts.shares,
            max_relative_error=error,
            training_only=tuple(dict.fromkeys(c.name for c in calls if _only_trains(c))),
            portable=changed,
        )

    def __str__(self) -> str:
        order = self.model.topology.order
        ends = dict(
            zip((n for n in order if n != self.model.topology.output), self.cuts, strict=True)
        )
        lines = [
            f"  {node:<12} {self.shares[node]:>6.1%} of the compute"
            + (f", ends with {ends[node]}" if node in ends else "")
            for node in order
        ]
        lines += [
            f"  {link:<24} {size:>9,} bytes a frame" for link, size in self.link_bytes.items()
        ]
        lines += [f"  {head}" for head in self.heads]
        if self.training_only:
            lines.append(f"  only in training: {', '.join(self.training_only)}")
        lines += [f"  {line}" for line in self.portable.lines()]
        lines.append(f"  at most {self.max_relative_error:.1e} from the original (relative)")
        return "\n".join(lines)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, as `ddnn partition --json` prints them."""
        return {
            "cuts": list(self.cuts),
            "heads": [
                {
                    "output": head.name,
                    "task": head.task.kind,
                    "names": list(head.task.names),
                    "added": list(head.added),
                    "because": head.because,
                }
                for head in self.heads
            ],
            "link_bytes": self.link_bytes,
            "max_relative_error": self.max_relative_error,
            "compute": self.shares,
            "training_only": list(self.training_only),
            **self.portable.to_dict(),
        }


def partition(
    model: keras.Model,
    nodes: Sequence[str] | Chances | Topology,
    *,
    at: Sequence[str | Sequence[str]] | Mapping[str, str | Sequence[str]] | None = None,
    residual: Iterable[tuple[str, str]] = (),
    merge: Merge = "add",
    byte_range: tuple[float, float] | None = None,
    balance: float | None = None,
    task: Task | Kind | Mapping[str, Single | Kind] | None = None,
    head: Numbers | Mapping[str, Numbers] | None = None,
    classes: Sequence[str] | Mapping[str, Sequence[str]] | None = None,
    prior: Sequence[float] | None = None,
    loss: Any = None,
    data: Batches | None = None,
    dropout: Sequence[Survival] | None = None,
    seed: int = 0,
) -> Partition:
    """Cut a functional Keras model into the sections of a topology.

    Args:
        model: functional or Sequential, with fixed input shapes; each output (batch, numbers).
            Left as it is.
        nodes: a chain by name, lowest first; or with the survival of each, or with three of each
            for the survivabilities `high`, `medium` and `low`; or a topology, whose sensors are
            named after the model's inputs. Its residual links go over the cuts.
        at: where the sections end: layers for each node but the output node, in order or by node;
            several of one node in a list or joined by `+`. A section is all that its layers need
            and no section below has, so it may end within a residual block. None looks for the
            cuts of least traffic.
        residual: further residual links, as (source, target).
        merge: `add`: what a residual link carries is projected and added, from nothing on, so that
            the model answers as before until it is trained; `multiplexer`: it comes in where the
            primary links that it goes round do not deliver.
        byte_range: what the bytes 0 and 255 of a sensor stand for in the model, such as (-1, 1);
            sensors then give bytes. None for sensors that give what the model takes.
        balance: with cuts of least traffic, the least share of compute of each node, as a part of
            an equal share. None means as much of 0.5 as can be had.
        task: what answers mean, where the model does not tell: a task, or `classification`,
            `multi-label` or `regression`; of several outputs by name.
        head: what its numbers are, where the model does not tell: `probabilities`, `logits`, over
            which a softmax or sigmoid is put, or `values`; of several outputs by name.
        classes: names of the classes, labels or values; those of the data if None, or numbers. Of
            several outputs by name.
        prior: frequency of each class, for the fallback; that of the data if None, or all alike.
        loss: what the model was trained by, as its file writes it; None for what the model itself
            was compiled with.
        data: the training split, which also says the task. The check is also made on some of its
            samples.
        dropout: survivabilities at which nodes and links fail in training, see `build`.
        seed: of projections, of failures in training and of the inputs of the check.

    Raises:
        InputError: for a model that cannot be cut, or not there; it names the layer. Also where
            it is not known what its outputs mean, and where the sections do not compute what the
            model does, or LiteRT cannot compute them.
    """
    if merge not in MERGES:
        raise InputError(f"unknown merge {merge!r}; expected one of {', '.join(MERGES)}")
    if isinstance(model, ResilientModel):
        raise InputError(f"model {model.name!r} is already cut; give the one that it was made from")
    changed = portable(model, seed)
    graph = read_graph(changed.model)
    topology, sensors = _topology(graph, nodes, tuple(residual), byte_range)
    samples = {} if data is None else _probes(data, topology)
    probe = Probe.of(changed.model, graph, sensors, byte_range, seed, samples)
    known = getattr(model, "loss", None) if loss is None else loss
    said = _said_by(data, task, classes)
    heads = heads_of(graph, probe.outputs, loss=known, task=said, numbers=head, names=classes)
    cuts = _cuts(graph, topology, sensors, at, balance)
    made = _Maker(cuts, sensors, merge, byte_range, heads).model(dropout, seed)
    if prior is not None:
        made.prior = tuple(prior)
    error, made.original = compare(probe, made, cuts, heads)
    check_convertible(split(made, topology), topology.exits)
    return Partition.of(made, heads, cuts, error, changed)


def _cuts(
    graph: Graph,
    topology: Topology,
    sensors: Mapping[Value, str],
    at: Sequence[str | Sequence[str]] | Mapping[str, str | Sequence[str]] | None,
    balance: float | None,
) -> Cuts:
    """Where it was said, or where the fewest bytes cross."""
    if at is None:
        return min_traffic_cuts(graph, topology, sensors, balance)
    return named_cuts(graph, topology, _ends(at, topology), sensors)


# -- data ----------------------------------------------------------------------------------------


def _said_by(
    data: Batches | None, task: Any, classes: Sequence[str] | Mapping[str, Sequence[str]] | None
) -> Any:
    """The task that the caller says, or that the data are for."""
    if data is None or not (task is None or task == data.task.kind):
        return task
    if classes is not None and tuple(classes) != data.task.names:
        raise InputError(
            f"{data.task.called} {', '.join(classes)} were given, but the data have "
            f"{', '.join(data.task.names)}; leave them out, or give them as in the data"
        )
    return data.task


def _probes(data: Batches, topology: Topology) -> dict[str, Array]:
    """Some samples of the data by sensor, evenly spaced; `InputError` where they do not fit."""
    rows = np.linspace(0, len(data.labels) - 1, SAMPLES).astype(np.intp)
    for sensor in topology.sensors:
        values = data.inputs.get(sensor.name)
        as_bytes = values is not None and values.dtype == np.uint8
        if as_bytes and sensor.dtype == "float32":
            raise InputError(
                f"the data give bytes for {sensor.name!r}, but the model takes float32; "
                f"{BYTES_STAND_FOR}"
            )
    return sensor_arrays({name: x[rows] for name, x in data.inputs.items()}, topology.sensors)


# -- topology ------------------------------------------------------------------------------------


def _topology(
    graph: Graph,
    nodes: Sequence[str] | Chances | Topology,
    residual: Sequence[tuple[str, str]],
    byte_range: tuple[float, float] | None,
) -> tuple[Topology, dict[Value, str]]:
    """The topology with all residual links, and which sensor each of the model's inputs is."""
    if byte_range is not None and not byte_range[0] < byte_range[1]:
        raise InputError(f"expected a byte range from low to high, got {byte_range}")
    if isinstance(nodes, str):
        raise InputError(f"expected a list of nodes, got {nodes!r}; give [{nodes!r}, …]")
    if not isinstance(nodes, Topology):
        topology, sensors = _chain(graph, nodes, byte_range is not None)
    else:
        topology, sensors = nodes, _sensors(graph, nodes)
    for value, sensor in sensors.items():
        _check_sensor(value, next(s for s in topology.sensors if s.name == sensor), byte_range)
    if byte_range is not None and all(_stored(v, False) == "int32" for v in sensors):
        raise InputError(
            "a byte range is for sensors that give bytes to a model of float32; this one takes "
            "whole numbers alone"
        )
    extra = tuple(Link(source, target, "residual") for source, target in residual)
    if extra:
        # Which checks the names of their ends, that none is there twice, and that each skips.
        topology = Topology(
            name=topology.name,
            sensors=topology.sensors,
            nodes=topology.nodes,
            links=(*topology.links, *extra),
            survivabilities=topology.survivabilities,
        )
    return topology, sensors


def _chain(
    graph: Graph, nodes: Sequence[str] | Chances, as_bytes: bool
) -> tuple[Topology, dict[Value, str]]:
    order = list(nodes)
    if len(order) < 2:
        raise InputError(f"expected two nodes or more to cut for, got {', '.join(order) or 'none'}")
    survival, presets = _survivals(nodes) if isinstance(nodes, Mapping) else ({}, {})
    sensors = {value: _plain(value.name, order) for value in graph.inputs}
    topology = Topology(
        name=_plain(graph.name, ()),
        sensors=tuple(
            Sensor(name, _fixed(value), _stored(value, as_bytes)) for value, name in sensors.items()
        ),
        nodes=tuple(
            Node(n, _tier(n, i, len(order)), survival.get(n, 1.0)) for i, n in enumerate(order)
        ),
        links=(
            *(Link(sensor, order[0]) for sensor in sensors.values()),
            *(Link(a, b) for a, b in pairwise(order)),
        ),
        survivabilities=presets,
    )
    return topology, sensors


def _survivals(
    nodes: Chances,
) -> tuple[dict[str, float], dict[str, dict[str, float | Uptime]]]:
    """The survival of the nodes that have one, and the presets that the others give."""
    own = {n: float(x) for n, x in nodes.items() if not isinstance(x, Sequence)}
    several = {n: x for n, x in nodes.items() if isinstance(x, Sequence)}
    for node, chances in several.items():
        if len(chances) != len(PRESETS) or list(chances) != sorted(chances, reverse=True):
            raise InputError(
                f"node {node!r}: expected one survival, or three from high to low, for the "
                f"survivabilities {', '.join(PRESETS)}; got {'/'.join(map(str, chances))}"
            )
    presets = PRESETS if several else ()
    return own, {name: {n: several[n][i] for n in several} for i, name in enumerate(presets)}


def _stored(value: Value, as_bytes: bool) -> Dtype:
    """How the samples of a sensor are stored that gives what an input of the model takes."""
    if value.dtype in ("int32", "int64"):
        return "int32"
    return (
        "uint8" if value.dtype == "uint8" or (as_bytes and value.dtype == "float32") else "float32"
    )


def _tier(node: str, place: int, count: int) -> Tier:
    """By name, such as `fog1`; else by place."""
    for tier in TIERS:
        if re.fullmatch(rf"{tier}[0-9_]*", node):
            return tier
    return "edge" if place == 0 else "cloud" if place == count - 1 else "fog"


def _sensors(graph: Graph, topology: Topology) -> dict[Value, str]:
    names = [s.name for s in topology.sensors]
    if len(names) == len(graph.inputs) == 1:
        return {graph.inputs[0]: names[0]}
    found = {value: _plain(value.name, ()) for value in graph.inputs}
    if sorted(found.values()) != sorted(names):
        raise InputError(
            f"expected a sensor for each input of the model ({', '.join(found.values())}), got "
            f"{', '.join(names)}; name the topology's sensors after the inputs"
        )
    return found


def _check_sensor(value: Value, sensor: Sensor, byte_range: tuple[float, float] | None) -> None:
    where = f"sensor {sensor.name!r}"
    if sensor.shape != value.shape:
        raise InputError(f"{where} gives {sensor.shape}, but the model takes {value.shape}")
    whole = _stored(value, False)
    if sensor.dtype != whole and (whole != "float32" or sensor.dtype == "int32"):
        raise InputError(
            f"{where} gives {sensor.dtype}, but the model takes {value.dtype}; make the two agree: "
            f"dtype {whole}"
        )
    bytes_for_floats = sensor.dtype == "uint8" and value.dtype == "float32"
    if bytes_for_floats and byte_range is None:
        raise InputError(f"{where} gives bytes, but the model takes float32; {BYTES_STAND_FOR}")
    if byte_range is not None and not bytes_for_floats and whole != "int32":
        raise InputError(
            f"a byte range is for sensors that give bytes to a model of float32; {where} gives "
            f"{sensor.dtype} to one of {value.dtype}"
        )


def _plain(name: str, taken: Iterable[str]) -> str:
    """A name as a topology wants it."""
    plain = re.sub("[^A-Za-z0-9]+", "_", name).strip("_")
    if not re.match("[A-Za-z]", plain) or plain in RESERVED or plain in taken:
        plain = f"input_{plain}".rstrip("_")
    return plain


def _fixed(value: Value) -> tuple[int, ...]:
    return tuple(int(d or 0) for d in value.shape)


def _ends(
    at: Sequence[str | Sequence[str]] | Mapping[str, str | Sequence[str]], topology: Topology
) -> dict[str, list[str]]:
    """The layers with which the section of each node but the output node ends."""
    below = [n for n in topology.order if n != topology.output]
    if isinstance(at, str):
        raise InputError(f"expected a list of layers, got {at!r}; give [{at!r}]")
    if not isinstance(at, Mapping):
        if len(at) != len(below):
            raise InputError(
                f"expected {len(below)} cuts, where the sections of {', '.join(below)} end; got "
                f"{len(at)}: {', '.join(map(str, at)) or 'none'}"
            )
        at = dict(zip(below, at, strict=True))
    if set(at) != set(below):
        raise InputError(
            f"expected the layers with which the sections of {', '.join(below)} end; missing or "
            f"unknown: {', '.join(sorted(set(at) ^ set(below)))}"
        )
    return {
        node: [s.strip() for s in ends.split("+")] if isinstance(ends, str) else list(ends)
        for node, ends in at.items()
    }


# -- sections ------------------------------------------------------------------------------------


class _Maker:
    """Makes the section of each node, as `build` asks for them."""

    def __init__(
        self,
        cuts: Cuts,
        sensors: Mapping[Value, str],
        merge: Merge,
        byte_range: tuple[float, float] | None,
        heads: Sequence[Head],
    ) -> None:
        self.cuts, self.sensors, self.merge = cuts, dict(sensors), merge
        self.byte_range, self.heads = byte_range, heads
        self._copies: list[tuple[Any, Call]] = []

    def __call__(self, site: Site) -> Tensor:
        node = site.node.name
        values = self._received(site)
        used = {*site.inputs, PRESENT, node}
        copies: dict[int, Any] = {}
        for call in self.cuts.calls[node]:
            key = id(call.operation)
            if key not in copies:
                copies[key] = copy_of(call, _unused(call.name, used))
                self._copies.append((copies[key], call))
            try:
                results = keras.tree.flatten(call.run(values, copies[key]))
            except (ValueError, TypeError) as error:
                raise InputError(
                    f"layer {call.name!r} cannot be called in a section of its own: "
                    f"{words_of(error)}"
                ) from error
            values.update(zip(call.outputs, results, strict=True))
        if site.is_output:
            return self._answers(values)
        sends = self.cuts.sends[node]
        # A tensor that is only handed on goes through a layer: an output that is an input itself
        # would not have a name of its own.
        sent = [
            layers.Identity(name=f"{OURS}relay_{k}")(values[v])
            if v in self.cuts.needs[node]
            else values[v]
            for k, v in enumerate(sends)
        ]
        return sent if len(sent) > 1 else sent[0]

    def _answers(self, values: Mapping[Value, Tensor]) -> list[Tensor]:
        """The outputs, with what is put over them."""
        found = []
        for head in self.heads:
            prefix = f"{OURS}{head.name}_" if head.name else OURS
            answer = head.over(values[head.output], prefix)
            if head.output in self.cuts.needs[self.cuts.topology.output] and not head.added:
                # As of a tensor that is only handed on.
                answer = layers.Identity(name=f"{prefix}relay")(answer)
            found.append(answer)
        return found

    def model(self, dropout: Sequence[Survival] | None, seed: int) -> ResilientModel:
        """The whole cut model, with the weights of the original."""
        topology = self.cuts.topology
        made = build(
            topology,
            dict.fromkeys(topology.order, self),
            task=task_of(self.heads),
            dropout=dropout,
            multiplex=self.merge == "multiplexer",
            seed=seed,
        )
        self.set_weights()
        return made

    def set_weights(self) -> None:
        """Give every layer of the sections the weights of the model's own."""
        for copy, call in self._copies:
            if not isinstance(call.operation, keras.Layer):
                continue
            try:
                copy_state(call.operation, copy)
            except ValueError as error:
                raise InputError(
                    f"layer {call.name!r}: made again, it has other weights than the original: "
                    f"{words_of(error)}"
                ) from error

    def _received(self, site: Site) -> dict[Value, Tensor]:
        """What the node needs from others, and what residual links bring to it."""
        node = site.node.name
        values: dict[Value, Tensor] = {}
        for value, sender in self.cuts.needs[node].items():
            values[value] = self._tensor(site, value, sender)
        for link in site.links:
            if link.kind == "residual":
                self._add_residual(site, link, values)
        return values

    def _add_residual(self, site: Site, link: Link, values: dict[Value, Tensor]) -> None:
        """Let what a residual link carries come in where the links that it goes round lead."""
        round_ = bypassed(self.cuts.topology, link)
        name = f"{OURS}skip_{link.source}"
        carried = self._carried(site, link.source)
        if self.merge == "multiplexer":
            when = missing(site, round_, name)
            carried = {
                value: multiplexed(x, when, f"{name}_{k}")
                for k, (value, x) in enumerate(carried.items())
            }
        targets = [
            v
            for v, sender in self.cuts.needs[site.node.name].items()
            if sender in round_ and keras.backend.is_float_dtype(v.dtype)
        ]
        for k, target in enumerate(targets):
            terms = self._terms(carried, target, name, k)
            if terms:
                values[target] = layers.Add(name=f"{name}_add_{k}")([values[target], *terms])

    def _terms(
        self, carried: Mapping[Value, Tensor], target: Value, name: str, place: int
    ) -> list[Tensor]:
        """What is added to a tensor: that which is carried, projected to its shape."""
        return [
            # The same tensor by another way needs no projection.
            x
            if self.merge == "multiplexer" and value is target
            else project(
                x,
                _fixed(target),
                f"{name}_{i}_to_{place}",
                start="zeros" if self.merge == "add" else "glorot_uniform",
            )
            for i, (value, x) in enumerate(carried.items())
            if self.merge == "add" or value is target or target not in carried
        ]

    def _carried(self, site: Site, sender: str) -> dict[Value, Tensor]:
        """The float tensors that come over a residual link."""
        sent = [v for v, s in self.sensors.items() if s == sender] or self.cuts.sends[sender]
        return {
            v: self._tensor(site, v, sender) for v in sent if keras.backend.is_float_dtype(v.dtype)
        }

    def _tensor(self, site: Site, value: Value, sender: str) -> Tensor:
        if self.sensors.get(value) == sender:
            tensor = site.inputs[sender]
            if value.dtype == "int64":  # which no sensor gives
                return keras.ops.cast(tensor, "int64")
            if self.byte_range is None or value.dtype != "float32":
                return tensor
            low, high = self.byte_range
            return layers.Rescaling(
                (high - low) / 255.0, offset=low, dtype="float32", name=f"{OURS}floats_{sender}"
            )(tensor)
        names = named(sender, self.cuts.sends[sender])
        return site.inputs[next(name for name, v in names.items() if v is value)]


def _unused(name: str, used: set[str]) -> str:
    """A layer's name without its path, unless another layer of the section has it."""
    short = name.rpartition("/")[2]
    candidates = [short, name.replace("/", "_"), *(f"{short}_{i}" for i in range(2, 1000))]
    chosen = next(c for c in candidates if c not in used)
    used.add(chosen)
    return chosen


def _only_trains(call: Call) -> bool:
    """Whether a layer does nothing at inference; as Keras has no word for it, by class."""
    kinds = (
        layers.Dropout,
        layers.SpatialDropout1D,
        layers.SpatialDropout2D,
        layers.SpatialDropout3D,
        layers.AlphaDropout,
        layers.GaussianDropout,
        layers.GaussianNoise,
        layers.ActivityRegularization,
    )
    kind = type(call.operation)
    random = kind.__name__.startswith("Random") and kind.__module__.startswith("keras.")
    return isinstance(call.operation, kinds) or random
