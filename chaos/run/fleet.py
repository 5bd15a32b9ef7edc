"""One fault over its hosts, which go together: armed on all before it is applied on any, undone on all side by side.

    ledger: every undo, fsynced once -> every fuse armed -> applied on all -> ... -> undone on all

A host that can't be armed, or where the fault can't be seen, ends the run; everything is undone everywhere. Where the
experiment names `min_hosts`, such a host is left out instead for as long as so many remain.

Applied "together", every host acts at one moment by its own clock (`staging`). How far apart the hosts were in truth is
noted either way. A stop that comes before the moment calls it off on every host.

Undoing goes round by round: first each host once, so that a host that hangs keeps nobody else waiting; then those that
are left, each with the patience that its fuse there may need.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TypeVar

from chaos.clock import NS, Clock
from chaos.errors import ChaosError, NotApplied, Stuck, TargetError
from chaos.record.events import EventLog
from chaos.run.connect import AT_ONCE, side_by_side
from chaos.run.injector import Injection
from chaos.run.ledger import Ledger
from chaos.run.staging import HostClock, Moment

R = TypeVar("R")
_STAGED_WITHIN = 1.0  # s, and for each host _STAGED_EACH more: until the last one waits for the moment
_STAGED_EACH = 0.03
_ARMED_WITHIN = 4.0  # s, and for each host _ARMED_EACH more: until the last fuse says `armed`
_ARMED_EACH = 0.1


def lead(hosts: int, together: bool) -> float:
    """Return how long before its moment a fault on so many hosts is to be armed, in s."""
    return _ARMED_WITHIN + _ARMED_EACH * hosts + (_staging(hosts) if together else 0.0)


def _staging(hosts: int) -> float:
    return _STAGED_WITHIN + _STAGED_EACH * hosts


@dataclass
class Fleet:
    """The injections of one fault, one a host. `min_hosts` are the fewest to go on with."""

    fault: str
    injections: Sequence[Injection]
    events: EventLog
    ledger: Ledger
    clock: Clock
    min_hosts: int
    together: bool = False
    active: list[Injection] = field(init=False)
    """Those that are not left out."""

    def __post_init__(self) -> None:
        self.active = list(self.injections)

    @property
    def lead(self) -> float:
        """How long before its moment the fleet is to be armed, in s."""
        return lead(len(self.injections), self.together)

    @property
    def staging(self) -> float:
        """How long before its moment `apply` is to be called, in s."""
        return _staging(len(self.injections)) if self.together else 0.0

    def prepare(self) -> None:
        """Read every host. Raises Objection with what each says; nothing is touched."""
        side_by_side(self.active, Injection.prepare)

    def arm(self) -> None:
        """Write every undo down, then arm every fuse. Raises what the first host says where too few are armed."""
        self.ledger.open(*(injection.undo() for injection in self.active))
        self._each(Injection.arm)

    def apply(self, when: int, wait: Callable[[int], bool]) -> int:
        """Apply on every host, at `when` (ns) where they go together, at once where not.

        `wait` waits for a time (ns) and returns False where the run was stopped before. Returns when the last host had
        it (ns).
        """
        applied = self._apply_together(when, wait) if self.together else self._each(Injection.apply)[1]
        self._note_spread(sorted(applied))
        return max(applied)

    def _apply_together(self, when: int, wait: Callable[[int], bool]) -> list[int]:
        clocks = {i.id: c for i, c in zip(*self._each(self._clock_of), strict=True)}

        def until_the_moment() -> None:
            if not wait(when):
                self._call_off()

        # nobody is read before all have acted: hosts may share a machine, or a way to it
        acted = self._each(lambda i: i.act(Moment(when, clocks[i.id], wait)), len(self.active), until_the_moment)
        times = {i.id: t for i, t in zip(*acted, strict=True)}
        seen = self._each(lambda i: i.see(when, times[i.id]))[0]
        return [times[i.id] for i in seen]

    def _call_off(self) -> None:
        """Call off what waits for its moment; a host where that fails is called off again before it is undone."""
        with ThreadPoolExecutor(AT_ONCE, "call off") as pool:
            list(pool.map(_try_call_off, self.active))
        raise NotApplied(f"{self.fault}: called off before its moment")

    def measure_dose(self) -> None:
        """Read on every host what arrived."""
        side_by_side(self.active, Injection.measure_dose)

    def revert(self) -> list[Stuck]:
        """Undo on every host, also on those left out; return those that could not be read clean."""
        with ThreadPoolExecutor(AT_ONCE, "undo") as pool:
            whys = list(pool.map(Injection.try_revert, self.injections))
            left = [injection for injection, why in zip(self.injections, whys, strict=True) if why]
            return [stuck for stuck in pool.map(_revert, left) if stuck is not None]

    def _clock_of(self, injection: Injection) -> HostClock:
        return HostClock.of(injection.site.host, self.clock)

    def _each(
        self, do: Callable[[Injection], R], at_once: int = AT_ONCE, meanwhile: Callable[[], None] = lambda: None
    ) -> tuple[list[Injection], list[R]]:
        """Do something to every active host; return who did it, and what came of it. Leaves out whom it may."""
        pool = ThreadPoolExecutor(min(at_once, len(self.active)), "fleet")
        try:
            futures = [pool.submit(do, injection) for injection in self.active]
            meanwhile()
        finally:
            pool.shutdown(wait=False)  # where it was called off, a host that hangs keeps nobody from being undone
        done, failed = [], []
        for injection, future in zip(self.active, futures, strict=True):
            error = future.exception()
            if error is None:
                done.append((injection, future.result()))
            elif isinstance(error, ChaosError):
                failed.append((injection, error))
            else:
                raise error
        if failed and len(done) < self.min_hosts:
            raise failed[0][1]
        self.active = [injection for injection, _ in done]
        self._leave_out(failed)
        return self.active, [result for _, result in done]

    def _leave_out(self, failed: Sequence[tuple[Injection, ChaosError]]) -> None:
        for injection, error in failed:
            self.events.write("host.left_out", fault=self.fault, host=injection.host, why=str(error))
        side_by_side([injection for injection, _ in failed], Injection.try_revert)

    def _note_spread(self, applied: list[int]) -> None:
        spread = (applied[-1] - applied[0]) / NS
        p99 = (applied[max(0, -(-99 * len(applied) // 100) - 1)] - applied[0]) / NS
        self.events.write(
            "fleet.applied", fault=self.fault, hosts=len(applied), together=self.together, spread_s=spread, p99_s=p99
        )


def _try_call_off(injection: Injection) -> None:
    with suppress(TargetError):
        injection.call_off()


def _revert(injection: Injection) -> Stuck | None:
    try:
        injection.revert()
    except Stuck as error:
        return error
    return None
