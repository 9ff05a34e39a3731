"""Early exits of real nodes on the memory transport, beside what was computed beforehand."""

import random

import msgspec
import numpy as np
import pytest

from edge_runtime.answers.policies import ANSWER_MODES, AnswerMode
from edge_runtime.answers.records import Answer
from edge_runtime.answers.rule import AnswerRule
from edge_runtime.answers.selector import AnswerSelector
from edge_runtime.errors import InputError
from edge_runtime.evaluation.answering import BoundRule
from edge_runtime.evaluation.cache import SectionCache
from edge_runtime.failures.distribution import mask_without
from edge_runtime.node.node import Node
from edge_runtime.node.settings import LiveSettings
from edge_runtime.topology import Topology
from edge_runtime.transport.base import PeerDown
from edge_runtime.transport.memory import MemoryNetwork
from tests.edge_runtime.network_of_nodes import MS, Adding, Nodes, manifest_of, task_of
from tests.reference import chain_topology

#: A node that hears one camera is sure, one that hears two alike is not at all.
CHAIN = chain_topology().with_exits()
POSTER = Topology.load("poster-residual").with_exits()


def taken(nodes: Nodes, answering: BoundRule, said: list[Answer]) -> list[Answer]:
    """What a collector that has seen the earlier frames takes of a frame's answers."""
    selector = AnswerSelector(
        answering.rule.policy,
        answering.ordinary,
        deadline_ns=nodes.deadline_ns,
        early_depths=answering.early_depths,
    )
    now = nodes.now
    for answer in said:
        selector.take(msgspec.structs.replace(answer, age_ms=0.0), now)
    found = [selector.ready(now + nodes.deadline_ns)]
    assert selector.ready(now + nodes.deadline_ns) is None
    return [answer for answer in found if answer is not None]


def payload(nodes: Nodes) -> dict[str, int]:
    return {name: node.metrics().payload_bytes for name, node in nodes.nodes.items()}


def check(
    topology: Topology, early: dict[str, float], answer: AnswerMode, down: set[str]
) -> set[str | None]:
    """One converged configuration: answers and bytes as the arithmetic says. Who answered."""
    nodes = Nodes(topology, answer=answer, early=early)
    for name in down:
        nodes.kill(name)
    for frame in range(1, 5):
        nodes.frame(frame)
    before = payload(nodes)
    said = nodes.frame(5)
    answering = BoundRule(topology, AnswerRule(mode=answer, early=early), task_of(topology))
    masks = mask_without(topology, sorted(down))[None]
    [joint_state], _ = answering.joint_states(masks)
    views = {name: view.view(5)[None] for name, view in nodes.views.items()}
    expected = answering.take(SectionCache(topology, nodes, views), joint_state)
    who = answering.nodes[expected.places[0]] if expected.places[0] >= 0 else None

    got = taken(nodes, answering, said)
    assert [x.node for x in got if not x.fallback] == ([] if who is None else [who])
    for x in said:
        if not x.fallback:
            np.testing.assert_allclose(x.probabilities, nodes.truth(x), rtol=1e-5)
    if who is not None:
        assert int(got[0].state, 16) == answering.states(joint_state)[who]
    size = 4 * len(topology.sensors)
    sends = expected.sends_tensor
    assert sends is not None
    for i, name in enumerate(topology.order):
        if name not in down:
            sent = payload(nodes)[name] - before[name]
            assert sent == size * len(topology.outgoing(name)) * sends[i, 0], name
    assert len({(x.frame, x.node) for x in nodes.answers}) == len(nodes.answers)
    return {who}


@pytest.mark.parametrize("answer", ANSWER_MODES)
def test_in_every_configuration_of_the_chain_nodes_do_what_was_computed(answer: AnswerMode) -> None:
    found: set[str | None] = set()
    for thresholds in ({"middle": 0.5}, {"left": 0.5}, dict.fromkeys(CHAIN.exits, 0.5)):
        for case in range(16):
            down = {n for i, n in enumerate(CHAIN.order) if case >> i & 1}
            found |= check(CHAIN, thresholds, answer, down)
    assert found == {None, "left", "right", "middle", "top"}


def test_in_some_configurations_of_the_poster_nodes_do_what_was_computed() -> None:
    rng = random.Random(4)
    found: set[str | None] = set()
    for answer in ANSWER_MODES * 4:
        early = {node: rng.choice([0.0, 0.3, 0.5, 0.8]) for node in POSTER.exits}
        down = {node for node in POSTER.order if rng.random() < 0.3}
        found |= check(POSTER, early, answer, down)
    assert len(found) > 3


def test_a_mark_is_passed_on_at_once_and_is_counted() -> None:
    nodes = Nodes(CHAIN, early={"left": 0.5})
    nodes.frame(1)
    said = nodes.frame(2)
    assert [(x.node, x.early, x.exit) for x in said] == [("left", True, True)]
    middle, top = nodes.nodes["middle"].metrics(), nodes.nodes["top"].metrics()
    assert (middle.answered, middle.early, middle.payload_bytes) == (middle.frames, 0, 0)
    assert (top.answers, top.answered, top.at_deadline) == (0, top.frames, 0)
    left = nodes.nodes["left"].metrics()
    assert (left.early, left.payload_bytes) == (left.frames, 0)
    # `right` may come after the mark, late, and is waited for all the same.
    assert top.peers == {"middle": "expected"}
    assert middle.peers == {"left": "expected", "right": "expected"}


def test_a_mark_that_comes_after_the_deadline_changes_nothing() -> None:
    nodes = Nodes(CHAIN, early={"left": 0.5})
    nodes.frame(1)
    before = len(nodes.answers)
    nodes.held.add("left")
    nodes.frame(2)
    nodes.held.clear()
    nodes.converge()
    mine = [x for x in nodes.answers[before:] if x.frame == 2]
    assert [x.node for x in mine if not x.early] == ["top"]
    assert mine[0].state == nodes.state("cam1->right", "right->middle", "middle->top")
    assert nodes.nodes["middle"].assembler.counters.frames_at_deadline == 1


def test_a_mark_takes_no_link_that_is_cut() -> None:
    nodes = Nodes(CHAIN, early={"left": 0.5})
    nodes.frame(1)
    nodes.network.cut("left", "middle")
    nodes.converge()
    said = nodes.frame(2)
    assert [(x.node, x.early) for x in said] == [("left", True), ("top", False)]
    assert said[1].state == nodes.state("cam1->right", "right->middle", "middle->top")
    assert [
        x.node
        for x in taken(
            nodes, BoundRule(CHAIN, AnswerRule(early={"left": 0.5}), task_of(CHAIN)), said
        )
    ] == ["left"]


def test_without_its_name_a_node_gives_no_early_answer_and_sends_no_mark() -> None:
    nodes = Nodes(CHAIN, early={"left": 0.5})
    nodes.frame(1)
    transport = nodes.transports["left"]
    incarnation = transport.incarnation
    assert incarnation is not None
    transport._mailbox.presence(PeerDown("left", incarnation))
    assert [x.node for x in nodes.frame(2)] == ["top"]
    left = nodes.nodes["left"].metrics()
    assert (left.frames, left.early) == (3, 2)


def test_a_threshold_without_an_exit_is_refused() -> None:
    manifest = manifest_of(CHAIN, "top", Adding(CHAIN, "top", {}), early=0.5)
    transport = MemoryNetwork().open("top")
    with pytest.raises(InputError, match="'top' has no exit, and a threshold"):
        Node(manifest, Adding(CHAIN, "top", {}), transport, {}, None, LiveSettings(deadline_ns=MS))
