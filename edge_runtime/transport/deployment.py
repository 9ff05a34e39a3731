"""`deployment.json`: which node listens where, whom it calls, and how.

The smallest one, for all nodes on one host, is what `Deployment.on_one_host` writes:

    {"schema": 1, "name": "street",
     "nodes": {"edge1": {"listen": ["tcp/127.0.0.1:7450"]},
               "cloud": {"listen": ["tcp/127.0.0.1:7451"]}}}
"""

from __future__ import annotations

import random
import re
import socket
from collections.abc import Iterable
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from ..errors import InputError
from ..files import new_file
from ..topology.topology import NAME
from .base import DEPLOYMENT_NAME
from .config import Discovery, Endpoint, Tls, ZenohConfig, ZenohTuning

SCHEMA = 1
FIRST_PORT = 7450

_NodeName = Annotated[str, Meta(pattern=f"^{NAME.pattern}$")]
_WILDCARD = re.compile(r"[a-z-]+/(0\.0\.0\.0|\[::\])(:.*)?")


class _Record(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, omit_defaults=True
):
    pass


class Place(_Record, frozen=True, forbid_unknown_fields=True, kw_only=True, omit_defaults=True):
    """Where one node is.

    `listen`: where it accepts links; nothing for a node that only calls others. `reach`: where
    the others call it, if that is not where it listens (a wildcard address, a container).
    `connect`: whom it calls; by default the nodes that it hears. `routed`: it calls
    the routers instead, and meets everybody through them.
    """

    listen: tuple[Endpoint, ...] = ()
    reach: tuple[Endpoint, ...] | None = None
    connect: tuple[Endpoint, ...] | None = None
    routed: bool = False

    @property
    def endpoints(self) -> tuple[str, ...]:
        """Where others call it."""
        return self.listen if self.reach is None else self.reach


class Deployment(
    _Record, frozen=True, forbid_unknown_fields=True, kw_only=True, omit_defaults=True
):
    """The network side of a deployment; every machine has the same file.

    `name`: separates deployments that share a network. `routers`: called by every node, so that
    those that are `routed` can be reached. `deadline_ms`: of an answer, from its frame's capture.
    `epoch`: where the frame clock begins, in seconds since 1970; taken from the wall clock at
    start if absent. `tls`: paths are relative to the file, and `{node}` in them is the node's name.
    `access_control`: Zenoh's own section of that name.
    """

    schema: int
    name: Annotated[str, Meta(pattern=f"^{DEPLOYMENT_NAME}$")] = "default"
    nodes: dict[_NodeName, Place]
    routers: tuple[Endpoint, ...] = ()
    discovery: Discovery = "gossip"
    deadline_ms: Annotated[float, Meta(gt=0)] = 100.0
    epoch: float | None = None
    tuning: ZenohTuning = ZenohTuning()
    tls: Tls | None = None
    access_control: dict[str, Any] | None = None

    @classmethod
    def on_one_host(
        cls,
        nodes: Iterable[str],
        *,
        name: str = "default",
        first_port: int | None = FIRST_PORT,
        tuning: ZenohTuning | None = None,
    ) -> Deployment:
        """All nodes on this host, each on a loopback port of its own.

        `first_port`: ports are counted from there; None takes ports that are free now, for runs
        beside each other. Raises `InputError` for an unusable name.
        """
        nodes = tuple(nodes)
        ports = _free_ports(len(nodes)) if first_port is None else range(first_port, 65536)
        deployment = cls(
            schema=SCHEMA,
            name=name,
            nodes={
                node: Place(listen=(f"tcp/127.0.0.1:{port}",))
                for node, port in zip(nodes, ports, strict=False)
            },
            tuning=tuning or ZenohTuning(),
        )
        return _convert(msgspec.to_builtins(deployment), "deployment")

    @classmethod
    def load(cls, path: str | Path) -> Deployment:
        """Read and check a file; `InputError` with the path of the first fault."""
        path = Path(path)
        try:
            plain = msgspec.json.decode(path.read_bytes())
        except OSError as error:
            raise InputError(
                f"{path}: cannot be read ({error.strerror}); expected a deployment.json"
            ) from error
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise InputError(f"{path}: {error}; expected a deployment.json") from error
        return _convert(plain, str(path)).located(path.parent)

    def save(self, path: str | Path) -> None:
        """Write it as readable JSON, without what is as by default."""
        plain = {k: v for k, v in msgspec.to_builtins(self).items() if v != {}}
        data = msgspec.json.format(msgspec.json.encode(plain), indent=1) + b"\n"
        with new_file(path) as temporary:
            temporary.write_bytes(data)

    def located(self, folder: Path) -> Deployment:
        """The same, with its relative paths counted from `folder`."""
        if self.tls is None:
            return self
        tls = msgspec.structs.replace(
            self.tls,
            root_ca=str(folder / self.tls.root_ca),
            certificate=str(folder / self.tls.certificate),
            private_key=str(folder / self.tls.private_key),
        )
        return msgspec.structs.replace(self, tls=tls)

    def transport(
        self, node: str, neighbors: Iterable[str] | None = None, *, rank: float = 0.5
    ) -> ZenohConfig:
        """How a node opens its transport.

        `neighbors`: the nodes that it hears, which it calls; by default all. One side alone calls:
        two that call each other at the same moment, as after a pause, sometimes lose each other's
        presence for good (seen with Zenoh 1.10.2, about once in forty pauses). `rank`: higher than
        the neighbors', so that discovery does not make them call back.
        Raises `InputError` for a node that the file does not place.
        """
        place = self._place(node)
        if place.routed:
            return self._config(node, (), (), "client")
        if place.connect is not None:
            called = place.connect
        else:
            others = sorted(set(self.nodes if neighbors is None else neighbors) - {node})
            called = tuple(e for other in others for e in self._place(other).endpoints)
        return self._config(node, place.listen, called, "peer", rank)

    def observer(self, *, routed: bool = False) -> ZenohConfig:
        """How something that is no node, but wants to see all of them, opens its transport.

        `routed`: through a router, from where the nodes themselves cannot be reached.
        """
        if routed and not self.routers:
            raise InputError(f"deployment {self.name!r} has no routers (at $.routers); add one")
        called = tuple(e for place in self.nodes.values() for e in place.endpoints)
        if routed or (self.routers and not called):
            return self._config("observer", (), (), "client")
        return self._config("observer", (), called, "peer")

    def _config(
        self,
        who: str,
        listen: tuple[str, ...],
        connect: tuple[str, ...],
        mode: Literal["peer", "client"],
        rank: float = 0.5,
    ) -> ZenohConfig:
        tls = self.tls
        if tls is not None:
            tls = msgspec.structs.replace(
                tls,
                certificate=tls.certificate.replace("{node}", who),
                private_key=tls.private_key.replace("{node}", who),
            )
        return ZenohConfig(
            deployment=self.name,
            listen=listen,
            connect=(*connect, *self.routers),
            mode=mode,
            discovery=self.discovery,
            rank=rank,
            tuning=self.tuning,
            tls=tls,
            access_control=self.access_control,
        )

    def _place(self, node: str) -> Place:
        place = self.nodes.get(node)
        if place is None:
            raise InputError(
                f"deployment {self.name!r} places {', '.join(sorted(self.nodes)) or 'no nodes'}, "
                f"not {node!r} (at $.nodes); add it, or use this model's own deployment.json"
            )
        return place


