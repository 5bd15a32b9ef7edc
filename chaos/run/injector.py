"""One fault on one host, in the one order that is safe.

    prepare   read before -> objection?                                              nothing is touched
    undo      ledger: undo written and fsynced
    arm       fuse armed on the host, seen armed, its lease renewed by the host's heartbeat
    apply     apply -> read: is it there? is the control path?      otherwise reverted at once
    revert    undo -> read until the host is as it was -> fuse disarmed -> ledger closed

`revert` may be called from any state, as often as one likes. It ends in one of two ways: the host was read and is as it
was, or `Stuck` is raised. While the host can't be reached it waits: the fuse is at work there. Where no action was ever
begun there is nothing to read: a fuse that can't be disarmed then is left to its lease, and its entry stays open.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from chaos.clock import NS, Clock
from chaos.contracts import ControlPath, Dose, Fault, Reading, Target
from chaos.errors import ChaosError, NotApplied, Objection, Stuck, TargetError
from chaos.record.events import EventLog
from chaos.run.fuse import Fuse, Undo
from chaos.run.heartbeat import Heartbeat, Held
from chaos.run.ledger import Entry, Ledger
from chaos.run.staging import Moment, stage

_PATIENCE = 20.0  # s beyond lease and settling, for a host that can't be reached while its fuse undoes the fault
_CONFIRM_WITHIN = 2.0  # s: a killed process takes a moment to be gone
_PAUSE = 0.3  # s between two looks at a host that does not read as it was yet


@dataclass(frozen=True)
class Site:
    """Where a fault acts, and where its fuse stands: on the host or the controller, with the heartbeat there."""

    host: Target
    fuse_on: Target
    fuse_home: str
    heartbeat: Heartbeat


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
    touched: bool = field(default=False, init=False)
    """Whether any part of the fault may be on the host."""
    applied: bool = field(default=False, init=False)
    _staged: bool = field(default=False, init=False)
    """Whether an act may wait for its moment there."""
    _began: int = field(default=0, init=False)
    _undone: int = field(default=0, init=False)
    _released: str = field(default="", init=False)
    """What the host said of what letting go did to the traffic."""

    def prepare(self) -> None:
        """Read the host as it is. Raises Objection; nothing is touched."""
        self.before = read(self.site.host, self.fault.reading())
        why_not = self.fault.objection(self.before)
        if why_not:
            raise Objection(f"{self.host}: {self.fault.kind}: {why_not}")

    def undo(self) -> Entry:
        """Return what is to be written in the ledger before the fuse is armed."""
        undo = Undo.of(self.site.host.render(action) for action in self.fault.revert(self.before))
        where, persists = self.site, self.fault.persists
        self.fuse = Fuse(where.fuse_on, self.id, undo, self.lease, self._ttl, where.fuse_home, persists)
        return Entry(self.id, self.host, self.fault.undo_from, self.fuse.name, undo)

    def arm(self) -> None:
        """Place the undo there, once it is written down here. After this no death of ours can keep the fault."""
        if self.fuse is None:
            self.ledger.open(self.undo())
        assert self.fuse is not None, "undo() makes it"
        self.fuse.arm()
        self.site.heartbeat.keep(self._held, Held(self.fuse.renewal, "armed"))
        self.events.write(
            "fault.armed", fault=self.id, kind=self.fault.kind, host=self.host, lease_s=self.lease, ttl_s=self._ttl
        )

    def apply(self) -> int:
        """Bring the fault about, and see it; return when it was there (ns).

        Raises NotApplied or TargetError; the caller reverts on any exception.
        """
        began = self.clock.now()
        applied = self.act()
        self.see(began, applied)
        return applied

    def act(self, moment: Moment | None = None) -> int:
        """Do it, now or at a moment of the host's own clock; return when the host had done it (ns)."""
        self.touched = True
        actions = self.fault.apply(self.before)
        if moment is not None and self.fuse is not None:
            self._staged = self.site.fuse_on is self.site.host
            acted = stage(self.site.host, actions, self.fuse, moment, self.clock)
            self._staged = False
            return acted
        gate = self.fuse.gate if self.fuse is not None and self.site.fuse_on is self.site.host else ""
        for action in actions:
            self.site.host.perform(action, gate)
        return self.clock.now()

    def call_off(self) -> None:
        """See to it that an act that waits for its moment is not done any more. Raises TargetError."""
        if self.fuse is not None and self.site.fuse_on is self.site.host:
            self.fuse.call_off()

    def see(self, began: int, applied: int) -> None:
        """See it applied, and note when it was begun and done (ns). Raises NotApplied or TargetError."""
        self._see_it_applied()
        self.applied = True
        self.events.write(
            "fault.applied",
            t=applied,
            fault=self.id,
            host=self.host,
            kind=self.fault.kind,
            asked=self.fault.asked(),
            began=began,
            confirmed=True,
            shade=self.fault.shade,
            release=self.fault.release,
        )

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
        end = self._in(self.lease + self.fault.settle + _PATIENCE)
        while why := self.try_revert():
            if not self.touched:
                self.site.heartbeat.let_go(self._held)
                self.events.write("note", text=f"{self.host}: an armed fuse is left to its lease, unused: {why}")
                return
            if self.clock.now() >= end:
                raise self._stuck(why)
            self.clock.sleep_until(self._in(_PAUSE))

    def try_revert(self) -> str:
        """Undo once, and read. Return "" where the host is as it was, else why nobody can say that it is."""
        if self.fuse is None:
            return ""
        self._began = self._began or self.clock.now()
        try:
            if self.touched and (why := self._undo_and_read()):
                return why
            self.site.heartbeat.let_go(self._held)
            by = "fuse" if self.fuse.disarm().startswith("clean") else "controller"
        except TargetError as error:
            return str(error)
        self._close(by)
        return ""

    @property
    def host(self) -> str:
        """The host's name."""
        return self.site.host.name

    @property
    def _ttl(self) -> float:
        return self.hold + self.lease + self.fault.settle

    @property
    def _held(self) -> str:
        return f"the fuse {self.id}"

    def _see_it_applied(self) -> None:
        reading, end = self.fault.reading(), self._in(_CONFIRM_WITHIN)
        now, fuse = self._read_with_fuse(reading)
        while not self.fault.is_applied(self.before, now):
            if self.clock.now() > end:
                raise NotApplied(f"{self.host}: {self.fault.kind}: the reading taken after it does not show the fault")
            self.clock.sleep_until(self._in(0.2))
            now, fuse = self._read_with_fuse(reading)
        if fuse != "armed":
            raise NotApplied(f"{self.host}: {self.fault.kind}: its fuse says {fuse!r} where 'armed' was expected")
        if any(isinstance(question, ControlPath) for question in reading.questions):
            self.site.host.probe_control_path()

    def _read_with_fuse(self, reading: Reading[Any]) -> tuple[Any, str]:
        """Read the host and what its fuse says of itself, by one command where both stand there."""
        assert self.fuse is not None, "what is applied has a fuse"
        host, says = self.site.host, self.fuse.says
        if self.site.fuse_on is not host:
            return read(host, reading), self.fuse.state()
        *answers, said = host.ask_all((*reading.questions, says))
        return _state(host, reading, answers), said.strip()

    def _undo_and_read(self) -> str:
        """Undo, once the host takes it; return why the host does not read as it was, "" where it does."""
        if self._staged:
            self.call_off()
            self._staged = False
        if not self._undone:
            said = [self.site.host.perform(action) for action in self.fault.revert(self.before)]
            self._released = " ".join(" ".join(said).split())
            self._undone = self.clock.now()
        now = read(self.site.host, self.fault.reading())
        return "" if self.fault.is_reverted(self.before, now) else f"it reads {now} where it was {self.before}"

    def _close(self, by: str) -> None:
        self.ledger.close(self.id)
        if self.applied:
            self.events.write(
                "fault.cleared",
                t=self._undone,
                fault=self.id,
                host=self.host,
                began=self._began,
                reverted=True,
                by=by,
                released=self._released,
            )
        self.fuse = None

    def _in(self, seconds: float) -> int:
        return self.clock.now() + round(seconds * NS)

    def _stuck(self, why: str) -> Stuck:
        """Note it. The heartbeat ends: while we were at it the fuse need not be, where we failed it must."""
        assert self.fuse is not None, "what has no fuse is not on"
        self.site.heartbeat.let_go(self._held)
        by_hand = f"cd {self.fuse.folder} && sh ./undo && sh ./clean && echo clean"
        self.events.write("fault.stuck", fault=self.id, host=self.host, why=why, by_hand=by_hand)
        where = self.host if self.fault.undo_from == "host" else "this machine"
        return Stuck(f"{self.host}: {self.fault.kind} may still be on: {why}\n  run on {where} as root: {by_hand}")


def read(target: Target, reading: Reading[Any]) -> Any:
    """Ask a reading's questions and make a state of the answers. Raises TargetError when any has none."""
    return _state(target, reading, target.ask_all(reading.questions))


def _state(target: Target, reading: Reading[Any], answers: Sequence[Any]) -> Any:
    try:
        return reading.parse(*answers)
    except ChaosError:
        raise
    except Exception as error:
        raise TargetError(f"{target.name}: an answer can't be understood: {error!r}: {answers!r:.500}") from error
