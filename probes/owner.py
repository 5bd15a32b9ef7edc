"""When a measuring process is to stop: told to, or without an owner. It must never run on without one.

The owner is the parent process and, where standard input is a pipe, whoever holds its other end (which still works with
a `sudo` in between); so a caller passes a pipe and keeps it open, or /dev/null.
"""

from __future__ import annotations

import asyncio
import os
import signal
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager

_STDIN = 0


@contextmanager
def stopping_when_told(stop: Callable[[], object]) -> Iterator[None]:
    """Stop on SIGTERM, on SIGINT, and when the owner is gone."""
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop)
    parent = os.pidfd_open(os.getppid())
    loop.add_reader(parent, stop)  # readable once that process has ended: pidfd_open(2)
    if stat.S_ISFIFO(os.fstat(_STDIN).st_mode):
        loop.add_reader(_STDIN, _stop_at_eof, loop, stop)
    try:
        yield
    finally:
        loop.remove_reader(_STDIN)
        loop.remove_reader(parent)
        os.close(parent)


def _stop_at_eof(loop: asyncio.AbstractEventLoop, stop: Callable[[], object]) -> None:
    if not os.read(_STDIN, 4096):
        loop.remove_reader(_STDIN)
        stop()
