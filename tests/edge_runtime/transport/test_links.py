"""The Zenoh transport when the link breaks: real processes in network namespaces."""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from edge_runtime.transport.config import ZenohTuning
from edge_runtime.transport.deployment import Deployment, Place
from tests.edge_runtime.transport.namespaces import ADDRESSES, Cable
from tests.edge_runtime.transport.processes import Peer

pytest.importorskip("zenoh", reason="needs Zenoh: pip install 'ddnn-tf[edge]'")

LEASE = 1.0


@pytest.fixture
def cable() -> Iterator[Cable]:
    with ExitStack() as stack:
        try:
            cable = stack.enter_context(Cable())
        except OSError as error:
            pytest.skip(f"needs network namespaces, so root and iproute2: {error}")
        yield cable


@pytest.fixture
def peers(cable: Cable, tmp_path: Path) -> Iterator[tuple[Peer, Peer]]:
    deployment = Deployment(
        schema=1,
        nodes={side: Place(listen=(f"tcp/{address}:7450",)) for side, address in ADDRESSES.items()},
        tuning=ZenohTuning(lease_ms=int(LEASE * 1000)),
    )
    with (
        Peer("left", deployment.transport("left"), tmp_path, prefix=cable.inside("left")) as left,
        Peer(
            "right", deployment.transport("right"), tmp_path, prefix=cable.inside("right")
        ) as right,
    ):
        left.wait("up", "right")
        right.wait("up", "left")
        yield left, right


def check_exchange(left: Peer, right: Peer) -> None:
    left.send("right", 11)
    assert right.wait("message", "left") == ["left", 11]
    right.send("left", 12)
    assert left.wait("message", "right") == ["right", 12]


def test_an_unplugged_link(cable: Cable, peers: tuple[Peer, Peer]) -> None:
    left, right = peers
    check_exchange(left, right)
    cable.unplug()
    left.wait("down", "right")
    right.wait("down", "left")
    left.send("right")
    right.send("left")
    cable.plug()
    left.wait("up", "right")
    right.wait("up", "left")
    check_exchange(left, right)


@pytest.mark.parametrize("mute", ["left", "right"])
def test_a_link_blocked_one_way(cable: Cable, peers: tuple[Peer, Peer], mute: str) -> None:
    left, right = peers
    check_exchange(left, right)
    cable.block(mute)
    # Whoever still hears learns it when the other side gives up and calls again.
    left.wait("down", "right")
    right.wait("down", "left")
    cable.unblock(mute)
    left.wait("up", "right")
    right.wait("up", "left")
    check_exchange(left, right)
