"""The commands of `ddnn-edge` that run a deployment: `run`, `up` and `watch`."""

from __future__ import annotations

import argparse
import ctypes
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, suppress
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, get_args

import msgspec
import numpy as np
from numpy.typing import NDArray

from ..cli import (
    add_answer,
    add_early,
    add_smooth,
    check_classes,
    half_life,
    one_survivability,
    samples_for,
)
from ..clock import SECOND, FrameClock
from ..deployment_file import Deployment
from ..errors import InputError
from ..exits.answering import ANSWERERS, Answering
from ..exits.chooser import Chooser
from ..files import new_file
from ..interruption import interruptible
from ..manifest import BundleManifest, NodeManifest, read_bundle, read_node
from ..metrics import MetricsServer, parse_address
from ..node import Answer, Node, Section, Source
from ..simulate import Bundle, load_section
from ..sources import Region, close_sources, open_source, parse_region
from ..topology import Topology
from ..transport.base import ANSWERS, METRICS, Event, PeerDown, PeerUp, Received, Transport
from ..transport.zenoh import ZenohTransport
from ..wire import Encoding, short_fingerprint
from .deployment import LocalDeployment
from .feed import golden_views
from .injections import FAULTS, Fault, Injection, parse_injection, parse_seconds
from .monitor import open_monitor
from .observer import Observer
from .replay import Replay
from .run import Drawing, LiveRun, Record, check_survival
from .teller import Teller
from .verdict import Judge

__all__ = ["add_commands"]

#: From capture to answer, where nothing else is said.
DEADLINE_MS = 100.0
#: Nanoseconds after which `watch` says that it sees nobody; a link takes less.
ALONE_NS = 3 * SECOND // 2

FAULT_HELP: Mapping[Fault, str] = {
    "fail": "kill the node, as in fog4@5s (SIGKILL)",
    "hang": "stop it, its sockets left open (SIGSTOP)",
    "restore": "start it again, or let it go on",
}


def add_commands(command: Callable[..., Any]) -> None:
    """Add these commands to a parser.

    `command` adds one with its name, its action, its help and that of `--json`.
    """
    add = command(
        "run",
        _run,
        "Run one node of a deployment.",
        "print what it says as JSON, one object a line",
    )
    add.add_argument("node", type=Path, metavar="NODE_DIR")
    add.add_argument("--deployment", type=Path, required=True, metavar="FILE")
    add.add_argument(
        "--source",
        action="append",
        default=[],
        metavar="SENSOR=WHERE",
        help="a camera such as /dev/video0, a video, a folder of pictures, an .npz; for each "
        "sensor that the node reads",
    )
    add.add_argument(
        "--region",
        action="append",
        default=[],
        metavar="SENSOR=X,Y,W,H",
        help="the part of its pictures that is classified, in pixels; nothing is detected",
    )
    add.add_argument("--fps", type=float, default=30.0, help="frames a second, the same everywhere")
    _add_deadline(add)
    add.add_argument("--encoding", choices=get_args(Encoding), default="raw", help="of messages")
    add.add_argument("--backend", choices=("litert", "savedmodel"), default="litert")
    add.add_argument(
        "--answer",
        choices=ANSWERERS,
        default="output",
        help="any: where this node has an exit, say what it answers",
    )
    add_early(add)
    add_smooth(add)
    add.add_argument(
        "--metrics",
        metavar="[HOST:]PORT",
        help="serve /metrics for Prometheus there, by default to this machine alone",
    )
    add.add_argument("--parent", type=int, help=argparse.SUPPRESS)

    add = command("up", _up, "Run a whole bundle as processes of this machine, and let them fail.")
    add.add_argument("bundle", type=Path, metavar="BUNDLE")
    add.add_argument("--data", type=Path, metavar="FILE.npz", help="what the sensors see")
    add.add_argument("--fps", type=float, default=30.0, help="frames a second")
    add.add_argument("--frames", type=int, help="how many shall count; default until interrupted")
    _add_deadline(add)
    add.add_argument("--encoding", choices=get_args(Encoding), default="raw", help="of messages")
    add_answer(add)
    add_smooth(add)
    for fault, text in FAULT_HELP.items():
        add.add_argument(
            f"--{fault}", action="append", nargs="+", default=[], metavar="NODE@TIME", help=text
        )
    add.add_argument("--survival", help="draw configurations from this survivability instead")
    add.add_argument("--seed", type=int, default=0, help="of the configurations drawn")
    add.add_argument(
        "--hold", default="1s", metavar="TIME", help="how long each one lasts once settled"
    )
    add.add_argument(
        "--record", type=Path, metavar="DIR", help="write trace.jsonl, answers.jsonl and logs"
    )

    # What it prints is JSON anyway; the option changes nothing.
    text = "Print a deployment's answers as JSON lines until interrupted."
    add = command("watch", _watch, text, argparse.SUPPRESS)
    add.add_argument("--deployment", type=Path, required=True, metavar="FILE")
    add_answer(add)
    add.add_argument(
        "--bundle", type=Path, metavar="BUNDLE", help="whose nodes these are; some policies need it"
    )
    add.add_argument(
        "--routed", action="store_true", help="through a router, where the nodes are out of reach"
    )


