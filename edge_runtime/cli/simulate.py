"""`ddnn-edge simulate`: a failure trace replayed on a bundle, frame by frame."""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from ..answers.probabilities import rounded_probabilities
from ..answers.records import Smoothed
from ..clock import SECOND, parse_seconds
from ..errors import InputError
from ..evaluation.bundle import Answers, Bundle, check_classes, smoothed
from ..failures.configurations import draw
from ..failures.distribution import Mask
from ..failures.parsing import one_survivability
from ..failures.sampling import check_sampling
from ..failures.trace import FailureTrace, complete_uptimes
from ..files import new_file
from ..process.command import print_json
from ..samples import Samples
from ..testbed.replay import Replay, read_answers
from ..topology import Survival, Topology, Uptime
from .options import (
    AddCommand,
    add_answer,
    add_data,
    add_encoding,
    add_fps,
    add_seed,
    add_smooth,
    answer_rule,
    half_life,
    samples_for,
)


def add_to(command: AddCommand) -> None:
    """Add `simulate`."""
    add = command("simulate", _simulate, "Replay a failure trace on a bundle, frame by frame.")
    add.add_argument("bundle", type=Path, metavar="BUNDLE", help="the folder that export wrote")
    add_data(add)
    add.add_argument(
        "--trace", type=Path, metavar="FILE.jsonl", help="replay this recorded failure trace"
    )
    add.add_argument(
        "--survival",
        metavar="NAME",
        help="instead, draw a trace by how probably nodes, sensors and links work: one preset of "
        "the topology, .json file or .jsonl trace",
    )
    add_seed(add, "the trace drawn")
    add.add_argument(
        "--hold",
        metavar="TIME",
        help="how long each failure configuration drawn lasts (default: one frame)",
    )
    add.add_argument(
        "--mtbf",
        metavar="TIME",
        help="draw failures that last: mean time from a repair to the next failure",
    )
    add.add_argument(
        "--mttr",
        metavar="TIME",
        help="draw failures that last: mean time from a failure to its repair",
    )
    add.add_argument(
        "--frames",
        type=int,
        metavar="COUNT",
        help="how many frames are simulated (default: once through the data)",
    )
    add_fps(add, ", by which times become frames; mean times of a file count as seconds")
    add.add_argument(
        "--save-trace", type=Path, metavar="FILE.jsonl", help="write the trace that was used"
    )
    add.add_argument(
        "--save-answers", type=Path, metavar="FILE.jsonl", help="write the answers, a line each"
    )
    add_answer(add)
    add_smooth(add)
    add.add_argument(
        "--replay-answers",
        type=Path,
        metavar="FILE.jsonl",
        help="instead, compute the recorded answers of a live run again, and compare them",
    )
    add_encoding(add, "how that run's messages held their numbers")


class Played(NamedTuple):
    """What a trace came to: the answers, and frame by frame whether they are right.

    `smoothed`: probabilities, (frames, classes), with `--smooth`; `agrees`: whether these are
    right.
    """

    answers: Answers
    right: NDArray[np.bool_]
    smoothed: NDArray[np.float64] | None
    agrees: NDArray[np.bool_] | None


def _simulate(options: argparse.Namespace) -> int:
    _check(options)
    smooth = half_life(options)
    bundle = Bundle(options.bundle)
    topology = bundle.manifest.topology
    samples = samples_for(topology, options.data)
    check_classes(samples, bundle.manifest.class_names)
    if options.replay_answers:
        return _replay(options, bundle, samples)
    frames = options.frames or len(samples)
    trace = _trace(options, topology, frames)
    with ExitStack() as stack:
        # Before the work, so that it is not lost where one of them cannot be written.
        wanted = {name: getattr(options, name) for name in ("save_trace", "save_answers")}
        files = {k: stack.enter_context(new_file(path)) for k, path in wanted.items() if path}
        played = _play(options, bundle, samples, trace.masks(frames), smooth)
        if "save_trace" in files:
            trace.save(files["save_trace"])
        if "save_answers" in files:
            _save_answers(files["save_answers"], bundle, played)
    _tell(options, trace, played)
    return 0


