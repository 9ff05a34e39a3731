"""The public names: an accidental change of them fails here; a wanted one is made here too."""

import importlib
import inspect
import pkgutil
from types import ModuleType

import pytest

OURS = ("ddnn_tf", "edge_runtime", "export")

# The names a user imports. edge_runtime has no front of its own: importing it loads nothing, and
# its modules are its table of contents.
PUBLIC = {
    "ddnn_tf": [
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
    ],
    "ddnn_tf.datasets": [
        "Batches",
        "Dataset",
        "Summary",
        "load",
        "read_crops",
        "read_mhealth",
        "read_npz",
        "read_raw",
        "read_street",
        "with_boxes",
        "write_street",
    ],
    "edge_runtime.failures": [
        "Configurations",
        "Mask",
        "deliveries",
        "draw",
        "enumerate_configurations",
        "failure_models",
        "mask_without",
        "output_states",
        "uncertain_causes",
    ],
    "edge_runtime.failure_model": ["FailureModel", "Mask", "mask_without", "working"],
    "edge_runtime.manifest": [
        "BundleManifest",
        "IncomingLink",
        "NodeManifest",
        "Quantization",
        "ReliabilityTable",
        "read_bundle",
        "read_node",
    ],
    "edge_runtime.reach": ["reach_probability"],
    "edge_runtime.reliability": [
        "Answerer",
        "Fallback",
        "Reliability",
        "Runner",
        "SectionMemo",
        "evaluate",
        "fallback_answer",
        "reachability_bound",
    ],
    "edge_runtime.samples": ["DAMAGED", "NoArchiveError", "Samples", "npz_archive"],
    "edge_runtime.sampling": [
        "SampledConfigurations",
        "find_configurations",
        "sample_configurations",
    ],
    "edge_runtime.simulate": [
        "Answers",
        "Bundle",
        "GoldenCheck",
        "check_node",
        "load_section",
        "read_golden",
        "smoothed",
    ],
    "edge_runtime.survival": [
        "Share",
        "Survival",
        "Uptime",
        "check_chance",
        "probability",
        "survival_from_plain",
    ],
    "edge_runtime.topology": ["Group", "Link", "Node", "Sensor", "Survival", "Topology"],
    "edge_runtime.trace": ["Change", "FailureTrace", "complete_uptimes"],
    "export": ["Budget", "Compression", "ExportReport", "ParityError", "export_bundle"],
}


@pytest.mark.parametrize("module", PUBLIC)
def test_public_names_are_those_listed(module: str) -> None:
    assert sorted(importlib.import_module(module).__all__) == sorted(PUBLIC[module])


@pytest.mark.parametrize("package", ["ddnn_tf", "ddnn_tf.datasets", "export"])
def test_a_front_shows_only_what_it_lists(package: str) -> None:
    module = importlib.import_module(package)
    shown = {
        name
        for name, value in vars(module).items()
        if not name.startswith("_") and getattr(value, "__module__", "").startswith(OURS)
    }
    assert shown <= set(module.__all__)


def undescribed(module: ModuleType) -> list[str]:
    """What lacks a docstring of its own: the module, and the classes and functions it exports."""
    missing = [] if inspect.getdoc(module) else [module.__name__]
    for name in getattr(module, "__all__", ()):
        value = getattr(module, name)
        text = value.__doc__ if inspect.isclass(value) or inspect.isroutine(value) else "a value"
        # The text that a dataclass gets when it has none is its signature.
        if not text or text.startswith(f"{name}("):
            missing.append(f"{module.__name__}.{name}")
    return missing


def test_all_that_is_exported_exists_and_is_described() -> None:
    missing = []
    for package in map(importlib.import_module, OURS):
        names = [m.name for m in pkgutil.walk_packages(package.__path__, f"{package.__name__}.")]
        modules = (importlib.import_module(n) for n in names if not n.endswith("__main__"))
        missing += [name for module in (package, *modules) for name in undescribed(module)]
    assert missing == []
