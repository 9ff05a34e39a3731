"""The upper bound: what no model and no choice of answers can exceed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from ..answers.policies import AnswerMode
from ..arrays import Array, Vector
from ..failures.configurations import MOST_CONFIGURATIONS, enumerate_configurations, output_states
from ..failures.distribution import Mask
from ..scoring import ClassScorer, Scorer
from ..topology import Survival, Topology


def views_seen(topology: Topology, inputs: Mapping[str, Array]) -> Mask | None:
    """Which sensors see the object, bool (samples, sensors): those whose view is not all zeros.

    None where no view is blank: then nothing tells.
    """
    views = [np.asarray(inputs[sensor.name]) for sensor in topology.sensors]
    seen = np.stack([x.reshape(len(x), -1).any(axis=1) for x in views], axis=1)
    return None if seen.all() else seen


def reachability_bound(
    topology: Topology,
    visible: NDArray[np.bool_],
    labels: NDArray[np.int64],
    survivabilities: Mapping[str, Survival],
    *,
    answer: AnswerMode = "output",
    limit: int = MOST_CONFIGURATIONS,
) -> dict[str, float]:
    """Expected accuracy that no stateless deterministic model can beat, by survivability.

    Right whenever a sensor that sees the object reaches the output node, or, where any exit may
    answer, one of these: the best possible choice for each sample. Else the best constant of that
    configuration. `visible`: bool (samples, sensors), in the topology's order of sensors.
    A measured accuracy above it means a fault.
    """
    configurations = enumerate_configurations(topology, survivabilities, limit=limit)
    nodes = topology.answering if answer == "any" else (topology.output,)
    names = tuple(map(str, range(int(labels.max()) + 1)))
    scorer = ClassScorer(names, labels)
    best = _best(topology, configurations.masks, visible, scorer, nodes)
    return {s: float(configurations.probabilities(s) @ best) for s in survivabilities}


def _best(
    topology: Topology,
    masks: Mask,
    visible: Mask,
    scorer: Scorer,
    nodes: Sequence[str],
) -> Vector:
    """The bound of `reachability_bound` in each case, shape (cases,); `nodes` may answer.

    By any score: perfect in samples that are seen, else that of the best constant.
    """
    states = np.zeros((len(masks), len(topology.links)), bool)
    for node in nodes:
        states |= output_states(topology, masks, node)
    reached = np.zeros((len(states), len(topology.sensors)), bool)
    for i, sensor in enumerate(topology.sensors):
        own = [k for k, link in enumerate(topology.links) if link.source == sensor.name]
        reached[:, i] = states[:, own].any(axis=1)
    ways, inverse = np.unique(reached, axis=0, return_inverse=True)
    best = np.empty(len(ways))
    for i, way in enumerate(ways):
        seen = np.asarray(visible[:, way].any(axis=1))
        best[i] = (scorer.perfect * seen.sum() + scorer.best_constant(~seen)) / len(seen)
    return np.asarray(best[inverse])
