"""`ddnn-edge simulate`: a failure trace replayed on a bundle, frame by frame."""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import get_args

import msgspec
import numpy as np
from numpy.typing import NDArray

from ..answers.probabilities import told
from ..answers.records import Smoothed
from ..clock import SECOND
from ..errors import InputError
from ..evaluation.bundle import Answers, Bundle, check_classes, smoothed
from ..failures.configurations import draw
from ..failures.parsing import one_survivability
from ..failures.trace import FailureTrace, complete_uptimes
from ..files import new_file
from ..process.command import print_json
from ..samples import Samples
from ..testbed.replay import Replay, read_answers
from ..topology import Survival, Topology, Uptime
from ..transport.wire import Encoding
from .options import (
    AddCommand,
    add_answer,
    add_smooth,
    answer_rule,
    check_sampling,
    half_life,
    samples_for,
)


def add_to(command: AddCommand) -> None:
    """Add `simulate`."""
    add = command("simulate", _simulate, "Replay a failure trace on a bundle, frame by frame.")
    add.add_argument("bundle", type=Path, metavar="BUNDLE")
    add.add_argument("--data", type=Path, required=True, metavar="FILE.npz")
    add.add_argument("--trace", type=Path, metavar="FILE", help="a recorded trace")
    add.add_argument("--survival", help="draw a trace from this survivability instead")
    add.add_argument("--seed", type=int, default=0, help="of the trace drawn")
    add.add_argument("--hold", type=int, help="frames that a drawn configuration lasts; default 1")
    add.add_argument("--mtbf", type=float, help="mean time from a repair to the next failure")
    add.add_argument("--mttr", type=float, help="mean time to repair: draw failures that last so")
    add.add_argument(
        "--rate", type=float, default=1.0, help="frames in a unit of the mean times; default 1"
    )
    add.add_argument("--frames", type=int, help="how many; default once through the data")
    add.add_argument("--save-trace", type=Path, metavar="FILE", help="write the trace drawn")
    add.add_argument("--save-answers", type=Path, metavar="FILE", help="write them, a line each")
    add_answer(add)
    add_smooth(add)
    add.add_argument(
        "--fps", type=float, default=30.0, help="frames a second, for --smooth; default 30"
    )
    add.add_argument(
        "--answers",
        type=Path,
        metavar="FILE",
        help="instead, replay the recorded answers of a live run, and prove each from its state",
    )
    add.add_argument(
        "--encoding", choices=get_args(Encoding), default="raw", help="of that run's messages"
    )


def _simulate(options: argparse.Namespace) -> int:
    for name in ("frames", "hold"):
        value = getattr(options, name)
        if value is not None and value < 1:
            raise InputError(f"expected --{name} of at least 1, got {value}")
    if not 0 < options.fps < math.inf:
        raise InputError(f"expected --fps above 0, got {options.fps}")
    check_sampling(None, options.seed)
    smooth = half_life(options)
    bundle = Bundle(options.bundle)
    topology = bundle.manifest.topology
    samples = samples_for(topology, options.data)
    check_classes(samples, bundle.manifest.class_names)
    if options.answers:
        return _replay(options, bundle, samples)
    frame_count = options.frames or len(samples)
    trace = _trace(options, topology, frame_count)
    masks = trace.masks(frame_count)
    frames = np.arange(len(masks)) % len(samples)
    with ExitStack() as stack:
        # Before the work, so that it is not lost where one of them cannot be written.
        wanted = {name: getattr(options, name) for name in ("save_trace", "save_answers")}
        files = {k: stack.enter_context(new_file(path)) for k, path in wanted.items() if path}
        answers = bundle.answer(
            {n: x[frames] for n, x in samples.inputs.items()},
            masks,
            answer_rule(options, bundle.manifest),
        )
        right = answers.classes == samples.labels[frames]
        together = None
        if smooth is not None:
            together = smoothed(answers, bundle.manifest.prior, smooth * options.fps / SECOND)
        if "save_trace" in files:
            trace.save(files["save_trace"])
        if "save_answers" in files:
            _save_answers(files["save_answers"], bundle, answers, right, together)
    result = {
        "frames": len(masks),
        "answered": sum(state != 0 for state in answers.states),
        "changes": len(trace.changes),
        "measured_accuracy": float(right.mean()),
    }
    if together is not None:
        agrees = together.argmax(axis=1) == samples.labels[frames]
        result["smoothed_accuracy"] = float(agrees.mean())
    if options.json:
        print_json(result)
    else:
        print(
            f"{result['frames']} frames, {result['changes']} changes of what had failed, "
            f"{result['answered']} frames answered by the network, the others by the fallback; "
            f"accuracy {100 * float(right.mean()):.2f} %"
            + ("" if together is None else f", smoothed {100 * result['smoothed_accuracy']:.2f} %")
        )
    return 0


