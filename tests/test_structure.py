"""The shape of the code stays within its figures; `python -m tests.structure` prints them."""

from pathlib import Path

import pytest

from tests.structure import GOALS, figures, functions, sources


@pytest.fixture(scope="module")
def measured(root: Path) -> dict[str, int]:
    return figures(root)


@pytest.mark.parametrize("name", GOALS)
def test_the_shape_stays_within_its_figures(measured: dict[str, int], name: str) -> None:
    assert measured[name] <= GOALS[name]


def test_what_is_too_large_is_noticed(tmp_path: Path) -> None:
    package = tmp_path / "edge_runtime"
    package.mkdir()
    body = "".join(f"    if a{i}:\n        return [x for x in a0 if x]\n" for i in range(27))
    names = ", ".join(f"a{i}" for i in range(27))
    (package / "large.py").write_text(f"def large({names}, answer, policy):\n{body}")
    [found] = functions(tmp_path)
    assert (found.parameters, found.lines, found.branches) == (29, 55, 1 + 3 * 27)
    assert {"answer", "policy"} <= found.names
    assert not found.command
    sources.cache_clear()
