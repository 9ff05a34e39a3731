"""`deployment.json`: strict reading, and what each node makes of it."""

import json
import socket
from pathlib import Path
from typing import Any

import msgspec
import pytest

from edge_runtime.errors import InputError
from edge_runtime.transport.config import Tls, ZenohTuning
from edge_runtime.transport.deployment import Deployment, Place

FULL: dict[str, Any] = {
    "schema": 1,
    "name": "street",
    "nodes": {
        "edge1": {"listen": ["tcp/10.0.0.11:7450"]},
        "fog2": {"listen": ["tcp/0.0.0.0:7450"], "reach": ["tcp/fog2.example:7450"]},
        "fog4": {"listen": ["tcp/10.0.0.14:7450"], "connect": ["tcp/10.0.9.9:7450"]},
        "cloud": {"routed": True},
    },
    "routers": ["tcp/192.0.2.7:7447", "tcp/192.0.2.8:7447"],
    "discovery": "static",
    "deadline_ms": 50,
    "epoch": 1700000000,
    "tuning": {"lease_ms": 1000},
    "tls": {"root_ca": "keys/ca.pem", "certificate": "keys/{node}.pem", "private_key": "/k/{node}"},
    "access_control": {"enabled": True},
}


def write(folder: Path, content: Any) -> Path:
    path = folder / "deployment.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def changed(at: tuple[str, ...], value: Any) -> dict[str, Any]:
    content = json.loads(json.dumps(FULL))
    *parents, last = at
    place = content
    for key in parents:
        place = place[key]
    place[last] = value
    return content  # type: ignore[no-any-return]


def test_what_each_node_opens(tmp_path: Path) -> None:
    deployment = Deployment.load(write(tmp_path, FULL))
    routers = ("tcp/192.0.2.7:7447", "tcp/192.0.2.8:7447")

    edge1 = deployment.transport("edge1", ["fog2"])
    assert (edge1.deployment, edge1.mode, edge1.discovery) == ("street", "peer", "static")
    assert edge1.listen == ("tcp/10.0.0.11:7450",)
    # Where others reach it, not where it listens.
    assert edge1.connect == ("tcp/fog2.example:7450", *routers)
    assert edge1.tuning.lease_ms == 1000
    assert edge1.access_control == {"enabled": True}

    # A neighbor that is routed is met at the routers.
    assert deployment.transport("fog2", ["edge1", "fog4", "cloud"]).connect == (
        "tcp/10.0.0.11:7450",
        "tcp/10.0.0.14:7450",
        *routers,
    )
    assert deployment.transport("fog4").connect == ("tcp/10.0.9.9:7450", *routers)
    assert deployment.transport("edge1").connect == (
        "tcp/fog2.example:7450",
        "tcp/10.0.0.14:7450",
        *routers,
    )
    cloud = deployment.transport("cloud", ["fog4"])
    assert (cloud.mode, cloud.listen, cloud.connect) == ("client", (), routers)


def test_certificates_are_each_nodes_own_beside_the_file(tmp_path: Path) -> None:
    tls = Deployment.load(write(tmp_path, FULL)).transport("edge1").tls
    assert tls == Tls(
        root_ca=str(tmp_path / "keys/ca.pem"),
        certificate=str(tmp_path / "keys/edge1.pem"),
        private_key="/k/edge1",
    )
    observer = Deployment.load(tmp_path / "deployment.json").observer().tls
    assert observer is not None
    assert observer.private_key == "/k/observer"


def test_an_observer_calls_everybody(tmp_path: Path) -> None:
    deployment = Deployment.load(write(tmp_path, FULL))
    observer = deployment.observer()
    assert (observer.mode, observer.listen) == ("peer", ())
    assert set(observer.connect) == {
        "tcp/10.0.0.11:7450",
        "tcp/fog2.example:7450",
        "tcp/10.0.0.14:7450",
        *deployment.routers,
    }
    routed = deployment.observer(routed=True)
    assert (routed.mode, routed.connect) == ("client", deployment.routers)
    alone = Deployment(schema=1, nodes={"a": Place(routed=True)}, routers=deployment.routers)
    assert alone.observer() == alone.observer(routed=True)


@pytest.mark.parametrize("schema", [1, 2])
def test_a_models_manifest_is_told_from_it(tmp_path: Path, schema: int) -> None:
    path = tmp_path / "manifest.json"
    path.write_text(json.dumps({"schema": schema, "fingerprint": "ab", "nodes": {}}))
    with pytest.raises(InputError, match=r"is a model's manifest.*; expected a deployment\.json"):
        Deployment.load(path)


