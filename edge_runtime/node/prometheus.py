"""What a running node tells an operator's Prometheus: the only file that imports its client."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Literal, NamedTuple, get_args

from ..answers.records import Condition, Dropped, Metrics
from ..errors import InputError
from ..process.closing import Closing

#: Where it listens unless told otherwise: to be read from this machine alone.
LOOPBACK = "127.0.0.1"


def parse_address(text: str) -> tuple[str, int]:
    """Host and port of `9400` or `0.0.0.0:9400`; `InputError` for anything else. Port 0: any."""
    host, _, port = text.rpartition(":")
    if not (port.isascii() and port.isdigit() and int(port) < 65536):
        raise InputError(
            f"--metrics {text}: expected a port such as 9400, or an address to listen on and a "
            "port, such as 0.0.0.0:9400"
        )
    return host.removeprefix("[").removesuffix("]") or LOOPBACK, int(port)


class MetricsServer(Closing):
    """Serves `/metrics` over HTTP, from threads of its own.

    `read`: called at every request, from those threads. Close it, or use it in a `with` block.
    Raises `InputError` where prometheus-client is missing, or the address cannot be listened on.
    """

    def __init__(self, host: str, port: int, read: Callable[[], Metrics]) -> None:
        try:
            import prometheus_client
            import prometheus_client.core
        except ModuleNotFoundError as error:
            raise InputError(
                '--metrics needs prometheus-client: pip install "ddnn-tf[edge]"'
            ) from error
        # A registry of our own: the library's has collectors of its own in it.
        registry = prometheus_client.CollectorRegistry()
        registry.register(_Collector(prometheus_client.core, read))
        try:
            self._server, self._thread = prometheus_client.start_http_server(port, host, registry)
        except OSError as error:
            raise InputError(
                f"--metrics: cannot listen on {host}:{port} ({error.strerror}); choose another "
                "port, one for each node"
            ) from error

    @property
    def url(self) -> str:
        """Where it is served."""
        host, port = self._server.server_address[:2]
        return f"http://{f'[{host}]' if ':' in host else host}:{port}/metrics"

    def close(self) -> None:
        """Serve no more. May be called again."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _Family(NamedTuple):
    """One metric, under `name` behind the prefix of them all.

    `read`: the values of its own labels, and what `add_metric` of the client takes for each.
    """

    kind: Literal["Counter", "Gauge", "Summary", "Info"]
    name: str
    text: str
    read: Callable[[Metrics], Mapping[tuple[str, ...], tuple[Any, ...]]]
    labels: tuple[str, ...] = ()


#: In the order in which they are exported.
FAMILIES = (
    _Family(
        "Counter",
        "frames",
        "Frames: computed with all inputs that were waited for, computed at the deadline "
        "without some, passed on because a node below answered them early, and skipped.",
        lambda now: {
            ("complete",): (now.frames - now.at_deadline - now.answered,),
            ("at_deadline",): (now.at_deadline,),
            ("answered",): (now.answered,),
            ("skipped",): (now.skipped,),
        },
        ("outcome",),
    ),
    _Family(
        "Counter",
        "silent_frames",
        "Computed frames that nothing had come for.",
        lambda now: {(): (now.silent,)},
    ),
    _Family(
        "Counter",
        "answers",
        "Answers of the output node, and of an exit that answers: the network's, of these "
        "the early ones apart, and the fallback's.",
        lambda now: {
            ("network",): (now.answers - now.fallbacks - now.early,),
            ("early",): (now.early,),
            ("fallback",): (now.fallbacks,),
        },
        ("by",),
    ),
    _Family(
        "Summary",
        "answer_age_seconds",
        "Time from capture until an answer was handed over.",
        lambda now: {(): (now.answers, now.answers_ns / 1e9)},
    ),
    _Family(
        "Counter",
        "received_messages",
        "Messages and hosted sensors' views.",
        lambda now: {(): (now.received,)},
    ),
    _Family(
        "Counter",
        "dropped_messages",
        "Messages and views that were not used, by reason; unread: before they were received.",
        lambda now: {
            **{(reason,): (now.dropped.get(reason, 0),) for reason in get_args(Dropped)},
            ("unread",): (now.unread,),
        },
        ("reason",),
    ),
    _Family(
        "Counter",
        "sent_payload_bytes",
        "Bytes of tensors in sent messages.",
        lambda now: {(): (now.payload_bytes,)},
    ),
    _Family(
        "Counter",
        "sent_header_bytes",
        "Bytes of our headers in sent messages.",
        lambda now: {(): (now.header_bytes,)},
    ),
    _Family(
        "Summary",
        "compute_seconds",
        "Time that the section computed.",
        lambda now: {(): (now.frames - now.answered, now.compute_ns / 1e9)},
    ),
    _Family(
        "Gauge",
        "peer_condition",
        "1 for the condition that the sender of an incoming link is in: only an expected one "
        "is waited for.",
        lambda now: {
            (peer, condition): (float(condition == found),)
            for peer, found in now.peers.items()
            for condition in get_args(Condition)
        },
        ("peer", "condition"),
    ),
    _Family(
        "Gauge",
        "named",
        "Whether this process holds its node's name: 0 while the others have lost it.",
        lambda now: {(): (now.incarnation != 0,)},
    ),
    _Family(
        "Gauge",
        "resident_memory_bytes",
        "Resident memory.",
        lambda now: {(): (now.resident_mb * 1e6,)},
    ),
    _Family(
        "Info",
        "node",
        "The process behind the node.",
        # A label, because a sample's 53 bits do not hold the number.
        lambda now: {(): ({"incarnation": str(now.incarnation)},)},
    ),
)


class _Collector:
    """Turns what a node tells of itself into families, at every scrape.

    `core`: prometheus_client's classes of them.
    """

    def __init__(self, core: Any, read: Callable[[], Metrics]) -> None:
        self._core, self._read = core, read

    def describe(self) -> list[Any]:
        """Nothing beforehand: the node is read when somebody asks."""
        return []

    def collect(self) -> Iterator[Any]:
        """All families, each sample labeled with the node's name."""
        now = self._read()
        for family in FAMILIES:
            kind = getattr(self._core, f"{family.kind}MetricFamily")
            made = kind(f"ddnn_{family.name}", family.text, labels=("node", *family.labels))
            for labels, values in family.read(now).items():
                made.add_metric([now.node, *labels], *values)
            yield made