def _save_answers(
    path: Path,
    bundle: Bundle,
    answers: Answers,
    right: NDArray[np.bool_],
    together: NDArray[np.float64] | None,
) -> None:
    names = bundle.manifest.class_names
    with path.open("w", encoding="utf-8") as file:
        for i, state in enumerate(answers.states):
            line = {
                "frame": i,
                "answer": names[answers.classes[i]],
                "probabilities": told(answers.probabilities[i]),
                "node": answers.nodes[i],
                "state": f"{state:x}",
                "fallback": state == 0,
                "right": bool(right[i]),
            }
            if together is not None:
                line["smoothed"] = msgspec.to_builtins(Smoothed.of(together[i], names))
            file.write(json.dumps(line) + "\n")


def _replay(options: argparse.Namespace, bundle: Bundle, samples: Samples) -> int:
    answers = read_answers(options.answers)
    agreed, mixed = Replay(bundle, samples.inputs, options.encoding).count(answers)
    right = [
        samples.class_names[samples.labels[answer.frame % len(samples)]] == answer.answer
        for answer in answers
    ]
    result = {
        "frames": len(answers),
        "answered": sum(int(answer.state, 16) != 0 for answer in answers),
        "agreement": agreed / len(answers),
        "mixed_frames": mixed,
        "measured_accuracy": sum(right) / len(answers),
    }
    if options.json:
        print_json(result)
    else:
        print(
            f"{len(answers)} recorded answers, of which {agreed} are what their frame and their "
            f"state give; accuracy {100 * result['measured_accuracy']:.2f} %"
        )
    return 1 if mixed else 0


def _trace(options: argparse.Namespace, topology: Topology, frames: int) -> FailureTrace:
    """The trace to replay: recorded, drawn anew every `--hold` frames, or drawn from mean times."""
    if options.trace:
        return FailureTrace.load(options.trace, topology)
    mtbf, mttr = options.mtbf, options.mttr
    timed = mtbf is not None or mttr is not None
    if timed and options.hold is not None:
        raise InputError("give --hold, or mean times; with these each state lasts as it comes")
    rng = np.random.default_rng(options.seed)
    if options.survival is not None:
        survival = one_survivability(options.survival, topology)
    elif mtbf is not None and mttr is not None:
        survival = dict.fromkeys(topology.order, Uptime(mtbf, mttr))
        mtbf = mttr = None
    else:
        raise InputError(
            "nothing to simulate; give --trace FILE, or --survival NAME to draw one, or both "
            "--mtbf and --mttr of all nodes"
        )
    if timed or (options.hold is None and _has_uptimes(survival, topology)):
        uptimes = complete_uptimes(topology, survival, mtbf=mtbf, mttr=mttr)
        return FailureTrace.drawn(topology, uptimes, frames, rng, rate=options.rate)
    hold = options.hold or 1
    drawn = draw(topology, survival, -(-frames // hold), rng)
    return FailureTrace.of(topology, np.repeat(drawn, hold, axis=0)[:frames])


def _has_uptimes(survival: Survival, topology: Topology) -> bool:
    recorded = not (survival is None or isinstance(survival, (str, Mapping)))
    return not recorded and bool(topology.uptimes(survival))
