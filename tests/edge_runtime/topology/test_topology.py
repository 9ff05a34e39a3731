import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_runtime.errors import InputError
from edge_runtime.failures.configurations import enumerate_configurations, output_states
from edge_runtime.failures.distribution import mask_without
from edge_runtime.topology import Group, Link, Node, Sensor, Survival, Topology, Uptime
from tests.reference import small_topology
from tests.strategies import grouped, topologies

Plain = dict[str, Any]

POSTER = {"poster-baseline": (14, 16), "poster-residual": (17, 46), "poster-edge-skip": (21, 104)}


def changed(change: Callable[[Plain], object]) -> Plain:
    """The small topology as it stands in a file, after `change`."""
    plain: Plain = json.loads(json.dumps(small_topology().to_dict()))
    change(plain)
    return plain


# -- reading and writing -----------------------------------------------------------------------


@given(topology=st.one_of(topologies(), grouped()))
def test_every_topology_survives_a_round_trip_through_plain_values(topology: Topology) -> None:
    assert Topology.from_dict(topology.to_dict()) == topology
    assert Topology.from_dict(json.loads(json.dumps(topology.to_dict()))) == topology


@pytest.mark.parametrize("suffix", ["json", "yaml", "yml"])
@pytest.mark.parametrize("name", POSTER)
def test_a_saved_topology_is_read_back_the_same(name: str, suffix: str, tmp_path: Path) -> None:
    topology = Topology.load(name)
    path = tmp_path / f"topology.{suffix}"
    topology.save(path)
    assert Topology.load(path) == topology
    assert Topology.load(str(path)) == topology
    assert list(tmp_path.iterdir()) == [path], "a temporary file was left"


def test_saving_where_nothing_can_be_written_is_one_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match=r"cannot write .*choose a place"):
        small_topology().save(tmp_path / "file" / "topology.json")


@pytest.mark.parametrize(("name", "expected"), POSTER.items())
def test_shipped_topologies_are_the_posters(name: str, expected: tuple[int, int]) -> None:
    links, states = expected
    topology = Topology.load(name)
    assert len(topology.sensors) == 6
    assert len(topology.nodes) == 9
    assert len(topology.links) == links
    assert topology.output == "cloud"
    presets: dict[str, Any] = {s: s for s in topology.survivabilities}
    assert list(presets) == ["high", "medium", "low"]
    configurations = enumerate_configurations(topology, presets)
    assert len(configurations) == 256
    found = output_states(topology, configurations.masks)
    assert len(np.unique(found, axis=0)) == states


def test_the_other_shipped_topologies_skip_around_every_node_that_fails() -> None:
    for name, fallible in (("health", {"edge", "fog2", "fog1"}), ("mobile", {"edge", "fog"})):
        topology = Topology.load(name)
        for preset in ("high", "medium", "low"):
            survival = dict(zip(topology.elements, topology.survival(preset), strict=True))
            assert {element for element, p in survival.items() if p < 1} == fallible
        for node in fallible:
            for graph, reached in ((topology, True), (topology.primary(), False)):
                states = output_states(graph, mask_without(graph, [node])[None])
                assert states.any() == reached, f"{graph.name} without {node}"


def test_shipped_presets_are_the_posters_table() -> None:
    table = {
        "high": (0.99, 0.98, 0.94, 0.93, 0.90, 0.90, 0.87, 0.87),
        "medium": (0.90, 0.90, 0.80, 0.80, 0.70, 0.60, 0.70, 0.66),
        "low": (0.80, 0.80, 0.75, 0.70, 0.65, 0.65, 0.60, 0.60),
    }
    nodes = ("fog4", "fog3", "fog2", "fog1", "edge1", "edge2", "edge3", "edge4")
    for name in POSTER:
        presets = Topology.load(name).survivabilities
        assert presets == {k: dict(zip(nodes, v, strict=True)) for k, v in table.items()}


def test_shipped_variants_differ_in_their_residual_links_alone() -> None:
    baseline, residual, skip = (Topology.load(name) for name in POSTER)
    assert residual.primary().links == skip.primary().links == baseline.links
    assert {x.name for x in residual.links} - {x.name for x in baseline.links} == {
        "fog2->fog4",
        "fog1->fog4",
        "fog3->cloud",
    }
    assert {x.name for x in skip.links} - {x.name for x in residual.links} == {
        f"edge{i}->fog3" for i in (1, 2, 3, 4)
    }


# -- the graph ---------------------------------------------------------------------------------


