"""The options of both programs: one word means one thing in every command."""

import argparse
import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from types import UnionType
from typing import Any, Literal, NamedTuple, Union, get_args, get_origin, get_type_hints

import pytest
import typer

from ddnn_tf.cli import app as ddnn_module
from ddnn_tf.cli import main
from edge_runtime.cli.main import main as edge_main
from edge_runtime.cli.main import make_parser
from edge_runtime.cli.options import RENAMED
from edge_runtime.transport.deployment import Deployment
from tests.commands import LIMIT, Deployed, Main, call, refused, script

Kind = Literal["choice", "count", "flag", "number", "text", "time"]

#: What a word is, and what its help says in every command: a word with two meanings fails here.
WORDS: dict[str, tuple[Kind, str]] = {
    "--accuracy-change": ("number", "change the accuracy"),
    "--against": ("choice", "best placements at every value"),
    "--answer": ("choice", "the output node"),
    "--at": ("text", "layers that end the sections"),
    "--augment": ("text", "variations of pictures"),
    "--backend": ("choice", "what computes"),
    "--balance": ("number", "least compute of a section"),
    "--batch-size": ("count", "samples in a training step"),
    "--beam": ("count", "sets of links of each size"),
    "--budget": ("text", "largest .tflite"),
    "--bundle": ("text", "the bundle of these nodes"),
    "--byte-range": ("text", "0 and 255 stand for"),
    "--byte-share": ("number", "share of the payload"),
    "--checkpoint": ("text", "the state of the training"),
    "--classes": ("text", "names of the classes"),
    "--compress": ("text", "sections smaller"),
    "--configurations": ("count", "draw this many failure configurations at random"),
    "--data": ("text", "sample"),
    "--deadline": ("time", "from capture to answer"),
    "--delegate": ("text", "what computes a section"),
    "--deployment": ("text", "where the nodes are"),
    "--devices": ("text", "the devices and the wires"),
    "--early": ("flag", "let a node that is sure enough answer early"),
    "--encoding": ("choice", "their numbers"),
    "--epochs": ("count", "how often training goes through the data"),
    "--exits": ("text", "nodes that get a classifier"),
    "--fail": ("time", "kill a node"),
    "--fallback": ("choice", "what answers where nothing arrives"),
    "--fps": ("number", "frames per second"),
    "--frames": ("count", "many frames"),
    "--freeze": ("choice", "the model to go on from"),
    "--goal": ("number", "expected accuracy to reach"),
    "--group": ("text", "whom, which day or which site"),
    "--hang": ("time", "stop a node"),
    "--help": ("flag", "show this help message and exit"),
    "--hold": ("time", "how long each failure configuration"),
    "--head": ("text", "what the model's numbers are"),
    "--import": ("text", "a Python file of your own"),
    "--json": ("flag", "JSON"),
    "--label": ("text", "the column of the class"),
    "--labels": ("text", "several labels may hold"),
    "--learning-rate": ("number", "step size"),
    "--max-bytes": ("number", "most bytes"),
    "--max-latency": ("time", "longest latency"),
    "--max-links": ("count", "most links"),
    "--merge": ("choice", "how a section takes residual links"),
    "--method": ("choice", "primary links only"),
    "--metrics": ("text", "serve /metrics"),
    "--min-accuracy": ("number", "least expected accuracy"),
    "--model": ("text", "a trained model"),
    "--mtbf": ("time", "from a repair to the next failure"),
    "--mttr": ("time", "from a failure to its repair"),
    "--nodes": ("text", "a chain of nodes"),
    "--objective": ("choice", "what is made best"),
    "--out": ("text", "written"),
    "--packed": ("flag", "as zstd packs it"),
    "--per": ("choice", "what gets a rate of its own"),
    "--policy": ("choice", "which answer is taken where several nodes answer"),
    "--prior": ("text", "how frequent each class is"),
    "--quantize": ("choice", "numbers in which the artifacts keep their weights"),
    "--record": ("text", "write trace.jsonl, answers.jsonl"),
    "--region": ("text", "the part of a sensor's pictures"),
    "--repeats": ("count", "failure configurations drawn for a sample"),
    "--replay-answers": ("text", "compute the recorded answers"),
    "--residual": ("text", "residual links to add"),
    "--restore": ("time", "start a node again"),
    "--retrain": ("flag", "train the recommended sets of links"),
    "--routed": ("flag", "through a router"),
    "--runs": ("count", "how many inferences are timed"),
    "--save-answers": ("text", "write the answers"),
    "--save-trace": ("text", "write the trace"),
    "--saved-model": ("text", "nodes that also get a TensorFlow SavedModel"),
    "--sections": ("choice", "what each node computes"),
    "--seed": ("count", "random seed of"),
    "--seeds": ("count", "how many"),
    "--sensor": ("text", "a sensor, and its columns"),
    "--size": ("text", "scale all to this size"),
    "--smooth": ("time", "smoothed over time"),
    "--shape": ("text", "fix the sizes of an input"),
    "--task": ("text", "what an answer means"),
    "--source": ("text", "a camera such as"),
    "--split": ("text", "the part of the data to use"),
    "--start": ("text", "go on from this model"),
    "--steps": ("count", "training steps after each part"),
    "--storage": ("text", "where workers share the search"),
    "--survival": ("text", "how probably"),
    "--table": ("flag", "measure what the artifacts cost"),
    "--threads": ("count", "threads that compute a section"),
    "--topology": ("text", "topology"),
    "--trace": ("text", "recorded failure trace"),
    "--trial-seeds": ("count", "how many trainings each trial is of"),
    "--trials": ("count", "how many rates are tried"),
    "--units": ("text", "unit of each of --values"),
    "--validation": ("text", "the part of the data to report on"),
    "--values": ("text", "numbers to predict"),
}

