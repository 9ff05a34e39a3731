"""Options that several commands share, and what their values mean."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NoReturn, Protocol, get_args

from ..answers.policies import ANSWER_MODES, POLICIES
from ..answers.rule import AnswerRule
from ..answers.selector import AnswerSelector
from ..answers.smoothing import check_smoothing, smoothed_task
from ..bundle.compute import BUILT_IN, DELEGATES, Compute
from ..bundle.manifest import BUNDLE_FILE, BundleManifest, read_bundle
from ..clock import SECOND, FrameClock, parse_seconds
from ..errors import InputError
from ..evaluation.answering import BoundRule
from ..node.settings import LiveSettings
from ..process.command import renamed_error
from ..samples import Samples
from ..task import FALLBACKS, Task
from ..topology import Topology
from ..transport.config import ZenohTuning
from ..transport.deployment import Deployment
from ..transport.wire import Encoding, short_fingerprint


class AddCommand(Protocol):
    """Adds a command to the parser."""

    def __call__(
        self,
        name: str,
        action: Callable[[argparse.Namespace], int],
        text: str,
        json: str = "print one JSON object",
    ) -> argparse.ArgumentParser:
        """Add one with its name, its action, its help and that of `--json`."""


def samples_for(topology: Topology, path: str | Path) -> Samples:
    """Read an .npz and check it against the topology's sensors."""
    samples = Samples.load_npz(path)
    samples.check({s.name: (s.shape, s.dtype) for s in topology.sensors})
    return samples


def node_folder(path: Path) -> Path:
    """A node's folder; `InputError`, which names one, where it is the whole bundle's."""
    if not (path / BUNDLE_FILE).is_file():
        return path
    _, nodes = read_bundle(path)
    raise InputError(
        f"{path} is a whole bundle; name the folder of one of its nodes, such as "
        f"{path / 'nodes' / next(iter(nodes))}"
    )


class HelpWithDefaults(argparse.HelpFormatter):
    """Says of every option that takes a value what holds without it."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        text = action.help or ""
        if not action.option_strings or action.nargs == 0 or action.required or "default" in text:
            return text
        default = "none" if action.default in (None, []) else "%(default)s"
        return f"{text} (default: {default})"


class Parser(argparse.ArgumentParser):
    """Says what is wrong with a command in the one line that all bad input gets."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **{"formatter_class": HelpWithDefaults, **options})

    def error(self, message: str) -> NoReturn:
        """Raise it as `InputError`."""
        raise InputError(f"{message}; see `{self.prog} --help`")


#: Spellings that are gone, by command and option; what to write instead.
RENAMED: Mapping[str, Mapping[str, str]] = {
    "evaluate": {"--samples": "--configurations"},
    "exits": {"--accuracy": "--accuracy-change", "--bytes": "--byte-share"},
    "reach": {"--samples": "--configurations"},
    "simulate": {"--answers": "--replay-answers", "--rate": "--fps"},
}


class Renamed(argparse.Action):
    """An option that is gone: it is not shown, and names the one that took its place."""

    def __init__(self, option_strings: list[str], dest: str, *, new: str, prog: str) -> None:
        super().__init__(option_strings, argparse.SUPPRESS, nargs="?", help=argparse.SUPPRESS)
        self.new, self.prog = new, prog

    def __call__(self, *_: Any) -> NoReturn:
        """Refuse it."""
        raise renamed_error(self.option_strings[0], self.new, self.prog)


def refuse_renamed(parser: argparse.ArgumentParser, command: str) -> None:
    """Let a command refuse the older names of its options."""
    for old, new in RENAMED.get(command, {}).items():
        parser.add_argument(old, action=Renamed, new=new, prog=parser.prog)


def add_data(parser: Any, *, required: bool = True, text: str = "") -> None:
    """Add the option that names the samples."""
    parser.add_argument(
        "--data",
        type=Path,
        required=required,
        metavar="FILE.npz",
        help=text or "the samples, as `ddnn data export` writes them",
    )


def add_survivabilities(parser: Any, more: str = "") -> None:
    """Add the option that says how probably everything works; several may be named."""
    parser.add_argument(
        "--survival",
        default="all",
        metavar="NAMES",
        help="how probably nodes, sensors and links work: presets of the topology, .json files or "
        f"recorded .jsonl traces, with commas; or all presets{more}",
    )


def add_fallback(parser: Any) -> None:
    """Add the option that says what counts where nothing reaches an answer."""
    parser.add_argument(
        "--fallback",
        choices=FALLBACKS,
        default="prior",
        help="what answers where nothing arrives, by training data: the likeliest answer (prior); "
        "of classes also one drawn by their frequencies (prior-random) or evenly (uniform), of "
        "values also their mean or median",
    )


def add_configurations(parser: Any) -> None:
    """Add the options that draw failure configurations instead of taking all of them."""
    parser.add_argument(
        "--configurations",
        type=int,
        metavar="COUNT",
        help="draw this many failure configurations at random (default: all of them, exactly)",
    )
    add_seed(parser, "the failure configurations drawn")


def add_seed(parser: Any, what: str) -> None:
    """Add the option that makes what is drawn repeatable."""
    parser.add_argument(
        "--seed", type=int, default=0, metavar="SEED", help=f"random seed of {what}, from 0 on"
    )


def add_fps(parser: Any, more: str = "") -> None:
    """Add the option that says how many frames there are in a second."""
    parser.add_argument(
        "--fps", type=float, default=30.0, metavar="NUMBER", help=f"frames per second{more}"
    )


