"""One fault on one host, in the one order that is safe.

    prepare   read before -> objection?                                              nothing is touched
    arm       ledger: undo written and fsynced -> fuse armed on the host, seen armed
    apply     apply -> read: is it there? is the control path?      otherwise reverted at once
    hold      heartbeats, from `arm` on, in a thread of their own
    revert    undo -> read until the host is as it was -> fuse disarmed -> ledger closed

`revert` may be called from any state after `arm`, as often as one likes. It ends in one of two ways: the host was read
and is as it was, or `Stuck` is raised. While the host can't be reached it waits: the fuse is at work there.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from chaos.clock import NS, Clock
from chaos.contracts import ControlPath, Dose, Fault, Reading, Target
from chaos.errors import ChaosError, NotApplied, Objection, Stuck, TargetError
from chaos.record.events import EventLog
from chaos.run.fuse import Fuse, Undo
from chaos.run.heartbeat import Heartbeat
from chaos.run.ledger import Entry, Ledger

_PATIENCE = 20.0  # s beyond lease and settling, for a host that can't be reached while its fuse undoes the fault
_CONFIRM_WITHIN = 2.0  # s: a killed process takes a moment to be gone


@dataclass(frozen=True)
class Site:
    """Where a fault acts: the host, and the target its fuse stands on (the host itself, or the controller)."""

    host: Target
    fuse_on: Target
    fuse_home: str


@dataclass
class Injection:
    """One fault on one host. `hold` (s) is how long it is meant to last, `lease` (s) how long it outlives us."""

    id: str
    fault: Fault[Any]
    site: Site
    events: EventLog
    ledger: Ledger
    clock: Clock
    lease: float
    hold: float
    before: Any = None
    fuse: Fuse | None = field(default=None, init=False)
    heartbeat: Heartbeat | None = field(default=None, init=False)
    applied: bool = field(default=False, init=False)

    def prepare(self) -> None:
        """Read the host as it is. Raises Objection; nothing is touched."""
        self.before = read(self.site.host, self.fault.reading())
        why_not = self.fault.objection(self.before)
        if why_not:
            raise Objection(f"{self.host}: {self.fault.kind}: {why_not}")

    def arm(self) -> None:
        """Write the undo down here, then place it there. After this no death of ours can keep the fault."""
        undo = Undo.of(self.site.host.render(action) for action in self.fault.revert(self.before))
        ttl = self.hold + self.lease + self.fault.settle
        self.fuse = Fuse(self.site.fuse_on, self.id, undo, self.lease, ttl, self.site.fuse_home)
        self.ledger.open(Entry(self.id, self.host, self.fault.undo_from, self.fuse.name, undo))
        self.fuse.arm()
        self.heartbeat = Heartbeat(self.fuse, self._missed)
        self.heartbeat.start()
        self.events.write(
            "fault.armed", fault=self.id, kind=self.fault.kind, host=self.host, lease_s=self.lease, ttl_s=ttl
        )

    def apply(self) -> int:
        """Bring the fault about and see it; return when the host acknowledged it (ns).

        Raises NotApplied or TargetError; the caller reverts on any exception.
        """
        began = self.clock.now()
        for action in self.fault.apply(self.before):
            self.site.host.perform(action)
        acknowledged = self.clock.now()
        self._see_it_applied()
        self.applied = True
        self.events.write(
            "fault.applied",
            t=acknowledged,
            fault=self.id,
            host=self.host,
            kind=self.fault.kind,
            asked=self.fault.asked(),
            began=began,
            confirmed=True,
            shade=self.fault.shade,
            release=self.fault.release,
        )
        return acknowledged

    def measure_dose(self) -> Dose:
        """Read what arrived, at the end of the hold, and note it."""
        dose = self.fault.dose(self.before, read(self.site.host, self.fault.reading()))
        self.events.write(
            "fault.dose",
            fault=self.id,
            host=self.host,
            achieved=dict(dose.achieved),
            confirmed=dose.confirmed,
            why_not=dose.why_not,
        )
        return dose

    def revert(self) -> None:
        """Undo, and read until the host is as it was. Raises Stuck."""
        if self.fuse is None:
            return
        began = self.clock.now()
        cleared, by, why = self._undo_and_read(self.fuse)
        if self.heartbeat is not None:
            self.heartbeat.stop()  # not before: while we are at it, the fuse need not be; where we fail, it must
        if why:
            raise self._stuck(self.fuse, why)
        self.ledger.close(self.id)
        if self.applied:
            self.events.write(
                "fault.cleared", t=cleared, fault=self.id, host=self.host, began=began, reverted=True, by=by
            )
        self.fuse = None

    @property
    def host(self) -> str:
        """The host's name."""
        return self.site.host.name

    def _missed(self, error: TargetError) -> None:
        self.events.write("note", text=f"{self.host}: no heartbeat: {error}")

    def _see_it_applied(self) -> None:
        reading, end = self.fault.reading(), self._in(_CONFIRM_WITHIN)
        while not self.fault.is_applied(self.before, read(self.site.host, reading)):
            if self.clock.now() > end:
                raise NotApplied(f"{self.host}: {self.fault.kind}: the reading taken after it does not show the fault")
            self.clock.sleep_until(self._in(0.2))
        if any(isinstance(question, ControlPath) for question in reading.questions):
            self.site.host.probe_control_path()
        state = self.fuse.state() if self.fuse else ""
        if state != "armed":
            raise NotApplied(f"{self.host}: {self.fault.kind}: its fuse says {state!r} where 'armed' was expected")

    def _undo_and_read(self, fuse: Fuse) -> tuple[int, str, str]:
        """Return when the undo was acknowledged (ns), by whom, and why it could not be verified (empty when it was)."""
        acknowledged, why = 0, ""
        end = self._in(self.lease + self.fault.settle + _PATIENCE)
        while self.clock.now() < end:
            try:
                if not acknowledged:
                    for action in self.fault.revert(self.before):
                        self.site.host.perform(action)
                    acknowledged = self.clock.now()
                now = read(self.site.host, self.fault.reading())
                if self.fault.is_reverted(self.before, now):
                    by = "fuse" if fuse.state().startswith("clean") else "controller"
                    if self.heartbeat is not None:
                        self.heartbeat.stop()
                    fuse.disarm()
                    return acknowledged, by, ""
                why = f"it reads {now} where it was {self.before}"
            except TargetError as error:
                why = str(error)
            self.clock.sleep_until(self._in(0.3))
        return acknowledged, "", why

    def _in(self, seconds: float) -> int:
        return self.clock.now() + round(seconds * NS)

    def _stuck(self, fuse: Fuse, why: str) -> Stuck:
        by_hand = f"cd {fuse.folder} && sh ./undo && sh ./clean && echo clean"
        self.events.write("fault.stuck", fault=self.id, host=self.host, why=why, by_hand=by_hand)
        where = self.host if self.fault.undo_from == "host" else "this machine"
        return Stuck(f"{self.host}: {self.fault.kind} may still be on: {why}\n  run on {where} as root: {by_hand}")


def read(target: Target, reading: Reading[Any]) -> Any:
    """Ask a reading's questions and make a state of the answers. Raises TargetError when any has none."""
    answers = [target.ask(question) for question in reading.questions]
    try:
        return reading.parse(*answers)
    except ChaosError:
        raise
    except Exception as error:
        raise TargetError(f"{target.name}: an answer can't be understood: {error!r}: {answers!r:.500}") from error