#: Names of types of Python, or of Click's, which mean nothing to a user.
TYPES = re.compile(
    r"\b(INTEGER|FLOAT|TEXT|PATH|FILENAME|BOOLEAN|RANGE|int|float|str|bool|Optional|None)\b"
)


class Option(NamedTuple):
    """An option of a command, as its parser has it."""

    command: tuple[str, ...]
    name: str
    kind: Kind
    default: Any
    required: bool
    help: str


def kind_of(metavar: str | None, choices: object, type_name: str, flag: bool) -> Kind:
    if flag:
        return "flag"
    if choices:
        return "choice"
    if metavar is not None and metavar.endswith("TIME"):
        return "time"
    kinds: dict[str, Kind] = {"int": "count", "float": "number"}
    return kinds.get(type_name, "text")


def edge_options(name: str, parser: argparse.ArgumentParser) -> Iterator[Option]:
    for a in parser._actions:
        if a.option_strings and a.help != argparse.SUPPRESS:
            type_name = getattr(a.type, "__name__", "str")
            kind = kind_of(str(a.metavar), a.choices, type_name, a.nargs == 0)
            text = a.help or ""
            yield Option((name,), a.option_strings[-1], kind, a.default, a.required, text)


def ddnn_options(path: tuple[str, ...], command: Any) -> Iterator[Option]:
    hints = get_type_hints(command.callback)
    for p in command.params:
        if p.param_type_name == "option" and p.name in hints:
            hint = hints[p.name]
            if get_origin(hint) in (Union, UnionType):  # what may be left out
                hint = get_args(hint)[0]
            choices = get_args(hint) if get_origin(hint) is Literal else None
            type_name = getattr(hint, "__name__", "str")
            kind = kind_of(p.metavar, choices, type_name, hint is bool)
            yield Option(path, p.opts[0], kind, p.default, p.required, p.help or "")


