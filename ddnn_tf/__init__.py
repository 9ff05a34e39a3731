"""Train one network, cut it over machines, survive failures."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from edge_runtime.errors import InputError
from edge_runtime.topology import Link, Node, Sensor, Topology

if TYPE_CHECKING:
    from . import datasets
    from .cutting.partition import Partition, partition
    from .evaluation import expected_accuracy
    from .layers import Deliveries, FailureMask, NodeFailure
    from .model import ResilientModel, build
    from .report import Report, write_report
    from .saved import load_model
    from .sections import Convolutional, FullyConnected, Site, survival_weights
    from .training import ExpectedAccuracy, Recipe, train

__all__ = [
    "Convolutional",
    "Deliveries",
    "ExpectedAccuracy",
    "FailureMask",
    "FullyConnected",
    "InputError",
    "Link",
    "Node",
    "NodeFailure",
    "Partition",
    "Recipe",
    "Report",
    "ResilientModel",
    "Sensor",
    "Site",
    "Topology",
    "build",
    "datasets",
    "expected_accuracy",
    "learn_views",
    "load_model",
    "partition",
    "survival_weights",
    "train",
    "write_report",
]

# Loaded when first used: `ddnn --help` should not wait for TensorFlow.
_HOMES = {
    "cutting.partition": ("Partition", "partition"),
    "evaluation": ("expected_accuracy",),
    "layers": ("Deliveries", "FailureMask", "NodeFailure"),
    "model": ("ResilientModel", "build"),
    "report": ("Report", "write_report"),
    "saved": ("load_model",),
    "sections": ("Convolutional", "FullyConnected", "Site", "survival_weights"),
    "training": ("ExpectedAccuracy", "Recipe", "learn_views", "train"),
}
_HOME = {name: module for module, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> Any:
    if name == "datasets":
        return import_module(".datasets", __name__)
    if name in _HOME:
        return getattr(import_module(f".{_HOME[name]}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
