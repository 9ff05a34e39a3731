"""`ddnn-edge up`: a whole bundle as processes of this machine, made to fail and judged."""

from __future__ import annotations

import argparse
import re
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from ..clock import SECOND, parse_seconds
from ..errors import InputError
from ..evaluation.bundle import Bundle, check_task
from ..failures.parsing import one_survivability
from ..files import new_file
from ..process.signals import interruptible
from ..testbed.faults import FAULTS, Fault, Injection, check_injections, parse_injection
from ..testbed.feed import golden_views
from ..testbed.monitor import open_monitor
from ..testbed.observer import Observer
from ..testbed.processes import LocalDeployment
from ..testbed.replay import Replay
from ..testbed.run import LiveRun, Monitor, Parts, RandomSchedule, Record, RunPlan, check_survival
from ..testbed.run_report import RunEvaluator
from ..topology import Topology
from ..transport.base import ANSWERS, METRICS
from ..transport.zenoh import ZenohTransport
from .options import (
    AddCommand,
    add_answer,
    add_compute,
    add_data,
    add_deadline,
    add_encoding,
    add_fps,
    add_seed,
    add_smooth,
    answer_rule,
    frame_clock,
    live_settings,
    samples_for,
    selector_of,
)

FAULT_HELP: Mapping[Fault, str] = {
    "fail": "kill a node (SIGKILL) at a time after the first frame, as in fog4@5s",
    "hang": "stop a node without closing its connections (SIGSTOP)",
    "restore": "start a node again that was killed, or let one go on that was stopped",
}

#: What may follow the first word of such an option; a bundle does not look like it.
NODE_AT_TIME = re.compile(r"\w+@[\w.]*")


def add_to(command: AddCommand) -> None:
    """Add `up`."""
    add = command("up", _up, "Run a whole bundle as processes of this machine, and let them fail.")
    add.add_argument("bundle", type=Path, metavar="BUNDLE", help="the folder that export wrote")
    add_data(
        add,
        required=False,
        text="what the sensors see, sample by sample (default: the few samples in the bundle)",
    )
    add_fps(add)
    add.add_argument(
        "--frames",
        type=int,
        metavar="COUNT",
        help="end after this many frames that count (default: run until interrupted)",
    )
    add_deadline(add, "100ms")
    add_encoding(add, "how messages hold their numbers")
    add_answer(add)
    add_smooth(add)
    add_compute(add)
    for fault, text in FAULT_HELP.items():
        add.add_argument(
            f"--{fault}",
            action="append",
            default=[],
            metavar="NODE@TIME",
            help=f"{text}; may be repeated",
        )
    add.add_argument(
        "--survival",
        metavar="NAME",
        help="instead, draw again and again which nodes fail, by how probably they work: one "
        "preset of the topology, .json file or .jsonl trace in which sensors and links never fail",
    )
    add_seed(add, "the failure configurations drawn")
    add.add_argument(
        "--hold",
        default="1s",
        metavar="TIME",
        help="with --survival, how long each failure configuration lasts once it is in force",
    )
    add.add_argument(
        "--record",
        type=Path,
        metavar="FOLDER",
        help="also write trace.jsonl, answers.jsonl and the nodes' logs there",
    )


def one_fault_an_option(words: Sequence[str]) -> list[str]:
    """`up --fail a@1s b@2s BUNDLE` as `up --fail a@1s --fail b@2s BUNDLE`.

    So an option takes as many faults as follow it, and never the bundle.
    """
    options = {f"--{fault}" for fault in FAULTS} if list(words[:1]) == ["up"] else set()
    found: list[str] = []
    option: str | None = None
    for word in words:
        if word in options:
            option = word
        elif option is not None and found[-1] != option:
            if NODE_AT_TIME.fullmatch(word):
                found.append(option)
            else:
                option = None
        found.append(word)
    return found