def _add_deadline(parser: Any) -> None:
    parser.add_argument(
        "--deadline",
        type=float,
        metavar="MS",
        help="from capture to answer, in milliseconds, the same everywhere; default the "
        "deployment's, or else 100",
    )


# -- run -----------------------------------------------------------------------------------------


def _run(options: argparse.Namespace) -> int:
    if options.parent is not None:
        _end_with(options.parent)
    with interruptible() as interruption, ExitStack() as stack:
        address = None if options.metrics is None else parse_address(options.metrics)
        manifest = read_node(options.node)
        deployment = Deployment.load(options.deployment)
        deadline_ns = deadline(options.deadline, deployment)
        smooth = half_life(options)
        # Who sees nothing himself numbers no frames, and may start with any clock.
        sees = any(link.sensor for link in manifest.incoming)
        frames = _frame_clock(options.fps, deployment) if sees else None
        section = _section(options, manifest)
        tell = Teller(manifest.node, as_json=options.json)
        stack.callback(tell.close)
        sources = _sources(options, manifest, tell)
        # Once the node has told them to close, and given up its name.
        stack.callback(close_sources, sources.values())
        config = deployment.transport(manifest.node, _peers(manifest))
        with ZenohTransport(config, manifest.node) as transport:
            node = Node(
                manifest,
                section,
                transport,
                sources,
                frames,
                deadline_ns=deadline_ns,
                lease_ns=deployment.tuning.lease_ms * 1_000_000,
                settle_ns=deployment.tuning.settle_ms * 1_000_000,
                encoding=options.encoding,
                answer=options.answer,
                early=options.early,
                smooth_ns=smooth,
                notice=tell,
            )
            if address is not None:
                # Closed after the name was given up: that takes it up to half a second.
                server = stack.enter_context(MetricsServer(*address, node.metrics))
                tell("metrics", server.url)
            interruption.calls(node.stop)
            node.run()
    return interruption.code or 0


def deadline(option: float | None, deployment: Deployment | None) -> int:
    """From capture to answer, in nanoseconds."""
    milliseconds = option
    if milliseconds is None:
        milliseconds = deployment.deadline_ms if deployment else DEADLINE_MS
    if not 0 < milliseconds <= 3_600_000:
        raise InputError(f"expected --deadline above 0 and up to an hour, got {milliseconds} ms")
    return int(milliseconds * 1e6)


def _peers(manifest: NodeManifest) -> Iterator[str]:
    return (link.source for link in manifest.incoming if not link.sensor)


def _frame_clock(fps: float, deployment: Deployment) -> FrameClock:
    return FrameClock.at(
        fps,
        wall_ns=time.time_ns(),
        monotonic_ns=time.monotonic_ns(),
        epoch_ns=int((deployment.epoch or 0) * SECOND),
    )


