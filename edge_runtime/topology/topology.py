"""The nodes of a deployment and the links between them.

The topology that trains is the topology that deploys: `ddnn_tf` builds a model from it, `export`
cuts the model along it, and a device reads its own place in it.
"""

from __future__ import annotations

import json
import keyword
import re
import warnings
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, get_args

import msgspec
import numpy as np
from numpy.typing import NDArray

from ..errors import InputError
from ..files import new_file
from .reading import decode_json, decode_yaml
from .survival import Survival, Uptime, check_chance, probability

SCHEMA = 1


SHIPPED = Path(__file__).parent / "shipped"


#: Names become those of layers, arguments of signatures, files and arrays; `__` joins two of them.
NAME = re.compile("[A-Za-z][A-Za-z0-9]*(_[A-Za-z0-9]+)*")


LONGEST_NAME = 64


#: An input of a section; arrays of a data file that are no sensor's; an argument of every method.
RESERVED = frozenset({"present", "label", "class_names", "self"})


Tier = Literal["iot", "edge", "fog", "cloud"]


TIERS: tuple[Tier, ...] = get_args(Tier)


Kind = Literal["primary", "residual"]


KINDS: tuple[Kind, ...] = get_args(Kind)


Dtype = Literal["uint8", "float32", "int32"]


DTYPES: tuple[Dtype, ...] = get_args(Dtype)


