"""The timeline of one run: everything that acts is called from here, and nothing judges.

    connect -> preflight -> lock -> fingerprint            refused from here: exit 3, nothing touched, no recording
    load starts; warm-up, baseline | zero | observation    each injection keeps its own times, in a thread of its own
    stop, or the end -> every fault reverted -> load ended -> fingerprint again -> unlock

Whatever happens, the injections are reverted before this returns; an undo that could not be verified is an event.
"""

from __future__ import annotations

import json
import platform
import socket
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import chaos
from chaos.clock import NS, Clock, SystemClock
from chaos.contracts import Target
from chaos.errors import ChaosError, LoadFailed, Refusal, Stuck, TargetError
from chaos.plan.plan import Plan, PlannedLoad
from chaos.plan.step import Step
from chaos.record.calibration import Calibration
from chaos.record.events import EventLog
from chaos.record.store import new_folder
from chaos.run.abort import AbortGuard
from chaos.run.calibration import refuse_unmeasurable, stored
from chaos.run.connect import connected, controller, controller_home, side_by_side
from chaos.run.fingerprint import drift, fingerprint
from chaos.run.fuse import HOME
from chaos.run.generators import Generators, Load, generators
from chaos.run.health import HealthProcess
from chaos.run.injector import Injection, Site
from chaos.run.ledger import Ledger
from chaos.run.lock import HostLock, this_process
from chaos.run.preflight import Finding, preflight
from chaos.run.stop import Stop, signals
from chaos.spec.inventory import Host

LEASE = 10.0  # s: how long a fault outlives the controller
_LEAD = 4.0  # s before a fault is due, when its fuse is armed
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
class Runner:
    """One run of one plan. `source` is the experiment as given, `out` the folder of runs, `lease` in s.

    `calibration` is what is known of this machine's load generator.
    `dask` is the address of the Dask scheduler whose workers are to make the load, in place of this machine.
    """

    plan: Plan
    hosts: Mapping[str, Host]
    source: str
    out: Path
    watcher: Watcher
    lease: float = LEASE
    dask: str | None = None
    clock: Clock = field(default_factory=SystemClock)
    calibration: Calibration | None = field(default_factory=stored)

    def run(self) -> Path:
        """Carry the plan out and return the recording's folder.

        Raises Refusal or TargetError before anything is touched; after that, what happens is in the recording.
        """
        refuse_unmeasurable(self.plan.terms, self.known, self._processes)
        stop = Stop(self.clock)
        with (
            signals(stop, self.watcher.note),
            connected(self.hosts, (s.host for s in self.plan.steps)) as targets,
            generators(self.plan.load, self.hosts, self.dask) as crew,
        ):
            refuse(preflight(self.plan, targets))
            with self._locked(targets):
                before = {name: fingerprint(target) for name, target in targets.items()}
                trial = _Trial(self, targets, stop, crew)
                return trial.run(before)

    @property
    def _processes(self) -> int:
        return self.plan.load.processes if isinstance(self.plan.load, PlannedLoad) else 1

    @property
    def known(self) -> Calibration | None:
        """What is known of the machine that makes the load; nothing of other machines."""
        elsewhere = self.dask is not None or (isinstance(self.plan.load, PlannedLoad) and self.plan.load.senders)
        return None if elsewhere else self.calibration

    @contextmanager
    def _locked(self, targets: Mapping[str, Target]) -> Iterator[None]:
        load = self.plan.load
        locks = [HostLock(target, this_process(), load.duration + load.timeout + 60) for target in targets.values()]
        with ExitStack() as held:
            for lock in locks:
                lock.take()
                held.callback(self._release, lock)
            yield

    def _release(self, lock: HostLock) -> None:
        try:
            lock.release()
        except TargetError as error:
            self.watcher.note(f"{lock.target.name}: its lock stays until it runs out: {error}")


def refuse(findings: list[Finding]) -> None:
    """Raise Refusal with every finding that is not fine."""
    bad = [f"{finding.host}: {finding.what}: {finding.detail}" for finding in findings if not finding.fine]
    if bad:
        raise Refusal("\n".join(bad))


