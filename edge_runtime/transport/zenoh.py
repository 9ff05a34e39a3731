"""Messages and presence over Zenoh: the only file that imports it.

Keys, each below `ddnn/1/DEPLOYMENT` (1 is the version of this scheme):

    data/TARGET/SENDER          a message to a node or a topic; its header is the attachment
    alive/NODE/INCARNATION      a liveliness token: this process holds the name NODE

A node writes only what ends in its own name and reads only what is addressed to it, so access rules
can tie both to its certificate.
"""

from __future__ import annotations

import json
import math
import os
import queue
import re
import secrets
import threading
import time
from collections.abc import Callable, Iterable
from typing import Any

from ..errors import InputError
from ..process.closing import Closing
from ..topology.topology import NAME
from .base import (
    Counters,
    Event,
    NameTakenError,
    PeerDown,
    PeerUp,
    Received,
    check_names,
    check_target,
    new_incarnation,
)
from .config import ZenohConfig, checked
from .link_probe import LinkProbe
from .mailbox import Mailbox
from .name_lease import Declare, Lose, NameLease, Withdraw
from .presence import Presence

SCHEME = "ddnn/1"
ARRIVALS = 1024
#: How long a handshake may take that somebody else has begun.
ACCEPT_MS = 3_000
#: Seconds for an answer that each link owes, at least; see `link_probe.py`.
MIN_ANSWER_S = 1.0
#: Seconds for which an endpoint may stay in use after the session that listened there was closed.
MEND_S = 15.0
#: How Zenoh is to run, read by it once. It closes a TCP link with SO_LINGER: where the other end is
#: out of reach, and something was under way to it, the thread that closes it sleeps for 10 s (seen
#: with 1.10.2). With the two threads for receiving that it has unless told otherwise, two such
#: links keep a node from hearing the others. A thread that has nothing to do costs some kilobytes.
RUNTIME = "(rx: (worker_threads: 32))"


