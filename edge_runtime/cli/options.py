"""Options that several commands share, and what their values mean."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn, Protocol

from ..answers.policies import ANSWER_MODES, POLICIES
from ..answers.rule import AnswerRule
from ..answers.selector import Chooser
from ..answers.smoothing import check_smoothing
from ..bundle.manifest import BundleManifest
from ..clock import SECOND, FrameClock, parse_seconds
from ..errors import InputError
from ..evaluation.answering import BoundRule
from ..node.settings import LiveSettings
from ..samples import Samples
from ..topology import Topology
from ..transport.config import ZenohTuning
from ..transport.deployment import Deployment
from ..transport.wire import short_fingerprint


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


def check_sampling(samples: int | None, seed: int) -> None:
    """`InputError` for options that no sampling can have."""
    if samples is not None and samples < 1:
        raise InputError(f"expected --samples of at least 1, got {samples}")
    if seed < 0:
        raise InputError(f"expected --seed of at least 0, got {seed}")


class Parser(argparse.ArgumentParser):
    """Says what is wrong with a command in the one line that all bad input gets."""

    def error(self, message: str) -> NoReturn:
        """Raise it as `InputError`."""
        raise InputError(f"{message}; see `{self.prog} --help`")


def add_answer(parser: Any, *, early: bool = True) -> None:
    """Add the options that say who answers, and unless told otherwise whether nodes do so early."""
    parser.add_argument(
        "--answer",
        choices=ANSWER_MODES,
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


def answer_rule(options: argparse.Namespace, manifest: BundleManifest) -> AnswerRule:
    """The answer rule that the options ask of a bundle."""
    return manifest.rule(AnswerRule(options.answer, options.policy), early=options.early)


def live_settings(
    options: argparse.Namespace, rule: AnswerRule, deployment: Deployment | None = None
) -> LiveSettings:
    """What a deployment runs by, as the options and its file say."""
    tuning = deployment.tuning if deployment else ZenohTuning()
    return LiveSettings(
        fps=options.fps,
        deadline_ns=deadline(options.deadline, deployment),
        encoding=options.encoding,
        rule=rule,
        smooth_ns=half_life(options),
        lease_ns=tuning.lease_ms * 1_000_000,
        settle_ns=tuning.settle_ms * 1_000_000,
    )


def half_life(options: argparse.Namespace) -> int | None:
    """What `--smooth` says, in nanoseconds; None without it."""
    if options.smooth is None:
        return None
    seconds = parse_seconds("--smooth", options.smooth)
    if not seconds:
        raise InputError("expected --smooth above 0, as in 500ms; leave it out for none")
    only_output = options.answer == "output" and not options.early
    check_smoothing(seconds, only_output=only_output)
    return round(seconds * SECOND)


#: From capture to answer, where nothing else is said.
DEADLINE_MS = 100.0


def add_deadline(parser: Any) -> None:
    """Add the option that says how long an answer may take."""
    parser.add_argument(
        "--deadline",
        type=float,
        metavar="MS",
        help="from capture to answer, in milliseconds, the same everywhere; default the "
        "deployment's, or else 100",
    )


def deadline(option: float | None, deployment: Deployment | None) -> int:
    """From capture to answer, in nanoseconds."""
    milliseconds = option
    if milliseconds is None:
        milliseconds = deployment.deadline_ms if deployment else DEADLINE_MS
    if not 0 < milliseconds <= 3_600_000:
        raise InputError(f"expected --deadline above 0 and up to an hour, got {milliseconds} ms")
    return int(milliseconds * 1e6)


def frame_clock(fps: float, deployment: Deployment) -> FrameClock:
    """The frame clock of a deployment, by this machine's clocks as they are now."""
    return FrameClock.at(
        fps,
        wall_ns=time.time_ns(),
        monotonic_ns=time.monotonic_ns(),
        epoch_ns=int((deployment.epoch or 0) * SECOND),
    )


def chooser_of(manifest: BundleManifest, rule: AnswerRule, deadline_ns: int) -> Chooser:
    """What takes one of the answers that a bundle's nodes give to a frame."""
    bound = BoundRule(manifest.topology, rule)
    return Chooser(
        rule.policy,
        bound.ordinary,
        deadline_ns=deadline_ns,
        early_depths=bound.early_depths,
        model=short_fingerprint(manifest.fingerprint).hex(),
    )
