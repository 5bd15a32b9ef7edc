"""A host in namespaces of this machine with a process 1 of its own, and a disk that outlives it (hosts/systemd.sh)."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from chaos.lab.children import end_with
from chaos.targets.local import LocalTarget

_BOOT = Path(__file__).parents[1] / "hosts" / "systemd.sh"
_ISOLATE = ("unshare", "--fork", "--kill-child=SIGKILL", "--pid", "--mount", "--net", "--uts", "--ipc", "--cgroup")


@contextmanager
def booted(folder: str, *program: str) -> Iterator[LocalTarget]:
    """Boot the host whose disk is in a folder, with systemd or another program; all of it is killed at the end."""
    owner = os.getpid()
    with subprocess.Popen(
        [*_ISOLATE, "sh", _BOOT, folder, *program],
        cwd="/",
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        preexec_fn=lambda: end_with(owner),
    ) as parent:
        target = None
        try:
            target = LocalTarget("booted", first_process(parent.pid, program[0] if program else "systemd"))
            yield target
        finally:
            parent.kill()
            if target is not None:
                target.close()


def first_process(parent: int, name: str) -> int:
    """The host's process 1, once it is that program."""
    children = Path(f"/proc/{parent}/task/{parent}/children")

    def found() -> list[str]:
        pids = children.read_text().split()
        return [pid for pid in pids if Path(f"/proc/{pid}/comm").read_text() == f"{name}\n"]

    wait_until(lambda: bool(found()), 30)
    return int(found()[0])


def wait_until(true: Callable[[], bool], within: float = 10) -> None:
    end = time.monotonic() + within
    while not true():
        assert time.monotonic() < end, f"not within {within:.0f} s"
        time.sleep(0.05)