class Sensor(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An `iot` node without a section, hosted by the nodes that read it.

    `shape` is one sample's, without the batch axis; `dtype` is how the samples are stored: bytes
    of pictures, numbers, or whole numbers such as the ids of words.
    """

    name: str
    shape: tuple[int, ...]
    dtype: Dtype = "uint8"
    survival: float = 1.0

    @property
    def tier(self) -> Tier:
        """Sensors are `iot`."""
        return "iot"


class Node(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A machine that runs one section.

    `exit`: it has a classifier of its own, and can answer when the nodes above it cannot. The
    output node answers in any case.
    """

    name: str
    tier: Tier
    survival: float = 1.0
    exit: bool = False


class Link(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A directed physical connection; `residual` runs beside the primary path."""

    source: str
    target: str
    kind: Kind = "primary"
    survival: float = 1.0

    @property
    def name(self) -> str:
        """As in `fog2->fog4`: how failures and survivabilities name a link."""
        return f"{self.source}->{self.target}"


class Group(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Elements that fail together, such as all that one switch or one power line serves.

    An element works when it does so itself and all its groups do. `survival` is the group's own.
    """

    name: str
    elements: tuple[str, ...]
    survival: float = 1.0


class Topology(msgspec.Struct, frozen=True, forbid_unknown_fields=True, dict=True):
    """An acyclic graph with sensors at the bottom and one output node at the top.

    The *elements* of a topology are all that can fail: its sensors, its nodes and its links, in
    the order in which they are listed. A failure mask has one column an element; a delivered-links
    state has one bit a link (bit i stands for `links[i]`). Its *components* are all that fails by
    itself: the elements, and after them the groups, each of which takes its elements along.

    Raises `InputError` at construction, with the path of the fault and a remedy.
    """

    name: str
    sensors: tuple[Sensor, ...]
    nodes: tuple[Node, ...]
    links: tuple[Link, ...]
    survivabilities: dict[str, dict[str, float | Uptime]] = {}
    groups: tuple[Group, ...] = ()
    schema: int = SCHEMA

    def __post_init__(self) -> None:
        _check(self)

    # -- reading and writing ---------------------------------------------------------------------

    @classmethod
    def load(cls, source: str | Path) -> Topology:
        """Read a topology that ships with the package, by name, or a .json, .yaml or .yml file."""
        shipped = SHIPPED / f"{source}.json"
        path = shipped if shipped.is_file() else Path(source)
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            names = ", ".join(sorted(p.stem for p in SHIPPED.glob("*.json")))
            raise InputError(
                f"expected a topology file, or one of the shipped ones ({names}), "
                f"but cannot read {str(source)!r}: {error}"
            ) from error
        decode = decode_yaml if path.suffix in {".yaml", ".yml"} else decode_json
        try:
            data = decode(text)
        except (ValueError, RecursionError) as error:
            raise InputError(
                f"{path}: not a well-formed {path.suffix[1:]} file: {error}"
            ) from error
        return cls.from_dict(data, where=str(path))

    @classmethod
    def from_dict(cls, data: Any, *, where: str = "topology") -> Topology:
        """Build a topology from plain dicts and lists; `where` names their origin in errors."""
        schema = data.get("schema", SCHEMA) if isinstance(data, dict) else SCHEMA
        if schema != SCHEMA:
            raise InputError(
                f"{where}: expected topology schema {SCHEMA}, got {schema!r} (at $.schema); "
                "write it again with this version, or install the version that wrote it"
            )
        try:
            return msgspec.convert(data, cls)
        except msgspec.ValidationError as error:
            raise InputError(f"{where}: {error}; {_remedy(error)}") from error

    def to_dict(self) -> dict[str, Any]:
        """Plain dicts and lists, as in the file."""
        plain: dict[str, Any] = msgspec.to_builtins(self)
        return plain

    def save(self, path: str | Path) -> None:
        """Write JSON, or YAML where the name ends so."""
        path = Path(path)
        if path.suffix in {".yaml", ".yml"}:
            text = msgspec.yaml.encode(self).decode()
        else:
            text = json.dumps(self.to_dict(), indent=1) + "\n"
        with new_file(path) as temporary:
            temporary.write_text(text, encoding="utf-8")

    # -- the graph -------------------------------------------------------------------------------

    @cached_property
    def elements(self) -> tuple[str, ...]:
        """Names of all that can fail: sensors, nodes, links."""
        return (
            *(s.name for s in self.sensors),
            *(n.name for n in self.nodes),
            *(x.name for x in self.links),
        )

    @cached_property
    def components(self) -> tuple[str, ...]:
        """Names of all that fails by itself: the elements, then the groups."""
        return (*self.elements, *(g.name for g in self.groups))

    @cached_property
    def index(self) -> Mapping[str, int]:
        """Place of each component; that of an element is its column in a failure mask."""
        return {name: i for i, name in enumerate(self.components)}

    @cached_property
    def bits(self) -> Mapping[str, int]:
        """Place of each link, by name, in a delivered-links state."""
        return {link.name: i for i, link in enumerate(self.links)}

    @cached_property
    def order(self) -> tuple[str, ...]:
        """Node names, every sender before its receivers."""
        return tuple(_sorted(self))

    @cached_property
    def depths(self) -> Mapping[str, int]:
        """Nodes on the longest path from a sensor to each node, itself included."""
        depths: dict[str, int] = {}
        for name in self.order:
            depths[name] = 1 + max(depths.get(x.source, 0) for x in self.incoming(name))
        return depths

    @cached_property
    def output(self) -> str:
        """The one node that sends to no other."""
        return next(iter(_outputs(self)))

    @cached_property
    def exits(self) -> tuple[str, ...]:
        """Nodes below the output node that have a classifier of their own, in order."""
        exits = {n.name for n in self.nodes if n.exit}
        return tuple(name for name in self.order if name in exits and name != self.output)

    @cached_property
    def answering(self) -> tuple[str, ...]:
        """All nodes that can answer, every sender before its receivers: exits, then the output."""
        return (*self.exits, self.output)

    @cached_property
    def sensor_names(self) -> frozenset[str]:
        """Names of the sensors."""
        return frozenset(s.name for s in self.sensors)

    @cached_property
    def _incoming(self) -> Mapping[str, tuple[Link, ...]]:
        return {n.name: tuple(x for x in self.links if x.target == n.name) for n in self.nodes}

    @cached_property
    def _outgoing(self) -> Mapping[str, tuple[Link, ...]]:
        names = [*(s.name for s in self.sensors), *(n.name for n in self.nodes)]
        return {name: tuple(x for x in self.links if x.source == name) for name in names}

    def incoming(self, node: str) -> tuple[Link, ...]:
        """Links that end at `node`, in topology order."""
        return self._incoming[node]

    def outgoing(self, name: str) -> tuple[Link, ...]:
        """Links that begin at a node or a sensor, in topology order."""
        return self._outgoing[name]

    def node(self, name: str) -> Node:
        """The node called `name`."""
        return next(n for n in self.nodes if n.name == name)

    def primary(self) -> Topology:
        """The same topology without its residual links, and without groups of these alone."""
        links = tuple(x for x in self.links if x.kind == "primary")
        gone = {x.name for x in self.links} - {x.name for x in links}
        groups = []
        for group in self.groups:
            if left := tuple(name for name in group.elements if name not in gone):
                groups.append(msgspec.structs.replace(group, elements=left))
            else:
                gone.add(group.name)
        presets = {
            preset: {k: v for k, v in table.items() if k not in gone}
            for preset, table in self.survivabilities.items()
        }
        name = self.name if len(links) == len(self.links) else f"{self.name}-primary"
        return msgspec.structs.replace(
            self, name=name, links=links, survivabilities=presets, groups=tuple(groups)
        )

    def with_exits(self, names: Iterable[str] | None = None) -> Topology:
        """The same topology with a classifier on the nodes named, or on all below the output node.

        Raises `InputError` for a name that is no node's below the output node.
        """
        below = [name for name in self.order if name != self.output]
        wanted = below if names is None else list(names)
        for name in wanted:
            if name not in below:
                raise InputError(
                    f"expected exits on nodes below the output node ({', '.join(below)}), "
                    f"got {name!r}; the output node answers in any case"
                )
        nodes = tuple(msgspec.structs.replace(n, exit=n.name in wanted) for n in self.nodes)
        return msgspec.structs.replace(self, nodes=nodes)

    def with_sensors(self, shapes: Mapping[str, tuple[int, ...]], dtype: str) -> Topology:
        """The same topology, with sensors of other shapes and of another type."""
        sensors = tuple(
            msgspec.structs.replace(s, shape=tuple(shapes[s.name]), dtype=dtype)
            for s in self.sensors
        )
        return msgspec.structs.replace(self, sensors=sensors)

    def with_readings(self, readings: Mapping[str, Sequence[Sensor]]) -> Topology:
        """The same topology, with other sensors in place of some, read by the same nodes.

        `readings`: by the name of a sensor, what stands in its place, which may be itself beside
        others. Raises `InputError` for a name that is no sensor's, and where a sensor to replace or
        a link from it may fail or is named in a group or a survivability: what is read in one place
        fails together.
        """
        for name in readings:
            self._check_never_fails(name)
        sensors = tuple(x for s in self.sensors for x in readings.get(s.name, (s,)))
        links: list[Link] = []
        for link in self.links:
            new = readings.get(link.source)
            sources = [link.source] if new is None else [sensor.name for sensor in new]
            links += [msgspec.structs.replace(link, source=source) for source in sources]
        return msgspec.structs.replace(self, sensors=sensors, links=tuple(links))

    def _check_never_fails(self, name: str) -> None:
        """Neither a sensor of this name nor a link from it; `InputError` where one may."""
        if name not in self.sensor_names:
            raise InputError(
                f"expected a sensor to replace ({', '.join(sorted(self.sensor_names))}), got "
                f"{name!r}"
            )
        own = {name, *(link.name for link in self.outgoing(name))}
        named = {*(key for table in self.survivabilities.values() for key in table)}
        named.update(*(group.elements for group in self.groups))
        chances = self.survival()[[self.index[element] for element in own]]
        if own & named or (chances < 1).any():
            raise InputError(
                f"sensor {name!r} may fail, and all that is read there with it; write a "
                "topology with the sensors that are wanted and a group of them"
            )

    # -- survival --------------------------------------------------------------------------------

    def survival(self, survivability: Survival = None) -> NDArray[np.float64]:
        """Probability that each component works by itself, shape (components,).

        A preset or a mapping overrides the topology's own values for what it names. Raises
        `InputError` for an unknown preset or element, a value outside 0..1, and for recorded
        shares, in which nothing is independent.
        """
        table = self._table(survivability)
        own = (
            *(s.survival for s in self.sensors),
            *(n.survival for n in self.nodes),
            *(x.survival for x in self.links),
            *(g.survival for g in self.groups),
        )
        chances = (table.get(name, p) for name, p in zip(self.components, own, strict=True))
        return np.array([probability(chance) for chance in chances], np.float64)

    def uptimes(self, survivability: Survival) -> dict[str, Uptime]:
        """What a survivability gives by mean times, by component. Raises as `survival` does."""
        table = self._table(survivability)
        return {name: value for name, value in table.items() if isinstance(value, Uptime)}

    def _table(self, survivability: Survival) -> Mapping[str, float | Uptime]:
        if survivability is None:
            return {}
        if isinstance(survivability, str):
            try:
                return self.survivabilities[survivability]
            except KeyError:
                known = ", ".join(self.survivabilities)
                raise InputError(
                    f"unknown survivability {survivability!r}: topology {self.name!r} has "
                    + (
                        f"{known}; use one of these, or add it to the topology"
                        if known
                        else "no presets, only its own values: take these (own), give "
                        "probabilities by element, or make it with presets, as "
                        "`ddnn partition --nodes edge:0.99/0.9/0.8,cloud` does"
                    )
                ) from None
        if isinstance(survivability, Mapping):
            _check_survivability(self, survivability, "survival")
            return survivability
        raise InputError(
            f"expected a survivability, got {survivability!r}; give the name of a preset, a "
            "mapping from element to probability, or None for the topology's own values"
        )


def _remedy(error: msgspec.ValidationError) -> str:
    """What msgspec leaves out: which values a field takes, and where to read on."""
    choices = {"tier": TIERS, "kind": KINDS, "dtype": DTYPES}
    field = str(error).rpartition(".")[2].rstrip("`")
    if field in choices:
        return f"expected one of {', '.join(choices[field])}"
    return "correct the file; docs/reference/topology.md has an example"


def _check(t: Topology) -> None:
    if t.schema != SCHEMA:
        raise InputError(f"expected topology schema {SCHEMA}, got {t.schema!r} (at $.schema)")
    _check_names(t)
    _check_values(t)
    _check_links(t)
    _check_graph(t)
    _check_groups(t)
    for preset, table in t.survivabilities.items():
        _check_survivability(t, table, f"$.survivabilities[{preset!r}]")
    ends = {(x.source, x.target) for x in t.links}
    for i, link in enumerate(t.links):
        if link.kind == "residual" and not detour(ends, link):
            warnings.warn(
                f"residual link {link.name} skips nothing: no longer path leads from "
                f"{link.source} to {link.target} (at $.links[{i}]); make it primary or remove it",
                stacklevel=4,
            )


def _members(t: Topology) -> Iterator[tuple[str, Sensor | Node]]:
    for i, sensor in enumerate(t.sensors):
        yield f"$.sensors[{i}]", sensor
    for i, node in enumerate(t.nodes):
        yield f"$.nodes[{i}]", node


def _check_names(t: Topology) -> None:
    for kind, members in (("sensor", t.sensors), ("node", t.nodes)):
        if not members:
            raise InputError(f"expected at least one {kind}, got none (at $.{kind}s); add one")
    seen: dict[str, str] = {}
    for path, member in _members(t):
        name = member.name
        _check_name(name, path)
        # TensorFlow's signatures do not tell upper from lower case.
        if name.lower() in seen:
            raise InputError(
                f"duplicate name {name!r} (at {path}.name, first at {seen[name.lower()]}.name); "
                "rename one of the two: more than upper and lower case must differ"
            )
        seen[name.lower()] = path


def _check_name(name: str, path: str) -> None:
    if not NAME.fullmatch(name) or len(name) > LONGEST_NAME:
        raise InputError(
            f"expected a name of at most {LONGEST_NAME} letters, digits and single underscores "
            f"between them, first a letter; got {name!r} (at {path}.name); rename it"
        )
    if name.lower() in RESERVED or keyword.iskeyword(name):
        raise InputError(
            f"expected a name other than {', '.join(sorted(RESERVED))} and Python's keywords, "
            f"got {name!r} (at {path}.name); rename it"
        )


def _check_values(t: Topology) -> None:
    for i, sensor in enumerate(t.sensors):
        if not sensor.shape or any(d < 1 for d in sensor.shape):
            raise InputError(
                f"expected a shape of positive sizes, got {list(sensor.shape)} "
                f"(at $.sensors[{i}].shape); give one sample's shape, without the batch"
            )
        _check_choice(sensor.dtype, DTYPES, f"$.sensors[{i}].dtype")
    for path, member in _members(t):
        _check_choice(member.tier, TIERS, f"{path}.tier")
        check_chance(member.survival, f"{path}.survival")
    for i, link in enumerate(t.links):
        _check_choice(link.kind, KINDS, f"$.links[{i}].kind")
        check_chance(link.survival, f"$.links[{i}].survival")


def _check_choice(value: Any, choices: tuple[str, ...], path: str) -> None:
    # In a file msgspec finds this; what is made in Python it takes as it comes.
    if value not in choices:
        raise InputError(f"expected one of {', '.join(choices)}, got {value!r} (at {path})")


def _check_groups(t: Topology) -> None:
    elements = set(t.elements)
    seen: dict[str, int] = {}
    for i, group in enumerate(t.groups):
        path = f"$.groups[{i}]"
        _check_name(group.name, path)
        if group.name in elements or group.name in seen:
            first = f"first at $.groups[{seen[group.name]}]" if group.name in seen else "an element"
            raise InputError(
                f"duplicate name {group.name!r} (at {path}.name, {first}); rename the group"
            )
        seen[group.name] = i
        if not group.elements:
            raise InputError(
                f"group {group.name!r} has no elements (at {path}.elements); name what fails with "
                "it, or remove it"
            )
        for k, name in enumerate(group.elements):
            if name not in elements:
                raise InputError(
                    f"unknown element {name!r} (at {path}.elements[{k}]); expected a sensor, a "
                    f"node or a link such as {t.links[0].name!r}"
                )
            if name in group.elements[:k]:
                raise InputError(f"duplicate element {name!r} (at {path}.elements[{k}]); remove it")
        check_chance(group.survival, f"{path}.survival")


def _check_survivability(t: Topology, table: Mapping[str, float | Uptime], path: str) -> None:
    for name, value in table.items():
        if name not in t.index:
            raise InputError(
                f"unknown element {name!r} (at {path}); expected a sensor, a node or a link "
                f"such as {t.links[0].name!r}, or a group"
            )
        check_chance(value, f"{path}.{name}")


def _check_links(t: Topology) -> None:
    names = {m.name for _, m in _members(t)}
    seen: dict[str, int] = {}
    for i, link in enumerate(t.links):
        for end in ("source", "target"):
            if getattr(link, end) not in names:
                raise InputError(
                    f"unknown node {getattr(link, end)!r} (at $.links[{i}].{end}); "
                    "declare it under sensors or nodes, or correct the name"
                )
        if link.source == link.target:
            raise InputError(f"link from {link.source!r} to itself (at $.links[{i}]); remove it")
        if link.target in t.sensor_names:
            raise InputError(
                f"link into the sensor {link.target!r} (at $.links[{i}].target); sensors only "
                "send: turn the link around, or make it a node of tier iot"
            )
        if link.name in seen:
            raise InputError(
                f"duplicate link {link.name} (at $.links[{i}], first at "
                f"$.links[{seen[link.name]}]); remove one"
            )
        seen[link.name] = i


def _check_graph(t: Topology) -> None:
    for i, sensor in enumerate(t.sensors):
        if not any(x.source == sensor.name for x in t.links):
            raise InputError(
                f"sensor {sensor.name!r} has no reader (at $.sensors[{i}]); "
                "link it to a node, or remove it"
            )
    for i, node in enumerate(t.nodes):
        if not any(x.target == node.name for x in t.links):
            raise InputError(
                f"node {node.name!r} has no incoming link (at $.nodes[{i}]); "
                "link a sensor or a node to it, or declare it as a sensor"
            )
    if len(list(_sorted(t))) < len(t.nodes):
        stuck = sorted({n.name for n in t.nodes} - set(_sorted(t)))
        raise InputError(
            f"the links form a cycle among {', '.join(stuck)} (at $.links); "
            "a topology is acyclic: remove a link of the cycle"
        )
    outputs = _outputs(t)
    tiers = [t.node(name).tier for name in outputs]
    top = max(tiers, key=TIERS.index)
    if tiers.count(top) > 1:
        raise InputError(
            f"expected one output node, got {len(outputs)}: {', '.join(outputs)} (at $.nodes); "
            "link all but one of them onward, or remove them"
        )
    output = outputs[tiers.index(top)]
    for i, node in enumerate(t.nodes):
        if node.name in outputs and node.name != output:
            raise InputError(
                f"from node {node.name!r} the output node {output!r} cannot be reached "
                f"(at $.nodes[{i}]); link it onward, or remove it"
            )


def _outputs(t: Topology) -> list[str]:
    """Nodes that send to no other. With one of them, every node of an acyclic graph reaches it."""
    sources = {x.source for x in t.links}
    return [n.name for n in t.nodes if n.name not in sources]


def _sorted(t: Topology) -> Iterator[str]:
    """Kahn's algorithm, in order of declaration; nodes on a cycle are left out."""
    done = set(t.sensor_names)
    waiting = [n.name for n in t.nodes]
    sources = {name: {x.source for x in t.incoming(name)} for name in waiting}
    while waiting:
        ready = [name for name in waiting if sources[name] <= done]
        if not ready:
            return
        yield from ready
        done.update(ready)
        waiting = [n for n in waiting if n not in done]


def detour(ends: Collection[tuple[str, str]], link: Link) -> bool:
    """Whether another path leads from a link's source to its target."""
    seen: set[str] = set()
    frontier = [t for s, t in ends if s == link.source and t != link.target]
    while frontier:
        name = frontier.pop()
        if name == link.target:
            return True
        if name not in seen:
            seen.add(name)
            frontier += [t for s, t in ends if s == name]
    return False
