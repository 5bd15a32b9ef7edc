"""The programs that the lab is made with: where they are, which Debian package has each, and how they are called.

`/usr/sbin` is looked in as well: it is not on a plain user's PATH, and what the lab takes from there needs no root.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from chaos.errors import Refusal

_PACKAGES = {
    "vm": {
        "qemu-system-x86_64": "qemu-system-x86",
        "busybox": "busybox-static",
        "cpio": "cpio",
        "modprobe": "kmod",
        "depmod": "kmod",
        "ssh": "openssh-client",
        "ssh-keygen": "openssh-client",
        "sshd": "openssh-server",
        "ip": "iproute2",
        "tc": "iproute2",
        "apt-get": "apt",
        "dpkg": "dpkg",
    },
    "netns": {"unshare": "util-linux", "nsenter": "util-linux", "ip": "iproute2", "tc": "iproute2"},
}
_PATH = os.pathsep.join((os.environ.get("PATH", os.defpath), "/usr/local/sbin", "/usr/sbin", "/sbin"))


def missing_packages(kind: str) -> list[str]:
    """Return the Debian packages that a lab of this kind ("vm" or "netns") needs and that are not here, sorted."""
    return sorted({package for program, package in _PACKAGES[kind].items() if not shutil.which(program, path=_PATH)})


def which(program: str) -> str:
    """Return the program's path. Raises Refusal naming the package to install."""
    found = shutil.which(program, path=_PATH)
    if not found:
        packages = {name: package for tools in _PACKAGES.values() for name, package in tools.items()}
        raise Refusal(f"{program} is not here; install the package {packages.get(program, program)}")
    return found


def run(program: str, *arguments: str | Path, cwd: Path | None = None) -> str:
    """Return what a program said on standard output. Raises Refusal with its own words when it failed."""
    command = [which(program), *map(str, arguments)]
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    if done.returncode:
        said = (done.stderr.strip() or done.stdout.strip())[-1000:]
        raise Refusal(f"`{' '.join(command)}` ended with {done.returncode}: {said}")
    return done.stdout
