"""By what a section is computed, as one value and as the options of commands."""

from __future__ import annotations

import argparse

import pytest

from edge_runtime.bundle.compute import DELEGATES, Compute
from edge_runtime.cli.options import add_compute, compute_of
from edge_runtime.errors import InputError


@pytest.mark.parametrize(
    ("delegate", "library"),
    [
        ("xnnpack", None),
        ("edgetpu", "libedgetpu.so.1"),
        ("./libmine.so", "./libmine.so"),
        ("/usr/lib/libvx_delegate.so.2", "/usr/lib/libvx_delegate.so.2"),
    ],
)
def test_a_delegate_is_a_name_or_a_library(delegate: str, library: str | None) -> None:
    assert Compute(delegate=delegate).library == library


@pytest.mark.parametrize("compute", [Compute(), Compute(threads=3, delegate="gpu")])
def test_a_process_is_told_by_the_options_of_its_command(compute: Compute) -> None:
    parser = argparse.ArgumentParser()
    add_compute(parser)
    assert compute_of(parser.parse_args(compute.options())) == compute
    assert compute_of(parser.parse_args([])) == Compute()


def test_what_is_no_way_to_compute() -> None:
    with pytest.raises(InputError, match="expected --threads of at least 1, got 0"):
        Compute(threads=0)
    with pytest.raises(InputError, match="--delegate edgtpu: expected xnnpack, armnn, edgetpu, "):
        Compute(delegate="edgtpu")
    assert all(".so" in library for library in DELEGATES.values())