def leaves(command: Any, *path: str) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Every command of `ddnn`, with the words that name it."""
    if not hasattr(command, "commands"):
        yield path, command
        return
    for name, below in command.commands.items():
        yield from leaves(below, *path, name)


_, EDGE = make_parser()
DDNN = dict(leaves(typer.main.get_command(ddnn_module.app)))
COMMANDS: list[tuple[Main, tuple[str, ...]]] = [
    *((edge_main, (name,)) for name in EDGE),
    *((main, path) for path in DDNN),
]
IDS = [f"{'ddnn' if m is main else 'ddnn-edge'} {' '.join(path)}" for m, path in COMMANDS]


def options(program: Main, path: tuple[str, ...]) -> list[Option]:
    if program is main:
        return list(ddnn_options(path, DDNN[path]))
    return list(edge_options(path[0], EDGE[path[0]]))


every_command = pytest.mark.parametrize(("program", "path"), COMMANDS, ids=IDS)


def help_of(program: Main, path: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("COLUMNS", "100")
    name = "ddnn" if program is main else "ddnn-edge"
    if program is main:
        return call(main, *path, "--help").out
    found = EDGE[path[0]].format_help()
    assert found.startswith(f"usage: {name} ")
    return found


def paragraphs(text: str) -> dict[str, str]:
    """What a help says of each option, on one line."""
    found: dict[str, str] = {}
    for block in re.split(r"\n(?=  -)", text)[1:]:
        name = re.search(r"--[a-z-]+", block)
        assert name is not None
        found[name[0]] = " ".join(block.split("\n\n")[0].split())
    return found


def test_no_word_is_left_out() -> None:
    found = {o.name for program, path in COMMANDS for o in options(program, path)}
    assert found - {"--help"} == set(WORDS) - {"--help"}


@every_command
def test_a_word_means_the_same_in_every_command(program: Main, path: tuple[str, ...]) -> None:
    for option in options(program, path):
        kind, text = WORDS[option.name]
        assert option.kind == kind, option
        assert text in option.help, option


@every_command
def test_help_shows_defaults_and_no_types_of_python(
    program: Main, path: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    said = help_of(program, path, monkeypatch)
    assert TYPES.search(said) is None
    told = paragraphs(said)
    for option in options(program, path):
        text = told[option.name]
        if option.kind == "flag" or option.required:
            continue
        assert "default: " in text, text
        if option.default not in (None, "", [], ()):
            assert re.search(rf"default: {re.escape(str(option.default))}\b", text), text


# -- times -----------------------------------------------------------------------------------------


@pytest.fixture
def beginnings(small_deployed: Deployed, tmp_path: Path) -> dict[tuple[str, ...], list[str | Path]]:
    """Of each command with times, what it needs beside them."""
    it, file = small_deployed, tmp_path / "deployment.json"
    Deployment.on_one_host(it.topology.order, first_port=None).save(file)
    left = it.bundle / "nodes" / "left"
    return {
        ("place",): ["place", it.bundle, "--devices", tmp_path / "devices.json"],
        ("run",): ["run", left, "--deployment", file, "--source", f"cam0={it.test}"],
        ("simulate",): ["simulate", it.bundle, "--data", it.test],
        ("up",): ["up", it.bundle, "--data", it.test],
    }


TIMES = [
    (program, path, option.name)
    for program, path in COMMANDS
    for option in options(program, path)
    if option.kind == "time"
]


@pytest.mark.parametrize(
    ("program", "path", "option"), TIMES, ids=[f"{p[0]} {o}" for _, p, o in TIMES]
)
@pytest.mark.parametrize("number", ["3", "0.5"])
def test_a_time_has_a_unit(
    program: Main,
    path: tuple[str, ...],
    option: str,
    number: str,
    beginnings: dict[tuple[str, ...], list[str | Path]],
) -> None:
    single = option in ("--fail", "--hang", "--restore")
    words = [option, f"left@{number}" if single else number]
    if option in ("--hold", "--mtbf", "--mttr"):
        words += ["--survival", "low"]
    said = refused(program, *beginnings[path], *words)
    assert option in said
    if path == ("simulate",) and (option, number) == ("--hold", "3"):
        assert "not frames; that many frames at 30 a second are --hold 0.1s" in said
    else:
        unit = "ms" if option in ("--deadline", "--max-latency") else "s"
        assert f"expected a time with its unit, got '{number}'; write {number}{unit}" in said


# -- older spellings -------------------------------------------------------------------------------

OLDER = [
    *((edge_main, (c,), old, new) for c, table in RENAMED.items() for old, new in table.items()),
    *(
        (main, tuple(c.split()[1:]), old, new)
        for c, table in ddnn_module.RENAMED.items()
        for old, new in table.items()
    ),
]


@pytest.mark.parametrize(
    ("program", "path", "old", "new"), OLDER, ids=[f"{' '.join(p)} {o}" for _, p, o, _ in OLDER]
)
@pytest.mark.parametrize("value", [["1"], []])
def test_an_older_spelling_names_the_new_one(
    program: Main,
    path: tuple[str, ...],
    old: str,
    new: str,
    value: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    name = "ddnn" if program is main else "ddnn-edge"
    see = f"see `{name} {' '.join(path)} --help`"
    assert refused(program, *path, old, *value) == f"{name}: {old} is called {new} now; {see}\n"
    said = help_of(program, path, monkeypatch)
    assert re.search(rf"{old}(?![\w-])", said) is None
    assert new in said


# -- version and completion ------------------------------------------------------------------------


def test_both_programs_say_their_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert re.fullmatch(r"ddnn \d+\.\d+\.\d+\S*\n", call(main, "--version").out)
    with pytest.raises(SystemExit) as ended:
        edge_main(["--version"])
    assert ended.value.code in (0, None)
    assert re.fullmatch(r"ddnn-edge \d+\.\d+\.\d+\S*\n", capsys.readouterr().out)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("tr",), {"train"}),
        (("links", ""), {"importance", "search"}),
        (("train", "--met"), {"--method"}),
        (("place", "--objective", ""), {"latency", "bytes", "accuracy"}),
    ],
)
def test_the_shell_completes_ddnn(words: tuple[str, ...], expected: set[str]) -> None:
    """By the script that `--show-completion` prints, in bash itself."""
    assert set(completed("ddnn --show-completion bash", "ddnn", *words)) == expected


def completed(made_by: str, program: str, *words: str) -> list[str]:
    """What bash offers for the last word, once it has read what a command prints."""
    line = " ".join(f"'{word}'" for word in (program, *words))
    code = (
        f'eval "$({made_by})"; COMP_WORDS=({line}); COMP_CWORD={len(words)}; '
        f"set -- $(complete -p {program}); while [ $1 != -F ]; do shift; done; "
        f'$2 {program} "${{COMP_WORDS[COMP_CWORD]}}"; printf "%s\\n" "${{COMPREPLY[@]}}"'
    )
    path = os.pathsep.join([str(script(program).parent), os.environ["PATH"]])
    # Else a shell that is asked to show a script must find out which shell it was called from.
    env = {**os.environ, "PATH": path, "_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1"}
    ran = subprocess.run(
        ["bash", "--norc", "-c", code],
        env=env,
        capture_output=True,
        text=True,
        check=False,
        timeout=LIMIT,
    )
    assert (ran.returncode, ran.stderr) == (0, "")
    return [word.strip() for word in ran.stdout.split("\n") if word.strip()]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("ev",), {"evaluate"}),
        (("u",), {"up"}),
        (("exits", "b", "--byte"), {"--byte-share"}),
        (("evaluate", "--fallback", "prior"), {"prior", "prior-random"}),
        (("up", "b", "--encoding", ""), {"raw", "float16", "int8"}),
        (("completion", ""), {"bash"}),
        (("evaluate", "no-option"), set[str]()),
    ],
)
def test_the_shell_completes_ddnn_edge(words: tuple[str, ...], expected: set[str]) -> None:
    found = completed("ddnn-edge completion bash", "ddnn-edge", *words)
    assert set(found) == expected


def test_completion_is_installed_for_whom_asks(tmp_path: Path) -> None:
    ran = subprocess.run(
        ["bash", "-c", f"{script('ddnn')} --install-completion bash; exit $?"],
        env={
            **os.environ,
            "HOME": str(tmp_path),
            "_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1",
        },
        capture_output=True,
        text=True,
        check=False,
        timeout=LIMIT,
    )
    assert ran.returncode == 0, ran.stderr
    assert "complete -o default" in (tmp_path / ".bash_completions" / "ddnn.sh").read_text()
