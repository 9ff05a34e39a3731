"""`ddnn-edge completion`: a script with which a shell completes commands and options.

It is plain text made from the parser, so that a device needs no further package and no process
of Python is started for each press of the key.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping

from .options import AddCommand

SCRIPT = """\
# Completion of ddnn-edge for bash; load it with: eval "$(ddnn-edge completion bash)"
_ddnn_edge() {{
    local word=${{COMP_WORDS[COMP_CWORD]}} before=${{COMP_WORDS[COMP_CWORD - 1]}} words=
    if ((COMP_CWORD == 1)); then
        words="{commands}"
    else
        case "${{COMP_WORDS[1]}} $before" in
{values}
            *)
                [[ $word == -* ]] && case "${{COMP_WORDS[1]}}" in
{options}
                esac
                ;;
        esac
    fi
    # Where nothing is found, bash completes file names.
    COMPREPLY=($(compgen -W "$words" -- "$word"))
}}
complete -o default -F _ddnn_edge ddnn-edge
"""


def add_to(command: AddCommand, commands: Mapping[str, argparse.ArgumentParser]) -> None:
    """Add `completion`, of these commands."""

    def action(options: argparse.Namespace) -> int:
        print(bash(commands), end="")
        return 0

    text = "Print a script with which bash completes commands and options."
    add = command("completion", action, text, argparse.SUPPRESS)
    add.add_argument("shell", choices=("bash",), help="the shell that is to complete")


def bash(commands: Mapping[str, argparse.ArgumentParser]) -> str:
    """The script for these commands."""
    return SCRIPT.format(
        commands=" ".join([*commands, "--help", "--version"]),
        values="\n".join(line for n, parser in commands.items() for line in _values(n, parser)),
        options="\n".join(
            f'                    {name}) words="{" ".join(_options(parser))}" ;;'
            for name, parser in commands.items()
        ),
    )


def _shown(parser: argparse.ArgumentParser) -> Iterator[argparse.Action]:
    return (action for action in parser._actions if action.help != argparse.SUPPRESS)


def _options(parser: argparse.ArgumentParser) -> Iterator[str]:
    return (a.option_strings[-1] for a in _shown(parser) if a.option_strings)


def _values(name: str, parser: argparse.ArgumentParser) -> Iterator[str]:
    """Where words of a fixed choice stand: after an option, or right after the command."""
    for action in _shown(parser):
        if action.choices:
            before = action.option_strings[-1] if action.option_strings else name
            yield f'            "{name} {before}") words="{" ".join(action.choices)}" ;;'
