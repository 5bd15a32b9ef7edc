"""One run of one plan, around its trial: who is reached, who refuses, what is locked, and that all of it is let go.

    connect -> preflight -> lock -> fingerprint            refused from here: exit 3, nothing touched, no recording
    the trial (`trial`): load, faults, undo
    fingerprint again -> unlock

A heartbeat for each host renews its lock and the leases of the fuses there, from the lock to the unlock. Where it finds
that something else has a hand in (a fuse that `gameday panic` fired, a host that rebooted), the run is stopped. A run
that changes nothing but its load holds nothing on a host; it is stopped by a panic that is called on this machine.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from chaos.clock import Clock, SystemClock
from chaos.contracts import Target
from chaos.errors import Refusal, TargetError
from chaos.plan.plan import Plan, PlannedLoad
from chaos.record.calibration import Calibration
from chaos.record.store import new_folder
from chaos.run.calibration import refuse_unmeasurable, stored
from chaos.run.connect import connected, controller, controller_home, side_by_side
from chaos.run.fingerprint import fingerprint
from chaos.run.generators import generators
from chaos.run.heartbeat import Heartbeat, Held
from chaos.run.lock import CALM, HostLock, calm, this_process
from chaos.run.preflight import Finding, preflight
from chaos.run.stop import Stop, signals
from chaos.run.trial import LOCK, Trial, Watcher, write_inputs
from chaos.spec.inventory import Host

LEASE = 10.0  # s: how long a fault outlives the controller


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
            left_out = spare(self.plan, preflight(self.plan, targets))
            ready = {name: target for name, target in targets.items() if name not in left_out}
            with self._heartbeats(ready, stop) as heartbeats, self._locked(ready, heartbeats) as locks:
                before = dict(zip(ready, side_by_side(ready.values(), fingerprint), strict=True))
                folder = new_folder(self.out, self.plan.terms.name, self.clock.utc())
                write_inputs(folder, self.plan, self.source, self.lease, self.known, self.clock.utc().isoformat())
                trial = Trial(
                    self.plan, targets, controller(), heartbeats, locks, crew, stop, folder, self.watcher, self.clock,
                    self.lease, left_out,
                )  # fmt: skip
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
    def _heartbeats(self, targets: Mapping[str, Target], stop: Stop) -> Iterator[Mapping[str, Heartbeat]]:
        """Hold a heartbeat for each host, and one for this machine."""

        def missed(error: TargetError) -> None:
            self.watcher.note(f"no heartbeat: {error}")

        def lost(what: str) -> None:
            stop.set("aborted", what)

        here = controller()
        beats = {target.name: Heartbeat(target, self.lease, missed, lost) for target in (*targets.values(), here)}
        if self.plan.changes:  # a change of the load holds nothing on any host, by which a panic would show
            beats[here.name].keep("whoever watches for a panic", Held(calm(controller_home()), CALM))
        for beat in beats.values():
            beat.start()
        try:
            yield beats
        finally:
            side_by_side(beats.values(), Heartbeat.stop)
            here.close()

    @contextmanager
    def _locked(
        self, targets: Mapping[str, Target], heartbeats: Mapping[str, Heartbeat]
    ) -> Iterator[Mapping[str, HostLock]]:
        """Hold the lock of each host."""
        owner = this_process()
        locks = {name: HostLock(t, owner, self.plan.terms.name, self.lease) for name, t in targets.items()}
        with ExitStack() as held:
            held.callback(side_by_side, locks.values(), self._release)
            side_by_side(locks.values(), HostLock.take)
            for name, lock in locks.items():
                heartbeats[name].keep(LOCK, Held(lock.renewal, "held"))
                held.callback(heartbeats[name].let_go, LOCK)
            yield locks

    def _release(self, lock: HostLock) -> None:
        try:
            lock.release()
        except TargetError as error:
            self.watcher.note(f"{lock.target.name}: its lock stays until it runs out: {error}")


def spare(plan: Plan, findings: Sequence[Finding]) -> dict[str, str]:
    """Return the hosts that are to be left out, and why, where every fault may do without those it loses.

    Raises Refusal with every finding that is not fine, where one may not.
    """
    bad = [finding for finding in findings if not finding.fine]
    left_out = {finding.host: f"{finding.what}: {finding.detail}" for finding in bad}
    for fault in dict.fromkeys(step.fault_id for step in plan.steps):
        steps = [step for step in plan.steps if step.fault_id == fault]
        ready = sum(step.host not in left_out for step in steps)
        if ready < (steps[0].min_hosts or len(steps)):
            refuse(findings)
    if left_out.keys() - {step.host for step in plan.steps}:
        refuse(findings)
    return left_out


def refuse(findings: Sequence[Finding]) -> None:
    """Raise Refusal with every finding that is not fine."""
    bad = [f"{finding.host}: {finding.what}: {finding.detail}" for finding in findings if not finding.fine]
    if bad:
        raise Refusal("\n".join(bad))
