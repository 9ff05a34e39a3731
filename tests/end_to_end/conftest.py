"""What several of these modules share."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from tests.commands import Deployed
from tests.end_to_end.machines import WATCHER, Machines


@pytest.fixture(scope="module")
def machines(poster_deployed: Callable[[str], Deployed]) -> Iterator[Machines]:
    it = poster_deployed("poster-residual")
    with ExitStack() as stack:
        try:
            machines = stack.enter_context(Machines((*it.topology.order, WATCHER)))
        except OSError as error:
            pytest.skip(f"needs network namespaces, so root, iproute2 and TUN devices: {error}")
        yield machines
