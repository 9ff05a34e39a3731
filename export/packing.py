"""What artifacts take when they are sent or archived: packed by zstd. No device needs it."""

from __future__ import annotations

from edge_runtime.errors import InputError

from .compression import Stored

#: Of zstd: slow to pack and no slower to unpack, as is right for what is packed once.
LEVEL = 19


def stored_bytes(content: bytes, stored: Stored) -> int:
    """Size of an artifact in one form or the other; `InputError` where zstd is not installed."""
    if stored == "raw":
        return len(content)
    try:
        import zstandard
    except ModuleNotFoundError as error:
        raise InputError('packed sizes need zstandard: pip install "ddnn-tf[train]"') from error
    return len(zstandard.ZstdCompressor(level=LEVEL).compress(content))