class _Trial:
    """The part of a run that leaves a recording."""

    def __init__(self, runner: Runner, targets: Mapping[str, Target], stop: Stop, crew: Generators) -> None:
        self._plan, self._targets, self._stop, self._crew = runner.plan, targets, stop, crew
        self._watcher, self._clock, self._lease = runner.watcher, runner.clock, runner.lease
        self.folder = new_folder(runner.out, runner.plan.terms.name, runner.clock.utc())
        self._events = EventLog(self.folder / "events.jsonl", runner.clock)
        self._ledger = Ledger(self.folder)
        self._hosts = dict.fromkeys(targets, "untouched")
        _write_inputs(self.folder, runner)
        injections = [self._injection(step) for step in self._plan.steps]
        self._work = list(zip(self._plan.steps, injections, strict=True))

    def run(self, before: Mapping[str, tuple[str, ...]]) -> Path:
        """Run to the end, or to a stop; revert; compare the hosts with `before`."""
        self._events.write("run.started", command=sys.argv)
        try:
            with self._ledger.alive():
                side_by_side([injection for _, injection in self._work], lambda injection: injection.prepare())
                self._under_load()
                self._compare(before)
        except ChaosError as error:
            self._stop.set("failed", str(error))
            raise
        finally:
            self._events.write("run.ended", outcome=self._stop.outcome, why=self._stop.why)
            self._events.close()
        return self.folder

    def _under_load(self) -> None:
        counting = _COUNTING * self._plan.terms.rate * self._plan.load.duration
        start = self._clock.now() + int((self._crew.lead + counting) * NS)
        health = HealthProcess.start(self.folder, self._plan.probes, start, self._plan.load.duration)
        try:
            self._beside(health, start)
        finally:
            self._end_probes(health)

    def _beside(self, health: HealthProcess, start: int) -> None:
        """Run the load and the faults, with the health probes beside."""
        terms = self._plan.terms
        zero = start + int((terms.warmup + terms.baseline) * NS)
        load = self._crew.start(self.folder, start, self._events, self._clock)
        self._events.write("load.started", zero=zero)
        threads = [threading.Thread(target=self._carry_out, args=(*work, zero), name=work[0].id) for work in self._work]
        try:
            for thread in threads:
                thread.start()
            with AbortGuard(self._plan.abort, terms.slo_latency, start, health) as guard:
                self._watch(load, health, guard, start)
        except BaseException as error:
            self._stop.set("failed", f"a defect in gameday: {error!r}")
            raise
        finally:
            for thread in threads:
                thread.join()
            self._end(load)

    def _end(self, load: Load) -> None:
        """Let the last answers come in, unless the run was stopped; then note how the load ended."""
        status = None if self._stop.is_set() else load.wait(self._plan.load.timeout + 15)
        stopped = load.stop()
        self._events.write("load.ended", status=stopped if status is None else status)

    def _end_probes(self, health: HealthProcess) -> None:
        """Let the last checks come to their end, unless the run was stopped; then note how the probes ended."""
        status = health.stop(at_once=self._stop.is_set())
        if status is not None:
            self._events.write("probes.ended", status=status)

    def _carry_out(self, step: Step, injection: Injection, zero: int) -> None:
        """Live one injection from arming to reading the host clean, in a thread of its own."""
        due = zero + int(step.at_s * NS)
        try:
            if self._stop.wait_until(due - int(_LEAD * NS)):
                self._hold(step, injection, due)
        except ChaosError as error:
            self._stop.set("failed", str(error))
        except Exception as error:
            self._stop.set("failed", f"{step.id}: a defect in gameday: {error!r}")
            raise
        finally:
            self._revert(step, injection)

    def _hold(self, step: Step, injection: Injection, due: int) -> None:
        injection.arm()
        self._show(step, "fuse armed")
        if not self._stop.wait_until(due):
            return
        until = injection.apply() + int(step.for_s * NS)
        self._show(step, f"{step.fault.kind} applied")
        self._stop.wait_until(until - int(min(_READING, step.for_s / 2) * NS))
        injection.measure_dose()
        self._stop.wait_until(until)

    def _revert(self, step: Step, injection: Injection) -> None:
        armed = injection.fuse is not None
        try:
            injection.revert()
        except Stuck as error:
            self._stop.set("failed", str(error))
            self._show(step, "STUCK")
        else:
            if armed:
                self._show(step, "undone")

    def _show(self, step: Step, state: str) -> None:
        self._hosts[step.host] = state

    def _watch(self, load: Load, health: HealthProcess, guard: AbortGuard, start: int) -> None:
        """Tell the watcher how it goes and guard the abort conditions, to the end of the observation or a stop."""
        ahead = self._phases(start)
        end = start + int(self._plan.load.duration * NS)
        while (now := self._clock.now()) < end and not self._stop.is_set():
            while ahead and now >= ahead[0][1]:
                name, _, seconds = ahead.pop(0)
                self._events.write("phase", name=name)
                self._watcher.phase(name, seconds)
            self._look_at_probes(health)
            self._look(load, guard, start, now)
            self._stop.wait_until(min(now + int(_TICK * NS), end))

    def _look_at_probes(self, health: HealthProcess) -> None:
        try:
            health.check()
        except LoadFailed as error:
            self._stop.set("failed", str(error))

    def _look(self, load: Load, guard: AbortGuard, start: int, now: int) -> None:
        try:
            live = load.live()
        except LoadFailed as error:
            self._stop.set("failed", str(error))
            return
        broken = guard.broken(live, now)
        if broken is not None:
            self._events.write("abort", **broken.fields())
            self._stop.set("aborted", str(broken))
        if live is None or now < start:
            return
        done = int((now - start) // live.window)
        recent = max(0, done - 1)
        offered = float(live.scheduled[recent]) if done else 0.0
        self._watcher.update(
            Snapshot(
                elapsed=(now - start) / NS,
                total=self._plan.load.duration,
                qps=tuple(float(n) * NS / live.window for n in live.completed[:done]),
                error_ratio=float(live.failed[recent] / offered) if offered > 0 else 0.0,
                hosts=dict(self._hosts),
                fault_active=any(state.endswith("applied") for state in self._hosts.values()),
            )
        )

    def _phases(self, start: int) -> list[tuple[str, int, float]]:
        """Return each phase that lasts: its name, when it begins (ns), how long it lasts (s)."""
        terms, phases = self._plan.terms, []
        for name, seconds in (("warmup", terms.warmup), ("baseline", terms.baseline), ("observe", terms.observe)):
            if seconds:
                phases.append((name, start, seconds))
            start += int(seconds * NS)
        return phases

    def _compare(self, before: Mapping[str, tuple[str, ...]]) -> None:
        """Note what differs on a host from what it was; a host that can't be read has drifted too."""
        for name, former in before.items():
            try:
                lines = drift(former, fingerprint(self._targets[name]))
            except TargetError as error:
                lines = [f"can't be read after the run: {error}"]
            if lines:
                self._events.write("host.drift", host=name, what=lines)

    def _injection(self, step: Step) -> Injection:
        host = self._targets[step.host]
        site = Site(host, host, HOME)
        if step.fault.undo_from == "controller":
            site = Site(host, controller(), controller_home())
        run_id = f"{self.folder.name}.{step.id}"
        return Injection(
            id=run_id, fault=step.fault, site=site, events=self._events, ledger=self._ledger, clock=self._clock,
            lease=self._lease, hold=step.for_s + _LEAD,
        )  # fmt: skip


def _write_inputs(folder: Path, runner: Runner) -> None:
    (folder / "experiment.yaml").write_text(runner.source, encoding="utf-8")
    (folder / "plan.json").write_text(runner.plan.model_dump_json(indent=2) + "\n", encoding="utf-8")
    meta = {
        "gameday": chaos.__version__,
        "python": platform.python_version(),
        "kernel": platform.platform(),
        "controller": socket.gethostname(),
        "started": runner.clock.utc().isoformat(),
        "command": sys.argv,
        "lease_s": runner.lease,
        "hosts": sorted({step.host for step in runner.plan.steps}),
        "calibration": runner.known.model_dump() if runner.known else None,
    }
    (folder / "meta.json").write_text(json.dumps(meta, indent=2) + "\n", encoding="utf-8")