def _check(options: argparse.Namespace) -> None:
    if options.frames is not None and options.frames < 1:
        raise InputError(f"expected --frames of at least 1, got {options.frames}")
    if not 0 < options.fps < math.inf:
        raise InputError(f"expected --fps above 0, got {options.fps}")
    check_sampling(None, options.seed)


def _play(
    options: argparse.Namespace, bundle: Bundle, samples: Samples, masks: Mask, smooth: int | None
) -> Played:
    """Answer every frame under its mask; the samples come again where there are more frames."""
    frames = np.arange(len(masks)) % len(samples)
    answers = bundle.answer(
        {n: x[frames] for n, x in samples.inputs.items()},
        masks,
        answer_rule(options, bundle.manifest),
    )
    labels = samples.labels[frames]
    right = answers.classes == labels
    if smooth is None:
        return Played(answers, right, None, None)
    together = smoothed(answers, bundle.manifest.prior, smooth * options.fps / SECOND)
    return Played(answers, right, together, together.argmax(axis=1) == labels)


def _tell(options: argparse.Namespace, trace: FailureTrace, played: Played) -> None:
    """Print what it came to."""
    result = {
        "frames": len(played.right),
        "answered": sum(state != 0 for state in played.answers.states),
        "changes": len(trace.changes),
        "measured_accuracy": float(played.right.mean()),
    }
    smoothly = ""
    if played.agrees is not None:
        result["smoothed_accuracy"] = float(played.agrees.mean())
        smoothly = f", smoothed {100 * result['smoothed_accuracy']:.2f} %"
    if options.json:
        print_json(result)
    else:
        print(
            f"{result['frames']} frames, {result['changes']} changes of what had failed, "
            f"{result['answered']} frames answered by the network, the others by the fallback; "
            f"accuracy {100 * result['measured_accuracy']:.2f} %{smoothly}"
        )


def _save_answers(path: Path, bundle: Bundle, played: Played) -> None:
    answers = played.answers
    names = bundle.manifest.class_names
    with path.open("w", encoding="utf-8") as file:
        for i, state in enumerate(answers.states):
            line = {
                "frame": i,
                "answer": names[answers.classes[i]],
                "probabilities": rounded_probabilities(answers.probabilities[i]),
                "node": answers.nodes[i],
                "state": f"{state:x}",
                "fallback": state == 0,
                "right": bool(played.right[i]),
            }
            if played.smoothed is not None:
                smooth = Smoothed.of(played.smoothed[i], names)
                line["smoothed"] = msgspec.to_builtins(smooth)
            file.write(json.dumps(line) + "\n")


def _replay(options: argparse.Namespace, bundle: Bundle, samples: Samples) -> int:
    answers = read_answers(options.replay_answers)
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
    """The trace to replay: recorded, drawn again every `--hold`, or drawn from mean times."""
    if options.trace:
        return FailureTrace.load(options.trace, topology)
    mtbf, mttr = _mean_time(options, "mtbf"), _mean_time(options, "mttr")
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
        return FailureTrace.drawn(topology, uptimes, frames, rng, rate=options.fps)
    hold = _hold(options)
    drawn = draw(topology, survival, -(-frames // hold), rng)
    return FailureTrace.of(topology, np.repeat(drawn, hold, axis=0)[:frames])


def _mean_time(options: argparse.Namespace, name: str) -> float | None:
    """Seconds of `--mtbf` or `--mttr`, if it is given."""
    text = getattr(options, name)
    return None if text is None else parse_seconds(f"--{name}", text)


def _hold(options: argparse.Namespace) -> int:
    """Frames that a configuration lasts."""
    if options.hold is None:
        return 1
    if options.hold.isdecimal():  # as it was once given
        seconds = f"{int(options.hold) / options.fps:.9f}".rstrip("0").rstrip(".")
        raise InputError(
            f"--hold {options.hold}: expected a time, not frames; that many frames at "
            f"{options.fps:g} a second are --hold {seconds}s"
        )
    frames: int = round(parse_seconds("--hold", options.hold) * options.fps)
    if frames < 1:
        raise InputError(
            f"--hold {options.hold}: expected at least one frame, at {options.fps:g} a second"
        )
    return frames


def _has_uptimes(survival: Survival, topology: Topology) -> bool:
    recorded = not (survival is None or isinstance(survival, (str, Mapping)))
    return not recorded and bool(topology.uptimes(survival))
