"""`ddnn-edge watch`: a deployment's answers as JSON lines."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import msgspec

from ..answers.records import Answer
from ..answers.selector import AnswerSelector
from ..bundle.manifest import read_bundle
from ..clock import SECOND
from ..errors import InputError
from ..process.signals import interruptible
from ..transport.base import ANSWERS, Event, PeerDown, PeerUp, Received, Transport
from ..transport.deployment import Deployment
from ..transport.zenoh import ZenohTransport
from .options import AddCommand, add_answer, answer_rule, deadline, selector_of

#: Nanoseconds after which `watch` says that it sees nobody; a link takes less.
ALONE_NS = 3 * SECOND // 2


def add_to(command: AddCommand) -> None:
    """Add `watch`."""
    # What it prints is JSON anyway; the option changes nothing.
    text = "Print a deployment's answers as JSON lines until interrupted."
    add = command("watch", _watch, text, argparse.SUPPRESS)
    add.add_argument(
        "--deployment",
        type=Path,
        required=True,
        metavar="FILE.json",
        help="where the nodes are: the deployment.json that they were started with",
    )
    add_answer(add)
    add.add_argument(
        "--bundle",
        type=Path,
        metavar="BUNDLE",
        help="the bundle of these nodes; --early and some policies need it",
    )
    add.add_argument(
        "--routed",
        action="store_true",
        help="listen through a router, where the nodes themselves cannot be reached",
    )


def _watch(options: argparse.Namespace) -> int:
    deployment = Deployment.load(options.deployment)
    selector = _selector(options, deployment)
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

        for line in watched(transport, selector, lambda: interruption.code is not None, nobody):
            print(line, flush=True)
    return interruption.code or 0


def watched(
    transport: Transport,
    selector: AnswerSelector | None,
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
        if selector is not None and (wakeup := selector.next_wakeup()) is not None:
            due.append(wakeup)
        event = transport.receive(max(0, min(due) - clock()) / SECOND if due else None)
        now = clock()
        if isinstance(event, PeerUp | Received):
            alone = None
        elif alone is not None and now >= alone:
            alone = None
            nobody()
        yield from _lines(event, selector, now)


def _selector(options: argparse.Namespace, deployment: Deployment) -> AnswerSelector | None:
    """What takes one of the answers to a frame; None where the output node's are all there is."""
    if options.answer == "output" and not options.early:
        return None
    deadline_ns = deadline(None, deployment)
    if options.bundle is None:
        if options.early:
            raise InputError("--early needs to know the nodes; give their bundle with --bundle")
        return AnswerSelector(options.policy, deadline_ns=deadline_ns)
    manifest, _ = read_bundle(options.bundle)
    return selector_of(manifest, answer_rule(options, manifest), deadline_ns)


def _lines(event: Event | None, selector: AnswerSelector | None, now: int) -> Iterator[str]:
    """The answers to print once an event has come, or the time is up."""
    if isinstance(event, Received):
        with suppress(msgspec.DecodeError, UnicodeDecodeError):
            said = msgspec.json.decode(event.payload, type=Answer)
            if said.node != event.sender:
                pass  # nobody speaks for another
            elif selector is not None:
                selector.take(said, now)
            elif not said.exit:
                yield event.payload.decode()
    elif isinstance(event, PeerDown) and selector is not None:
        selector.gone(event.node)
    while selector is not None and (answer := selector.ready(now)) is not None:
        yield msgspec.json.encode(answer).decode()
