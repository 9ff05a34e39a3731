"""A command: how it ends, what its user can mend, and its one JSON object."""

from __future__ import annotations

import json
import os
import sys
import warnings
from collections.abc import Callable
from typing import Any, NoReturn

from ..errors import InputError


def guarded(program: str, command: Callable[[], int]) -> int:
    """Run a command; what the user can mend becomes one line and exit code 2.

    One whose reader goes away, as `head` does, ends well.
    """

    def say(message: Warning | str, *_: Any, **__: Any) -> None:
        print(f"{program}: warning: {' '.join(str(message).split())}", file=sys.stderr)

    try:
        with warnings.catch_warnings():
            warnings.showwarning = say
            return command()
    except InputError as error:
        print(f"{program}: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"{program}: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:
        # Whoever read the lines has enough; Python must not try to flush the rest.
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)
        return 0


def version_text(program: str) -> str:
    """The program and the version that is installed; that none is known, where none is."""
    from importlib.metadata import PackageNotFoundError, version  # which takes its time

    try:
        return f"{program} {version('ddnn-tf')}"
    except PackageNotFoundError:
        return f"{program}: version unknown; ddnn-tf is not installed here, its folder was copied"


def renamed_error(old: str, new: str, command: str) -> InputError:
    """What is said of an option that has another name now."""
    return InputError(f"{old} is called {new} now; see `{command} --help`")


def print_json(record: Any) -> None:
    """One object on stdout, and nothing else there."""
    print(json.dumps(record))


def end_with(main: Callable[[], int]) -> NoReturn:
    """End this process with the exit code of `main`, and without the interpreter's own end.

    Threads of native libraries outlive what is closed in Python: those in which Zenoh calls back,
    those that wait for a stream in FFmpeg, TensorFlow's. One that reaches for the interpreter while
    that is being taken down is ended in the midst of native code, which can end the process by
    SIGABRT (one in some 400 runs ended so on Python 3.11; that this was why is not proven); and to
    take TensorFlow down takes most of a second. So by now all is closed and written that is to be,
    and nothing else is done.

    Should `main` fail, Python ends as always, with the traceback.
    """
    try:
        code = main()
    except SystemExit as error:  # argparse, after --help
        if not (error.code is None or isinstance(error.code, int)):
            raise
        code = error.code or 0
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except BrokenPipeError:
            pass  # whoever read it has enough
        except OSError as error:
            # Not by way of the stream: it may be this one.
            os.write(2, f"cannot write the output: {error.strerror}\n".encode())
            code = code or 2
    os._exit(code)
