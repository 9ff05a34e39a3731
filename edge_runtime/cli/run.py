"""`ddnn-edge run`: one node on its device."""

from __future__ import annotations

import argparse
import ctypes
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path

from ..answers.policies import ANSWER_MODES
from ..bundle.compute import Compute
from ..bundle.manifest import NodeManifest, read_node
from ..bundle.sections import load_section
from ..bundle.tensors import Section
from ..errors import InputError
from ..node.node import Node
from ..node.prometheus import MetricsServer, parse_address
from ..node.sources import Region, Source, close_sources, open_source, parse_region
from ..node.status import StatusWriter
from ..process.signals import interruptible
from ..transport.deployment import Deployment
from ..transport.zenoh import ZenohTransport
from .options import (
    AddCommand,
    add_compute,
    add_deadline,
    add_early,
    add_encoding,
    add_fps,
    add_smooth,
    frame_clock,
    live_settings,
    node_folder,
)


def add_to(command: AddCommand) -> None:
    """Add `run`."""
    add = command(
        "run",
        _run,
        "Run one node of a deployment.",
        "print what the node reports as JSON, one object a line",
    )
    add.add_argument("node", type=Path, metavar="NODE_DIR", help="the node's folder in the bundle")
    add.add_argument(
        "--deployment",
        type=Path,
        required=True,
        metavar="FILE.json",
        help="where the nodes are; the same deployment.json at every node",
    )
    add.add_argument(
        "--source",
        action="append",
        default=[],
        metavar="SENSOR=WHERE",
        help="a camera such as /dev/video0, a video, a folder of pictures, an .npz; once for each "
        "sensor that the node reads",
    )
    add.add_argument(
        "--region",
        action="append",
        default=[],
        metavar="SENSOR=X,Y,W,H",
        help="the part of a sensor's pictures that is classified, in pixels; nothing is detected "
        "(default: the whole picture)",
    )
    add_fps(add, "; the same at every node")
    add_deadline(add, "the deployment's deadline_ms, 100ms where it has none")
    add_encoding(add, "how the messages that this node sends hold their numbers")
    add.add_argument(
        "--backend",
        choices=("litert", "savedmodel"),
        default="litert",
        help="what computes; savedmodel needs TensorFlow and a bundle that was exported for it",
    )
    add_compute(add)
    add.add_argument(
        "--answer",
        choices=ANSWER_MODES,
        default="output",
        help="any: this node answers, too, where it has an exit; output: only the output node does",
    )
    add_early(add)
    add_smooth(add)
    add.add_argument(
        "--metrics",
        metavar="[HOST:]PORT",
        help="serve /metrics for Prometheus there; without a host, to this machine alone",
    )
    add.add_argument("--parent", type=int, help=argparse.SUPPRESS)


def _run(options: argparse.Namespace) -> int:
    if options.parent is not None:
        _end_with(options.parent)
    with interruptible() as interruption, ExitStack() as stack:
        address = None if options.metrics is None else parse_address(options.metrics)
        manifest = read_node(node_folder(options.node))
        deployment = Deployment.load(options.deployment)
        settings = live_settings(
            options, manifest.rule(options.answer, early=options.early), deployment
        )
        # A node without sensors assigns no frame ids, and may start with any clock.
        sees = any(link.sensor for link in manifest.incoming)
        frames = frame_clock(options.fps, deployment) if sees else None
        section, computed_by = _section(options, manifest, settings.compute)
        tell = StatusWriter(manifest.node, as_json=options.json)
        stack.callback(tell.close)
        tell("computed", computed_by)
        sources = _sources(options, manifest, tell)
        # Once the node has told them to close, and given up its name.
        stack.callback(close_sources, sources.values())
        # A node's budget is greater than that of each node it hears.
        config = deployment.transport(manifest.node, _peers(manifest), rank=manifest.budget)
        with ZenohTransport(config, manifest.node) as transport:
            node = Node(
                manifest,
                section,
                transport,
                sources,
                frames,
                settings,
                notice=tell,
            )
            if address is not None:
                # Closed after the name was given up: that takes it up to half a second.
                server = stack.enter_context(MetricsServer(*address, node.metrics))
                tell("metrics", server.url)
            interruption.calls(node.stop)
            node.run()
    return interruption.code or 0


def _peers(manifest: NodeManifest) -> Iterator[str]:
    return (link.source for link in manifest.incoming if not link.sensor)


def _section(
    options: argparse.Namespace, manifest: NodeManifest, compute: Compute
) -> tuple[Section, str]:
    """What computes this node's section, and how it is called."""
    if options.backend == "litert":
        section = load_section(options.node, manifest, compute)
        return section, section.computed_by
    if compute != Compute():
        raise InputError("--threads and --delegate are of LiteRT; leave them or --backend out")
    from ..bundle.saved_model import SavedModelSection

    return SavedModelSection(options.node, manifest), "TensorFlow (as --backend asks)"


def _sources(
    options: argparse.Namespace, manifest: NodeManifest, tell: StatusWriter
) -> dict[str, Source]:
    specs = _by_sensor(options.source, "source", manifest)
    regions = {
        sensor: parse_region(text)
        for sensor, text in _by_sensor(options.region, "region", manifest).items()
    }
    if missing := sorted({x.source for x in manifest.incoming if x.sensor} - specs.keys()):
        raise InputError(
            f"node {manifest.node!r} reads {', '.join(missing)}; say from where, as in "
            f"--source {missing[0]}=/dev/video0"
        )
    if unused := sorted(regions.keys() - specs.keys()):
        raise InputError(f"--region {unused[0]}=… has no --source")
    sources: dict[str, Source] = {}
    try:
        for sensor, spec in specs.items():
            region: Region | None = regions.get(sensor)
            sources[sensor] = open_source(
                spec, sensor, manifest.inputs[sensor], region, unfit=partial(tell, "unfit")
            )
    except BaseException:
        close_sources(sources.values())
        raise
    return sources


def _by_sensor(words: list[str], option: str, manifest: NodeManifest) -> dict[str, str]:
    hosted = [link.source for link in manifest.incoming if link.sensor]
    found: dict[str, str] = {}
    for word in words:
        sensor, equals, value = word.partition("=")
        if sensor not in hosted or not (equals and value) or sensor in found:
            raise InputError(
                f"--{option} {word}: expected SENSOR=… once for a sensor of node "
                f"{manifest.node!r}, which reads {', '.join(hosted) or 'none'}"
            )
        found[sensor] = value
    return found


def _end_with(parent: int) -> None:
    """Let the kernel kill this process when the one that started it ends, however that ends."""
    pr_set_pdeathsig = 1
    ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGKILL)
    if os.getppid() != parent:  # it ended before
        sys.exit(1)
