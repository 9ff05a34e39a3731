"""What only a workstation has: matplotlib and jinja2, loaded where a report is made."""

from __future__ import annotations

from types import ModuleType

from edge_runtime.errors import InputError


def load_figures() -> ModuleType:
    """The package `figures`; raises `InputError` where matplotlib is missing."""
    try:
        from . import figures
    except ModuleNotFoundError as error:
        raise missing(error) from error
    return figures


def missing(error: ModuleNotFoundError) -> InputError:
    """What to say of a library that is not installed."""
    return InputError(f'a report needs {error.name}: pip install "ddnn-tf[train]"')