def add_encoding(parser: Any, text: str) -> None:
    """Add the option that says how messages hold their numbers."""
    parser.add_argument("--encoding", choices=get_args(Encoding), default="raw", help=text)


def add_answer(parser: Any, *, early: bool = True) -> None:
    """Add the options that say who answers, and unless told otherwise whether nodes do so early."""
    parser.add_argument(
        "--answer",
        choices=ANSWER_MODES,
        default="output",
        help="who answers: the output node, or any node that has an exit",
    )
    parser.add_argument(
        "--policy",
        choices=POLICIES,
        default="maximal",
        help="which answer is taken where several nodes answer: the surest of those that received "
        "the most (maximal), the surest of all (confident), that of the node nearest to the output "
        "(highest), or the first in an order chosen on validation data (priority)",
    )
    if early:
        add_early(parser)


def add_early(parser: Any) -> None:
    """Add the option that lets nodes answer early."""
    parser.add_argument(
        "--early",
        action="store_true",
        help="let a node that is sure enough answer early, by the thresholds that `ddnn-edge "
        "exits` chose",
    )


def add_compute(parser: Any) -> None:
    """Add the options that say by what sections are computed."""
    parser.add_argument(
        "--threads",
        type=int,
        default=1,
        metavar="COUNT",
        help="threads that compute a section; small ones are fastest with one",
    )
    parser.add_argument(
        "--delegate",
        default=BUILT_IN,
        metavar="NAME|FILE",
        help=f"what computes a section: {BUILT_IN}, which is built in, an accelerator by name "
        f"({', '.join(DELEGATES)}), or another delegate's library",
    )


def compute_of(options: argparse.Namespace) -> Compute:
    """By what sections are computed."""
    return Compute(threads=options.threads, delegate=options.delegate)


def add_smooth(parser: Any) -> None:
    """Add the option that smooths the output node's answers."""
    parser.add_argument(
        "--smooth",
        metavar="TIME",
        help="also give the output node's answers smoothed over time: an answer this old, such as "
        "500ms, counts half; only where successive frames show one object",
    )


def answer_rule(options: argparse.Namespace, manifest: BundleManifest) -> AnswerRule:
    """The answer rule that the options ask of a bundle."""
    return manifest.rule(AnswerRule(options.answer, options.policy), early=options.early)


def live_settings(
    options: argparse.Namespace,
    rule: AnswerRule,
    deployment: Deployment | None = None,
    task: Task | None = None,
) -> LiveSettings:
    """What a deployment runs by, as the options and its file say; `task`: of its answers."""
    tuning = deployment.tuning if deployment else ZenohTuning()
    return LiveSettings(
        fps=options.fps,
        deadline_ns=deadline(options.deadline, deployment),
        encoding=options.encoding,
        rule=rule,
        smooth_ns=half_life(options, task),
        lease_ns=tuning.lease_ms * 1_000_000,
        settle_ns=tuning.settle_ms * 1_000_000,
        compute=compute_of(options),
    )


def half_life(options: argparse.Namespace, task: Task | None = None) -> int | None:
    """What `--smooth` says, in nanoseconds; None without it.

    `task`: of the answers, where it is known here; only classes are smoothed.
    """
    if options.smooth is None:
        return None
    if task is not None:
        smoothed_task(task)
    seconds = parse_seconds("--smooth", options.smooth)
    if not seconds:
        raise InputError("expected --smooth above 0, as in 500ms; leave it out for no smoothing")
    only_output = options.answer == "output" and not options.early
    check_smoothing(seconds, only_output=only_output)
    return round(seconds * SECOND)


#: From capture to answer, where nothing else is said.
DEADLINE_MS = 100.0


def add_deadline(parser: Any, default: str) -> None:
    """Add the option that says how long an answer may take."""
    parser.add_argument(
        "--deadline",
        metavar="TIME",
        help="longest time from capture to answer, such as 50ms; the same at every node "
        f"(default: {default})",
    )


def deadline(option: str | None, deployment: Deployment | None) -> int:
    """From capture to answer, in nanoseconds."""
    if option is not None:
        nanoseconds, said = round(parse_seconds("--deadline", option, "ms") * SECOND), option
    else:
        milliseconds = deployment.deadline_ms if deployment else DEADLINE_MS
        nanoseconds, said = int(milliseconds * 1e6), f"{milliseconds} ms"
    if not 0 < nanoseconds <= 3600 * SECOND:
        raise InputError(f"expected --deadline above 0 and up to an hour, got {said}")
    return nanoseconds


def frame_clock(fps: float, deployment: Deployment) -> FrameClock:
    """The frame clock of a deployment, by this machine's clocks as they are now."""
    return FrameClock.at(
        fps,
        wall_ns=time.time_ns(),
        monotonic_ns=time.monotonic_ns(),
        epoch_ns=int((deployment.epoch or 0) * SECOND),
    )


def selector_of(manifest: BundleManifest, rule: AnswerRule, deadline_ns: int) -> AnswerSelector:
    """What takes one of the answers that a bundle's nodes give to a frame."""
    bound = BoundRule(manifest.topology, rule, manifest.task)
    return AnswerSelector(
        rule.policy,
        bound.ordinary,
        deadline_ns=deadline_ns,
        early_depths=bound.early_depths,
        model=short_fingerprint(manifest.fingerprint).hex(),
    )
