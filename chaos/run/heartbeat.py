"""Renewing a lease, in a thread of its own: whatever else the controller does with a host must not let it run out.

A heartbeat that fails is told to whoever listens and tried again; when the host can't be reached for a whole lease, its
fuse undoes the fault there, which is what a lease is for.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

from chaos.errors import TargetError
from chaos.run.fuse import Fuse


class Heartbeat:
    """Renews one fuse's lease three times a lease, from `start` to `stop`."""

    def __init__(self, fuse: Fuse, missed: Callable[[TargetError], None]) -> None:
        self._fuse, self._missed, self._stop = fuse, missed, threading.Event()
        self._thread = threading.Thread(target=self._beat, name=f"heartbeat {fuse.name}", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End, and wait for a renewal that is on its way; repeatable."""
        self._stop.set()
        self._thread.join()

    def _beat(self) -> None:
        while not self._stop.wait(self._fuse.lease / 3):
            try:
                self._fuse.renew()
            except TargetError as error:
                self._missed(error)