def test_all_on_one_host_by_default() -> None:
    deployment = Deployment.on_one_host(["edge1", "cloud"])
    assert [p.listen for p in deployment.nodes.values()] == [
        ("tcp/127.0.0.1:7450",),
        ("tcp/127.0.0.1:7451",),
    ]
    assert deployment.transport("edge1").connect == ("tcp/127.0.0.1:7451",)
    assert deployment.transport("cloud").tuning == ZenohTuning()


def test_free_ports_are_free_and_none_that_the_system_hands_out() -> None:
    deployment = Deployment.on_one_host([f"n{i}" for i in range(30)], first_port=None)
    ports = [int(p.listen[0].rpartition(":")[2]) for p in deployment.nodes.values()]
    assert len(set(ports)) == 30
    assert max(ports) < 32768
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", ports[0]))


def test_it_is_read_as_it_was_written(tmp_path: Path) -> None:
    deployment = Deployment.on_one_host(["edge1", "cloud"], name="street")
    deployment.save(tmp_path / "deployment.json")
    assert Deployment.load(tmp_path / "deployment.json") == deployment
    # Defaults are not written, so that they may improve.
    assert set(json.loads((tmp_path / "deployment.json").read_bytes())) == {
        "schema",
        "name",
        "nodes",
    }


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        ("{", "truncated"),
        ("[]", r"expected schema 1, got None \(at \$.schema\)"),
        (changed(("schema",), 2), r"expected schema 1, got 2 \(at \$.schema\)"),
        (changed(("name",), "a/b"), r"at `\$.name`"),
        (changed(("color",), "red"), "unknown field `color`"),
        (changed(("nodes", "edge1", "lisen"), []), "unknown field `lisen` - at `\\$.nodes"),
        (changed(("nodes", "1edge"), {}), r"at `key` in `\$.nodes`"),
        (changed(("nodes", "edge1", "listen"), ["10.0.0.1:7"]), r"at `\$.nodes\[...\].listen\[0\]"),
        (
            changed(("nodes", "edge1", "listen"), ["tcp/0.0.0.0:7"]),
            "nobody can call .*edge1.listen",
        ),
        (changed(("nodes", "edge1", "listen"), ["tcp/[::]:7"]), "nobody can call .*edge1.listen"),
        (
            changed(("nodes", "edge1", "listen"), ["tcp/10.0.0.14:7450"]),
            r"the place of edge1 already \(at \$.nodes.fog4.listen\)",
        ),
        (
            changed(("nodes", "cloud", "listen"), ["tcp/10.0.0.9:1"]),
            r"cloud is routed.*nodes.cloud",
        ),
        (changed(("routers",), []), r"no \$.routers"),
        (changed(("routers",), ["192.0.2.7"]), r"at `\$.routers\[0\]`"),
        (changed(("discovery",), "magic"), r"at `\$.discovery`"),
        (changed(("deadline_ms",), 0), r"at `\$.deadline_ms`"),
        (changed(("tuning", "lease_ms"), 0), r"at `\$.tuning.lease_ms`"),
        (changed(("tuning", "lease"), 500), r"unknown field `lease` - at `\$.tuning`"),
        (changed(("tls",), {"root_ca": "ca.pem"}), r"at `\$.tls`"),
    ],
)
def test_a_fault_is_named_with_its_path(tmp_path: Path, content: Any, fault: str) -> None:
    path = write(tmp_path, content)
    with pytest.raises(InputError, match=fault) as raised:
        Deployment.load(path)
    assert str(raised.value).startswith(f"{path}: ")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no\.json: cannot be read"):
        Deployment.load(tmp_path / "no.json")


def test_a_node_without_a_place_is_named() -> None:
    deployment = Deployment.on_one_host(["edge1", "cloud"])
    with pytest.raises(InputError, match=r"places cloud, edge1, not 'fog1' \(at \$\.nodes\)"):
        deployment.transport("fog1")
    with pytest.raises(InputError, match="no routers"):
        deployment.observer(routed=True)
    with pytest.raises(InputError, match="`key` in"):
        Deployment.on_one_host(["not a name"])


def test_it_does_not_change() -> None:
    deployment = Deployment.on_one_host(["edge1"])
    with pytest.raises(AttributeError):
        deployment.name = "other"  # type: ignore[misc]
    assert msgspec.structs.replace(deployment, name="other").name == "other"
