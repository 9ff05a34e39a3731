"""What messages lose on their way, in an evaluation."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from ..arrays import Array
from ..topology import Topology
from ..transport.wire import Encoding, rounded
from .cache import Runner


class Rounded:
    """A `Runner` whose nodes hear each other through messages of an encoding, see `wire`.

    What sensors deliver to the nodes that host them is no message, and stays as it is.
    """

    def __init__(self, runner: Runner, topology: Topology, encoding: Encoding) -> None:
        self._runner = runner
        self._sensors = topology.sensor_names
        self._encoding = encoding

    def run(self, node: str, inputs: Mapping[str, Array]) -> Array | tuple[Array, ...]:
        """Evaluate a node's section on what arrives; each sample is a message of its own."""
        arrives = {
            name: x
            if name in self._sensors
            else np.stack([rounded(sample, self._encoding) for sample in x])
            for name, x in inputs.items()
        }
        return self._runner.run(node, arrives)