@given(topology=topologies())
def test_every_sender_comes_before_its_receivers(topology: Topology) -> None:
    place = {name: i for i, name in enumerate(topology.order)}
    assert sorted(place) == sorted(n.name for n in topology.nodes)
    for link in topology.links:
        assert place.get(link.source, -1) < place[link.target]
    assert topology.outgoing(topology.output) == ()


@given(topology=topologies())
def test_links_are_listed_at_both_ends_in_topology_order(topology: Topology) -> None:
    ends = [n.name for n in topology.nodes]
    begins = [s.name for s in topology.sensors] + ends
    for name in ends:
        assert topology.incoming(name) == tuple(x for x in topology.links if x.target == name)
    for name in begins:
        assert topology.outgoing(name) == tuple(x for x in topology.links if x.source == name)
    assert len(topology.index) == len(topology.elements)
    assert [topology.elements[topology.index[x.name]] for x in topology.links] == [
        x.name for x in topology.links
    ]


def test_exits_are_switched_on_for_the_nodes_named_or_all_below_the_output() -> None:
    topology = Topology.load("poster-residual")
    assert (topology.exits, topology.answering) == ((), ("cloud",))
    everywhere = topology.with_exits()
    assert everywhere.exits == tuple(topology.order[:-1])
    assert everywhere.answering == topology.order
    some = everywhere.with_exits(["fog3", "edge1"])
    assert some.exits == ("edge1", "fog3"), "in the topology's order, and the others are off"
    assert some.answering == ("edge1", "fog3", "cloud")
    assert Topology.from_dict(some.to_dict()) == some
    assert some.with_exits([]) == topology
    for name in ("cloud", "cam0", "fog9"):
        with pytest.raises(InputError, match=f"got '{name}'; the output node answers in any case"):
            topology.with_exits([name])


def test_an_exit_of_the_output_node_is_nothing_new() -> None:
    nodes = (
        Node("left", "edge", exit=True),
        Node("right", "edge"),
        Node("top", "cloud", exit=True),
    )
    assert small_topology(nodes=nodes).answering == ("left", "top")


def test_without_residual_links_neither_they_nor_their_survival_remain() -> None:
    topology = small_topology(survivabilities={"low": {"left": 0.5, "cam0->top": 0.5}})
    primary = topology.primary()
    assert [x.name for x in primary.links] == [
        "cam0->left",
        "cam1->right",
        "left->top",
        "right->top",
    ]
    assert primary.survivabilities == {"low": {"left": 0.5}}
    assert primary.primary() == primary


def test_without_residual_links_their_groups_shrink_or_go() -> None:
    topology = small_topology(
        groups=(Group("both", ("left", "cam0->top"), 0.9), Group("skip", ("cam0->top",))),
        survivabilities={"low": {"both": 0.5, "skip": 0.5}},
    )
    primary = topology.primary()
    assert primary.groups == (Group("both", ("left",), 0.9),)
    assert primary.survivabilities == {"low": {"both": 0.5}}


# -- faults ------------------------------------------------------------------------------------


def _cycle(t: Plain) -> None:
    t["links"] += [{"source": "right", "target": "left"}, {"source": "left", "target": "right"}]


