"""Two ways of waiting that an event loop does not have: to the microsecond, and for thousands of equal timeouts.

`AbsoluteTimer` is a timerfd (timerfd_create(2)) that the loop polls: it wakes at a CLOCK_MONOTONIC time. The loop's own
`call_at` rounds to whole milliseconds (libuv), which at 2 000 requests/s is two gaps.

`Deadlines` gives each of many connections the same time to finish. As the time is the same for all, the one that began
first is due first: an insertion-ordered dict and one timer do, where a timer per request would cost more than sending.
"""

from __future__ import annotations

import asyncio
import ctypes
import os
from collections.abc import Callable
from time import monotonic_ns
from typing import Generic, TypeVar

NS = 1_000_000_000
_TFD_TIMER_ABSTIME = 1
_TFD_NONBLOCK_CLOEXEC = os.O_NONBLOCK | os.O_CLOEXEC  # timerfd_create(2): the flags have the values of open(2)'s
_CLOCK_MONOTONIC = 1
T = TypeVar("T")


class _Timespec(ctypes.Structure):
    _fields_ = (("tv_sec", ctypes.c_long), ("tv_nsec", ctypes.c_long))


class _Itimerspec(ctypes.Structure):
    _fields_ = (("it_interval", _Timespec), ("it_value", _Timespec))


_libc = ctypes.CDLL(None, use_errno=True)


class AbsoluteTimer:
    """Calls back from the loop once a CLOCK_MONOTONIC time is reached; a time in the past calls back at once."""

    def __init__(self, loop: asyncio.AbstractEventLoop, callback: Callable[[], None]) -> None:
        self._fd: int = _libc.timerfd_create(_CLOCK_MONOTONIC, _TFD_NONBLOCK_CLOEXEC)
        if self._fd < 0:
            raise OSError(ctypes.get_errno(), "timerfd_create")
        self._loop, self._callback, self._spec = loop, callback, _Itimerspec()
        self._reference = ctypes.byref(self._spec)
        self._settime = _libc.timerfd_settime
        loop.add_reader(self._fd, self._expired)

    def arm(self, when: int) -> None:
        """Call back at `when` (ns); what was armed before is forgotten."""
        self._spec.it_value.tv_sec, self._spec.it_value.tv_nsec = divmod(when, NS)
        self._settime(self._fd, _TFD_TIMER_ABSTIME, self._reference, None)

    def close(self) -> None:
        """Call back no more."""
        if self._fd >= 0:
            self._loop.remove_reader(self._fd)
            os.close(self._fd)
            self._fd = -1

    def _expired(self) -> None:
        try:
            os.read(self._fd, 8)  # or the descriptor stays readable, and the loop spins
        except BlockingIOError:  # armed anew since the loop saw it expire
            return
        self._callback()


class Deadlines(Generic[T]):
    """Gives everything that is added `span` seconds, then hands it to `expire` unless it was discarded before."""

    def __init__(self, loop: asyncio.AbstractEventLoop, span: float, expire: Callable[[T], None]) -> None:
        self._loop, self._span, self._expire = loop, round(span * NS), expire
        self._began: dict[T, int] = {}
        self._timer: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        return len(self._began)

    def add(self, item: T, began: int) -> None:
        """Start its time at `began` (ns), not before that of any item added earlier."""
        self._began[item] = began
        if self._timer is None:
            self._arm()

    def discard(self, item: T) -> None:
        """Forget it: it finished, or was never there."""
        self._began.pop(item, None)

    def items(self) -> list[T]:
        """Return what has not ended, oldest first."""
        return list(self._began)

    def expire_due(self) -> None:
        """Expire what is due now."""
        limit = monotonic_ns() - self._span
        due = []
        for item, began in self._began.items():
            if began > limit:
                break
            due.append(item)
        for item in due:
            if self._began.pop(item, None) is not None:
                self._expire(item)

    def close(self) -> None:
        """Expire nothing more."""
        if self._timer is not None:
            self._timer.cancel()

    def _arm(self) -> None:
        oldest = next(iter(self._began.values()))
        left = oldest + self._span - monotonic_ns()
        self._timer = self._loop.call_later(max(left, 0) / NS + 0.001, self._fired)  # rounded up: never early

    def _fired(self) -> None:
        self._timer = None
        self.expire_due()
        if self._began and self._timer is None:
            self._arm()
