"""Processes that end with the one that started them, whatever ends it: the kernel sees to it (PR_SET_PDEATHSIG).

The death signal is sent when the *thread* that forked ends, so the keeper starts every child from its main thread.
prctl(2); pidfd_open(2). `chaos.lab.keeper` and the hosts it keeps call this.
"""

from __future__ import annotations

import asyncio
import ctypes
import os
import signal
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO

_PR_SET_PDEATHSIG = 1
_LIBC = ctypes.CDLL(None, use_errno=True)


def end_with(parent: int) -> None:
    """Have the kernel kill this process when `parent` ends; end at once if it has ended already."""
    _LIBC.prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)
    if os.getppid() != parent:
        os._exit(1)


def start_child(
    command: Sequence[str | Path], log: Path, cwd: Path, *, pass_fds: Sequence[int] = ()
) -> subprocess.Popen[bytes]:
    """Start a process that ends with this one; what it says goes to `log`, made afresh."""
    parent = os.getpid()
    with log.open("wb") as output:
        return subprocess.Popen(
            command,
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            pass_fds=pass_fds,
            preexec_fn=lambda: end_with(parent),
        )


def on_end(process: int, call: Callable[[], None]) -> None:
    """Have the running event loop call `call` once, when that process (a child or not) has ended."""
    loop, watched = asyncio.get_running_loop(), os.pidfd_open(process)

    def ended() -> None:
        loop.remove_reader(watched)
        os.close(watched)
        call()

    loop.add_reader(watched, ended)


def tail(log: Path | IO[bytes], lines: int = 12) -> str:
    """Return the end of a log, for a message; empty where there is none."""
    try:
        said = log.read_bytes() if isinstance(log, Path) else log.read()
    except OSError:
        return ""
    return "\n".join(said.decode(errors="replace").replace("\r", "").splitlines()[-lines:])
