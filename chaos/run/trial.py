"""The part of a run that leaves a recording: the load, the faults on their timeline, and what is compared around them.

    load starts; warm-up, baseline | zero | observation    each fault keeps its own times, in a thread of its own
    stop, or the end -> every fault undone -> load ended -> hosts compared with what they were

Whatever happens, everything is undone before `run` returns; an undo that could not be verified is an event.
"""

from __future__ import annotations

import json
import platform
import socket
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import chaos
from chaos.clock import NS, Clock
from chaos.contracts import Target
from chaos.errors import ChaosError, LoadFailed, TargetError
from chaos.plan.plan import Plan
from chaos.plan.step import Step
from chaos.record.calibration import Calibration
from chaos.record.events import EventLog
from chaos.record.fingerprints import store
from chaos.run.abort import AbortGuard
from chaos.run.changes import Change
from chaos.run.connect import controller_home, side_by_side
from chaos.run.fingerprint import drift, fingerprint
from chaos.run.fleet import Fleet, lead
from chaos.run.fuse import HOME
from chaos.run.generators import Generators, Load
from chaos.run.health import HealthProcess
from chaos.run.heartbeat import Heartbeat, Held
from chaos.run.injector import Injection, Site
from chaos.run.ledger import Ledger
from chaos.run.lock import HostLock
from chaos.run.stop import Stop

LOCK = "its lock"
"""What heartbeats call the lock of a host."""
_COUNTING = 1e-7  # s before the first request for each that follows: the load counts its schedule through first
_READING = 1.0  # s before a fault is undone, when its dose is read
_TICK = 0.25  # s between looks at the counters


@dataclass(frozen=True)
class Snapshot:
    """The state of a run, for whoever watches it. Times in s since the load began, qps one value a window."""

    elapsed: float
    total: float
    qps: tuple[float, ...]
    error_ratio: float
    hosts: Mapping[str, str]
    fault_active: bool


class Watcher(Protocol):
    """Who is told how a run goes; `chaos.report.progress` has two."""

    def phase(self, name: str, seconds: float) -> None:
        """A phase began."""

    def update(self, snapshot: Snapshot) -> None:
        """This is the state now."""

    def note(self, text: str) -> None:
        """Something worth a line happened."""


