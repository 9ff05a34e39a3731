"""`ddnn-edge`: what a device, or any machine without TensorFlow, does with a bundle."""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NoReturn, get_args

import msgspec
import numpy as np
from numpy.typing import NDArray

from .clock import SECOND
from .errors import InputError
from .exits.answering import ANSWERERS, Answerer, told
from .exits.choice import POLICIES, Policy
from .exits.thresholds import Goal, find_thresholds, lines, write_thresholds
from .failures import draw, output_states
from .files import new_file
from .live.injections import parse_seconds
from .live.replay import Replay, read_answers
from .manifest import BUNDLE_FILE, read_bundle
from .node import Smoothed, check_smoothing
from .profile import profile, profile_node
from .reach import reach_probability
from .reliability import FALLBACKS, Reliability, evaluate
from .samples import Samples
from .sampling import LEVEL, sample_configurations
from .simulate import Answers, Bundle, check_node, smoothed
from .survival import Survival, Uptime
from .topology import Topology
from .trace import FailureTrace, complete_uptimes
from .wire import Encoding

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code: 0 done, 1 proved wrong, 2 bad input, 130 stopped."""

    def command() -> int:
        options = _parser().parse_args(arguments)
        return int(options.command(options))

    return guarded("ddnn-edge", command)


def guarded(program: str, command: Callable[[], int]) -> int:
    """Run a command; what the user can mend becomes one line and exit code 2.

    One whose reader goes away, as `head` does, ends well.
    """

    def say(message: Warning | str, *_: Any, **__: Any) -> None:
        print(f"{program}: warning: {' '.join(str(message).split())}", file=sys.stderr)

    try:
        with warnings.catch_warnings():
            warnings.showwarning = say
            return command()
    except InputError as error:
        print(f"{program}: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"{program}: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:
        # Whoever read the lines has enough; Python must not try to flush the rest.
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)
        return 0


def survivabilities(text: str | None, topology: Topology) -> dict[str, Survival]:
    """Parse `--survival`, with commas: presets, .json files of survival by element, .jsonl traces.

    Without it, all of the topology's presets, or its own values where it has none.
    """
    if text is None:
        return {name: name for name in topology.survivabilities} or {"own": None}
    found: dict[str, Survival] = {}
    for word in filter(None, (part.strip() for part in text.split(","))):
        if word.endswith(".json"):
            try:
                table = msgspec.json.decode(Path(word).read_bytes(), type=dict[str, float | Uptime])
            except (OSError, msgspec.DecodeError) as error:
                raise InputError(f"--survival {word}: {error}; expected probabilities") from error
            topology.survival(table)
            found[Path(word).stem] = table
        elif word.endswith(".jsonl"):
            try:
                found[Path(word).stem] = FailureTrace.load(word, topology).shares()
            except InputError as error:
                raise InputError(f"--survival {word}: {error}") from error
        else:
            topology.survival(word)
            found[word] = word
    if not found:
        raise InputError("--survival is empty; name a preset such as high, or a file")
    return found


def one_survivability(text: str, topology: Topology) -> Survival:
    """Parse a `--survival` from which configurations are drawn."""
    found = survivabilities(text, topology)
    if len(found) != 1:
        raise InputError(f"expected one survivability to draw from, got {', '.join(found)}")
    return next(iter(found.values()))


def samples_for(topology: Topology, path: str | Path) -> Samples:
    """Read an .npz and check it against the topology's sensors."""
    samples = Samples.load_npz(path)
    samples.check({s.name: (s.shape, s.dtype) for s in topology.sensors})
    return samples


def check_classes(samples: Any, class_names: Sequence[str]) -> None:
    """Labels mean the same in the data and in the model, or `InputError`."""
    if tuple(samples.class_names) != tuple(class_names):
        raise InputError(
            f"expected data with the model's classes {', '.join(class_names)}, in this order; "
            f"got {', '.join(samples.class_names)}"
        )


