"""A deployment whose output node is reached through a router alone."""

import json
import signal
from functools import partial
from pathlib import Path

import msgspec

from edge_runtime.testbed.processes import LocalDeployment
from edge_runtime.transport.config import ZenohConfig
from edge_runtime.transport.deployment import Deployment, Place
from edge_runtime.transport.zenoh import open_router
from tests.commands import Deployed
from tests.end_to_end.live import LIMIT, command, live


def test_a_cloud_behind_a_router_is_heard_and_watched(
    small_deployed: Deployed, tmp_path: Path
) -> None:
    free = Deployment.on_one_host(
        [*small_deployed.topology.order, "router"], name="local", first_port=None
    )
    places = dict(free.nodes)
    router = places.pop("router").listen
    places["top"] = Place(routed=True)
    deployment = msgspec.structs.replace(free, nodes=places, routers=router)
    with (
        open_router(ZenohConfig(listen=router, tuning=deployment.tuning)),
        live(
            small_deployed, tmp_path, nodes=partial(LocalDeployment, deployment=deployment)
        ) as found,
        command("watch", "--deployment", found.nodes.path, "--routed") as watch,
    ):
        assert watch.stdout is not None
        answers = [json.loads(watch.stdout.readline()) for _ in range(5)]
        watch.send_signal(signal.SIGTERM)
        assert watch.wait(timeout=LIMIT) == 0
        assert found.nodes.crashes == []
    assert {answer["node"] for answer in answers} == {"top"}
    assert any(set(answer["nodes"]) >= {"left", "right"} for answer in answers)
