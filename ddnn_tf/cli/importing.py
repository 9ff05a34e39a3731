"""`--import`: files of the user's own whose classes a saved model names."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Sequence
from pathlib import Path

from edge_runtime.errors import InputError


def import_files(files: Sequence[Path] | None) -> None:
    """Run Python files, as `import` does, each once; what they register is known from then on.

    A file may import others of its folder. Raises `InputError` for one that is missing or fails,
    with the line.
    """
    for file in files or ():
        _import(file.resolve(), file)


def _import(path: Path, given: Path) -> None:
    name = path.stem
    if path.suffix != ".py" or not path.is_file():
        raise InputError(f"--import {given}: expected a Python file, such as my_layers.py")
    known = sys.modules.get(name)
    if known is not None:
        if getattr(known, "__file__", None) == str(path):
            return
        raise InputError(f"--import {given}: a module {name!r} is there already; rename the file")
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    # By its name, which a saved model keeps beside that of a class that is not registered.
    sys.modules[name] = module
    sys.path.insert(0, str(path.parent))
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:  # whatever a file of the user's raises
        del sys.modules[name]
        raise InputError(
            f"--import {given}: {type(error).__name__}: {' '.join(str(error).split())} "
            f"(line {_line(error, path)})"
        ) from error
    finally:
        sys.path.remove(str(path.parent))


def _line(error: BaseException, path: Path) -> int:
    """Where in the file it went wrong."""
    if isinstance(error, SyntaxError):
        return error.lineno or 0
    lines, step = [0], error.__traceback__
    while step is not None:
        if step.tb_frame.f_code.co_filename == str(path):
            lines.append(step.tb_lineno)
        step = step.tb_next
    return lines[-1]
