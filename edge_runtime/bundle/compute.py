"""By what a section is computed: threads, and an accelerator."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from ..errors import InputError

#: What LiteRT computes with where no other delegate is named.
BUILT_IN = "xnnpack"

#: Accelerators that LiteRT reaches through a library, and how it is called where it is installed.
DELEGATES: Mapping[str, str] = {
    "armnn": "libarmnnDelegate.so",
    "edgetpu": "libedgetpu.so.1",
    "ethosu": "libethosu_delegate.so",
    "gpu": "libtensorflowlite_gpu_delegate.so",
    "qnn": "libQnnTFLiteDelegate.so",
    "vx": "libvx_delegate.so",
}


class Compute(msgspec.Struct, frozen=True, kw_only=True):
    """By what a machine computes its section; nodes need not agree on it.

    `threads`: of LiteRT, at least 1. One is right for small sections: more of them cost more than
    they bring. `delegate`: `xnnpack`, which is built in; a name of `DELEGATES`; or the file of
    another library that makes a LiteRT delegate.

    Raises `InputError` for fewer threads, or a name that is neither.
    """

    threads: int = 1
    delegate: str = BUILT_IN

    def __post_init__(self) -> None:
        if self.threads < 1:
            raise InputError(f"expected --threads of at least 1, got {self.threads}")
        if self.delegate not in (BUILT_IN, *DELEGATES) and ".so" not in self.delegate:
            raise InputError(
                f"--delegate {self.delegate}: expected {BUILT_IN}, {', '.join(DELEGATES)}, or a "
                "library's file, such as ./libmine.so"
            )

    @property
    def library(self) -> str | None:
        """The delegate's library; None for what is built in."""
        return None if self.delegate == BUILT_IN else DELEGATES.get(self.delegate, self.delegate)

    def options(self) -> list[str]:
        """The same as the options of a command."""
        return ["--threads", str(self.threads), "--delegate", self.delegate]
