"""Zenoh sessions that follow none of our rules, for peers that misbehave."""

import json
from typing import Any

import msgspec

from edge_runtime.transport.deployment import Deployment
from edge_runtime.transport.zenoh import SCHEME, zenoh_settings


def open_session(deployment: Deployment) -> Any:
    """A peer of all nodes, and, where they are told of each other, of who looks on."""
    import zenoh

    config = msgspec.structs.replace(deployment.observer(), listen=("tcp/127.0.0.1:0",))
    return zenoh.open(zenoh.Config.from_json5(json.dumps(zenoh_settings(config, "peer"))))


def prefix(deployment: Deployment) -> str:
    """Of all keys of a deployment."""
    return f"{SCHEME}/{deployment.name}"