def evaluate_bundle(
    bundle: Bundle,
    samples: Any,
    survival: str | None,
    fallback: Any,
    answer: Answerer = "output",
    policy: Policy = "maximal",
    *,
    early: bool = False,
    sampled: int | None = None,
    seed: int = 0,
) -> Reliability:
    """Expected accuracy of a bundle's artifacts on samples with `inputs` and `labels`.

    `early`: whether nodes answer early, by the bundle's thresholds.
    `sampled`: how many failure configurations to draw, from `seed`, instead of taking all.
    """
    manifest = bundle.manifest
    check_classes(samples, manifest.class_names)
    return evaluate(
        manifest.topology,
        bundle,
        samples.inputs,
        samples.labels,
        class_names=manifest.class_names,
        prior=manifest.prior,
        survivabilities=survivabilities(survival, manifest.topology),
        fallback=fallback,
        answer=answer,
        policy=policy,
        priority=manifest.priority,
        early=manifest.answering(answer, policy, early=early).early,
        samples=sampled,
        seed=seed,
    )


def print_json(record: Any) -> None:
    """One object on stdout, and nothing else there."""
    print(json.dumps(record))


def print_reliability(found: Reliability) -> None:
    """A table for people."""
    print(
        f"{found.counts.sum()} samples, {len(found.configurations)} failure configurations, "
        f"{found.section_evaluations} section evaluations, fallback {found.fallback}"
    )
    if found.answer == "any":
        print(f"any exit answers; of several, by the policy {found.policy}")
    print(f"all alive   {100 * found.all_alive:6.2f} %")
    bounds = found.bounds()
    for name in found.survivabilities:
        bound = bounds[name]
        print(
            f"{name:<11} {100 * found.expected_accuracy(name):6.2f} %   "
            f"(balanced {100 * found.balanced_accuracy(name):.2f} %"
            + ("" if bound is None else f", none can beat {100 * bound:.2f} %")
            + f"){found.interval_text(name)}"
        )
        if found.answer == "any" or found.early:
            shares = (f"{node} {100 * p:.1f} %" for node, p in found.exits(name).items() if p)
            print(f"{'':<11} answered by {', '.join(shares)}")
        print(
            f"{'':<11} {found.payload_bytes(name):,.0f} bytes of payload an inference, and "
            f"{found.answers(name):.2f} answers handed over"
        )
    if found.absent_classes:
        print(f"no samples of {', '.join(found.absent_classes)}: not in the balanced accuracy")


def check_sampling(samples: int | None, seed: int) -> None:
    """`InputError` for options that no sampling can have."""
    if samples is not None and samples < 1:
        raise InputError(f"expected --samples of at least 1, got {samples}")
    if seed < 0:
        raise InputError(f"expected --seed of at least 0, got {seed}")


class _Parser(argparse.ArgumentParser):
    """Says what is wrong with a command in the one line that all bad input gets."""

    def error(self, message: str) -> NoReturn:
        raise InputError(f"{message}; see `{self.prog} --help`")


def add_answer(parser: Any, *, early: bool = True) -> None:
    """Add the options that say who answers, and unless told otherwise whether nodes do so early."""
    parser.add_argument(
        "--answer",
        choices=ANSWERERS,
        default="output",
        help="who answers: the output node, or any node that has an exit",
    )
    parser.add_argument(
        "--policy", choices=POLICIES, default="maximal", help="whose answer is taken of several"
    )
    if early:
        add_early(parser)


def add_early(parser: Any) -> None:
    """Add the option that lets nodes answer early."""
    parser.add_argument(
        "--early",
        action="store_true",
        help="let a node that is sure answer, by the thresholds that `ddnn-edge exits` chose",
    )


def add_smooth(parser: Any) -> None:
    """Add the option that smooths the output node's answers."""
    parser.add_argument(
        "--smooth",
        metavar="TIME",
        help="also tell what the output node's answers say together, those of so long ago by half, "
        "as in 500ms; only for frames that show one object",
    )


def half_life(options: argparse.Namespace) -> int | None:
    """What `--smooth` says, in nanoseconds; None without it."""
    if options.smooth is None:
        return None
    seconds = parse_seconds("--smooth", options.smooth)
    if not seconds:
        raise InputError("expected --smooth above 0, as in 500ms; leave it out for none")
    check_smoothing(seconds, options.answer, early=options.early)
    return round(seconds * SECOND)


