import builtins
from io import StringIO
from types import SimpleNamespace
from typing import Any

import msgspec
import numpy as np
import pytest

from edge_runtime.clock import SECOND
from edge_runtime.task import Classification
from edge_runtime.testbed.monitor import open_monitor
from edge_runtime.testbed.observer import Observer
from edge_runtime.transport.base import PeerUp
from tests.edge_runtime.testbed.test_observer import answer, metrics, tell
from tests.reference import small_topology

LABELS = np.array([1, 0])


TASK = Classification(("truck", "car"))


class Terminal(StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def run() -> Any:
    """What a monitor looks at: left works, right hangs, top is about to."""
    topology = small_topology()
    observer = Observer(topology)
    observer.take(PeerUp("left", 1))
    states = {"left": "running", "right": "hung", "top": "running"}
    deployment = SimpleNamespace(states=states)
    return SimpleNamespace(topology=topology, observer=observer, deployment=deployment)


def test_a_line_a_second(run: Any) -> None:
    out = StringIO()
    monitor = open_monitor(TASK, LABELS, out)
    monitor.show(run, SECOND)
    tell(run.observer, metrics("left", frames=0), answer(0), answer(1))
    monitor.show(run, 2 * SECOND)
    tell(run.observer, msgspec.structs.replace(answer(2), age_ms=3.0))
    monitor.show(run, 3 * SECOND)
    monitor.say("hang right")
    monitor.close()
    assert out.getvalue().splitlines() == [
        "   0.0 s  0 answers  0/s  right hung  top starting",
        "   1.0 s  2 answers  2/s  latency 1.0 ms (p99 1.0)  accuracy 50.00 %  right hung  "
        "top starting",
        "   2.0 s  3 answers  1/s  latency 3.0 ms (p99 3.0)  accuracy 66.67 %  right hung  "
        "top starting",
        "-- hang right",
    ]


def test_without_labels_there_is_no_accuracy(run: Any) -> None:
    out = StringIO()
    monitor = open_monitor(TASK, None, out)
    tell(run.observer, answer(0))
    monitor.show(run, SECOND)
    assert "accuracy" not in out.getvalue()


def test_a_table_on_a_terminal(run: Any) -> None:
    out = Terminal()
    monitor = open_monitor(TASK, LABELS, out)
    tell(run.observer, metrics("left", frames=0))
    monitor.show(run, SECOND)
    tell(run.observer, metrics("left", frames=30), answer(0))
    monitor.say("hang right")
    monitor.show(run, 2 * SECOND)
    monitor.close()
    text = out.getvalue()
    for word in ("node", "frames/s", "left", "running", "hung", "starting", "30", "accuracy"):
        assert word in text
    assert "hang right" in text


def test_lines_on_a_terminal_without_rich(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def missing(name: str, *rest: Any) -> Any:
        if name.startswith("rich"):
            raise ModuleNotFoundError(name)
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", missing)
    out = Terminal()
    open_monitor(TASK, LABELS, out).show(run, SECOND)
    assert out.getvalue().startswith("   0.0 s  0 answers")
