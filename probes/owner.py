"""When a measuring process is to stop: told to, or without an owner. It must never run on without one.

The owner is the parent process and, where standard input is a pipe, whoever holds its other end (which still works with
a `sudo` in between); so a caller passes a pipe and keeps it open, or /dev/null. Through the pipe an owner may also say
something, line by line.
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
def stopping_when_told(stop: Callable[[], object], hear: Callable[[str], object] = lambda _: None) -> Iterator[None]:
    """Stop on SIGTERM, on SIGINT, and when the owner is gone; `hear` is told each line that the owner writes."""
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop)
    parent = os.pidfd_open(os.getppid())
    loop.add_reader(parent, stop)  # readable once that process has ended: pidfd_open(2)
    if stat.S_ISFIFO(os.fstat(_STDIN).st_mode):
        loop.add_reader(_STDIN, _Ear(loop, stop, hear).listen)
    try:
        yield
    finally:
        loop.remove_reader(_STDIN)
        loop.remove_reader(parent)
        os.close(parent)


class _Ear:
    """Reads what the owner writes, until the end."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, stop: Callable[[], object], hear: Callable[[str], object]
    ) -> None:
        self._loop, self._stop, self._hear = loop, stop, hear
        self._begun = b""

    def listen(self) -> None:
        """Read once; a line may come in pieces."""
        data = os.read(_STDIN, 4096)
        if not data:
            self._loop.remove_reader(_STDIN)
            self._stop()
        *lines, self._begun = (self._begun + data).split(b"\n")
        for line in lines:
            self._hear(line.decode(errors="replace"))