def _evaluate(options: argparse.Namespace) -> int:
    bundle = Bundle(options.bundle)
    samples = samples_for(bundle.manifest.topology, options.data)
    check_sampling(options.samples, options.seed)
    found = evaluate_bundle(
        bundle,
        samples,
        options.survival,
        options.fallback,
        options.answer,
        options.policy,
        early=options.early,
        sampled=options.samples,
        seed=options.seed,
    )
    if options.json:
        print_json(found.to_dict())
    else:
        print_reliability(found)
    return 0


def _reach(options: argparse.Namespace) -> int:
    check_sampling(options.samples, options.seed)
    place = Path(options.topology)
    topology = read_bundle(place)[0].topology if place.is_dir() else Topology.load(place)
    asked = survivabilities(options.survival, topology)
    result: dict[str, Any]
    if options.samples is None:
        found = {name: reach_probability(topology, s) for name, s in asked.items()}
        result = {"reach_probability": found, "method": "exact"}
        intervals = dict.fromkeys(found, "")
    else:
        drawn = sample_configurations(topology, asked, options.samples, seed=options.seed)
        reached = np.asarray(output_states(topology, drawn.masks).any(axis=1), np.float64)
        found = {name: float(drawn.probabilities(name) @ reached) for name in asked}
        bounds = {name: list(drawn.interval(name, reached)) for name in asked}
        result = {
            "reach_probability": found,
            "method": drawn.method,
            "interval": {"level": LEVEL, "reach_probability": bounds},
        }
        intervals = {
            name: f"   {100 * LEVEL:g} % sure: {low:.9f} to {high:.9f}"
            for name, (low, high) in bounds.items()
        }
    if options.json:
        print_json(result)
    else:
        for name, value in found.items():
            print(f"{name:<11} {value:.9f}{intervals[name]}")
    return 0


def _exits(options: argparse.Namespace) -> int:
    goal = _goal(options)
    bundle = Bundle(options.bundle)
    manifest = bundle.manifest
    samples = samples_for(manifest.topology, options.data)
    check_classes(samples, manifest.class_names)
    found = find_thresholds(
        manifest.topology,
        bundle,
        samples.inputs,
        samples.labels,
        prior=manifest.prior,
        survivabilities=survivabilities(options.survival, manifest.topology),
        fallback=options.fallback,
        answer=options.answer,
        policy=options.policy,
        priority=manifest.priority,
    )
    chosen = None if goal is None else found.best(goal)
    if chosen is not None:
        write_thresholds(options.bundle, chosen.thresholds)
    if options.json:
        told = {"without": found.without, "chosen": chosen, "front": found.front()}
        print_json(msgspec.to_builtins(told))
        return 0
    whole = ", ".join(f"{s} {x:,.0f} bytes" for s, x in found.without.bytes.items())
    print(f"{len(samples)} samples, {len(found.tried)} choices of thresholds tried")
    print(f"without early exits: {whole} an inference")
    print(*lines(found, [*found.front(), found.without]), sep="\n")
    if chosen is None:
        print("nothing was written; choose one by --bytes or --accuracy")
    else:
        print(f"written to {options.bundle}:", *lines(found, [chosen])[1:], sep="\n")
    return 0


def _goal(options: argparse.Namespace) -> Goal | None:
    if options.bytes is not None:
        if not 0 <= options.bytes <= 1:
            raise InputError(f"expected --bytes as a share from 0 to 1, got {options.bytes}")
        return Goal("bytes", options.bytes)
    if options.accuracy is not None:
        if not -1 <= options.accuracy <= 1:
            raise InputError(
                f"expected --accuracy as a change such as -0.005, got {options.accuracy}"
            )
        return Goal("accuracy", options.accuracy)
    return None


