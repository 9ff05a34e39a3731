"""`ddnn place` from files: a bundle of a chain, profiles, devices."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import keras
import pytest

from ddnn_tf.cli import main
from ddnn_tf.cli.place import formatted
from ddnn_tf.model import build
from ddnn_tf.placement.devices import read_network
from ddnn_tf.sections import Site
from edge_runtime.bundle.manifest import read_bundle
from edge_runtime.errors import InputError
from edge_runtime.evaluation.profile import Profile, SectionProfile
from edge_runtime.topology import Link, Node, Sensor, Topology
from export import export_bundle
from tests.commands import CLASSES, done, refused
from tests.strategies import samples

BLOCKS = ("b0", "b1", "b2")
UNITS = {"b0": 50, "b1": 10}


def chain() -> Topology:
    links = (Link("view", "b0"), Link("b0", "b1"), Link("b1", "b2"))
    nodes = (Node("b0", "edge"), Node("b1", "fog"), Node("b2", "cloud"))
    return Topology("chain", (Sensor("view", (8, 8)),), nodes, links)


def dense(site: Site) -> Any:
    (x,) = site.inputs.values()
    if site.views:
        x = keras.layers.Flatten()(keras.layers.Rescaling(1.0, dtype="float32")(x))
    if site.classes is not None:
        return keras.layers.Dense(site.classes, activation="softmax")(x)
    return keras.layers.Dense(UNITS[site.node.name], activation="relu")(x)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle, a profile of a slow and one of a quick machine, and the devices."""
    root = tmp_path_factory.mktemp("place")
    model = build(chain(), dense, classes=CLASSES)
    model.prior = (0.2, 0.5, 0.3)
    inputs: Any = samples(chain(), 20)
    export_bundle(model, root / "bundle", inputs)
    manifest, _ = read_bundle(root / "bundle")
    for machine, factor in (("pi", 10.0), ("server", 1.0)):
        Profile(
            machine=machine,
            fingerprint=manifest.fingerprint,
            process_mb=40.0,
            runs=1,
            sections={
                block: SectionProfile(
                    latency_ms=factor * latency,
                    latency_p90_ms=factor * latency,
                    memory_mb=2.0,
                    artifact_bytes=1_000_000,
                    message_bytes=0,
                )
                for block, latency in zip(BLOCKS, (0.1, 1.0, 2.0), strict=True)
            },
        ).save(root / f"{machine}.json")
    write(root, {})
    return root


def write(root: Path, changes: dict[str, Any], name: str = "devices.json") -> Path:
    plain = {
        "schema": 1,
        "devices": [
            {"name": "pi", "profile": "pi.json", "memory_mb": 64, "survival": 0.9},
            {"name": "server", "profile": "server.json"},
        ],
        "wires": [{"source": "pi", "target": "server", "mbps": 0.08, "delay_ms": 1}],
    }
    path = root / name
    path.write_text(json.dumps({**plain, **changes}))
    return path


def test_blocks_bytes_and_limits_come_from_bundle_and_profiles(folder: Path) -> None:
    network = read_network(folder / "devices.json", folder / "bundle")
    assert [block.name for block in network.blocks] == list(BLOCKS)
    assert [block.bytes for block in network.blocks] == [200, 40, 12]
    assert network.input_bytes == 64
    pi = network.devices[0]
    assert pi.latency_ms == (1.0, 10.0, 20.0)
    assert pi.most_memory_mb == 24.0, "a process takes 40 MB before it has a section"
    assert pi.storage_mb == (1.0, 1.0, 1.0)
    assert (network.alive, network.fallback) == (1.0, 0.0), "the bundle has no reliability table"


def test_the_command_places_and_says_what_binds(folder: Path) -> None:
    found = done(main, "place", folder / "bundle", "--devices", folder / "devices.json", "--json")
    # 8 bits at 0.08 megabits a second: 0.1 ms a byte. 64 raw bytes: 7.4 + 3.1 ms.
    assert found.json["placement"] == {"pi": [], "server": ["b0", "b1", "b2"]}
    assert found.json["latency_ms"] == pytest.approx(1 + 6.4 + 3.1)
    assert found.json["expected_accuracy"] == pytest.approx(0.9)
    assert found.json["binding"] == {}
    less = done(
        main, "place", folder / "bundle", "--devices", folder / "devices.json", "--max-bytes", "50",
        "--against", "bytes", "--json",
    ).json  # fmt: skip
    assert less["placement"] == {"pi": ["b0", "b1"], "server": ["b2"]}
    assert less["binding"] == {"bytes": pytest.approx(10.5)}
    assert [point["bytes"] for point in less["front"]] == [40, 0]
    said = done(main, "place", folder / "bundle", "--devices", folder / "devices.json").out
    assert "server       b0, b1, b2" in said
    assert "expected accuracy 90.00 %" in said
    limited = ("place", folder / "bundle", "--devices", folder / "devices.json")
    assert (
        "the bytes binds: without that limit 10.5 ms"
        in done(main, *limited, "--max-bytes", "50").out
    )
    said = refused(main, *limited, "--min-accuracy", "0.99")
    assert "no placement keeps accuracy 99 %; each by itself" in said
    assert "accuracy 90 %" in said


def test_people_are_told_units_and_percent() -> None:
    assert formatted("accuracy", 0.9) == "expected accuracy 90.00 %"
    assert (formatted("latency", 10.5), formatted("bytes", 64)) == ("10.5 ms", "64 bytes")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"schema": 3}, "expected schema 1, got 3"),
        ({"color": 1}, "unknown field `color`"),
        ({"devices": [{"name": "pi", "profile": "none.json"}]}, "cannot read"),
        ({"devices": [{"name": "pi", "profile": "pi.json", "memory_mb": 8}]}, "takes 40.0 MB"),
        ({"output": "moon"}, "unknown output 'moon'"),
    ],
)
def test_bad_devices_are_one_line(folder: Path, changes: dict[str, Any], message: str) -> None:
    path = write(folder, changes, "bad.json")
    assert message in refused(main, "place", folder / "bundle", "--devices", path)


def test_limits_that_cannot_be_kept_are_one_line(folder: Path) -> None:
    said = refused(
        main,
        "place",
        folder / "bundle",
        "--devices",
        folder / "devices.json",
        "--max-latency",
        "1ms",
    )
    assert "no placement keeps latency 1" in said


def test_a_profile_of_another_model_is_refused(folder: Path) -> None:
    found = Profile.load(folder / "pi.json")
    other = Profile(
        machine="x", fingerprint="0" * 64, process_mb=1.0, runs=1, sections=found.sections
    )
    other.save(folder / "other.json")
    path = write(
        folder, {"devices": [{"name": "x", "profile": "other.json"}]}, "other-devices.json"
    )
    with pytest.raises(InputError, match=r"a profile of model 000000000000, but the bundle holds"):
        read_network(path, folder / "bundle")


def test_what_is_no_chain_is_refused(folder: Path, tmp_path: Path) -> None:
    topology = Topology(
        "skip",
        chain().sensors,
        chain().nodes,
        (*chain().links, Link("b0", "b2", kind="residual")),
    )
    model = build(topology, "fc32", classes=CLASSES)
    model.prior = (0.2, 0.5, 0.3)
    inputs: Any = samples(topology, 20)
    export_bundle(model, tmp_path / "bundle", inputs)
    with pytest.raises(InputError, match="node 'b2' hears b0, b1 instead of b1; cut the model"):
        read_network(folder / "devices.json", tmp_path / "bundle")
