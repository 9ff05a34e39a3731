"""The poster's system beside peers that flood it, readers that are slow, clocks that jump, and a
network that neither keeps order nor count."""

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import pytest

from edge_runtime.evaluation.bundle import Bundle
from edge_runtime.testbed.processes import LocalDeployment
from edge_runtime.testbed.replay import Replay
from edge_runtime.testbed.run import Configuration, FixedSchedule, Record
from edge_runtime.testbed.run_report import RunReport
from edge_runtime.transport.deployment import Deployment
from tests.commands import Deployed
from tests.end_to_end.live import (
    PATIENT,
    Companion,
    Live,
    check,
    check_logs,
    check_truth,
    command,
    few,
    live,
    local,
)

HOUR = 3600


class ClockedDeployment(LocalDeployment):
    """Every node on a machine whose wall clock can be set; see `clocked.py`."""

    def command(self, node: str) -> list[str]:
        python, option, _, *arguments = super().command(node)
        return [python, option, f"{__package__}.clocked", str(self._clock(node)), *arguments]

    def set_clock(self, node: str, ahead_s: int) -> None:
        new = self._clock(node).with_suffix(".new")
        new.write_text(str(ahead_s))
        new.replace(self._clock(node))

    def _clock(self, node: str) -> Path:
        return self.folder / f"{node}.clock"


@pytest.fixture(scope="module")
def it(poster_deployed: Callable[[str], Deployed]) -> Deployed:
    return poster_deployed("poster-residual")


