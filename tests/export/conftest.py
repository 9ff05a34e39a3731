"""One small model and one exported bundle of it, shared by all tests of `export`."""

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from ddnn_tf.model import build
from edge_runtime.topology import Topology
from export import ExportReport, export_bundle
from tests.models import flagged, randomized
from tests.reference import small_topology
from tests.strategies import samples

CLASSES = ("car", "person", "bus")


@dataclass(frozen=True)
class Labeled:
    """What `export_bundle` takes as data."""

    inputs: dict[str, NDArray[Any]]
    labels: NDArray[np.int64]


@dataclass(frozen=True)
class Exported:
    model: Any
    topology: Topology
    path: Path
    report: ExportReport
    validation: Labeled


def labeled(topology: Topology, count: int, seed: int = 0) -> Labeled:
    inputs: Any = samples(topology, count, seed)
    return Labeled(inputs, np.random.default_rng(seed).integers(0, len(CLASSES), count))


@pytest.fixture(scope="session")
def model() -> Any:
    """Presence flags, biases, and an input with which the answer changes."""
    model = randomized(build(small_topology(), flagged, classes=CLASSES))
    model.prior = (0.2, 0.5, 0.3)
    return model


@pytest.fixture(scope="session")
def calibration() -> Labeled:
    return labeled(small_topology(), 40, seed=1)


@pytest.fixture(scope="session")
def exported(
    model: Any, calibration: Labeled, tmp_path_factory: pytest.TempPathFactory
) -> Exported:
    """Not to be changed; see `copy`."""
    path = tmp_path_factory.mktemp("exported") / "bundle"
    validation = labeled(model.topology, 30, seed=2)
    report = export_bundle(model, path, calibration, validation, saved_models=["top"])
    return Exported(model, model.topology, path, report, validation)


@pytest.fixture
def copy(exported: Exported, tmp_path: Path) -> Path:
    """A copy of the bundle, to be damaged."""
    shutil.copytree(exported.path, tmp_path / "bundle")
    return tmp_path / "bundle"
