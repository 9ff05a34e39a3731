"""What a command says where TensorFlow itself crashes, which no Python code survives."""

from __future__ import annotations

import faulthandler
import os
import subprocess

_SETTING = "TF_ENABLE_ONEDNN_OPTS"
HINT = (
    "ddnn: TensorFlow crashed (signal 11); on some processors it does so over a 1x1 convolution of "
    f"stride 2. Run the command again with {_SETTING}=0 before it"
)
#: Reads what Python writes as it dies, and says what to do; ends in silence with a healthy process.
_LISTENER = """
read -r line || exit 0
case "$line" in
    *"Segmentation fault"*) echo "$HINT" >&2 ;;
    *) echo "$line" >&2; cat >&2 ;;
esac
"""


def hint_at_crash() -> None:
    """Have a process beside this one say what to do, should this one die of signal 11."""
    if faulthandler.is_enabled() or os.environ.get(_SETTING) == "0":
        return
    listening, telling = os.pipe()
    try:
        subprocess.Popen(
            ["sh", "-c", _LISTENER],
            stdin=listening,
            stdout=subprocess.DEVNULL,
            env={**os.environ, "HINT": HINT},
        )
    except OSError:  # no shell: then without a hint
        os.close(telling)
        return
    finally:
        os.close(listening)
    faulthandler.enable(telling, all_threads=False)
