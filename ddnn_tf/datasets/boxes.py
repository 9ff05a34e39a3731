"""The size of a view's box as a sensor: a track of its own, beside what pixels alone can do.

How large the box around an object is says much about its class where cameras stand still. But in
the data sets boxes are made by hand; what a detector would give is less exact.
"""

from __future__ import annotations

from typing import Literal

from edge_runtime.topology import Sensor, Topology

#: Whether each camera's box is a sensor `beside` its pixels, or `alone` in their place: float32
#: (2,), height and width of what is seen of the box, as shares of the whole picture's; zeros where
#: the camera does not see the object.
Boxes = Literal["beside", "alone"]

_SUFFIX = "_box"


def box_name(camera: str) -> str:
    """Name of the sensor that is a camera's box."""
    return camera + _SUFFIX


def with_boxes(topology: Topology, boxes: Boxes = "beside") -> Topology:
    """The same topology, where whoever reads a camera reads the size of its box, too, or instead.

    Raises `InputError` where a camera may fail, see `Topology.with_readings`.
    """
    return topology.with_readings(
        {
            camera.name: (
                *((camera,) if boxes == "beside" else ()),
                Sensor(box_name(camera.name), (2,), "float32"),
            )
            for camera in topology.sensors
        }
    )


def boxes_of(topology: Topology) -> Boxes | None:
    """Which boxes the sensors of a topology are, by their names; None where there are none."""
    found = [sensor.name.endswith(_SUFFIX) for sensor in topology.sensors]
    return None if not any(found) else "alone" if all(found) else "beside"
