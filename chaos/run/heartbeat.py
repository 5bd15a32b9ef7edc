"""Renewing what a run holds on a host, in a thread of its own: its lock, and the lease of each fuse that stands there.

Whatever else the controller does with a host must not let a lease run out, so one command a beat, three beats a lease,
does nothing but renew. It prints what it finds of each thing held. Anything but what is expected (a fuse that somebody
fired, a lock that went to another run, a host that rebooted) is told as lost: the run has no hold there any more.

A beat that fails is told as missed, the first of a row, and tried again; when the host can't be reached for a whole
lease, its fuse undoes the fault there, which is what a lease is for.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass

from chaos.contracts import Target
from chaos.errors import TargetError


@dataclass(frozen=True)
class Held:
    """Something to be renewed: `renewal` is sh that prints one line, `expected` is that line while all is well."""

    renewal: str
    expected: str


class Heartbeat:
    """Renews what is held on one host, from `start` to `stop`. `lease` in s."""

    def __init__(
        self, target: Target, lease: float, missed: Callable[[TargetError], None], lost: Callable[[str], None]
    ) -> None:
        self._target, self._lease, self._missed, self._lost = target, lease, missed, lost
        self._held: dict[str, Held] = {}
        self._missing = False
        self._beating, self._stop = threading.Lock(), threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"heartbeat {target.name}", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End, and wait for a beat that is on its way; repeatable, and harmless before `start`."""
        self._stop.set()
        if self._thread.ident is not None:
            self._thread.join()

    def keep(self, name: str, held: Held) -> None:
        """Renew this from the next beat on."""
        with self._beating:
            self._held[name] = held

    def let_go(self, name: str) -> None:
        """Renew it no longer. A beat that is on its way is waited for: it must not meet what is taken down now."""
        with self._beating:
            self._held.pop(name, None)

    def _run(self) -> None:
        while not self._stop.wait(self._lease / 3):
            with self._beating:
                self._beat()

    def _beat(self) -> None:
        if not self._held:
            return
        script = "\n".join(f"{held.renewal} || echo gone" for held in self._held.values())
        try:
            said = self._target.run(script, timeout=max(2.0, self._lease / 2)).stdout.splitlines()
        except TargetError as error:
            if not self._missing:
                self._missed(error)
            self._missing = True
            return
        self._missing = False
        for (name, held), found in zip(self._held.items(), said, strict=False):
            if found != held.expected:
                self._lost(f"{self._target.name}: {name} says {found!r} where {held.expected!r} was expected")
