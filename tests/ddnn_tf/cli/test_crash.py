"""A command that TensorFlow takes down with it says what to do."""

import os
import signal
import subprocess
import sys

import pytest

from ddnn_tf.cli.crash import HINT


def dying(how: str, **setting: str) -> tuple[int, str]:
    """Exit code and stderr of a process that hints, and then dies."""
    code = f"from ddnn_tf.cli.crash import hint_at_crash; hint_at_crash(); import os, signal; {how}"
    env = {k: v for k, v in os.environ.items() if k != "PYTHONFAULTHANDLER"} | setting
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=env)
    return done.returncode, done.stderr


def test_signal_11_ends_with_the_hint() -> None:
    code, said = dying("os.kill(os.getpid(), signal.SIGSEGV)")
    assert (code, said) == (-signal.SIGSEGV, HINT + "\n")
    assert "TF_ENABLE_ONEDNN_OPTS=0" in HINT


@pytest.mark.parametrize("how", ["pass", "raise SystemExit(2)"])
def test_any_other_end_says_nothing(how: str) -> None:
    assert dying(how)[1] == ""


def test_another_fatal_error_is_shown_as_it_is() -> None:
    code, said = dying("os.abort()")
    assert code == -signal.SIGABRT
    assert said.startswith("Fatal Python error: Aborted\n")
    assert HINT not in said


def test_there_is_no_hint_to_do_what_was_done() -> None:
    how = "os.kill(os.getpid(), signal.SIGSEGV)"
    assert dying(how, TF_ENABLE_ONEDNN_OPTS="0") == (-signal.SIGSEGV, "")
