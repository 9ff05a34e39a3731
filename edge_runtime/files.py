"""Files that are whole or absent, and that are what they were."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .errors import InputError


def sha256(data: bytes) -> str:
    """Hexadecimal digest."""
    return hashlib.sha256(data).hexdigest()


def read_checked(path: Path, digest: str) -> bytes:
    """Contents of a file whose hash must be `digest`; `InputError` where it is missing or not."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise InputError(
            f"{path}: cannot be read ({error.strerror}); copy the folder again"
        ) from error
    if sha256(data) != digest:
        raise InputError(
            f"{path}: expected sha256 {digest[:12]}…, got {sha256(data)[:12]}… "
            f"({len(data)} bytes); the file is damaged or was edited: copy or export it again"
        )
    return data


@contextmanager
def new_file(path: str | Path) -> Iterator[Path]:
    """A temporary path beside `path`, renamed to it when the block ends well.

    Raises `InputError` at once if nothing can be written there.
    """
    path = Path(path)
    temporary = _temporary(path, folder=False)
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def new_folder(path: str | Path, *, replaces: str) -> Iterator[Path]:
    """A temporary folder beside `path`, renamed to it when the block ends well.

    A folder that stands there is replaced only if it holds a file called `replaces`, the mark of
    what this writes.
    """
    path = Path(path)
    if (
        path.exists()
        and not (path / replaces).is_file()
        and (not path.is_dir() or any(path.iterdir()))
    ):
        raise InputError(
            f"{path} exists and has no {replaces}, so it is not ours to replace; "
            "remove it or choose another name"
        )
    temporary = _temporary(path, folder=True)
    try:
        yield temporary
        # mkdtemp makes private folders; what it replaces was made with the usual permissions.
        temporary.chmod(0o777 & ~_umask())
        if path.exists():
            old = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
            try:
                os.replace(path, old / path.name)
                os.replace(temporary, path)
            except BaseException:
                if not path.exists():
                    os.replace(old / path.name, path)
                old.rmdir()
                raise
            shutil.rmtree(old)
        else:
            os.replace(temporary, path)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _temporary(path: Path, *, folder: bool) -> Path:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if folder:
            return Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
        if path.is_dir():
            raise IsADirectoryError(21, "is a folder")
        handle, name = tempfile.mkstemp(
            prefix=".", suffix=f".{path.name}", dir=path.parent
        )  # keeps the suffix, which tells Keras and numpy the format
        os.close(handle)
        os.chmod(name, 0o666 & ~_umask())
        return Path(name)
    except OSError as error:
        raise InputError(
            f"cannot write {path}: {error.strerror}; choose a place that can be written"
        ) from error


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
