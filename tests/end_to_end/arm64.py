"""A Debian root for 64-bit ARM, run by qemu on this machine, with the `[edge]` wheel in it.

The Debian mirror is the one that apt is configured for here, and pip's configuration is this
machine's: neither is written down.
"""

import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path

ARCHITECTURE, EMULATOR = "arm64", Path("/proc/sys/fs/binfmt_misc/qemu-aarch64")
#: Where the wheel and what it needs lie within the root.
PACKAGES = "opt/ddnn"


def lacking() -> str:
    """What this machine lacks, and how to get it; empty if nothing."""
    if platform.machine() == "aarch64":
        return "this machine is 64-bit ARM itself: run the ordinary tests"
    tools = {
        "debootstrap": "debootstrap",
        "unshare": "util-linux",
        "apt-get": "apt, so a Debian or Ubuntu",
        "qemu-aarch64-static": "qemu-user-static",
    }
    missing = [package for tool, package in tools.items() if shutil.which(tool) is None]
    if missing:
        return f"apt-get install {' '.join(missing)}"
    if os.geteuid() != 0:
        return "root, to make a root file system and to enter it"
    if not EMULATOR.exists():
        return (
            "the kernel to run ARM programs by qemu: apt-get install binfmt-support; mount -t "
            "binfmt_misc binfmt_misc /proc/sys/fs/binfmt_misc; update-binfmts --enable qemu-aarch64"
        )
    return ""


class Arm64:
    """The root at `folder`, made if it is not there, with this wheel installed."""

    def __init__(self, folder: Path, wheel: Path, constraints: Path) -> None:
        self.root = folder.absolute() / "root"
        if not self.root.exists():
            self._make()
        self._install(wheel, constraints)

    def command(self, *words: str | Path) -> list[str]:
        """A `ddnn-edge` command in the root, which shares this machine's network."""
        # /proc is mounted where nobody else sees it, and so goes with the process.
        enter = 'mount -t proc proc "$0/proc" && exec chroot "$0" "$@"'
        python = ("env", f"PYTHONPATH=/{PACKAGES}", "python3", "-m", "edge_runtime")
        inside = [*python, *(os.fspath(word) for word in words)]
        return ["unshare", "--mount", "sh", "-c", enter, os.fspath(self.root), *inside]

    def place(self, path: Path, name: str) -> Path:
        """Copy a file or folder into the root; where it is for a command there."""
        target = self.root / "srv" / name
        if path.is_dir():
            shutil.rmtree(target, ignore_errors=True)
            shutil.copytree(path, target)
        else:
            shutil.copy(path, target)
        return Path("/srv") / name

    def _make(self) -> None:
        suite, mirror = _debian()
        unfinished = self.root.with_name("unfinished")
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(parents=True)
        options = (f"--arch={ARCHITECTURE}", "--variant=minbase", "--include=python3")
        _run("debootstrap", *options, suite, unfinished, mirror)
        unfinished.rename(self.root)

    def _install(self, wheel: Path, constraints: Path) -> None:
        """By this machine's pip, for the root's Python: a pip in it would take minutes."""
        facts = "import platform, sys; print(*sys.version_info[:2], platform.libc_ver()[1])"
        found = _run("chroot", self.root, "python3", "-c", facts).split()
        python, libc = ".".join(found[:2]), int(found[2].split(".")[1])
        tags = [f"manylinux_2_{minor}_aarch64" for minor in range(libc, 16, -1)]
        platforms = [
            word for tag in (*tags, "manylinux2014_aarch64") for word in ("--platform", tag)
        ]
        target = self.root / PACKAGES
        shutil.rmtree(target, ignore_errors=True)
        _run(
            *(sys.executable, "-m", "pip", "install", "--quiet", "--only-binary", ":all:"),
            *("--target", target, "--python-version", python, "--implementation", "cp"),
            *platforms,
            *("-c", constraints, f"{wheel}[edge]"),
        )


def _debian() -> tuple[str, str]:
    """Suite and mirror that this machine's apt takes Debian from."""
    fields = "$(CODENAME)|$(REPO_URI)|$(ORIGIN)|$(LABEL)|$(COMPONENT)"
    lines = _run("apt-get", "indextargets", "--format", fields, "Identifier: Packages").splitlines()
    for suite, mirror, *rest in (line.split("|") for line in lines):
        if rest == ["Debian", "Debian", "main"] and "-" not in suite:
            return suite, mirror
    raise OSError(f"apt is configured for no Debian mirror here (apt-get update?): {lines}")


def _run(*command: str | Path) -> str:
    done = subprocess.run(
        [os.fspath(word) for word in command], capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        raise OSError(f"{command}\n{done.stdout[-4000:]}\n{done.stderr[-4000:]}")
    return done.stdout


if __name__ == "__main__":
    if missing := lacking():
        sys.exit(f"make test-arm64 needs {missing}")
