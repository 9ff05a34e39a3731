"""`devices.yaml`: the machines that a chain of blocks may be placed on, and their wires.

schema: 1
devices:                       # from the sensor to the answer
  - {name: pi, profile: pi.json, memory_mb: 256, storage_mb: 16, survival: 0.95}
  - {name: server, profile: server.json}
wires:
  - {source: pi, target: server, mbps: 20, delay_ms: 2}
output: server                 # who answers; whoever has the last block where absent
"""

from __future__ import annotations

import math
from pathlib import Path

import msgspec
import numpy as np

from edge_runtime.bundle.manifest import BundleManifest, NodeManifest, read_bundle
from edge_runtime.errors import InputError
from edge_runtime.evaluation.profile import Profile

from .network import Block, Device, DeviceLink, Network

SCHEMA = 1


class _Device(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    name: str
    profile: str
    memory_mb: float | None = None
    storage_mb: float | None = None
    survival: float = 1.0


class _Wire(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    source: str
    target: str
    mbps: float
    delay_ms: float = 0.0
    survival: float = 1.0


class _Devices(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    schema: int
    devices: tuple[_Device, ...]
    wires: tuple[_Wire, ...] = ()
    output: str | None = None


def read_network(path: str | Path, bundle: str | Path) -> Network:
    """What may be placed where.

    Args:
        path: a file as above, JSON or YAML; profiles are relative to it.
        bundle: of a chain, cut at every place where it may be cut. Its nodes are the blocks; its
            reliability table says what an answer is worth while all work, and once one fails.

    Raises:
        InputError: for a damaged file, a bundle that is no chain, or a profile of another model.
    """
    path = Path(path)
    manifest, nodes = read_bundle(bundle)
    order = _chain(manifest, bundle)
    sizes = {
        s.name: math.prod(s.shape) * np.dtype(s.dtype).itemsize for s in manifest.topology.sensors
    }
    wanted = _read(path)
    table = manifest.reliability
    everything = f"{(1 << len(manifest.topology.links)) - 1:x}"
    return Network(
        blocks=tuple(Block(node, _message(nodes[node])) for node in order),
        input_bytes=sum(sizes.values()),
        devices=tuple(_device(d, path.parent / d.profile, manifest, order) for d in wanted.devices),
        wires=tuple(
            DeviceLink(w.source, w.target, w.mbps, w.delay_ms, w.survival) for w in wanted.wires
        ),
        output=wanted.output,
        alive=table.states.get(everything, 1.0) if table else 1.0,
        fallback=table.states.get("0", 0.0) if table else 0.0,
    )


def _read(path: Path) -> _Devices:
    try:
        text = path.read_bytes()
        found = msgspec.yaml.decode(text, type=_Devices)  # JSON is YAML, too
    except OSError as error:
        raise InputError(f"cannot read {path} ({error.strerror}); expected the devices") from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: {' '.join(str(error).split())}") from error
    if found.schema != SCHEMA:
        raise InputError(f"{path}: expected schema {SCHEMA}, got {found.schema} (at $.schema)")
    return found


def _chain(manifest: BundleManifest, bundle: str | Path) -> tuple[str, ...]:
    topology = manifest.topology
    for before, node in zip((None, *topology.order), topology.order, strict=False):
        senders = {link.source for link in topology.incoming(node)}
        expected = topology.sensor_names if before is None else {before}
        if senders != expected:
            raise InputError(
                f"{bundle}: placement is for a chain of blocks, but node {node!r} hears "
                f"{', '.join(sorted(senders))} instead of {', '.join(sorted(expected))}; cut the "
                "model with `ddnn partition`, without residual links"
            )
    return topology.order


def _message(node: NodeManifest) -> int:
    """Bytes of what a block sends; those of the last one are the answer's."""
    return sum(math.prod(spec.shape) * np.dtype(spec.dtype).itemsize for spec in node.sent)


def _device(
    wanted: _Device, path: Path, manifest: BundleManifest, order: tuple[str, ...]
) -> Device:
    profile = Profile.load(path)
    if profile.fingerprint != manifest.fingerprint:
        raise InputError(
            f"{path}: a profile of model {profile.fingerprint[:12]}, but the bundle holds "
            f"{manifest.fingerprint[:12]}; run `ddnn-edge profile` on this bundle"
        )
    missing = [node for node in order if node not in profile.sections]
    if missing:
        raise InputError(
            f"{path}: nothing about {', '.join(missing)} (at $.sections); run `ddnn-edge profile` "
            "on the whole bundle"
        )
    sections = [profile.sections[node] for node in order]
    memory = math.inf if wanted.memory_mb is None else wanted.memory_mb - profile.process_mb
    if memory < 0:
        raise InputError(
            f"device {wanted.name!r} has {wanted.memory_mb:g} MB of memory, and a process without "
            f"any section takes {profile.process_mb:.1f} MB there"
        )
    return Device(
        wanted.name,
        tuple(section.latency_ms for section in sections),
        tuple(section.memory_mb for section in sections),
        tuple(section.artifact_bytes / 1e6 for section in sections),
        most_memory_mb=memory,
        most_storage_mb=math.inf if wanted.storage_mb is None else wanted.storage_mb,
        survival=wanted.survival,
    )
