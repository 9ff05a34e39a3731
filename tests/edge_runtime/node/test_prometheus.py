"""What an operator's Prometheus reads, of nodes in memory; a real one is in tests/end_to_end."""

import sys
import urllib.request
from collections.abc import Iterator
from typing import Any, get_args

import pytest

from edge_runtime.answers.records import Condition, Dropped
from edge_runtime.errors import InputError
from edge_runtime.node.prometheus import MetricsServer, parse_address
from edge_runtime.transport.wire import Message
from tests.edge_runtime.network_of_nodes import Nodes
from tests.reference import small_topology

pytest.importorskip("prometheus_client", reason="needs prometheus-client")


@pytest.fixture
def nodes() -> Nodes:
    found = Nodes(small_topology())
    for frame in range(1, 4):
        found.frame(frame)
    return found


def scrape(url: str) -> dict[tuple[str, ...], float]:
    """Samples by name and label values, in order of the labels; the node's own is left out."""
    from prometheus_client.parser import text_string_to_metric_families

    with urllib.request.urlopen(url, timeout=60) as answer:
        text = answer.read().decode()
    found: dict[tuple[str, ...], float] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            labels = dict(sample.labels)
            assert labels.pop("node") == "top"
            found[(sample.name, *(labels[name] for name in sorted(labels)))] = sample.value
    return found


@pytest.fixture
def server(nodes: Nodes) -> Iterator[MetricsServer]:
    with MetricsServer("127.0.0.1", 0, nodes.nodes["top"].metrics) as found:
        yield found


def test_every_sum_is_served(nodes: Nodes, server: MetricsServer) -> None:
    node = nodes.nodes["top"]
    before = node.metrics()
    found = scrape(server.url)
    assert before.frames == before.answers > 2
    assert {k: v for k, v in found.items() if k[0] == "ddnn_frames_total"} == {
        ("ddnn_frames_total", "complete"): before.frames - before.at_deadline,
        ("ddnn_frames_total", "at_deadline"): before.at_deadline,
        ("ddnn_frames_total", "answered"): 0,
        ("ddnn_frames_total", "skipped"): 0,
    }
    assert found["ddnn_answers_total", "network"] == before.answers
    assert found["ddnn_answers_total", "fallback"] == 0
    assert found["ddnn_answers_total", "early"] == 0
    assert found[("ddnn_answer_age_seconds_count",)] == before.frames
    assert found[("ddnn_answer_age_seconds_sum",)] == before.answers_ns / 1e9
    assert found[("ddnn_compute_seconds_count",)] == before.frames
    assert found[("ddnn_compute_seconds_sum",)] == before.compute_ns / 1e9
    assert found[("ddnn_received_messages_total",)] == before.received > 0
    assert found[("ddnn_sent_payload_bytes_total",)] == 0  # it answers, and sends to no node
    assert found[("ddnn_named",)] == 1
    assert found[("ddnn_resident_memory_bytes",)] > 1e6
    assert found["ddnn_node_info", str(before.incarnation)] == 1
    reasons = {key[1] for key in found if key[0] == "ddnn_dropped_messages_total"}
    assert reasons == {*get_args(Dropped), "unread"}
    for peer, condition in before.peers.items():
        of_it = {c: found["ddnn_peer_condition", c, peer] for c in get_args(Condition)}
        assert of_it == {c: float(c == condition) for c in get_args(Condition)}
    assert set(before.peers) == {"left", "right"}


def test_each_scrape_reads_anew(nodes: Nodes, server: MetricsServer) -> None:
    before = scrape(server.url)
    nodes.frame(4)
    after = scrape(server.url)
    name = ("ddnn_received_messages_total",)
    assert after[name] > before[name]
    assert after["ddnn_answers_total", "network"] == before["ddnn_answers_total", "network"] + 1


def test_a_drop_shows_its_reason(nodes: Nodes, server: MetricsServer) -> None:
    stranger = Message(frame=1, sender="x", incarnation=1, fingerprint=bytes(8), state=0, age_ns=0)
    nodes.nodes["top"].assembler.receive(stranger, nodes.now)
    found = scrape(server.url)
    assert found["ddnn_dropped_messages_total", "foreign"] == 1


def test_names_follow_the_conventions(server: MetricsServer) -> None:
    with urllib.request.urlopen(server.url, timeout=60) as answer:
        text = answer.read().decode()
    kinds = [line.split()[2:4] for line in text.splitlines() if line.startswith("# TYPE")]
    assert len(kinds) > 10
    for name, kind in kinds:
        assert name.startswith("ddnn_"), name
        assert (kind == "counter") == name.endswith("_total"), name
    # None of the library's own.
    assert "python_gc" not in text
    assert "_created" not in text


def test_a_port_in_use_is_named(server: MetricsServer, nodes: Nodes) -> None:
    port = int(server.url.rpartition(":")[2].partition("/")[0])
    with pytest.raises(InputError, match=rf"cannot listen on 127.0.0.1:{port} \(Address already"):
        MetricsServer("127.0.0.1", port, nodes.nodes["top"].metrics)


def test_without_the_library_the_error_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, nodes: Nodes
) -> None:
    monkeypatch.setitem(sys.modules, "prometheus_client", None)
    with pytest.raises(InputError, match=r'needs prometheus-client: pip install "ddnn-tf\[edge\]"'):
        MetricsServer("127.0.0.1", 0, nodes.nodes["top"].metrics)


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("9400", ("127.0.0.1", 9400)),
        ("0.0.0.0:9400", ("0.0.0.0", 9400)),
        ("[::1]:0", ("::1", 0)),
    ],
)
def test_an_address(text: str, address: Any) -> None:
    assert parse_address(text) == address


@pytest.mark.parametrize("text", ["", "x", "-1", "65536", "host:", "9400:host", "٣"])
def test_no_address(text: str) -> None:
    with pytest.raises(InputError, match="expected a port such as 9400"):
        parse_address(text)
