"""Time as a value. Every time in a recording is the controller's CLOCK_MONOTONIC, in whole nanoseconds.

The clock is passed in, never imported where it is read, so that a test can hold it still.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Protocol

NS = 1_000_000_000


class Clock(Protocol):
    """What code that waits or stamps needs of a clock."""

    def now(self) -> int:
        """Return CLOCK_MONOTONIC in ns."""

    def utc(self) -> datetime:
        """Return the wall clock, for people to read; nothing is computed from it."""

    def sleep_until(self, when: int) -> None:
        """Return once `now() >= when` (ns)."""


class SystemClock:
    """The machine's own clock."""

    def now(self) -> int:
        """Return CLOCK_MONOTONIC in ns."""
        return time.monotonic_ns()

    def utc(self) -> datetime:
        """Return the wall clock."""
        return datetime.now(UTC)

    def sleep_until(self, when: int) -> None:
        """Sleep to an absolute time: an early wake-up sleeps again, a late start does not sleep."""
        while (left := when - time.monotonic_ns()) > 0:
            time.sleep(left / NS)