def _convert(plain: Any, where: str) -> Deployment:
    if isinstance(plain, dict) and "fingerprint" in plain:
        raise InputError(
            f"{where}: is a model's manifest (it has a fingerprint, at $.fingerprint); expected a "
            "deployment.json"
        )
    schema = plain.get("schema") if isinstance(plain, dict) else None
    if schema != SCHEMA:
        raise InputError(
            f"{where}: expected schema {SCHEMA}, got {schema!r} (at $.schema); "
            "install the version that wrote it"
        )
    try:
        deployment = msgspec.convert(plain, Deployment)
    except msgspec.ValidationError as error:
        raise InputError(f"{where}: {error}; correct it") from error
    _check_places(deployment, where)
    return deployment


def _check_places(deployment: Deployment, where: str) -> None:
    """Everybody can be reached, each at a place of its own."""
    seen: dict[str, str] = {}
    for node, place in deployment.nodes.items():
        if place.routed and (place.listen or place.reach or place.connect):
            raise InputError(
                f"{where}: {node} is routed, so it neither listens nor calls anybody but the "
                f"routers (at $.nodes.{node}); remove one or the other"
            )
        if place.routed and not deployment.routers:
            raise InputError(f"{where}: {node} is routed, but there are no $.routers; add one")
        for endpoint in place.endpoints:
            at = f"(at $.nodes.{node}.{'listen' if place.reach is None else 'reach'})"
            if _WILDCARD.fullmatch(endpoint):
                raise InputError(
                    f"{where}: nobody can call {endpoint} {at}; say in 'reach' where {node} is"
                )
            if other := seen.get(endpoint):
                raise InputError(
                    f"{where}: {endpoint} is the place of {other} already {at}; give each node "
                    "its own"
                )
            seen[endpoint] = node


def _free_ports(count: int) -> list[int]:
    """Ports of the loopback interface that nobody listens on now.

    From below those that the system gives to outgoing connections: a node that calls one of those
    while nobody listens may be handed it itself, and take the place of the node it calls.
    """
    with ExitStack() as stack:
        ports: list[int] = []
        for port in random.sample(range(20_000, 32_000), 2_000):
            if len(ports) == count:
                break
            probe = stack.enter_context(socket.socket())
            with suppress(OSError):
                probe.bind(("127.0.0.1", port))
                ports.append(port)
        return ports
