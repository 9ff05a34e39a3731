"""This process, and others like it."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

__all__ = ["command", "end_with", "environment", "resident_mb"]


def command(*arguments: str) -> list[str]:
    """What starts `ddnn-edge` with these arguments, in `environment`."""
    return [sys.executable, "-m", str(__package__), *arguments]


def environment() -> dict[str, str]:
    """This process's own, in which a new process finds this very copy of the package."""
    home = str(Path(__file__).resolve().parents[1])
    path = os.pathsep.join(filter(None, [home, os.environ.get("PYTHONPATH")]))
    return {**os.environ, "PYTHONPATH": path}


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


def resident_mb() -> float:
    """Resident memory of this process, in 10^6 bytes."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6
