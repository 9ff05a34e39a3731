"""The public names: an accidental change of them fails here; a wanted one is made here too."""

import importlib
import inspect
import pkgutil
from pathlib import Path
from types import ModuleType

import pytest

import edge_runtime
from tests.structure import public_names

OURS = ("ddnn_tf", "edge_runtime", "export")

# All that is public: every other name is internal, and no other module has an `__all__`.
PUBLIC = {
    "ddnn_tf": [
        "AnswerRule",
        "Classification",
        "Convolutional",
        "Custom",
        "Deliveries",
        "ExpectedAccuracy",
        "FailureMask",
        "FullyConnected",
        "InputError",
        "Link",
        "MultiLabel",
        "Node",
        "NodeFailure",
        "Partition",
        "Recipe",
        "Regression",
        "Report",
        "ResilientModel",
        "Score",
        "Sensor",
        "Several",
        "Site",
        "Topology",
        "build",
        "datasets",
        "expected_accuracy",
        "expected_score",
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
    "edge_runtime": [
        "Answer",
        "AnswerRule",
        "Bundle",
        "Classification",
        "Custom",
        "FailureTrace",
        "Group",
        "InputError",
        "Link",
        "MultiLabel",
        "Node",
        "Regression",
        "Reliability",
        "Samples",
        "Sampling",
        "Score",
        "Sensor",
        "Several",
        "Topology",
        "check_node",
        "evaluate",
        "reach_probability",
        "reachability_bound",
    ],
    "edge_runtime.topology": [
        "Group",
        "Link",
        "Node",
        "Sensor",
        "Share",
        "Survival",
        "Topology",
        "Uptime",
    ],
    "export": [
        "Budget",
        "Compression",
        "ExportReport",
        "ParityError",
        "export_bundle",
    ],
}


@pytest.mark.parametrize("module", PUBLIC)
def test_public_names_are_those_listed(module: str) -> None:
    assert sorted(importlib.import_module(module).__all__) == sorted(PUBLIC[module])


@pytest.mark.parametrize("package", PUBLIC)
def test_a_front_shows_only_what_it_lists(package: str) -> None:
    module = importlib.import_module(package)
    shown = {
        name
        for name, value in vars(module).items()
        if not name.startswith("_") and getattr(value, "__module__", "").startswith(OURS)
    }
    assert shown <= set(module.__all__)


def test_only_fronts_list_public_names(root: Path) -> None:
    assert set(public_names(root)) | {"ddnn_tf", "edge_runtime"} == set(PUBLIC)


@pytest.mark.parametrize("package", ["ddnn_tf", "edge_runtime", "export"])
def test_the_reference_page_tells_of_every_public_name(root: Path, package: str) -> None:
    page = (root / "docs" / "reference" / "python.md").read_text(encoding="utf-8")
    _, _, section = page.partition(f"\n## `{package}`\n")
    section, _, _ = section.partition("\n## ")
    assert [name for name in PUBLIC[package] if f"`{name}`" not in section] == []


def test_a_front_shows_nothing_else() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'Nothing'"):
        _ = edge_runtime.Nothing  # type: ignore[attr-defined]


def undescribed(module: ModuleType) -> list[str]:
    """What lacks a docstring of its own: the module, and its classes and functions."""
    missing = [] if inspect.getdoc(module) else [module.__name__]
    for name, value in vars(module).items():
        if name.startswith("_") or getattr(value, "__module__", None) != module.__name__:
            continue
        # The text that a dataclass gets when it has none is its signature.
        described = inspect.isclass(value) or inspect.isroutine(value)
        if described and (not value.__doc__ or value.__doc__.startswith(f"{name}(")):
            missing.append(f"{module.__name__}.{name}")
    return missing


def test_every_class_and_function_is_described() -> None:
    missing = []
    for package in map(importlib.import_module, OURS):
        names = [m.name for m in pkgutil.walk_packages(package.__path__, f"{package.__name__}.")]
        modules = (importlib.import_module(n) for n in names if not n.endswith("__main__"))
        missing += [name for module in (package, *modules) for name in undescribed(module)]
    assert missing == []