def _section(options: argparse.Namespace, manifest: NodeManifest) -> Section:
    if options.backend == "litert":
        return load_section(options.node, manifest)
    from ..saved_model import SavedModelSection

    return SavedModelSection(options.node, manifest)


def _sources(
    options: argparse.Namespace, manifest: NodeManifest, tell: Teller
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


# -- up ------------------------------------------------------------------------------------------


def _up(options: argparse.Namespace) -> int:
    bundle = Bundle(options.bundle)
    topology, names = bundle.manifest.topology, bundle.manifest.class_names
    plan = _plan(options, topology)
    if options.frames is not None and options.frames < 1:
        raise InputError(f"expected --frames of at least 1, got {options.frames}")
    deadline_ns = deadline(options.deadline, None)
    smooth = half_life(options)
    inputs, labels = _feed(options, bundle)
    replay = Replay(
        bundle,
        inputs,
        options.encoding,
        answer=options.answer,
        policy=options.policy,
        early=options.early,
    )
    chooser = None
    if options.answer == "any" or options.early:
        chooser = chooser_of(bundle.manifest, replay.answering, deadline_ns)
    with (
        ExitStack() as stack,
        interruptible() as interruption,
    ):
        if options.record is None:
            folder = Path(stack.enter_context(TemporaryDirectory(prefix="ddnn-")))
        else:
            folder = options.record
            _make_folder(folder)
        data = options.data
        if data is None:
            data = folder / "views.npz"
            np.savez(data, allow_pickle=False, **inputs)
        local = stack.enter_context(
            LocalDeployment(
                options.bundle,
                {sensor: data.resolve() for sensor in topology.sensor_names},
                folder,
                fps=options.fps,
                deadline_ms=deadline_ns / 1e6,
                encoding=options.encoding,
                answer=options.answer,
                early=options.early,
                smooth_ns=smooth,
            )
        )
        frames = _frame_clock(options.fps, local.deployment)
        transport = stack.enter_context(
            ZenohTransport(local.deployment.observer(), topics=[ANSWERS, METRICS])
        )
        local.start()
        judging = Judge(replay, names, labels, plan)
        monitor = None if options.json else open_monitor(names, labels)
        run = LiveRun(
            local,
            topology,
            transport,
            frames,
            deadline_ns=deadline_ns,
            plan=plan,
            frames=options.frames,
            monitor=monitor,
            observer=Observer(topology, chooser),
            # What is to be recorded is kept whole; so is a run that has an end, to be judged then.
            part=judging.take if options.frames is None and options.record is None else None,
        )
        if monitor is not None:
            stack.callback(monitor.close)
            monitor.say(f"watch it with ddnn-edge watch --deployment {local.path}")
        interruption.calls(run.stop)
        record = run.run()
        local.close()
        record.crashes = list(local.crashes)
        if options.record is not None:
            _write_record(folder, record)
    judging.take(record)
    verdict = judging.verdict()
    if options.json:
        print(msgspec.json.encode(verdict).decode())
    else:
        print(msgspec.json.format(msgspec.json.encode(verdict)).decode())
    if interruption.code is not None and options.frames is not None:
        return interruption.code
    return 1 if verdict.crashes else 0


def _plan(options: argparse.Namespace, topology: Topology) -> list[Injection] | Drawing:
    injections = [
        parse_injection(fault, word, topology.order)
        for fault in FAULTS
        for words in getattr(options, fault)
        for word in words
    ]
    if options.survival is None:
        return injections
    if injections:
        raise InputError("give --survival, or single faults such as --fail; not both")
    if options.seed < 0:
        raise InputError(f"expected --seed of at least 0, got {options.seed}")
    survival = one_survivability(options.survival, topology)
    check_survival(topology, survival)
    return Drawing(survival, options.seed, parse_seconds("--hold", options.hold))


def _feed(
    options: argparse.Namespace, bundle: Bundle
) -> tuple[dict[str, NDArray[Any]], NDArray[np.int64] | None]:
    """What the sensors see, and the labels; without data, the views that export kept."""
    if options.data is None:
        return golden_views(bundle.folder, bundle.nodes), None
    samples = samples_for(bundle.manifest.topology, options.data)
    check_classes(samples, bundle.manifest.class_names)
    return samples.inputs, samples.labels


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"--record {folder}: cannot be made ({error.strerror})") from error


