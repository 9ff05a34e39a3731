"""What the documents show works as they show it."""

import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from tests.commands import LIMIT, script
from tests.conftest import ROOT

DOCUMENTS = (
    "README.md",
    "CONTRIBUTING.md",
    *sorted(p.relative_to(ROOT).as_posix() for p in ROOT.glob("docs/**/*.md")),
)
COMMANDS = ("ddnn", "ddnn-edge")


def read(document: str) -> str:
    return (ROOT / document).read_text(encoding="utf-8")


def blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.DOTALL | re.MULTILINE)


# -- the README's Python, and the device's command after it ----------------------------------------


def run(*command: str | Path, cwd: Path) -> str:
    """What a command prints that a user runs in an empty folder."""
    # The street is drawn again, as on a fresh machine, and not into the user's own cache.
    env = {**os.environ, "XDG_CACHE_HOME": str(cwd / "cache")}
    done = subprocess.run(
        [os.fspath(part) for part in command],
        capture_output=True,
        text=True,
        cwd=cwd,
        env=env,
        check=False,
        timeout=LIMIT,
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def test_the_readmes_python_and_then_its_commands_run(tmp_path: Path) -> None:
    text = read("README.md")
    python = blocks(text, "python")[0]
    (tmp_path / "example.py").write_text(python, encoding="utf-8")
    table = run(sys.executable, "example.py", cwd=tmp_path)
    assert "256 configurations" in table
    for name in ("high", "medium", "low"):
        assert re.search(rf"^{name} +\d+\.\d\d", table, re.MULTILINE)
    assert (tmp_path / "report.png").read_bytes().startswith(b"\x89PNG")

    after = next(b for b in blocks(text, "sh") if "ddnn-edge evaluate" in b)
    for line in after.splitlines():
        name, *arguments = shlex.split(line, comments=True)
        said = run(script(name), *arguments, cwd=tmp_path)
    assert re.search(r"^low +\d+\.\d\d %", said, re.MULTILINE)
    asjson = run(script(name), *arguments, "--json", cwd=tmp_path)
    found = json.loads(asjson)["expected_accuracy"]["low"]
    # What the machine without TensorFlow says is what the table said, but for int8's rounding.
    [said_low] = re.findall(r"^low +(\d+\.\d\d)", table, re.MULTILINE)
    assert 100 * found == pytest.approx(float(said_low), abs=2)


def test_the_readmes_python_is_the_length_promised() -> None:
    lines = [x for x in blocks(read("README.md"), "python")[0].splitlines() if x.strip()]
    assert len(lines) <= 20


# -- every command that a document names -----------------------------------------------------------


def code(text: str) -> Iterator[str]:
    """Lines of fenced blocks, and spans between backticks."""
    fenced = re.compile(r"^```(\w*)\n(.*?)^```", re.DOTALL | re.MULTILINE)
    for language, block in fenced.findall(text):
        if language in ("", "sh", "console"):
            yield from block.replace("\\\n", " ").splitlines()
    yield from re.findall(r"`([^`\n]+)`", fenced.sub("", text))


def named(text: str) -> Iterator[list[str]]:
    """The words of every `make`, `ddnn` and `ddnn-edge` command."""
    for line in code(text):
        words = line.split("#")[0].strip().removeprefix("$ ").removeprefix(".venv/bin/").split()
        if words and words[0] in ("make", *COMMANDS):
            yield words


NAMED = [(document, words) for document in DOCUMENTS for words in named(read(document))]


@cache
def options(*words: str) -> frozenset[str]:
    """The options that an installed command says it has."""
    asked = subprocess.run(
        [script(words[0]), *words[1:], "--help"],
        capture_output=True,
        text=True,
        env={**os.environ, "COLUMNS": "200"},
        check=False,
        timeout=LIMIT,
    )
    assert asked.returncode == 0, f"there is no `{' '.join(words)}`: {asked.stderr}"
    return frozenset(re.findall(r"(?<![\w-])--?[a-z][\w-]*", asked.stdout))


def command_of(words: list[str]) -> list[str]:
    """The words that choose the command: those before options, capitals and paths."""
    chosen = words[:1]
    for word in words[1 : 3 if words[1:2] in (["data"], ["links"]) else 2]:
        if not re.fullmatch("[a-z]+", word):
            break
        chosen.append(word)
    return chosen


def targets() -> set[str]:
    text = read("Makefile")
    return set(re.findall(r"^([a-z0-9-]+):", text, re.MULTILINE))


def wrong(words: list[str]) -> list[str]:
    """What of a named command does not exist."""
    if words[0] == "make":
        return [w for w in words[1:] if "=" not in w and w not in targets()]
    known = options(*command_of(words))
    return [w for w in words if w.startswith("-") and w.partition("=")[0] not in known]


@pytest.mark.parametrize(
    ("document", "words"), NAMED, ids=[f"{d}: {' '.join(w)}" for d, w in NAMED]
)
def test_a_command_that_a_document_names_exists(document: str, words: list[str]) -> None:
    assert wrong(words) == []


def test_the_documents_name_commands() -> None:
    words = [w for _, w in NAMED]
    assert ["make", "demo"] in words
    assert ["make", "test"] in words
    assert any(w[:2] == ["ddnn", "train"] for w in words)
    assert any(w[:2] == ["ddnn-edge", "evaluate"] for w in words)


@pytest.mark.parametrize(
    "line", ["make tea", "ddnn train --luck 3", "ddnn-edge check --harder", "ddnn data info --nope"]
)
def test_a_command_that_does_not_exist_is_noticed(line: str) -> None:
    [words] = named(f"Run `{line}`.")
    assert wrong(words) != []


def test_a_command_of_another_name_is_noticed() -> None:
    [words] = named("```sh\n$ ddnn forget  # all\n```\n")
    with pytest.raises(AssertionError, match="there is no `ddnn forget`"):
        wrong(words)


@pytest.mark.parametrize("document", DOCUMENTS)
def test_links_between_documents_lead_somewhere(document: str) -> None:
    here = (ROOT / document).parent
    links = re.findall(r"\]\(([^)#]+)[^)]*\)", read(document))
    local = [link for link in links if "://" not in link]
    assert [link for link in local if not (here / link).exists()] == []
