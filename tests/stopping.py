"""A controller that is stopped between two steps of the injector's order, whichever two.

A step is one call that reaches the host, the fuse or the ledger. What a stopped controller had in memory is lost, so
"after a step" and "before the next one" leave the same behind: a life of N steps has N + 1 places to stop.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from chaos.run.injector import Injection

_STEPS = {"ask", "ask_all", "perform", "run", "probe_control_path", "open", "close"}


class Steps:
    """Counts steps; once `last` of them were taken, the next one is `stop` in its place."""

    def __init__(self, last: int | None = None, stop: Callable[[], object] = lambda: None) -> None:
        self.taken = 0
        self._last, self._stop = last, stop

    def through(self, inner: Any) -> Any:
        """Return something that acts as `inner` does (a target, a ledger) and whose calls are steps of ours."""
        return _Stepped(inner, self)

    def take(self, do: Callable[..., Any], *args: Any, **options: Any) -> Any:
        """Take a step, or stop."""
        if self.taken == self._last:
            self._stop()
        self.taken += 1
        return do(*args, **options)


class _Stepped:
    def __init__(self, inner: Any, steps: Steps) -> None:
        self._inner, self._steps = inner, steps

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._inner, name)
        return partial(self._steps.take, found) if name in _STEPS else found


def live(injection: Injection) -> None:
    """Live a fault from the first reading to the ledger's last line."""
    injection.prepare()
    injection.arm()
    injection.apply()
    injection.measure_dose()
    injection.revert()