def _write_record(folder: Path, record: Record) -> None:
    record.trace().save(folder / "trace.jsonl")
    with new_file(folder / "answers.jsonl") as temporary:
        lines = [msgspec.json.encode(answer) + b"\n" for answer in record.answers.values()]
        temporary.write_bytes(b"".join(lines))


# -- watch ---------------------------------------------------------------------------------------


def _watch(options: argparse.Namespace) -> int:
    deployment = Deployment.load(options.deployment)
    chooser = _chooser(options, deployment)
    config = deployment.observer(routed=options.routed)
    with (
        interruptible() as interruption,
        ZenohTransport(config, topics=[ANSWERS]) as transport,
    ):
        interruption.calls(transport.wake)

        def nobody() -> None:
            print(
                f"ddnn-edge: no node of deployment {deployment.name!r} is there yet; waiting",
                file=sys.stderr,
                flush=True,
            )

        for line in watched(transport, chooser, lambda: interruption.code is not None, nobody):
            print(line, flush=True)
    return interruption.code or 0


def watched(
    transport: Transport,
    chooser: Chooser | None,
    stopped: Callable[[], bool],
    nobody: Callable[[], None],
    clock: Callable[[], int] = time.monotonic_ns,
) -> Iterator[str]:
    """The answers that a deployment gives, as lines, until `stopped`.

    `nobody` is called once if no node is seen for `ALONE_NS`; `clock`: monotonic nanoseconds.
    """
    alone: int | None = clock() + ALONE_NS
    while not stopped():
        due = [] if alone is None else [alone]
        if chooser is not None and (wakeup := chooser.next_wakeup()) is not None:
            due.append(wakeup)
        event = transport.receive(max(0, min(due) - clock()) / SECOND if due else None)
        now = clock()
        if isinstance(event, PeerUp | Received):
            alone = None
        elif alone is not None and now >= alone:
            alone = None
            nobody()
        yield from _lines(event, chooser, now)


def _chooser(options: argparse.Namespace, deployment: Deployment) -> Chooser | None:
    """What takes one of the answers to a frame; None where the output node's are all there is."""
    if options.answer == "output" and not options.early:
        return None
    deadline_ns = deadline(None, deployment)
    if options.bundle is None:
        if options.early:
            raise InputError("--early needs to know the nodes; give their bundle with --bundle")
        return Chooser(options.policy, deadline_ns=deadline_ns)
    manifest, _ = read_bundle(options.bundle)
    answering = manifest.answering(options.answer, options.policy, early=options.early)
    return chooser_of(manifest, answering, deadline_ns)


def chooser_of(manifest: BundleManifest, answering: Answering, deadline_ns: int) -> Chooser:
    """What takes one of the answers that a bundle's nodes give to a frame."""
    return Chooser(
        answering.policy,
        answering.ordinary,
        deadline_ns=deadline_ns,
        early=answering.early_depths,
        model=short_fingerprint(manifest.fingerprint).hex(),
    )


def _lines(event: Event | None, chooser: Chooser | None, now: int) -> Iterator[str]:
    """The answers to print once an event has come, or the time is up."""
    if isinstance(event, Received):
        with suppress(msgspec.DecodeError, UnicodeDecodeError):
            said = msgspec.json.decode(event.payload, type=Answer)
            if said.node != event.sender:
                pass  # nobody speaks for another
            elif chooser is not None:
                chooser.take(said, now)
            elif not said.exit:
                yield event.payload.decode()
    elif isinstance(event, PeerDown) and chooser is not None:
        chooser.gone(event.node)
    while chooser is not None and (answer := chooser.ready(now)) is not None:
        yield msgspec.json.encode(answer).decode()
