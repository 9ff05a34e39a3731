"""`ddnn-edge up`: a whole bundle as processes of this machine, made to fail and judged."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, get_args

import msgspec
import numpy as np
from numpy.typing import NDArray

from ..clock import parse_seconds
from ..errors import InputError
from ..evaluation.bundle import Bundle, check_classes
from ..failures.parsing import one_survivability
from ..files import new_file
from ..process.signals import interruptible
from ..testbed.faults import FAULTS, Fault, Injection, parse_injection
from ..testbed.feed import golden_views
from ..testbed.monitor import open_monitor
from ..testbed.observer import Observer
from ..testbed.processes import LocalDeployment
from ..testbed.replay import Replay
from ..testbed.run import Drawing, LiveRun, Parts, Record, RunPlan, check_survival
from ..testbed.run_report import Judge
from ..topology import Topology
from ..transport.base import ANSWERS, METRICS
from ..transport.wire import Encoding
from ..transport.zenoh import ZenohTransport
from .options import (
    AddCommand,
    add_answer,
    add_deadline,
    add_smooth,
    answer_rule,
    chooser_of,
    frame_clock,
    live_settings,
    samples_for,
)

FAULT_HELP: Mapping[Fault, str] = {
    "fail": "kill the node, as in fog4@5s (SIGKILL)",
    "hang": "stop it, its sockets left open (SIGSTOP)",
    "restore": "start it again, or let it go on",
}


def add_to(command: AddCommand) -> None:
    """Add `up`."""
    add = command("up", _up, "Run a whole bundle as processes of this machine, and let them fail.")
    add.add_argument("bundle", type=Path, metavar="BUNDLE")
    add.add_argument("--data", type=Path, metavar="FILE.npz", help="what the sensors see")
    add.add_argument("--fps", type=float, default=30.0, help="frames a second")
    add.add_argument("--frames", type=int, help="how many shall count; default until interrupted")
    add_deadline(add)
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


def _up(options: argparse.Namespace) -> int:
    bundle = Bundle(options.bundle)
    topology, names = bundle.manifest.topology, bundle.manifest.class_names
    plan = _plan(options, topology)
    if options.frames is not None and options.frames < 1:
        raise InputError(f"expected --frames of at least 1, got {options.frames}")
    rule = answer_rule(options, bundle.manifest)
    settings = live_settings(options, rule)
    inputs, labels = _feed(options, bundle)
    replay = Replay(
        bundle,
        inputs,
        options.encoding,
        rule,
    )
    chooser = None
    if not rule.only_output:
        chooser = chooser_of(bundle.manifest, rule, settings.deadline_ns)
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
                settings,
            )
        )
        frames = frame_clock(options.fps, local.deployment)
        transport = stack.enter_context(
            ZenohTransport(local.deployment.observer(), topics=[ANSWERS, METRICS])
        )
        local.start()
        judging = Judge(replay, names, labels, plan)
        monitor = None if options.json else open_monitor(names, labels)
        run = LiveRun(
            local,
            transport,
            frames,
            RunPlan(plan, options.frames),
            monitor=monitor,
            observer=Observer(topology, chooser),
            # What is to be recorded is kept whole; so is a run that has an end, to be judged then.
            parts=Parts(judging.take)
            if options.frames is None and options.record is None
            else None,
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
