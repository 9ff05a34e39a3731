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

from ..answers.records import Smoothed, output_answers, values_of
from ..answers.smoothing import smoothed_task
from ..clock import SECOND, parse_seconds
from ..errors import InputError
from ..evaluation.bundle import Answers, Bundle, check_task, smoothed
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
    """What a trace came to: the answers, and frame by frame what they score.

    `smoothed`: probabilities, (frames, classes), with `--smooth`; `smoothed_scores`: what these
    score.
    """

    answers: Answers
    scores: NDArray[np.float64]
    smoothed: NDArray[np.float64] | None
    smoothed_scores: NDArray[np.float64] | None


def _simulate(options: argparse.Namespace) -> int:
    _check(options)
    bundle = Bundle(options.bundle)
    smooth = half_life(options, bundle.manifest.task)
    topology = bundle.manifest.topology
    samples = samples_for(topology, options.data)
    check_task(samples, bundle.manifest.task)
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
    task = bundle.manifest.task
    scorer = task.scorer(samples.labels[frames])
    scores = scorer.per_sample(scorer.points(answers.values))
    if smooth is None:
        return Played(answers, scores, None, None)
    together = smoothed(answers, smoothed_task(task).prior, smooth * options.fps / SECOND)
    return Played(answers, scores, together, scorer.per_sample(scorer.points(together)))


def _tell(options: argparse.Namespace, trace: FailureTrace, played: Played) -> None:
    """Print what it came to."""
    score, measured = played.answers.task.score, float(played.scores.mean())
    result = {
        "frames": len(played.scores),
        "answered": sum(state != 0 for state in played.answers.states),
        "changes": len(trace.changes),
        "score": score.name,
        score.key("measured"): measured,
    }
    smoothly = ""
    if played.smoothed_scores is not None:
        together = float(played.smoothed_scores.mean())
        result[score.key("smoothed")] = together
        smoothly = f", smoothed {score.text(together)}"
    if options.json:
        print_json(result)
    else:
        print(
            f"{result['frames']} frames, {result['changes']} changes of what had failed, "
            f"{result['answered']} frames answered by the network, the others by the fallback; "
            f"{score.name} {score.text(measured)}{smoothly}"
        )


def _save_answers(path: Path, bundle: Bundle, played: Played) -> None:
    answers, task = played.answers, bundle.manifest.task
    with path.open("w", encoding="utf-8") as file:
        for i, state in enumerate(answers.states):
            main, *others = output_answers(task, answers.values[i], {}).items()
            line = {
                "frame": i,
                "answer": main[1].answer,
                "probabilities": main[1].probabilities,
                "others": msgspec.to_builtins(dict(others)),
                "node": answers.nodes[i],
                "state": f"{state:x}",
                "fallback": state == 0,
                "score": float(played.scores[i]),
            }
            if played.smoothed is not None:
                smooth = Smoothed.of(played.smoothed[i], task.names)
                line["smoothed"] = msgspec.to_builtins(smooth)
            file.write(json.dumps(line) + "\n")


def _replay(options: argparse.Namespace, bundle: Bundle, samples: Samples) -> int:
    answers = read_answers(options.replay_answers)
    agreed, mixed = Replay(bundle, samples.inputs, options.encoding).count(answers)
    task = bundle.manifest.task
    rows = np.array([answer.frame for answer in answers]) % len(samples)
    scorer = task.scorer(samples.labels[rows])
    values = np.stack([values_of(task, answer) for answer in answers])
    measured = float(scorer.per_sample(scorer.points(values)).mean())
    result = {
        "frames": len(answers),
        "answered": sum(int(answer.state, 16) != 0 for answer in answers),
        "agreement": agreed / len(answers),
        "mixed_frames": mixed,
        "score": task.score.name,
        task.score.key("measured"): measured,
    }
    if options.json:
        print_json(result)
    else:
        print(
            f"{len(answers)} recorded answers, of which {agreed} are what their frame and their "
            f"state give; {task.score.name} {task.score.text(measured)}"
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
