"""The poster's system on nine machines whose network fails: links down or blocked.

Each node has a network namespace of its own; see `machines.py`.
"""

from collections.abc import Callable, Iterator
from functools import partial

import pytest

from edge_runtime.evaluation.answering import state_keys
from edge_runtime.failures.configurations import output_states
from edge_runtime.failures.distribution import mask_without
from edge_runtime.testbed.run import Configuration, FixedSchedule, Record
from edge_runtime.testbed.run_report import RunReport
from tests.commands import Deployed
from tests.end_to_end.live import Live, few, live
from tests.end_to_end.machines import WATCHER, Machines, SpreadDeployment
from tests.end_to_end.watcher import Watcher

Tour = tuple[Live, Record, RunReport, tuple[Configuration, ...]]

DEADLINE_MS = 800.0
#: Links whose receiver's packets are lost, instead of their sender's.
REVERSED = ("fog3->cloud", "edge1->fog2")


def unplugged(*nodes: str) -> Configuration:
    return Configuration(frozenset(nodes), frozenset(nodes))


def cut(link: str) -> Configuration:
    return Configuration(frozenset({link}))


def one_way(*links: str) -> Configuration:
    return Configuration(frozenset(links), frozenset(links))


CONFIGURATIONS = (
    Configuration(frozenset()),
    *map(unplugged, ("edge2", "fog2", "fog3", "fog4")),
    cut("fog1->fog3"),
    cut("fog4->cloud"),
    one_way("fog3->fog4"),
    one_way("edge4->fog1"),
    *map(one_way, REVERSED),
    # A machine cut off, and beside it one link each way.
    Configuration(frozenset({"edge3", "fog2->fog4", "fog3->cloud"}), frozenset({"edge3"})),
    Configuration(frozenset()),
)


@pytest.fixture(scope="module")
def deployment(
    machines: Machines,
    poster_deployed: Callable[[str], Deployed],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Live]:
    with live(
        poster_deployed("poster-residual"),
        tmp_path_factory.mktemp("machines"),
        deadline_ms=DEADLINE_MS,
        nodes=partial(SpreadDeployment, machines, ways=dict.fromkeys(REVERSED, "reverse")),
        watcher=partial(Watcher, prefix=machines.inside(WATCHER)),
    ) as found:
        yield found


@pytest.fixture(scope="module")
def toured(deployment: Live) -> Tour:
    """One run through all of these configurations, half a second of frames in each."""
    record, verdict = deployment.hold(FixedSchedule(CONFIGURATIONS, hold_s=0.5))
    return deployment, record, verdict, CONFIGURATIONS


def test_every_answer_is_what_its_state_and_its_frame_give(toured: Tour) -> None:
    _, record, verdict, _ = toured
    assert len(record.answers) > 5 * len(CONFIGURATIONS)
    assert (verdict.agreement, verdict.mixed_frames, verdict.duplicates) == (1.0, 0, 0)


def test_what_could_be_answered_was(toured: Tour) -> None:
    _, _, verdict, configurations = toured
    assert verdict.answerable == 5 * len(configurations)
    assert verdict.unanswered <= few(verdict.answerable)


def test_the_states_are_those_that_the_links_leave(toured: Tour) -> None:
    deployment, record, _, configurations = toured
    topology = deployment.topology
    for configuration, frames in zip(configurations, record.holds, strict=True):
        mask = mask_without(topology, sorted(configuration.down))[None]
        [state], _ = state_keys(output_states(topology, mask))
        found = [int(record.answers[f].state, 16) for f in frames if f in record.answers]
        assert not [s for s in found if s & ~state], configuration
        assert state in found or not found, configuration
    assert len({frozenset(c.down) for c in configurations}) == len(configurations) - 1


def test_nobody_fell(toured: Tour) -> None:
    deployment, _, verdict, _ = toured
    assert verdict.crashes == ()
    for node in deployment.topology.order:
        assert "Traceback" not in deployment.log(node)
    assert len(deployment.nodes.pids) == 9


def test_several_links_that_die_at_once_hold_nobody_up(deployment: Live) -> None:
    """What closes a dead link must not keep a node from hearing those that live."""
    victims = ("edge2", "edge3", "edge4", "fog4")

    def body() -> None:
        for node in victims:
            deployment.nodes.hang(node)
        deployment.converge(*victims)
        deployment.answers(20)
        for node in victims:
            deployment.nodes.restore(node)
        deployment.converge()

    deployment.converge()
    _, verdict = deployment.during(body, *victims)
    assert (verdict.agreement, verdict.mixed_frames, verdict.duplicates) == (1.0, 0, 0)
    assert verdict.answerable == verdict.frames > 20
    assert verdict.unanswered <= few(verdict.answerable)
    assert verdict.crashes == ()