class ZenohTransport(Closing):
    """A node's, or an observer's, `Transport` over one Zenoh session.

    Opening connects to what answers within `connect_wait_ms`; what does not is called again in the
    background, for as long as the transport is open. Raises `InputError` for a configuration that
    cannot work, and `NameTakenError` if a live process of the node's name listens where this one is
    to listen.
    """

    def __init__(
        self, config: ZenohConfig, node: str | None = None, *, topics: Iterable[str] = ()
    ) -> None:
        self._config = config = checked(config)
        self._topics = tuple(topics)
        check_names(node, self._topics, config.deployment)
        self._zenoh = _import_zenoh()
        self._node = node
        self._prefix = f"{SCHEME}/{config.deployment}"
        tuning = config.tuning
        self._mailbox = Mailbox(tuning.ring_messages, tuning.ring_bytes)
        self._presence = Presence()
        self._name_lease = NameLease(
            tuning.lease_ms / 1000, tuning.settle_ms / 1000, new_incarnation
        )
        self._incarnation: int | None = None
        self._token: Any = None
        self._publishers: dict[str, Any] = {}
        self._publishers_lock = threading.Lock()
        self._sent = self._foreign = 0
        self._links: set[str] = set()
        self._links_lost = 0
        self._probe = self._new_probe()
        # Of the session: what an older one still says counts no more.
        self._generation = 0
        self._gone_since = 0.0
        self._claimed = threading.Event()
        self._claim_started = False
        self._granted: int | None = None
        self._rival: int | None = None
        # Everything that concerns presence and the name goes through this queue to one thread.
        self._control: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._threads: list[threading.Thread] = []
        self._close_lock = threading.Lock()

        # A client has no session until a router answers; nobody can be reached before that.
        self._session: Any = None
        self._attaching = threading.Lock()
        if config.mode == "peer":
            self._attach(self._open_session())
        else:
            self._attach_if_it_can()
        self._keeper = self._start(self._keep, "presence")

    @property
    def node(self) -> str | None:
        """As in `Transport`."""
        return self._node

    @property
    def incarnation(self) -> int | None:
        """As in `Transport`."""
        return self._incarnation

    @property
    def counters(self) -> Counters:
        """As in `Transport`; a flood that outruns this process can lose more than it counts."""
        return Counters(self._sent, self._mailbox.received, self._mailbox.overflow, self._foreign)

    def claim(self) -> int:
        """As in `Transport`; takes `settle_ms`, and up to 1.5 leases where a token is found."""
        if self._node is None or self._claim_started:
            raise RuntimeError("a node claims its name once; an observer has none")
        with self._attaching:
            self._claim_started = True
            if self._session is not None:
                # Before the token: who sees it may send at once.
                self._subscribe(self._session, self._node)
        self._control.put(_CLAIM)
        self._claimed.wait()
        if self._rival is not None:
            raise NameTakenError(self._node, self._rival, self._config.deployment)
        if self._granted is None:
            raise RuntimeError("the transport was closed before it got its name")
        return self._granted

    def send(self, target: str, header: bytes, payload: bytes) -> None:
        """As in `Transport`; may wait `drop_after_us` for a link whose queue is full."""
        if self._node is None:
            raise RuntimeError("an observer sends nothing")
        session = self._session
        if session is None:
            check_target(target)
            return
        try:
            publisher = self._publishers.get(target) or self._publisher(session, target)
            publisher.put(payload, attachment=header)
        except self._zenoh.ZError:
            if not self._mailbox.closed and session is self._session:
                raise
        else:
            self._sent += 1

    def receive(self, timeout_s: float | None) -> Event | None:
        """As in `Transport`."""
        return self._mailbox.receive(timeout_s)

    def wake(self) -> None:
        """As in `Transport`."""
        self._mailbox.wake()

    def close(self) -> None:
        """As in `Transport`."""
        with self._close_lock:
            if self._mailbox.closed:
                return
            self._mailbox.close()
            self._control.put(_CLOSE)
            self._keeper.join()
            # Zenoh's callbacks and the readers of its channels end with the session.
            if self._session is not None:
                self._session.close()
            for thread in self._threads:
                thread.join()
            self._claimed.set()

    # -- opening -----------------------------------------------------------------------------

    def _open_session(self) -> Any:
        config = self._config
        try:
            return _open(self._zenoh, config, "peer")
        except InputError as error:
            if self._node is None or "in use" not in str(error):
                raise
            holder = self._who_listens_there()
            if holder is None:
                raise
            raise NameTakenError(self._node, holder, config.deployment) from error

    def _attach(self, session: Any) -> None:
        """Listen to what a new session hears."""
        self._generation = generation = self._generation + 1

        def put(event: Any) -> None:
            self._control.put((generation, event))

        try:
            with self._attaching:
                # Before the question for tokens, which travels the same way: who answers it knows
                # what is followed here.
                for topic in self._topics:
                    self._subscribe(session, topic)
                if self._node is not None and self._claim_started:
                    self._subscribe(session, self._node)
                # Zenoh holds these as long as the session, each with a thread that feeds the queue.
                session.info.declare_transport_events_listener(put, history=True)
                session.liveliness().declare_subscriber(
                    f"{self._prefix}/alive/*/*", put, history=True
                )
                self._session = session
        except BaseException:
            session.close()
            raise

    def _attach_if_it_can(self) -> None:
        """Try once to find a router, or to listen again where this process has listened before."""
        try:
            self._attach(_open(self._zenoh, self._config, self._config.mode))
        except InputError as error:
            mending = self._config.mode == "peer" and _now() < self._gone_since + MEND_S
            if not mending and "Unable to connect" not in str(error):
                raise

    def _open_again(self) -> None:
        """Close the session and, in the next step, open another: to all as if it had been cut off.

        Only so can a link be closed of which half is there.
        """
        with self._publishers_lock, self._attaching:
            session, self._session = self._session, None
            self._publishers.clear()
        self._generation += 1
        self._incarnation = self._token = None
        self._probe, self._gone_since = self._new_probe(), _now()
        session.close()
        self._links_lost += len(self._links)
        self._links.clear()
        for event in self._presence.clear():
            if event.node != self._node:
                self._mailbox.presence(event)

    def _who_listens_there(self) -> int | None:
        """The incarnation of our own name found where we wanted to listen."""
        looking = ZenohConfig(
            deployment=self._config.deployment,
            connect=self._config.listen,
            discovery="static",
            tuning=self._config.tuning,
            tls=self._config.tls,
        )
        with ZenohTransport(looking) as observer:
            end = time.monotonic() + self._config.tuning.lease_ms / 1000
            while (left := end - time.monotonic()) > 0:
                event = observer.receive(left)
                if isinstance(event, PeerUp) and event.node == self._node:
                    return event.incarnation
        return None

    # -- messages ----------------------------------------------------------------------------

    def _publisher(self, session: Any, target: str) -> Any:
        check_target(target)
        zenoh = self._zenoh
        with self._publishers_lock:
            if target in self._publishers:
                return self._publishers[target]
            publisher = session.declare_publisher(
                f"{self._prefix}/data/{target}/{self._node}",
                congestion_control=zenoh.CongestionControl.DROP,
                express=True,
                allowed_destination=zenoh.Locality.REMOTE,
            )
            if session is self._session:
                self._publishers[target] = publisher
            return publisher

    def _subscribe(self, session: Any, target: str) -> None:
        # A ring, and a thread that only empties it: whatever Zenoh's own threads wait for, presence
        # waits for too. It is longer than any backlog of that thread; what counts the messages that
        # the node is too slow for is the mailbox behind it.
        channel = self._zenoh.handlers.RingChannel(ARRIVALS)
        subscriber = session.declare_subscriber(f"{self._prefix}/data/{target}/*", channel)
        self._start(lambda: self._drain(target, subscriber), f"messages to {target}")

    def _drain(self, target: str, subscriber: Any) -> None:
        put = self._zenoh.SampleKind.PUT
        while True:
            try:
                sample = subscriber.recv()
            except self._zenoh.ZError:
                return  # the session was closed
            sender = str(sample.key_expr).rpartition("/")[2]
            attachment = sample.attachment
            if sample.kind != put or attachment is None or not NAME.fullmatch(sender):
                self._foreign += 1
                continue
            self._mailbox.message(
                Received(sender, target, attachment.to_bytes(), sample.payload.to_bytes())
            )

    # -- presence and the name: all of it in one thread ----------------------------------------

    def _keep(self) -> None:
        tick = self._config.tuning.lease_ms / 4000
        while True:
            try:
                event = self._control.get(timeout=tick)
            except queue.Empty:
                event = None
            if event is _CLOSE:
                return
            try:
                if self._session is None:
                    self._attach_if_it_can()
                if event is _CLAIM:
                    self._name_lease.claim(_now())
                elif event is not None and event[0] == self._generation:
                    self._on_event(event[1])
                self._step()
                links, lost = len(self._links), self._links_lost
                if self._probe.asks(_now(), links=links, links_lost=lost):
                    self._ask()
            except (InputError, self._zenoh.ZError) as error:
                # Only a session that is being closed refuses what a step asks of it.
                self._mailbox.fail(error)
                self._claimed.set()
                return

    def _on_event(self, event: Any) -> None:
        if isinstance(event, self._zenoh.Sample):
            self._on_token(event)
        elif event is _ANSWERED or event is _UNANSWERED:
            answered = event is _ANSWERED
            if self._probe.ended(answered=answered, links_lost=self._links_lost):
                self._open_again()
        else:
            self._on_link(event)

    def _new_probe(self) -> LinkProbe:
        return LinkProbe(max(MIN_ANSWER_S, 2 * self._config.tuning.lease_ms / 1000))

    def _ask(self) -> None:
        """Ask all who are linked for their tokens; what becomes of it goes to the queue."""
        generation, silent = self._generation, threading.Event()

        def hear(reply: Any) -> None:
            if reply.ok is None:
                silent.set()

        def end() -> None:
            self._control.put((generation, _UNANSWERED if silent.is_set() else _ANSWERED))

        self._session.liveliness().get(
            f"{self._prefix}/alive/*/*",
            self._zenoh.handlers.Callback(hear, end),
            timeout=self._probe.period_s,
        )

    def _on_token(self, sample: Any) -> None:
        node, _, number = str(sample.key_expr).removeprefix(f"{self._prefix}/alive/").partition("/")
        if not (NAME.fullmatch(node) and re.fullmatch("[0-9]{1,19}", number)):
            self._foreign += 1
            return
        up = sample.kind == self._zenoh.SampleKind.PUT
        change = self._presence.up if up else self._presence.down
        for event in change(node, int(number)):
            # Presence of our own name comes from the name lease.
            if node != self._node:
                self._mailbox.presence(event)

    def _on_link(self, event: Any) -> None:
        peer = str(event.transport.zid)
        if event.kind == self._zenoh.SampleKind.PUT:
            self._links.add(peer)
        else:
            self._links.discard(peer)
            self._links_lost += 1

    def _step(self) -> None:
        if self._node is None:
            return
        while action := self._name_lease.step(
            _now(),
            links=len(self._links),
            links_lost=self._links_lost,
            tokens=self._presence.tokens(self._node),
        ):
            match action:
                case Declare(number):
                    self._token = self._session.liveliness().declare_token(
                        f"{self._prefix}/alive/{self._node}/{number}"
                    )
                case Withdraw(number):
                    self._undeclare()
                    self._mailbox.presence(PeerDown(self._node, number))
                case Lose(other):
                    self._undeclare()
                    self._rival = other
                    self._mailbox.fail(NameTakenError(self._node, other, self._config.deployment))
                    self._claimed.set()
        held = self._name_lease.incarnation if self._name_lease.settled else None
        if held is not None and self._incarnation != held:
            self._incarnation = held
            if self._claimed.is_set():
                self._mailbox.presence(PeerUp(self._node, held))
            else:
                self._granted = held
                self._claimed.set()

    def _undeclare(self) -> None:
        self._incarnation = None
        token, self._token = self._token, None
        if token is not None:
            token.undeclare()

    def _start(self, run: Callable[[], None], what: str) -> threading.Thread:
        thread = threading.Thread(target=run, name=f"ddnn {what}", daemon=True)
        self._threads.append(thread)
        thread.start()
        return thread


