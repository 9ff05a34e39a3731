"""How a Zenoh transport is set up: one record, written as JSON, with defaults that were measured.

Nothing here imports Zenoh.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from ..errors import InputError
from .base import DEPLOYMENT_NAME

#: `tcp/10.0.0.7:7447`, `tls/fog2.example:7447`, `unixsock-stream//run/ddnn/fog2.sock`.
Endpoint = Annotated[str, Meta(pattern="^(tcp|tls|quic|udp|ws|unixsock-stream)/.+$")]

#: How peers that no endpoint names find each other: not at all; from the peers they have in common
#: (`gossip`); also by multicast on the local network.
Discovery = Literal["static", "gossip", "multicast"]

_Milliseconds = Annotated[int, Meta(ge=1, le=600_000)]


class _Record(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    pass


class Tls(_Record, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Paths of PEM files with which a node proves who it is; both sides of a link must.

    `verify_name`: the host in an endpoint must be a name of the certificate found there. It proves
    membership alone: any certificate of `root_ca` may speak for any node, unless access rules tie
    keys to the certificates' common names.
    """

    root_ca: str
    certificate: str
    private_key: str
    verify_name: bool = True


class ZenohTuning(
    _Record, frozen=True, forbid_unknown_fields=True, kw_only=True, omit_defaults=True
):
    """Times and sizes; the defaults suit a wired network.

    `lease_ms`: after how long without a sign of life a peer counts as gone. 500 for wired links,
    1000 for Wi-Fi: at 10% loss 500 gives false alarms. `keep_alive`: signs of life within a lease.

    `retry_initial_ms`, `retry_max_ms`: between two attempts to reach an endpoint.
    `handshake_ms`: limit of one attempt. TCP and ARP ask again after a second; keep away from that,
    since Zenoh 1.10.2 can leave half a link behind where an attempt is given up at the very moment
    at which it succeeds. `connect_wait_ms`: how long opening waits for endpoints that do not
    answer. `settle_ms`: how long the tokens of a peer may take to come in after its link is up;
    more than one round trip.

    `ring_messages`, `ring_bytes`: how much waits for a reader that is busy; above it the oldest is
    dropped. `max_message_bytes`: larger messages are refused before they are put together.

    `send_batches`: of up to 64 KiB, queued for a link that is slow, 16 at most.
    `drop_after_us`: how long `send` may wait when they are full, before it drops.

    `shared_memory`: between nodes of one host; halves the round trip of 131 KB, and costs 46 MB a
    process.
    """

    lease_ms: _Milliseconds = 500
    keep_alive: Annotated[int, Meta(ge=2, le=100)] = 4
    retry_initial_ms: _Milliseconds = 100
    retry_max_ms: _Milliseconds = 200
    handshake_ms: _Milliseconds = 700
    connect_wait_ms: _Milliseconds = 200
    settle_ms: _Milliseconds = 100
    ring_messages: Annotated[int, Meta(ge=1)] = 256
    ring_bytes: Annotated[int, Meta(ge=1)] = 16 << 20
    max_message_bytes: Annotated[int, Meta(ge=1)] = 16 << 20
    send_batches: Annotated[int, Meta(ge=1, le=16)] = 16
    drop_after_us: Annotated[int, Meta(ge=0, le=1_000_000)] = 1000
    shared_memory: bool = False


class ZenohConfig(_Record, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """All that one process needs to open a transport.

    `deployment`: part of every key, so that deployments which share a network do not mix.
    `listen`: where this process accepts links; nowhere if empty. `connect`: whom it calls, again
    and again, peers and routers alike. `mode`: a `client` calls one of several routers and reaches
    everybody through it; a router passes nothing on between two peers. `rank`: of two peers that
    find each other by `discovery`, the one of the higher rank calls, or of equals one of the two;
    who does not listen calls all who do. `access_control`: Zenoh's section of that name, passed on
    as it is; the keys to write rules for are in `zenoh.py`.
    """

    deployment: Annotated[str, Meta(pattern=f"^{DEPLOYMENT_NAME}$")] = "default"
    listen: tuple[Endpoint, ...] = ()
    connect: tuple[Endpoint, ...] = ()
    mode: Literal["peer", "client"] = "peer"
    discovery: Discovery = "gossip"
    rank: Annotated[float, Meta(ge=0, le=1)] = 0.5
    tuning: ZenohTuning = ZenohTuning()
    tls: Tls | None = None
    access_control: dict[str, Any] | None = None


def checked(config: ZenohConfig) -> ZenohConfig:
    """The same configuration; `InputError` with the path of a value that is out of range.

    Records made in Python are not checked until here.
    """
    try:
        return msgspec.convert(msgspec.to_builtins(config), ZenohConfig)
    except msgspec.ValidationError as error:
        raise InputError(f"transport: {error}") from error