@dataclass
class Trial:
    """One trial of a plan on hosts that are locked.

    `controller` is where the fuse of a fault stands that takes its host down; `heartbeats` renew what is held on each
    of them, by name, `locks` among it; `left_out` says of hosts that are not to be touched why. `lease` in s.
    """

    plan: Plan
    targets: Mapping[str, Target]
    controller: Target
    heartbeats: Mapping[str, Heartbeat]
    locks: Mapping[str, HostLock]
    crew: Generators
    stop: Stop
    folder: Path
    watcher: Watcher
    clock: Clock
    lease: float
    left_out: Mapping[str, str]
    _hosts: dict[str, str] = field(init=False)
    _down: dict[str, list[str]] = field(init=False, default_factory=dict)
    """By fault, the hosts that it takes down."""
    _changes: list[Change] = field(init=False, default_factory=list)
    """Those of the load, once it is started."""

    def __post_init__(self) -> None:
        self._hosts = {name: "left out" if name in self.left_out else "untouched" for name in self.targets}
        self._events = EventLog(self.folder / "events.jsonl", self.clock)
        self._ledger = Ledger(self.folder)
        self._fleets = [(steps[0], self._fleet(steps)) for steps in _by_fault(self.plan.steps)]

    def run(self, before: Mapping[str, tuple[str, ...]]) -> Path:
        """Run to the end, or to a stop; undo; compare the hosts with `before`. Returns the recording's folder."""
        self._events.write("run.started", command=sys.argv)
        for host, why in self.left_out.items():
            self._events.write("host.left_out", host=host, why=why)
        try:
            with self._ledger.alive():
                for _, fleet in self._fleets:
                    fleet.prepare()
                self._under_load()
                self._compare(before)
        except ChaosError as error:
            self.stop.set("failed", str(error))
            raise
        finally:
            self._events.write("run.ended", outcome=self.stop.outcome, why=self.stop.why)
            self._events.close()
        return self.folder

    def note(self, text: str) -> None:
        """Write something down that happened beside the timeline."""
        self._events.write("note", text=text)

    # --- the load, and what is watched meanwhile ----------------------------------------------------------------------

    def _under_load(self) -> None:
        counting = _COUNTING * self.plan.terms.rate * self.plan.load.duration
        start = self.clock.now() + int((self.crew.lead + counting) * NS)
        health = HealthProcess.start(self.folder, self.plan.probes, start, self.plan.load.duration)
        try:
            self._beside(health, start)
        finally:
            self._end_probes(health)

    def _beside(self, health: HealthProcess, start: int) -> None:
        """Run the load and the faults, with the health probes beside."""
        terms = self.plan.terms
        zero = start + int((terms.warmup + terms.baseline) * NS)
        load = self.crew.start(self.folder, start, self._events, self.clock)
        self._events.write("load.started", zero=zero)
        self._changes = [
            Change(step, index, zero + int(step.at_s * NS), load, self._events, self.clock, self.stop)
            for index, step in enumerate(self.plan.changes)
        ]
        threads = [
            threading.Thread(target=self._carry_out, args=(step, fleet, zero), name=fleet.fault)
            for step, fleet in self._fleets
        ]
        threads += [threading.Thread(target=change.carry_out, name=change.step.id) for change in self._changes]
        try:
            for thread in threads:
                thread.start()
            with AbortGuard(self.plan.abort, terms.slo_latency, start, health) as guard:
                self._watch(load, health, guard, start)
        except BaseException as error:
            self.stop.set("failed", f"a defect in gameday: {error!r}")
            raise
        finally:
            for thread in threads:
                thread.join()
            self._end(load)

    def _end(self, load: Load) -> None:
        """Let the last answers come in, unless the run was stopped; then note how the load ended."""
        status = None if self.stop.is_set() else load.wait(self.plan.load.timeout + 15)
        try:
            stopped = load.stop()
            self._events.write("load.ended", status=stopped if status is None else status)
        finally:
            for change in self._changes:
                change.close(self.folder)

    def _end_probes(self, health: HealthProcess) -> None:
        """Let the last checks come to their end, unless the run was stopped; then note how the probes ended."""
        status = health.stop(at_once=self.stop.is_set())
        if status is not None:
            self._events.write("probes.ended", status=status)

    def _watch(self, load: Load, health: HealthProcess, guard: AbortGuard, start: int) -> None:
        """Tell the watcher how it goes and guard the abort conditions, to the end of the observation or a stop."""
        ahead = self._phases(start)
        end = start + int(self.plan.load.duration * NS)
        while (now := self.clock.now()) < end and not self.stop.is_set():
            while ahead and now >= ahead[0][1]:
                name, _, seconds = ahead.pop(0)
                self._events.write("phase", name=name)
                self.watcher.phase(name, seconds)
            self._look_at_probes(health)
            self._look(load, guard, start, now)
            self.stop.wait_until(min(now + int(_TICK * NS), end))

    def _look_at_probes(self, health: HealthProcess) -> None:
        try:
            health.check()
        except LoadFailed as error:
            self.stop.set("failed", str(error))

    def _look(self, load: Load, guard: AbortGuard, start: int, now: int) -> None:
        try:
            live = load.live()
        except LoadFailed as error:
            self.stop.set("failed", str(error))
            return
        broken = guard.broken(live, now)
        if broken is not None:
            self._events.write("abort", **broken.fields())
            self.stop.set("aborted", str(broken))
        if live is None or now < start:
            return
        states = self._hosts | {change.step.id: change.state for change in self._changes}
        done = int((now - start) // live.window)
        recent = max(0, done - 1)
        offered = float(live.scheduled[recent]) if done else 0.0
        self.watcher.update(
            Snapshot(
                elapsed=(now - start) / NS,
                total=self.plan.load.duration,
                qps=tuple(float(n) * NS / live.window for n in live.completed[:done]),
                error_ratio=float(live.failed[recent] / offered) if offered > 0 else 0.0,
                hosts=states,
                fault_active=any(state.endswith("applied") for state in states.values()),
            )
        )

    def _phases(self, start: int) -> list[tuple[str, int, float]]:
        """Return each phase that lasts: its name, when it begins (ns), how long it lasts (s)."""
        terms, phases = self.plan.terms, []
        for name, seconds in (("warmup", terms.warmup), ("baseline", terms.baseline), ("observe", terms.observe)):
            if seconds:
                phases.append((name, start, seconds))
            start += int(seconds * NS)
        return phases

    # --- the faults ---------------------------------------------------------------------------------------------------

    def _carry_out(self, step: Step, fleet: Fleet, zero: int) -> None:
        """Live one fault from arming to reading its hosts clean, in a thread of its own."""
        due = zero + int(step.at_s * NS)
        try:
            if self.stop.wait_until(due - int(fleet.lead * NS)):
                self._hold(step, fleet, due)
        except ChaosError as error:
            self.stop.set("failed", str(error))
        except Exception as error:
            self.stop.set("failed", f"{fleet.fault}: a defect in gameday: {error!r}")
            raise
        finally:
            self._revert(fleet)

    def _hold(self, step: Step, fleet: Fleet, due: int) -> None:
        fleet.arm()
        self._show(fleet, "fuse armed")
        if not self.stop.wait_until(due - int(fleet.staging * NS)):
            return
        if step.fault.undo_from == "controller":
            self._go_down_with(fleet)
        until = fleet.apply(due, self.stop.wait_until) + int(step.for_s * NS)
        self._show(fleet, f"{step.fault.kind} applied")
        self.stop.wait_until(until - int(min(_READING, step.for_s / 2) * NS))
        fleet.measure_dose()
        self.stop.wait_until(until)

    def _revert(self, fleet: Fleet) -> None:
        armed = [injection for injection in fleet.injections if injection.fuse is not None]
        for stuck in fleet.revert():
            self.stop.set("failed", str(stuck))
        for host in self._down.pop(fleet.fault, ()):
            self._come_up(host)
        for injection in armed:
            self._hosts[injection.host] = "STUCK" if injection.fuse is not None and injection.touched else "undone"

    def _go_down_with(self, fleet: Fleet) -> None:
        """Let go of the locks on hosts that lose them: what is in /run goes with the host."""
        self._down[fleet.fault] = [injection.host for injection in fleet.active]
        for host in self._down[fleet.fault]:
            self.heartbeats[host].let_go(LOCK)

    def _come_up(self, host: str) -> None:
        """Take the lock of a host that was down again, where it has none, and renew it from now on."""
        lock = self.locks[host]
        try:
            if lock.target.run(lock.renewal).stdout.strip() == "gone":
                lock.take()
            self.heartbeats[host].keep(LOCK, Held(lock.renewal, "held"))
        except ChaosError as error:
            self.stop.set("failed", f"{host}: its lock is lost: {error}")

    def _show(self, fleet: Fleet, state: str) -> None:
        self._hosts.update(dict.fromkeys((injection.host for injection in fleet.active), state))

    def _compare(self, before: Mapping[str, tuple[str, ...]]) -> None:
        """Note what differs on a host from what it was; a host that can't be read has drifted too."""
        found = dict(zip(before, side_by_side(before, self._read), strict=True))
        store(self.folder, before, {name: state for name, state in found.items() if isinstance(state, tuple)})
        for name, state in found.items():
            if lines := drift(before[name], state) if isinstance(state, tuple) else [state]:
                self._events.write("host.drift", host=name, what=lines)

    def _read(self, host: str) -> tuple[str, ...] | str:
        """Return the host's fingerprint, or why there is none."""
        try:
            return fingerprint(self.targets[host])
        except TargetError as error:
            return f"can't be read after the run: {error}"

    def _fleet(self, steps: Sequence[Step]) -> Fleet:
        first, ready = steps[0], [step for step in steps if step.host not in self.left_out]
        together = first.start == "together"
        hold = first.for_s + lead(len(ready), together)
        injections = [self._injection(step, hold) for step in ready]
        return Fleet(
            first.fault_id, injections, self._events, self._ledger, self.clock, first.min_hosts or len(steps), together
        )

    def _injection(self, step: Step, hold: float) -> Injection:
        host = self.targets[step.host]
        site = Site(host, host, HOME, self.heartbeats[step.host])
        if step.fault.undo_from == "controller":
            site = Site(host, self.controller, controller_home(), self.heartbeats[self.controller.name])
        return Injection(
            id=f"{self.folder.name}.{step.id}", fault=step.fault, site=site, events=self._events,
            ledger=self._ledger, clock=self.clock, lease=self.lease, hold=hold,
        )  # fmt: skip


def _by_fault(steps: Sequence[Step]) -> Iterator[list[Step]]:
    faults: dict[str, list[Step]] = {}
    for step in steps:
        faults.setdefault(step.fault_id, []).append(step)
    yield from faults.values()


def write_inputs(
    folder: Path, plan: Plan, source: str, lease: float, calibration: Calibration | None, utc: str
) -> None:
    """Put beside the recording what it was made from."""
    (folder / "experiment.yaml").write_text(source, encoding="utf-8")
    (folder / "plan.json").write_text(plan.model_dump_json(indent=2) + "\n", encoding="utf-8")
    meta = {
        "gameday": chaos.__version__,
        "python": platform.python_version(),
        "kernel": platform.platform(),
        "controller": socket.gethostname(),
        "started": utc,
        "command": sys.argv,
        "lease_s": lease,
        "hosts": sorted({step.host for step in plan.steps}),
        "calibration": calibration.model_dump() if calibration else None,
    }
    (folder / "meta.json").write_text(json.dumps(meta, indent=2) + "\n", encoding="utf-8")
