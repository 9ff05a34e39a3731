"""The data with which an export is made and checked."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_runtime.arrays import Array
from edge_runtime.errors import InputError
from edge_runtime.failures.configurations import draw
from edge_runtime.topology import Survival, Topology


def inputs_of(data: Any, topology: Topology) -> dict[str, Array]:
    """Every sensor's samples, from a mapping or an object with `inputs`; `InputError` if unfit."""
    found = data if isinstance(data, Mapping) else getattr(data, "inputs", None)
    if found is None:
        raise InputError(
            "expected data as a mapping from sensor to array, or an object with such inputs, "
            f"got {type(data).__name__}"
        )
    inputs: dict[str, Array] = {}
    for sensor in topology.sensors:
        if sensor.name not in found:
            raise InputError(
                f"no data for sensor {sensor.name!r}; got {', '.join(found) or 'none'}"
            )
        x = np.asarray(found[sensor.name])
        if x.shape[1:] != sensor.shape or x.dtype != sensor.dtype:
            raise InputError(
                f"data of sensor {sensor.name!r}: expected {sensor.dtype} (samples, "
                f"{', '.join(map(str, sensor.shape))}), got {x.dtype} {x.shape}"
            )
        inputs[sensor.name] = x
    counts = {name: len(x) for name, x in inputs.items()}
    if len(set(counts.values())) > 1 or not all(counts.values()):
        raise InputError(f"expected as many samples, one at least, of each sensor, got {counts}")
    return inputs


def spaced(inputs: Mapping[str, Array], count: int) -> dict[str, Array]:
    """Evenly spaced samples, at most `count`."""
    samples = len(next(iter(inputs.values())))
    rows = np.unique(np.linspace(0, samples - 1, min(count, samples)).astype(int))
    return {name: x[rows] for name, x in inputs.items()}


def failure_masks(
    topology: Topology,
    survivabilities: Mapping[str, Survival],
    samples: int,
    rng: np.random.Generator,
) -> NDArray[np.bool_]:
    """Failures for calibration: every survivability, and nothing failed, in equal parts.

    In the first sample nothing has failed, so that every node has something to compute.
    """
    choices = [np.ones((samples, len(topology.elements)), bool)]
    choices += [draw(topology, s, samples, rng) for s in survivabilities.values()]
    choice = rng.integers(len(choices), size=samples)
    choice[0] = 0
    return np.stack(choices)[choice, np.arange(samples)]
