"""Boxes as sensors: the topology that reads them, and the data that fit it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ddnn_tf.cli.loader import load_data
from ddnn_tf.datasets import load, with_boxes
from ddnn_tf.datasets.boxes import boxes_of
from edge_runtime.errors import InputError
from edge_runtime.failures.configurations import enumerate_configurations, output_states
from edge_runtime.topology import Link, Node, Sensor, Topology
from tests.ddnn_tf.datasets.conftest import WriteRaw

BOXES = {("car", f, c): ["2 3 22 33", "5 5 40 30"] for f in (1, 2, 3, 4) for c in (0, 1)}


def two_cameras(**survival: Any) -> Topology:
    return Topology(
        "two",
        (Sensor("cam0", (32, 32, 3)), Sensor("cam1", (32, 32, 3))),
        (Node("edge1", "edge"), Node("cloud", "cloud")),
        (Link("cam0", "edge1"), Link("edge1", "cloud"), Link("cam1", "cloud")),
        **survival,
    )


def test_whoever_reads_a_camera_reads_its_box() -> None:
    both = with_boxes(two_cameras())
    assert [(s.name, s.shape, s.dtype) for s in both.sensors] == [
        ("cam0", (32, 32, 3), "uint8"),
        ("cam0_box", (2,), "float32"),
        ("cam1", (32, 32, 3), "uint8"),
        ("cam1_box", (2,), "float32"),
    ]
    assert [x.name for x in both.incoming("edge1")] == ["cam0->edge1", "cam0_box->edge1"]
    assert [x.name for x in both.incoming("cloud")] == [
        "edge1->cloud",
        "cam1->cloud",
        "cam1_box->cloud",
    ]
    alone = with_boxes(two_cameras(), "alone")
    assert [s.name for s in alone.sensors] == ["cam0_box", "cam1_box"]
    assert [x.name for x in alone.links] == ["cam0_box->edge1", "edge1->cloud", "cam1_box->cloud"]
    assert [boxes_of(t) for t in (two_cameras(), both, alone)] == [None, "beside", "alone"]


def test_boxes_leave_what_can_fail_as_it_is() -> None:
    poster = Topology.load("poster-edge-skip")
    both = with_boxes(poster)
    plain, boxed = (enumerate_configurations(t, {"low": "low"}) for t in (poster, both))
    assert plain.probabilities("low").tolist() == boxed.probabilities("low").tolist()
    own = [both.bits[link.name] for link in poster.links]
    assert (output_states(both, boxed.masks)[:, own] == output_states(poster, plain.masks)).all()


@pytest.mark.parametrize(
    "survival",
    [
        {"survivabilities": {"low": {"cam0": 0.5}}},
        {"survivabilities": {"low": {"cam0->edge1": 0.5}}},
        {},
    ],
)
def test_a_camera_that_may_fail_would_have_to_fail_with_its_box(survival: Any) -> None:
    topology = two_cameras(**survival)
    if not survival.get("survivabilities"):
        sensors = (Sensor("cam0", (32, 32, 3), survival=0.9), topology.sensors[1])
        topology = Topology("two", sensors, topology.nodes, topology.links)
    with pytest.raises(InputError, match="sensor 'cam0' may fail, and all that is read there"):
        with_boxes(topology)


def test_only_sensors_are_replaced() -> None:
    with pytest.raises(
        InputError, match=r"expected a sensor to replace \(cam0, cam1\), got 'edge1'"
    ):
        two_cameras().with_readings({"edge1": ()})


def test_a_topology_that_reads_boxes_gets_them(write_raw: WriteRaw) -> None:
    root = str(write_raw(BOXES))
    for topology in (
        two_cameras(),
        with_boxes(two_cameras()),
        with_boxes(two_cameras(), "alone"),
    ):
        assert load_data(root, topology).sensors == tuple(s.name for s in topology.sensors)


def test_boxes_need_whole_pictures(crops: Path, write_raw: WriteRaw) -> None:
    with pytest.raises(InputError, match="size, margin and boxes need whole pictures"):
        load(crops, boxes="alone")
    with pytest.raises(InputError, match="expected boxes as one of beside, alone; came 'all'"):
        load(write_raw(BOXES), boxes="all")  # type: ignore[arg-type]