def _check(options: argparse.Namespace) -> int:
    found = check_node(options.node)
    if options.json:
        print_json(
            {
                "node": found.node,
                "passed": found.passed,
                "samples": found.samples,
                "max_error": found.max_error,
                "tolerance": found.tolerance,
            }
        )
    else:
        verdict = "the numbers it was exported with" if found.passed else "OTHER NUMBERS"
        print(
            f"{found.node}: {verdict} on {found.samples} golden samples "
            f"(relative error {found.max_error:.2g}, allowed {found.tolerance:g})"
        )
    return 0 if found.passed else 1


def _profile(options: argparse.Namespace) -> int:
    if (options.folder / BUNDLE_FILE).is_file():
        found = profile(options.folder, runs=options.runs)
    else:
        found = profile_node(options.folder, runs=options.runs)
    if options.out:
        found.save(options.out)
    if options.json:
        print(msgspec.json.encode(found).decode())
        return 0
    print(f"{found.machine}: {found.process_mb:.0f} MB for a process without a section")
    print(f"{'':<12}{'median':>10}{'90 %':>10}{'memory':>10}{'artifact':>12}{'message':>10}")
    for name, section in found.sections.items():
        print(
            f"{name:<12}{section.latency_ms:>7.3f} ms{section.latency_p90_ms:>7.3f} ms"
            f"{section.memory_mb:>7.1f} MB{section.artifact_bytes:>10,} B"
            f"{section.message_bytes:>8,} B"
        )
    return 0


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
            options.answer,
            options.policy,
            early=options.early,
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


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="ddnn-edge", description="Run, check and evaluate exported bundles with LiteRT."
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def command(
        name: str,
        run: Callable[[argparse.Namespace], int],
        text: str,
        json: str = "print one JSON object",
    ) -> Any:
        found = commands.add_parser(name, help=text, description=text)
        found.set_defaults(command=run)
        found.add_argument("--json", action="store_true", help=json)
        return found

    add = command("evaluate", _evaluate, "Expected accuracy of a bundle over all failures.")
    add.add_argument("bundle", type=Path, metavar="BUNDLE")
    add.add_argument("--data", type=Path, required=True, metavar="FILE.npz")
    add.add_argument(
        "--survival", help="presets, .json files or .jsonl traces, with commas; default all presets"
    )
    add.add_argument("--fallback", choices=FALLBACKS, default="prior")
    add_answer(add)
    add.add_argument(
        "--samples", type=int, help="failure configurations to draw, where not all are to be taken"
    )
    add.add_argument("--seed", type=int, default=0, help="of the configurations drawn")

    add = command(
        "reach", _reach, "Probability that information reaches the output node; needs no model."
    )
    add.add_argument("topology", metavar="TOPOLOGY", help="a file, a shipped one, or a bundle")
    add.add_argument("--survival", help="as of evaluate")
    add.add_argument("--samples", type=int, help="failure configurations to draw; default exact")
    add.add_argument("--seed", type=int, default=0, help="of the configurations drawn")

    add = command(
        "exits", _exits, "Choose below which entropy nodes answer early, on held-out data."
    )
    add.add_argument("bundle", type=Path, metavar="BUNDLE")
    add.add_argument("--data", type=Path, required=True, metavar="VALIDATION.npz")
    goal = add.add_mutually_exclusive_group()
    goal.add_argument(
        "--bytes", type=float, help="at most this share of the payload without early exits, as 0.5"
    )
    goal.add_argument(
        "--accuracy", type=float, help="at most so much worse than without them, as -0.005"
    )
    add.add_argument("--survival", help="as of evaluate; the goal holds for each")
    add.add_argument("--fallback", choices=FALLBACKS, default="prior")
    add_answer(add, early=False)

    add = command("check", _check, "Prove that a node's artifact gives its golden numbers here.")
    add.add_argument("node", type=Path, metavar="NODE_DIR")

    add = command("profile", _profile, "Measure what sections cost on this machine.")
    add.add_argument("folder", type=Path, metavar="BUNDLE|NODE_DIR")
    add.add_argument("--out", type=Path, metavar="FILE.json", help="write it, for `ddnn place`")
    add.add_argument("--runs", type=int, default=100, help="inferences that are timed")

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

    from .live.cli import add_commands  # which needs this module

    add_commands(command)
    return parser