def _up(options: argparse.Namespace) -> int:
    bundle = Bundle(options.bundle)
    manifest, topology = bundle.manifest, bundle.manifest.topology
    if options.frames is not None and options.frames < 1:
        raise InputError(f"expected --frames of at least 1, got {options.frames}")
    rule = answer_rule(options, manifest)
    settings = live_settings(options, rule, task=manifest.task)
    plan = _plan(options, topology, settings.deadline_ns)
    inputs, targets = _feed(options, bundle)
    replay = Replay(
        bundle,
        inputs,
        options.encoding,
        rule,
    )
    selector = None
    if not rule.only_output:
        selector = selector_of(manifest, rule, settings.deadline_ns)
    observer = Observer(topology, selector)
    with ExitStack() as stack, interruptible() as interruption:
        folder = _folder(options, stack)
        data = _data_file(options, inputs, folder)
        local = stack.enter_context(
            LocalDeployment(
                options.bundle,
                {sensor: data.resolve() for sensor in topology.sensor_names},
                folder,
                settings,
            )
        )
        judging = RunEvaluator(replay, targets, plan)
        monitor = None if options.json else open_monitor(manifest.task, targets)
        run = _live_run(options, stack, local, observer, plan, judging, monitor)
        interruption.calls(run.stop)
        record = run.run()
        local.close()
        record.crashes = list(local.crashes)
        if options.record is not None:
            _write_record(folder, record)
    judging.take(record)
    return _end(options, judging, interruption.code)


def _folder(options: argparse.Namespace, stack: ExitStack) -> Path:
    """Where the deployment's files go: what `--record` names, or for the time of the run."""
    if options.record is None:
        return Path(stack.enter_context(TemporaryDirectory(prefix="ddnn-")))
    _make_folder(options.record)
    return Path(options.record)


def _data_file(
    options: argparse.Namespace, inputs: Mapping[str, NDArray[Any]], folder: Path
) -> Path:
    """The file that the nodes read their sensors' views from; written where none is given."""
    if options.data is not None:
        return Path(options.data)
    data = folder / "views.npz"
    np.savez(data, allow_pickle=False, **inputs)
    return data


def _live_run(
    options: argparse.Namespace,
    stack: ExitStack,
    local: LocalDeployment,
    observer: Observer,
    plan: list[Injection] | RandomSchedule,
    judging: RunEvaluator,
    monitor: Monitor | None,
) -> LiveRun:
    """Start the processes and what looks on."""
    frames = frame_clock(options.fps, local.deployment)
    transport = stack.enter_context(
        ZenohTransport(local.deployment.observer(), topics=[ANSWERS, METRICS])
    )
    local.start()
    if monitor is not None:
        stack.callback(monitor.close)
        monitor.say(f"watch it with ddnn-edge watch --deployment {local.path}")
    return LiveRun(
        local,
        transport,
        frames,
        RunPlan(plan, options.frames),
        monitor=monitor,
        observer=observer,
        # What is to be recorded is kept whole; so is a run that has an end, to be judged then.
        parts=Parts(judging.take) if options.frames is None and options.record is None else None,
    )


def _end(options: argparse.Namespace, judging: RunEvaluator, interrupted: int | None) -> int:
    """Print what the run came to; returns the exit code."""
    verdict = judging.verdict()
    encoded = msgspec.json.encode(verdict.to_dict())
    print((encoded if options.json else msgspec.json.format(encoded)).decode())
    if interrupted is not None and options.frames is not None:
        return interrupted
    return 1 if verdict.crashes else 0


def _plan(
    options: argparse.Namespace, topology: Topology, deadline_ns: int
) -> list[Injection] | RandomSchedule:
    injections = [
        parse_injection(fault, word, topology.order)
        for fault in FAULTS
        for word in getattr(options, fault)
    ]
    if options.survival is None:
        check_injections(injections, _end_s(options, deadline_ns))
        return injections
    if injections:
        raise InputError("give --survival, or single faults such as --fail; not both")
    if options.seed < 0:
        raise InputError(f"expected --seed of at least 0, got {options.seed}")
    survival = one_survivability(options.survival, topology)
    check_survival(topology, survival)
    return RandomSchedule(survival, options.seed, parse_seconds("--hold", options.hold))


def _end_s(options: argparse.Namespace, deadline_ns: int) -> float | None:
    """Seconds after the first frame at which a run with single faults ends, if it does."""
    if options.frames is None or not options.fps > 0:
        return None
    frame_s = 1 / options.fps
    return float((options.frames - 1) * frame_s + min(frame_s, deadline_ns / SECOND))


def _feed(
    options: argparse.Namespace, bundle: Bundle
) -> tuple[dict[str, NDArray[Any]], NDArray[Any] | None]:
    """What the sensors see, and the targets; without data, the views that export kept."""
    if options.data is None:
        return golden_views(bundle.folder, bundle.nodes), None
    samples = samples_for(bundle.manifest.topology, options.data)
    check_task(samples, bundle.manifest.task)
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
