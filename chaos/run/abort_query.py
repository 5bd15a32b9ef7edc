"""An abort condition on a PromQL query: asked by a thread of its own, so that no answer holds up the run's tick.

The k-th question is due at start + k * every; of those that fell due while another was out, only the last is asked. An
answer counts for the moment at which its question was due. The condition holds when the last value that is known, and
all before it back to one due a span earlier, lie beyond the limit.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from chaos.clock import NS, Clock, SystemClock
from chaos.run.broken import PATIENCE, Broken, blind
from chaos.run.prometheus import NoValueError, one_value, open_client
from chaos.spec.abort import QueryCondition
from probes.live import Live

if TYPE_CHECKING:
    import httpx

_EVERY = 1.0  # s between two questions, at most
_SHOWN = 5  # values are kept


def unanswerable(condition: QueryCondition) -> str:
    """Return why the query can't be asked, or "" when it gives one value now."""
    with open_client(PATIENCE) as client:
        try:
            one_value(client, condition.prometheus, condition.promql)
        except NoValueError as error:
            return str(error)
    return ""


@dataclass(frozen=True)
class Sight:
    """What the answers so far come to; never changed, so that another thread may read it at any time.

    since    when the unbroken run of values beyond the limit began (ns); None while the last one was well
    known    when the last question that has a value was due (ns); the beginning, before there is any
    values   the last ones of that run; else the last one alone
    why      why the last question has no value; "" where it has one
    """

    since: int | None
    known: int
    values: tuple[float, ...] = ()
    why: str = "it was not answered yet"

    def told(self, due: int, value: float, condition: QueryCondition) -> Sight:
        """Return what it comes to with one value more."""
        beyond = value < condition.limit if condition.side == "<" else value > condition.limit
        if self.since is None or not beyond:
            return Sight(due if beyond else None, due, (value,), "")
        return Sight(self.since, due, (*self.values, value)[-_SHOWN:], "")

    def opinion(self, condition: QueryCondition, now: int) -> Broken | None:
        """Return why to stop at `now` (ns), or None."""
        if self.since is not None and self.known - self.since >= round(condition.for_s * NS):
            listed = ", ".join(f"{value:.6g}" for value in self.values)
            said = f"it was {listed}, for {(now - self.since) / NS:.1f} s"
            return Broken(condition.text, said, self.since, self.values)
        if now - self.known > (condition.for_s + PATIENCE) * NS:
            return blind(condition.text, now, self.known, self.why or "the next answer is overdue")
        return None


class QueryWatch:
    """Watches one query from `begin` (ns) on."""

    def __init__(self, condition: QueryCondition, begin: int, clock: Clock | None = None) -> None:
        self._condition, self._begin, self._clock = condition, begin, clock or SystemClock()
        # rounded up, so that a whole number of periods is never a nanosecond less than the span
        self._every = math.ceil(condition.for_s * NS / math.ceil(condition.for_s / _EVERY))
        self._sight = Sight(None, begin)
        self._over = threading.Event()
        # a daemon, since nobody waits for an answer that is still out when the run lets go
        self._thread = threading.Thread(target=self._ask, name="abort query", daemon=True)

    def start(self) -> None:
        """Begin to ask."""
        self._thread.start()

    def close(self) -> None:
        """Ask no more; an answer that is out is not waited for."""
        self._over.set()

    def broken(self, live: Live | None, now: int) -> Broken | None:
        """Return why to stop, or None."""
        del live
        return self._sight.opinion(self._condition, now)

    def _ask(self) -> None:
        with open_client(PATIENCE) as client:
            self._each_due(lambda due: self._look(client, due))

    def _each_due(self, look: Callable[[int], None]) -> None:
        due = self._begin
        while not self._over.wait(max(0, due - self._clock.now()) / NS):
            look(due)
            due += max(1, (self._clock.now() - due) // self._every) * self._every

    def _look(self, client: httpx.Client, due: int) -> None:
        try:
            value = one_value(client, self._condition.prometheus, self._condition.promql)
        except NoValueError as error:
            self._sight = replace(self._sight, why=str(error))
        else:
            self._sight = self._sight.told(due, value, self._condition)
