"""One way to stop a run, whoever asks: a signal, an abort condition, a step that failed. The first reason stands."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Literal

from chaos.clock import NS, Clock

Outcome = Literal["done", "aborted", "interrupted", "failed"]


class Stop:
    """Set once, waited for by many."""

    def __init__(self, clock: Clock) -> None:
        self._event, self._lock, self._clock = threading.Event(), threading.Lock(), clock
        self.outcome: Outcome = "done"
        self.why = ""

    def set(self, outcome: Outcome, why: str) -> None:
        """Stop, for a reason; a later reason changes nothing."""
        with self._lock:
            if not self._event.is_set():
                self.outcome, self.why = outcome, why
                self._event.set()

    def is_set(self) -> bool:
        """Whether the run is to stop."""
        return self._event.is_set()

    def wait_until(self, when: int) -> bool:
        """Wait for an absolute time (ns). Return True when it came, False when the run was stopped before."""
        while (left := when - self._clock.now()) > 0:
            if self._event.wait(min(left / NS, 1.0)):
                return False
        return not self._event.is_set()


@contextmanager
def signals(stop: Stop, say: Callable[[str], None]) -> Iterator[None]:
    """Turn Ctrl-C, SIGTERM and SIGHUP into a stop. A second one changes nothing: the undo goes on."""

    def handle(number: int, frame: FrameType | None) -> None:
        del frame
        name = signal.Signals(number).name
        if stop.is_set():
            say(f"{name}: still undoing; the hosts' own fuses finish it even if this process dies")
        else:
            say(f"{name}: undoing every fault, then stopping")
            stop.set("interrupted", f"stopped by {name}")

    if threading.current_thread() is not threading.main_thread():
        yield  # Python delivers signals to the main thread only; whoever runs us in another one has its own way
        return
    wanted = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    former = {number: signal.signal(number, handle) for number in wanted}
    try:
        yield
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)
