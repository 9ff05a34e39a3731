"""The poster's system on nine machines whose network is slow and loses packets.

Each node has a network namespace of its own; see `machines.py`.
"""

from collections.abc import Callable, Iterator
from functools import partial

import pytest

from edge_runtime.testbed.run import Configuration, FixedSchedule
from tests.commands import Deployed
from tests.end_to_end.live import Live, live
from tests.end_to_end.machines import WATCHER, Machines, SpreadDeployment
from tests.end_to_end.watcher import Watcher

#: TCP sends a packet again after 200 ms, and if that is lost, too, after 400 and 800 ms more. Below
#: their sum chance decides whether a frame comes in time, not the product.
DEADLINE_MS = 2000.0


@pytest.fixture(scope="module")
def deployment(
    machines: Machines,
    poster_deployed: Callable[[str], Deployed],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Live]:
    with live(
        poster_deployed("poster-residual"),
        tmp_path_factory.mktemp("lossy"),
        deadline_ms=DEADLINE_MS,
        nodes=partial(SpreadDeployment, machines),
        watcher=partial(Watcher, prefix=machines.inside(WATCHER)),
    ) as found:
        yield found


@pytest.mark.parametrize("loss", [0.02, 0.1])
def test_a_slow_way_that_loses_packets(deployment: Live, machines: Machines, loss: float) -> None:
    machines.shape(delay_s=0.02, loss=loss)
    try:
        record, verdict = deployment.hold(FixedSchedule((Configuration(frozenset()),), hold_s=10.0))
    finally:
        packets = machines.shape()
    assert 0.5 * loss < packets["lost"] / (packets["lost"] + packets["carried"]) < 2 * loss
    assert (verdict.agreement, verdict.mixed_frames, verdict.duplicates) == (1.0, 0, 0)
    assert verdict.crashes == ()
    assert verdict.answerable == verdict.frames == len(record.counted)
    assert verdict.unanswered <= 0.01 * verdict.answerable
    # The whole network's answers are among them; of each of four links the quickest way is not
    # counted in their ages.
    whole = f"{(1 << len(deployment.topology.links)) - 1:x}"
    assert whole in {answer.state for answer in record.answers.values()}