@pytest.fixture(scope="module")
def deployment(it: Deployed, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    with live(
        it, tmp_path_factory.mktemp("disturbed"), nodes=partial(local, kind=ClockedDeployment)
    ) as found:
        yield found


@pytest.fixture(autouse=True)
def converged(request: pytest.FixtureRequest) -> None:
    """Each test begins with a deployment in which nothing fails."""
    if "deployment" in request.fixturenames:
        request.getfixturevalue("deployment").converge()


# -- slow readers ----------------------------------------------------------------------------------


def limping(pid: int, ended: threading.Event) -> None:
    """Let a process run for a tenth of the time, in turns shorter than a lease."""
    import os

    while not ended.is_set():
        os.kill(pid, signal.SIGSTOP)
        ended.wait(0.27)
        os.kill(pid, signal.SIGCONT)
        ended.wait(0.03)


def test_slow_readers_hold_nobody_up(deployment: Live) -> None:
    """A node that is ten times too slow, and two watchers that do not read what they asked for."""
    fog4 = deployment.nodes.pids["fog4"]
    ended = threading.Event()
    slow = threading.Thread(target=limping, args=(fog4, ended))
    watch = ("watch", "--deployment", deployment.nodes.path)
    with ExitStack() as stack:
        unread, stopped = (stack.enter_context(command(*watch)) for _ in range(2))
        assert stopped.stdout is not None
        assert unread.stdout is not None
        stopped.stdout.readline()
        unread.stdout.readline()
        stopped.send_signal(signal.SIGSTOP)
        slow.start()
        try:
            record, verdict = deployment.during(lambda: deployment.answers(30), "fog4")
        finally:
            ended.set()
            slow.join()
    check(record, verdict)
    check_logs(deployment)


# -- floods ----------------------------------------------------------------------------------------


#: Messages a second: eighteen times what all nodes of the deployment send each other.
STEADY = 2000


def flooded(
    deployment: Live, rate: int, nodes: tuple[str, ...], answers: int = 30
) -> tuple[Record, RunReport]:
    """So many answers, and frames that had none, beside a flood of so many messages a second."""
    said: dict[str, int] = {}

    def body() -> None:
        path = deployment.nodes.path
        with closing(Companion("flood", path, "7", str(rate), *nodes)) as flood:
            deployment.answers(answers)
            said.update(flood.end())

    found = deployment.during(body)
    print(said, found[1])
    kinds = {"junk", "again", "another's", "answers"}
    kinds |= {"another incarnation", "another model", "another sender"}
    assert set(said) == kinds
    assert min(said.values()) > 100
    return found


@pytest.mark.parametrize("nodes", [("fog1", "fog4"), ("cloud",)])
def test_a_steady_flood_costs_no_answer(deployment: Live, nodes: tuple[str, ...]) -> None:
    """No more of them, that is, than the machine costs the same deployment without it."""
    quiet = [deployment.during(lambda: deployment.answers(30))]
    record, verdict = flooded(deployment, STEADY, nodes, answers=70)
    quiet.append(deployment.during(lambda: deployment.answers(30)))
    check_truth(verdict)
    for _, calm in quiet:
        check_truth(calm)
        print(calm)
    lost = max(1 - len(beside.answers) / calm.frames for beside, calm in quiet)
    assert len(record.answers) >= (1 - 2 * lost) * verdict.frames - few(verdict.frames)
    assert verdict.unanswered <= 2 * lost * verdict.answerable + few(verdict.answerable)


@pytest.mark.parametrize("nodes", [("fog1", "fog4"), ("cloud",)])
def test_a_flood_is_dropped_and_counted(deployment: Live, nodes: tuple[str, ...]) -> None:
    """As fast as it can, so that how many answers it costs is for the machine to say.

    But those that come are true, all that was sent in vain is counted, and once it is over the
    deployment is whole.
    """
    before = {node: deployment.observer.metrics[node].dropped for node in nodes}
    foreign = deployment.observer.foreign + deployment.observer.malformed
    record, verdict = flooded(deployment, 0, nodes)
    check_truth(verdict)
    assert len(record.answers) >= 30
    deployment.converge()
    # Soon every frame is answered by all again.
    whole = f"{(1 << len(deployment.topology.links)) - 1:x}"
    deployment.watch(lambda: {a.state for a in deployment.answers(5)} == {whole}, "all of it")
    for node in nodes:
        dropped = deployment.observer.metrics[node].dropped
        print(node, before[node], dropped)
        for reason in ("malformed", "foreign", "stale_model", "stale_incarnation"):
            assert dropped[reason] > before[node].get(reason, 0)
        # A line for the name that was misused, not one for each message.
        # One that the flood cut off is named again when it is back.
        lines = deployment.log(node)
        returns = lines.count('"down"')
        assert lines.count('"refused"') <= len(deployment.topology.order) + returns
    assert deployment.observer.foreign + deployment.observer.malformed > foreign
    check_logs(deployment)


# -- clocks ----------------------------------------------------------------------------------------


def test_a_wall_clock_that_jumps_changes_nothing(deployment: Live) -> None:
    """An hour back and forth on running nodes, and on one that starts while it is late."""
    nodes: Any = deployment.nodes

    def body() -> None:
        for node, hours in {"fog3": -1, "cloud": 1, "edge2": 1, "edge3": -1}.items():
            nodes.set_clock(node, hours * HOUR)
        deployment.answers(10)
        first = deployment.observer.presence["fog3"]
        nodes.kill("fog3")
        deployment.converge("fog3")
        nodes.restore("fog3")
        deployment.converge()
        # Its number comes from a clock that is late.
        assert deployment.observer.presence["fog3"] < first
        for node in nodes.nodes:
            nodes.set_clock(node, 0)
        right_again.extend(answer.state for answer in deployment.answers(10))

    right_again: list[str] = []
    record, verdict = deployment.during(body, "fog3")
    check(record, verdict)
    assert f"{(1 << len(deployment.topology.links)) - 1:x}" in right_again


def test_a_clock_that_is_wrong_at_the_start_harms_no_other_frame(deployment: Live) -> None:
    nodes: Any = deployment.nodes

    def body() -> None:
        nodes.kill("edge4")
        deployment.converge("edge4")
        nodes.set_clock("edge4", HOUR)
        nodes.restore("edge4")
        deployment.watch(lambda: ahead(), "frames of an hour from now")
        deployment.answers(20)
        nodes.kill("edge4")
        deployment.converge("edge4")
        nodes.set_clock("edge4", 0)
        nodes.restore("edge4")
        deployment.converge()

    def ahead() -> list[Any]:
        # Half an hour, and no frame of this run comes near it.
        far = deployment.clock.frame(time.monotonic_ns() + HOUR * 500_000_000)
        return [a for frame, a in deployment.observer.answers.items() if frame > far]

    record, verdict = deployment.during(body, "edge4")
    check(record, verdict)
    # What it saw was answered by itself, under its own numbers, and truly.
    assert len(ahead()) > 10
    assert {answer.nodes for answer in ahead()} >= {
        ("cam5", "edge4", "fog1", "fog3", "fog4", "cloud")
    }
    replay = Replay(Bundle(deployment.it.bundle), deployment.samples.inputs)
    assert replay.count(ahead()) == (len(ahead()), 0)
    assert all({"edge1", "edge2", "edge3"}.isdisjoint(answer.nodes) for answer in ahead())


# -- order and count -------------------------------------------------------------------------------


def test_messages_out_of_order_and_twice(it: Deployed, tmp_path: Path) -> None:
    order = it.topology.order
    places = Deployment.on_one_host(order, name="relayed", first_port=None, tuning=PATIENT)
    # Nobody calls anybody: a relay calls all of them.
    places = msgspec.structs.replace(
        places,
        discovery="static",
        nodes={n: msgspec.structs.replace(p, connect=()) for n, p in places.nodes.items()},
    )
    options: dict[str, Any] = {"fps": 20.0, "deadline_ms": 1000.0}
    nodes = partial(LocalDeployment, deployment=places)
    with live(it, tmp_path, start=False, nodes=nodes, **options) as deployment:
        deployment.nodes.start()
        with closing(Companion("relay", deployment.nodes.path, "3")) as relay:
            held = FixedSchedule((Configuration(frozenset()),), hold_s=10.0)
            record, verdict = deployment.hold(held)
            said = relay.end()
    print(said, verdict)
    check(record, verdict, least=200)
    assert min(said["overtaken"], said["twice"]) > 100
    dropped = [metrics.dropped for metrics in deployment.observer.metrics.values()]
    assert sum(d.get("duplicate", 0) for d in dropped) > 100
    check_logs(deployment)
