"""Placements against exhaustive search."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ddnn_tf.placement.choosing import binding, front, place
from ddnn_tf.placement.network import Block, Device, DeviceLink, Network
from ddnn_tf.placement.placement import AIMS, Aim, Limits, Placement
from edge_runtime.errors import InputError


def every(network: Network) -> Iterator[Placement]:
    """Every path over the wires, and every way of cutting the chain along it."""
    count = len(network.blocks)
    devices = {device.name: device for device in network.devices}

    def paths(path: list[DeviceLink], at: str) -> Iterator[list[DeviceLink]]:
        yield path
        for wire in network.wires:
            if wire.source == at:
                yield from paths([*path, wire], wire.target)

    for path in paths([], network.devices[0].name):
        names = [network.devices[0].name, *(wire.target for wire in path)]
        if network.output not in (None, names[-1]):
            continue
        for cuts in itertools.combinations_with_replacement(range(count + 1), len(path)):
            runs = dict(zip(names, itertools.pairwise((0, *cuts, count)), strict=True))
            if any(
                sum(devices[n].memory_mb[a:b]) > devices[n].most_memory_mb
                or sum(devices[n].storage_mb[a:b]) > devices[n].most_storage_mb
                for n, (a, b) in runs.items()
            ):
                continue
            sent = [network.blocks[c - 1].bytes if c else network.input_bytes for c in cuts]
            works = math.prod([devices[n].survival for n in names] + [w.survival for w in path])
            if not works:
                continue
            yield Placement(
                runs,
                sum(sum(devices[n].latency_ms[a:b]) for n, (a, b) in runs.items())
                + sum(
                    w.delay_ms + 8 * s / (1000 * w.mbps) for w, s in zip(path, sent, strict=True)
                ),
                sum(sent),
                network.fallback + (network.alive - network.fallback) * works,
            )


def keeps(found: Placement, limits: Limits) -> bool:
    return (
        found.latency_ms <= (math.inf if limits.latency is None else limits.latency) * (1 + 1e-9)
        and found.bytes <= (math.inf if limits.bytes is None else limits.bytes)
        and found.accuracy >= (0.0 if limits.accuracy is None else limits.accuracy) - 1e-9
    )


def better(aim: Aim, value: float) -> float:
    return -value if aim == "accuracy" else value


@st.composite
def networks(draw: Any) -> Network:
    count, machines = draw(st.integers(1, 12)), draw(st.integers(1, 5))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))

    def figures(most: float) -> tuple[float, ...]:
        return tuple(np.round(rng.uniform(0, most, count), 2).tolist())

    names = [f"m{i}" for i in range(machines)]
    devices = tuple(
        Device(
            name,
            figures(30 / (1 + i)),
            figures(10),
            figures(5),
            most_memory_mb=float(rng.choice([math.inf, 20, 40])),
            most_storage_mb=float(rng.choice([math.inf, 10, 20])),
            survival=float(rng.choice([1.0, 0.9, 0.6])),
        )
        for i, name in enumerate(names)
    )
    wires = tuple(
        DeviceLink(a, b, float(rng.choice([1, 10, 100])), float(rng.choice([0, 1, 5])), 0.99)
        for a, b in itertools.combinations(names, 2)
        if names.index(b) == names.index(a) + 1 or rng.random() < 0.4
    )
    return Network(
        tuple(Block(f"b{i}", int(rng.integers(1, 40_000))) for i in range(count)),
        int(rng.integers(1, 40_000)),
        devices,
        wires,
        output=names[-1] if draw(st.booleans()) else None,
        alive=0.95,
        fallback=draw(st.sampled_from([0.0, 0.5, 0.95])),
    )


@settings(max_examples=60, deadline=None)
@given(networks(), st.sampled_from(AIMS), st.data())
def test_equals_exhaustive_search(network: Network, aim: Aim, data: st.DataObject) -> None:
    found = list(every(network))
    quantile = st.sampled_from([None, 0.2, 0.5, 0.9])

    def limit(name: Aim) -> float | None:
        share = data.draw(quantile)
        if share is None or not found:
            return None
        return float(np.quantile([p.value(name) for p in found], share))

    limits = Limits(*(limit(name) for name in AIMS))
    allowed = [p for p in found if keeps(p, limits)]
    if not allowed:
        with pytest.raises(InputError, match="no placement"):
            place(network, aim, limits)
        return
    best = place(network, aim, limits)
    assert keeps(best, limits)
    expected = min(better(aim, p.value(aim)) for p in allowed)
    assert better(aim, best.value(aim)) == pytest.approx(expected, rel=1e-6, abs=1e-9)
    [same] = [p for p in found if p.runs == best.runs]
    assert same.latency_ms == pytest.approx(best.latency_ms)
    assert same.bytes == best.bytes
    assert same.accuracy == pytest.approx(best.accuracy)


@settings(max_examples=15, deadline=None)
@given(networks())
def test_the_front_is_that_of_exhaustive_search(network: Network) -> None:
    found = list(every(network))
    if not found:
        return
    points = {(round(p.latency_ms, 6), p.bytes) for p in found}
    best = sorted(
        (ms, b)
        for ms, b in points
        if not any(m <= ms and c <= b and (m, c) != (ms, b) for m, c in points)
    )
    got = front(network, "latency", "bytes", most=100)
    assert [p.bytes for p in got] == [b for _, b in best]
    assert [p.latency_ms for p in got] == pytest.approx([ms for ms, _ in best])


def chain(**changes: Any) -> Network:
    """Two devices; the second is ten times as quick; the message shrinks as the blocks go on."""
    network = Network(
        (Block("a", 8000), Block("b", 1000), Block("c", 12)),
        27_648,
        (
            Device("pi", (10.0, 20.0, 30.0), (4.0, 4.0, 4.0), (1.0, 1.0, 1.0)),
            Device("server", (1.0, 2.0, 3.0), (4.0, 4.0, 4.0), (1.0, 1.0, 1.0), survival=0.8),
        ),
        (DeviceLink("pi", "server", mbps=1.0),),
    )
    return replace(network, **changes)


def test_each_aim_has_its_own_placement() -> None:
    assert place(chain(), "latency").runs == {"pi": (0, 2), "server": (2, 3)}
    assert place(chain(), "bytes").runs == {"pi": (0, 3)}
    assert place(chain(), "accuracy").runs == {"pi": (0, 3)}
    assert place(chain(output="server"), "bytes").runs == {"pi": (0, 3), "server": (3, 3)}


def test_a_limit_that_binds_is_named_with_what_it_costs() -> None:
    limits = Limits(bytes=100, accuracy=0.5)
    assert place(chain(), "latency", limits).latency_ms == 60
    assert binding(chain(), "latency", limits) == {"bytes": pytest.approx(41.0)}
    devices = (replace(chain().devices[0], most_memory_mb=4.0), chain().devices[1])
    tight = chain(devices=devices)
    assert place(tight).runs == {"pi": (0, 1), "server": (1, 3)}
    assert binding(tight, "latency", Limits()) == {"memory of pi": pytest.approx(41.0)}


def test_what_cannot_be_kept_is_refused_with_what_can_be_reached() -> None:
    with pytest.raises(InputError, match=r"no placement keeps latency 5, .*latency 41, bytes 0"):
        place(chain(), "bytes", Limits(latency=5, accuracy=0.9))
    devices = tuple(replace(d, most_memory_mb=3.0) for d in chain().devices)
    with pytest.raises(InputError, match=r"3 blocks do not fit into pi \(memory 3 MB"):
        place(chain(devices=devices))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"blocks": ()}, "at least one block"),
        ({"output": "cloud"}, "unknown output 'cloud'; expected pi, server"),
        ({"alive": 0.5, "fallback": 0.6}, "fallback <= alive"),
        ({"wires": (DeviceLink("server", "pi", 1.0),)}, "server->pi leads back"),
        ({"wires": (DeviceLink("pi", "moon", 1.0),)}, "unknown device 'moon'"),
        ({"wires": (DeviceLink("pi", "server", 0.0),)}, "mbps above 0"),
        ({"wires": (DeviceLink("pi", "server", 1.0),) * 2}, "is a duplicate"),
        ({"devices": (Device("pi", (1.0,), (1.0,), (1.0,)),)}, "latency_ms of 3 blocks"),
        ({"devices": chain().devices[:1] * 2}, "'pi' is a duplicate"),
        ({"devices": (replace(chain().devices[0], survival=1.5),)}, "survival from 0 to 1"),
        ({"devices": (replace(chain().devices[0], survival=0.0),)}, "never works"),
        ({"devices": (replace(chain().devices[0], most_memory_mb=math.nan),)}, "most_memory_mb"),
    ],
)
def test_what_is_wrong_with_a_network_is_said(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        chain(**changes)


def test_an_unknown_aim_is_refused() -> None:
    with pytest.raises(InputError, match="unknown aim 'cost'; expected one of latency, bytes"):
        place(chain(), "cost")  # type: ignore[arg-type]