FAULTS: dict[str, tuple[Callable[[Plain], object], list[str]]] = {
    "cycle": (_cycle, ["cycle among left, right, top", "at $.links", "remove a link"]),
    "unknown source": (
        lambda t: t["links"][2].update(source="lost"),
        ["unknown node 'lost'", "at $.links[2].source", "declare it"],
    ),
    "unknown target": (
        lambda t: t["links"][2].update(target="lost"),
        ["unknown node 'lost'", "at $.links[2].target", "declare it"],
    ),
    "two nodes of one name": (
        lambda t: t["nodes"][1].update(name="left"),
        ["duplicate name 'left'", "at $.nodes[1].name", "first at $.nodes[0].name", "rename"],
    ),
    "a node named after a sensor": (
        lambda t: t["nodes"][0].update(name="cam0"),
        ["duplicate name 'cam0'", "at $.nodes[0].name", "first at $.sensors[0].name"],
    ),
    "names that differ by case alone": (
        lambda t: t["nodes"][1].update(name="Left"),
        ["duplicate name 'Left'", "first at $.nodes[0].name", "more than upper and lower case"],
    ),
    "duplicate link": (
        lambda t: t["links"].append({"source": "left", "target": "top"}),
        ["duplicate link left->top", "at $.links[5]", "first at $.links[2]", "remove one"],
    ),
    "link to itself": (
        lambda t: t["links"].append({"source": "left", "target": "left"}),
        ["link from 'left' to itself", "at $.links[5]", "remove it"],
    ),
    "link into a sensor": (
        lambda t: t["links"].append({"source": "left", "target": "cam1"}),
        ["link into the sensor 'cam1'", "at $.links[5].target", "turn the link around"],
    ),
    "sensor without a reader": (
        lambda t: t["sensors"].append({"name": "cam2", "shape": [3]}),
        ["sensor 'cam2' has no reader", "at $.sensors[2]", "link it to a node"],
    ),
    "node without an incoming link": (
        lambda t: (
            t["nodes"].append({"name": "deaf", "tier": "fog"}),
            t["links"].append({"source": "deaf", "target": "top"}),
        ),
        ["node 'deaf' has no incoming link", "at $.nodes[3]", "declare it as a sensor"],
    ),
    "dead end": (
        lambda t: (
            t["nodes"].append({"name": "end", "tier": "fog"}),
            t["links"].append({"source": "left", "target": "end"}),
        ),
        ["from node 'end' the output node 'top' cannot be reached", "at $.nodes[3]", "onward"],
    ),
    "two output nodes": (
        lambda t: (
            t["nodes"].append({"name": "second", "tier": "cloud"}),
            t["links"].append({"source": "left", "target": "second"}),
        ),
        ["expected one output node, got 2: top, second", "at $.nodes", "link all but one"],
    ),
    "no sensor": (lambda t: t.update(sensors=[]), ["at least one sensor", "at $.sensors", "add"]),
    "no node": (lambda t: t.update(nodes=[]), ["at least one node", "at $.nodes", "add"]),
    "survival above one": (
        lambda t: t["nodes"][1].update(survival=1.01),
        ["from 0 to 1, got 1.01", "at $.nodes[1].survival", "give the probability"],
    ),
    "negative survival": (
        lambda t: t["sensors"][0].update(survival=-0.5),
        ["from 0 to 1, got -0.5", "at $.sensors[0].survival"],
    ),
    "survival that is no number": (
        lambda t: t["links"][3].update(survival=float("nan")),
        ["from 0 to 1, got nan", "at $.links[3].survival"],
    ),
    "preset above one": (
        lambda t: t["survivabilities"]["low"].update(left=2.0),
        ["from 0 to 1, got 2.0", "at $.survivabilities['low'].left"],
    ),
    "preset of an unknown element": (
        lambda t: t["survivabilities"]["low"].update(lost=0.5),
        ["unknown element 'lost'", "at $.survivabilities['low']", "expected a sensor, a node or"],
    ),
    "survival of the wrong type": (
        lambda t: t["nodes"][2].update(survival="high"),
        ["Expected `float`, got `str`", "at `$.nodes[2].survival`"],
    ),
    "group without elements": (
        lambda t: t.update(groups=[{"name": "switch", "elements": []}]),
        ["group 'switch' has no elements", "at $.groups[0].elements", "remove it"],
    ),
    "group of an unknown element": (
        lambda t: t.update(groups=[{"name": "switch", "elements": ["left", "lost"]}]),
        ["unknown element 'lost'", "at $.groups[0].elements[1]", "such as 'cam0->left'"],
    ),
    "group that names an element twice": (
        lambda t: t.update(groups=[{"name": "switch", "elements": ["left", "left"]}]),
        ["duplicate element 'left'", "at $.groups[0].elements[1]", "remove it"],
    ),
    "group named after a node": (
        lambda t: t.update(groups=[{"name": "top", "elements": ["left"]}]),
        ["duplicate name 'top'", "at $.groups[0].name, an element", "rename the group"],
    ),
    "two groups of one name": (
        lambda t: t.update(groups=[{"name": "switch", "elements": ["left"]}] * 2),
        ["duplicate name 'switch'", "at $.groups[1].name, first at $.groups[0]"],
    ),
    "group whose name names nothing": (
        lambda t: t.update(groups=[{"name": "a b", "elements": ["left"]}]),
        ["expected a name of at most 64 letters", "got 'a b'", "at $.groups[0].name"],
    ),
    "group with a survival above one": (
        lambda t: t.update(groups=[{"name": "switch", "elements": ["left"], "survival": 1.5}]),
        ["from 0 to 1, got 1.5", "at $.groups[0].survival"],
    ),
    "mean time of the wrong sign": (
        lambda t: t["survivabilities"]["low"].update(left={"mtbf": -1, "mttr": 2}),
        ["expected mtbf above 0, got -1.0", "at `$.survivabilities[...][...]`", "mean time"],
    ),
    "mean time to repair alone": (
        lambda t: t["survivabilities"]["low"].update(left={"mttr": 2}),
        ["missing required field `mtbf`", "at `$.survivabilities[...][...]`"],
    ),
    "unknown tier": (
        lambda t: t["nodes"][2].update(tier="sky"),
        ["Invalid enum value 'sky'", "at `$.nodes[2].tier`", "one of iot, edge, fog, cloud"],
    ),
    "unknown kind of link": (
        lambda t: t["links"][0].update(kind="spare"),
        ["Invalid enum value 'spare'", "at `$.links[0].kind`", "one of primary, residual"],
    ),
    "unknown dtype": (
        lambda t: t["sensors"][0].update(dtype="float64"),
        ["'float64'", "at `$.sensors[0].dtype`", "one of uint8, float32"],
    ),
    "shape of the wrong type": (
        lambda t: t["sensors"][0].update(shape=[3, "x"]),
        ["Expected `int`, got `str`", "at `$.sensors[0].shape[1]`"],
    ),
    "empty shape": (
        lambda t: t["sensors"][0].update(shape=[]),
        ["shape of positive sizes, got []", "at $.sensors[0].shape", "without the batch"],
    ),
    "size of zero": (
        lambda t: t["sensors"][1].update(shape=[3, 0]),
        ["shape of positive sizes, got [3, 0]", "at $.sensors[1].shape"],
    ),
    "unknown field": (
        lambda t: t["nodes"][1].update(color="red"),
        ["unknown field `color`", "at `$.nodes[1]`", "docs/reference/topology.md has an example"],
    ),
    "missing field": (
        lambda t: t["links"][1].pop("target"),
        ["missing required field `target`", "at `$.links[1]`"],
    ),
    "newer schema": (
        lambda t: t.update(schema=2, flavour="new"),
        ["expected topology schema 1, got 2", "at $.schema", "install the version that wrote it"],
    ),
    "older schema": (lambda t: t.update(schema=0), ["schema 1, got 0", "at $.schema"]),
    "schema of the wrong type": (lambda t: t.update(schema="1"), ["schema 1, got '1'"]),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_named_with_its_place_and_a_remedy(fault: str, tmp_path: Path) -> None:
    change, fragments = FAULTS[fault]
    path = tmp_path / "mine.json"
    path.write_text(json.dumps(changed(change)))
    with pytest.raises(InputError) as caught:
        Topology.load(path)
    message = str(caught.value)
    assert "\n" not in message
    for fragment in [str(path), *fragments]:
        assert fragment in message


@pytest.mark.parametrize(
    "name",
    [
        *("", "a b", "a-b", "a/b", "a__b", "_a", "a_", "1a", "é", "a" * 65),
        *("present", "Label", "self", "None", "class"),
    ],
)
def test_a_name_that_could_not_name_a_layer_a_file_and_an_array_is_refused(name: str) -> None:
    sensor = Sensor(name, (3,))
    with pytest.raises(InputError, match=r"expected a name .*at \$\.sensors\[0\]\.name.*rename"):
        Topology("t", (sensor,), (Node("top", "cloud"),), (Link(name, "top"),))


def test_a_topology_made_in_python_is_checked_alike() -> None:
    _, *others = small_topology().nodes
    with pytest.raises(InputError, match=r"iot, edge, fog, cloud, got 'sky' \(at \$\.nodes\[0\]"):
        small_topology(nodes=(Node("left", "sky"), *others))  # type: ignore[arg-type]
    odd = Link("right", "left", "spare")  # type: ignore[arg-type]
    with pytest.raises(InputError, match=r"primary, residual, got 'spare' \(at \$\.links\[5\]"):
        small_topology(links=(*small_topology().links, odd))
    double = Sensor("cam2", (3,), "float64")  # type: ignore[arg-type]
    with pytest.raises(InputError, match=r"int32, got 'float64' \(at \$\.sensors\[2\]"):
        small_topology(sensors=(*small_topology().sensors, double))
    with pytest.raises(InputError, match=r"duplicate link left->top \(at \$\.links\[5\]"):
        small_topology(links=(*small_topology().links, Link("left", "top")))
    with pytest.raises(InputError, match=r"schema 1, got 2"):
        small_topology(schema=2)
    nodes = (Node("left", "edge", True), *small_topology().nodes[1:])
    with pytest.raises(InputError, match=r"expected a probability, got True .*nodes\[0\]"):
        small_topology(nodes=nodes)


@pytest.mark.parametrize(
    ("file", "text", "fragment"),
    [
        ("broken.json", '{"name": ', "not a well-formed json file"),
        ("deep.json", "[" * 100_000, "not a well-formed json file"),
        ("broken.yaml", "name: [", "not a well-formed yaml file"),
        ("broken.yml", "a: b: c", "not a well-formed yml file"),
        ("list.json", "[]", "Expected `object`, got `array`"),
        ("empty.yaml", "", "Expected `object`, got `null`"),
        (
            "twice.yaml",
            "name: a\nnodes:\n- {name: b, tier: fog,\n   name: c}\n",
            "key 'name' is a duplicate, in lines 3 and 4",
        ),
        (
            "twice.json",
            '{"links": [{"source": "a", "source": "b"}]}',
            "key 'source' is a duplicate",
        ),
    ],
)
def test_a_broken_file_is_one_clear_error(
    file: str, text: str, fragment: str, tmp_path: Path
) -> None:
    path = tmp_path / file
    path.write_text(text)
    with pytest.raises(InputError) as caught:
        Topology.load(path)
    assert fragment in str(caught.value)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_or_unreadable_file_names_the_shipped_topologies(tmp_path: Path) -> None:
    (tmp_path / "latin.json").write_bytes(b'{"name": "\xff"}')
    for source in (tmp_path / "none.json", tmp_path, tmp_path / "latin.json", "poster-unknown"):
        with pytest.raises(
            InputError, match="health, mobile, poster-baseline, poster-edge-skip, poster-residual"
        ):
            Topology.load(source)


def test_a_residual_link_that_skips_nothing_warns_and_names_it() -> None:
    links = (*small_topology().links[:3], Link("right", "top", "residual"))
    with pytest.warns(UserWarning, match=r"right->top skips nothing.*\$\.links\[3\].*make it prim"):
        small_topology(links=links)


# -- survival ----------------------------------------------------------------------------------


def test_survival_takes_a_preset_a_mapping_or_its_own_values() -> None:
    nodes = (Node("left", "edge", 0.8), Node("right", "edge", 0.5), Node("top", "cloud"))
    topology = small_topology(nodes=nodes)
    own = dict.fromkeys(topology.elements, 1.0) | {"left": 0.8, "right": 0.5}

    def named(survival: Any) -> dict[str, float]:
        return dict(zip(topology.elements, topology.survival(survival).tolist(), strict=True))

    assert named(None) == own
    assert named("low") == own | {"left": 0.6, "right": 0.7}
    assert named("high") == own | {"left": 0.9}
    assert named({"left->top": 0.25, "cam1": 0}) == own | {"left->top": 0.25, "cam1": 0.0}


@pytest.mark.parametrize(
    ("survival", "fragments"),
    [
        ("lowest", ["unknown survivability 'lowest'", "has low, high"]),
        ({"lost": 0.5}, ["unknown element 'lost'", "such as 'cam0->left'"]),
        ({"left": 1.5}, ["from 0 to 1, got 1.5", "survival.left"]),
        ({"left": float("nan")}, ["got nan", "survival.left"]),
        ({"left": "0.5"}, ["expected a probability, got '0.5'", "survival.left"]),
        (["low"], ["expected a survivability, got ['low']", "a preset"]),
    ],
)
def test_an_unusable_survivability_is_refused(survival: Any, fragments: list[str]) -> None:
    with pytest.raises(InputError) as caught:
        small_topology().survival(survival)
    for fragment in fragments:
        assert fragment in str(caught.value)


def test_survival_covers_groups_and_mean_times() -> None:
    field: Survival = {"left": Uptime(mtbf=900, mttr=100), "right": 0.5, "switch": Uptime(99, 1)}
    groups = (Group("switch", ("left", "cam0->top"), 0.75),)
    topology = small_topology(groups=groups, survivabilities={"field": field})
    assert topology.components == (*topology.elements, "switch")
    own = dict.fromkeys(topology.elements, 1.0)
    cases: list[tuple[Survival, dict[str, float]]] = [
        ("field", own | {"left": 0.9, "right": 0.5, "switch": 0.99}),
        (field, own | {"left": 0.9, "right": 0.5, "switch": 0.99}),
        (None, own | {"switch": 0.75}),
    ]
    for survival, expected in cases:
        found = topology.survival(survival).tolist()
        assert dict(zip(topology.components, found, strict=True)) == pytest.approx(expected)
    assert topology.uptimes("field") == {"left": Uptime(900, 100), "switch": Uptime(99, 1)}
    assert topology.uptimes(None) == {}


def test_a_topology_is_frozen() -> None:
    with pytest.raises(AttributeError):
        small_topology().name = "other"  # type: ignore[misc]
