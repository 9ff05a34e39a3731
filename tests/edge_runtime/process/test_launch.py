import subprocess
import sys

import pytest

from edge_runtime.process.command import end_with
from edge_runtime.process.launch import command, environment

#: Ends a process by `end_with`, where all that the interpreter does at its own end goes wrong.
END = """
import atexit, os, sys
from edge_runtime.process.command import end_with

def main():
    print("said")
    print("and told", file=sys.stderr)
    {}

atexit.register(os.abort)
end_with(main)
"""


def ended(body: str, **options: object) -> tuple[int, str, str]:
    # Written at the end, unless this is set.
    env = {name: value for name, value in environment().items() if name != "PYTHONUNBUFFERED"}
    arguments = [sys.executable, "-c", END.format(body)]
    defaults = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    ran = subprocess.run(  # type: ignore[call-overload]
        arguments, text=True, check=False, env=env, **(defaults | options)
    )
    return ran.returncode, ran.stdout or "", ran.stderr or ""


@pytest.mark.parametrize(("body", "code"), [("return 2", 2), ("sys.exit(1)", 1), ("sys.exit()", 0)])
def test_a_process_ends_with_its_code_and_nothing_after_it(body: str, code: int) -> None:
    assert ended(body) == (code, "said\n", "and told\n")


def test_output_that_cannot_be_written_is_told_in_a_line() -> None:
    with open("/dev/full", "w") as full:
        code, _, err = ended("return 0", stdout=full)
    assert (code, err) == (2, "and told\ncannot write the output: No space left on device\n")


def test_a_fault_keeps_its_traceback() -> None:
    with pytest.raises(ZeroDivisionError):
        end_with(lambda: 1 // 0)


def test_the_program_ends_so() -> None:
    ran = subprocess.run(
        command("check", "nowhere"), capture_output=True, text=True, check=False, env=environment()
    )
    assert (ran.returncode, ran.stdout) == (2, "")
    assert ran.stderr.startswith("ddnn-edge: nowhere/node.json: cannot be read")