_CLAIM, _CLOSE, _ANSWERED, _UNANSWERED = object(), object(), object(), object()


class Router(Closing):
    """A Zenoh router in this process: it joins clients with each other and with peers.

    Any other router, such as `zenohd`, serves as well.
    """

    def __init__(self, session: Any) -> None:
        self._session = session

    def close(self) -> None:
        """End it. May be called again."""
        self._session.close()


def open_router(config: ZenohConfig) -> Router:
    """Start a router that listens, and connects to other routers, as `config` says.

    Since version 1.9 a Zenoh router passes nothing on between two peers, even where they cannot
    reach each other: who depends on it is to be a client of it. It serves every deployment that
    reaches it. Raises `InputError` where it cannot listen.
    """
    config = checked(config)
    if not config.listen:
        raise InputError("a router needs an endpoint to listen on, such as tcp/0.0.0.0:7447")
    return Router(_open(_import_zenoh(), config, "router"))


def zenoh_settings(config: ZenohConfig, mode: str) -> dict[str, Any]:
    """The configuration in Zenoh's own terms."""
    tuning = config.tuning
    link: dict[str, Any] = {
        "tx": {
            "lease": tuning.lease_ms,
            "keep_alive": tuning.keep_alive,
            "queue": {
                "size": {"data": tuning.send_batches},
                "congestion_control": {
                    "drop": {
                        "wait_before_drop": tuning.drop_after_us,
                        "max_wait_before_drop_fragments": max(50_000, tuning.drop_after_us),
                    }
                },
            },
        },
        "rx": {"max_message_size": tuning.max_message_bytes},
    }
    if config.tls is not None:
        link["tls"] = {
            "root_ca_certificate": config.tls.root_ca,
            "enable_mtls": True,
            "listen_certificate": config.tls.certificate,
            "listen_private_key": config.tls.private_key,
            "connect_certificate": config.tls.certificate,
            "connect_private_key": config.tls.private_key,
            "verify_name_on_connect": config.tls.verify_name,
        }
    # Of two peers that find each other without an endpoint, the one of the greater id calls.
    strategy = {"to_router": "always", "to_peer": "greater-zid"}
    settings: dict[str, Any] = {
        # Whoever cannot be called must call.
        "id": _identifier(config.rank if config.listen else math.inf),
        "mode": mode,
        "listen": {"endpoints": list(config.listen), "exit_on_failure": True, "timeout_ms": 0},
        "connect": {
            "endpoints": list(config.connect),
            # A peer opens at once and goes on calling; a client's opening fails without a router.
            "exit_on_failure": mode == "client",
            "timeout_ms": tuning.connect_wait_ms if mode == "client" else -1,
            "retry": {
                "period_init_ms": tuning.retry_initial_ms,
                "period_max_ms": tuning.retry_max_ms,
                "period_increase_factor": 2,
            },
        },
        "scouting": {
            "delay": tuning.connect_wait_ms,
            "multicast": {
                "enabled": config.discovery == "multicast",
                "autoconnect_strategy": {"peer": strategy},
            },
            "gossip": {
                "enabled": config.discovery != "static",
                "autoconnect_strategy": {"peer": strategy},
            },
        },
        "transport": {
            "unicast": {
                "open_timeout": tuning.handshake_ms,
                # Whoever calls gives up before, and closes.
                "accept_timeout": ACCEPT_MS,
            },
            "link": link,
            "shared_memory": {"enabled": tuning.shared_memory},
        },
        "adminspace": {"enabled": False},
    }
    if config.access_control is not None:
        settings["access_control"] = config.access_control
    return settings


