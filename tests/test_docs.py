"""The documents hang together: links and anchors lead somewhere, the pictures are true."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.test_readme import DOCUMENTS, options

FENCED = re.compile(r"^```.*?^```", re.DOTALL | re.MULTILINE)
LINK = re.compile(r"\]\(([^)\s]+)\)")


def anchors(text: str) -> set[str]:
    """The anchors that a reader on the web gives to headings."""
    found: set[str] = set()
    for title in re.findall(r"^#+ (.+)$", FENCED.sub("", text), re.MULTILINE):
        plain = re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", title).lower()
        anchor = re.sub(r"[^\w\- ]", "", plain).strip().replace(" ", "-")
        number = 0
        while (unique := f"{anchor}-{number}" if number else anchor) in found:
            number += 1
        found.add(unique)
    return found


def broken(document: Path) -> list[str]:
    """The relative links of a document that lead nowhere."""
    wrong = []
    for link in LINK.findall(FENCED.sub("", document.read_text(encoding="utf-8"))):
        if "://" in link:
            continue
        path, _, anchor = link.partition("#")
        target = document.parent / path if path else document
        if not target.exists() or (
            anchor and anchor not in anchors(target.read_text(encoding="utf-8"))
        ):
            wrong.append(link)
    return wrong


@pytest.mark.parametrize("document", DOCUMENTS)
def test_links_and_anchors_lead_somewhere(document: str) -> None:
    assert broken(ROOT / document) == []


def test_a_link_or_anchor_that_leads_nowhere_is_noticed(tmp_path: Path) -> None:
    (tmp_path / "other.md").write_text("# What is `it`, and why?\n## Twice\n## Twice\n")
    page = tmp_path / "page.md"
    page.write_text(
        "[1](other.md) [2](other.md#what-is-it-and-why) [3](none.md) [4](other.md#nothing)\n"
        "[5](#gone) [6](https://example.org/x#y) [7](other.md#twice-1)\n```\n[8](no.md)\n```\n"
    )
    assert broken(page) == ["none.md", "other.md#nothing", "#gone"]


def test_every_page_is_reached_from_the_table_of_contents() -> None:
    seen: set[Path] = set()
    waiting = [ROOT / "docs" / "README.md"]
    while waiting:
        page = waiting.pop()
        if page in seen or page.suffix != ".md" or not page.exists():
            continue
        seen.add(page)
        links = LINK.findall(page.read_text(encoding="utf-8"))
        waiting += [(page.parent / x.partition("#")[0]).resolve() for x in links if "://" not in x]
    assert set((ROOT / "docs").rglob("*.md")) - seen == set()


# -- the commands reference ------------------------------------------------------------------------

COMMANDS = ROOT / "docs" / "reference" / "commands.md"


def documented() -> Iterator[tuple[str, frozenset[str]]]:
    """Each command that has a section, and the options that its table names."""
    for part in COMMANDS.read_text(encoding="utf-8").split("\n### ")[1:]:
        title, _, body = part.partition("\n")
        yield title.strip("`"), frozenset(re.findall(r"^\| `(--[\w-]+)", body, re.MULTILINE))


@pytest.mark.parametrize(("command", "named"), [*documented()])
def test_the_commands_reference_names_options_that_exist(
    command: str, named: frozenset[str]
) -> None:
    assert named - options(*command.split()) == set()


# -- the pictures of the rooms ---------------------------------------------------------------------


def floors(package: str) -> list[list[str]]:
    """The rooms that a picture of docs/architecture.md shows, a floor a line, from the top."""
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    picture = re.split(rf"^## The rooms of `{package}`$", text, flags=re.MULTILINE)[1]
    block = re.search(r"^```\n(.*?)^```", picture, re.DOTALL | re.MULTILINE)
    assert block is not None
    return [re.split(r"\s{2,}", line)[0].split(" | ") for line in block[1].splitlines()]


def rooms(folder: Path) -> set[str]:
    """Folders and files directly in a package, but for its front and entry point."""
    found = {x.stem for x in folder.iterdir() if x.suffix == ".py" or (x / "__init__.py").exists()}
    return found - {"__init__", "__main__"}


def upward(folder: Path, picture: list[list[str]]) -> list[str]:
    """Imports that a picture of a package's rooms does not allow."""
    floor = {room: height for height, row in enumerate(picture) for room in row}
    wrong = []
    for file in sorted(folder.rglob("*.py")):
        parts = file.relative_to(folder).parts
        room = parts[0].removesuffix(".py")
        if room not in floor:
            continue
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and node.level == len(parts):
                names = [node.module] if node.module else [alias.name for alias in node.names]
                wrong += [
                    f"{'/'.join(parts)} imports {other}"
                    for other in {name.partition(".")[0] for name in names} - {room}
                    if other in floor and floor[other] <= floor[room]
                ]
    return wrong


@pytest.mark.parametrize("package", ["edge_runtime", "ddnn_tf"])
def test_the_picture_of_the_rooms_is_true(package: str) -> None:
    picture = floors(package)
    assert {room for row in picture for room in row} == rooms(ROOT / package)
    assert upward(ROOT / package, picture) == []


def test_an_import_that_the_picture_forbids_is_noticed(tmp_path: Path) -> None:
    (tmp_path / "low").mkdir()
    (tmp_path / "low" / "one.py").write_text("from ..high import x\nfrom ..beside.y import z\n")
    (tmp_path / "high.py").write_text("from .low.one import x\n")
    assert upward(tmp_path, [["high"], ["low", "beside"]]) == [
        "low/one.py imports high",
        "low/one.py imports beside",
    ]