def _identifier(rank: float) -> str:
    """An id that nobody else has, greater than those of lower rank (from 0 to 1, or infinite).

    Of the number that Zenoh compares, the text has the lowest byte first; it must not begin with 0.
    """
    high = 0x100 + round(min(rank, 1.0) * (0xFFFE - 0x100)) + (rank > 1)
    return f"1{secrets.token_hex(14)[1:]}{high.to_bytes(2, 'little').hex()}"


def _import_zenoh() -> Any:
    os.environ.setdefault("ZENOH_RUNTIME", RUNTIME)
    try:
        import zenoh
    except ModuleNotFoundError as error:
        raise InputError('the network needs Zenoh: pip install "ddnn-tf[edge]"') from error
    return zenoh


def _open(zenoh: Any, config: ZenohConfig, mode: str) -> Any:
    try:
        return zenoh.open(zenoh.Config.from_json5(json.dumps(zenoh_settings(config, mode))))
    except zenoh.ZError as error:
        # Zenoh's messages name its source files between the reasons.
        reason = re.sub(r"\]?\s+at \S+\.rs:\d+\.?", "", str(error))
        raise InputError(
            f"the network cannot be opened (listening on {', '.join(config.listen) or 'nothing'}): "
            f"{reason}; check the endpoints in deployment.json"
        ) from error


def _now() -> float:
    """Seconds; goes on while the machine sleeps, which the others see as a pause, too."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)
