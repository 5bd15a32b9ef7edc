"""A fault on two hundred hosts over SSH, against asyncssh and Ansible sending the very same commands.

Measured is everything from no connection to the last host read clean: connect, read before, arm the fuse and see it
armed, apply, read, see the fuse armed, undo, read, disarm. The hosts are namespaces of this machine (tests.hosts), each
with a real sshd, so client and hosts share its cores, and much of what is measured is what sshd and sh cost.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from math import nan
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from chaos.catalog import faults
from chaos.clock import NS, SystemClock
from chaos.contracts import Fault, HostView
from chaos.record.events import EventLog, read_jsonl
from chaos.run.connect import side_by_side
from chaos.run.fleet import Fleet
from chaos.run.fuse import HOME
from chaos.run.heartbeat import Heartbeat
from chaos.run.injector import Injection, Site
from chaos.run.ledger import Ledger
from chaos.targets.ssh import SshAddress
from scripts.benchmarks import figures
from scripts.benchmarks.commands import Host, NotingTarget
from scripts.benchmarks.figures import Figure, Target, quantity
from scripts.benchmarks.fleet_clients import over_ansible, over_asyncssh
from scripts.benchmarks.kernel_times import newest_filters
from scripts.benchmarks.processes import BenchError
from scripts.benchmarks.result import Bench, Result
from scripts.benchmarks.rounds import Measured, in_rounds, middle
from tests.hosts import SshHosts, objection, ssh_hosts

HOSTS = 200
ROUNDS = 5
KIND, PARAMETERS = "bandwidth", {"rate": "100mbit"}
_LEASE = 60.0  # s; a beat is a third of it, so none falls into what is measured
_FORKS = 50
OURS, ASYNCSSH, RAW, SHELL = "a fleet", "asyncssh", "Ansible, raw", "Ansible, shell with pipelining"


def measure(bench: Bench) -> Result:
    """Run ROUNDS rounds with asyncssh and one with Ansible, then as many fleets whose hosts act at one moment."""
    if why_not := objection():
        raise BenchError(f"the fleet's hosts: {why_not}")
    with ssh_hosts(HOSTS) as hosts, hosts.as_controller():
        noted = list[Host]()
        measures = {OURS: lambda: _rate(_ours(hosts, noted)), ASYNCSSH: lambda: _rate(over_asyncssh(noted))}
        beside = in_rounds(measures, ROUNDS, bench.say)
        ansible = in_rounds({OURS: measures[OURS], **_ansible(hosts, noted)}, 1, bench.say)
        spreads = [_together(hosts, bench) for _ in range(ROUNDS)]
    p99 = middle(spreads) or (nan, (nan, nan))
    return Result(
        f"A fleet of {HOSTS} hosts over SSH",
        (
            _ratio(figures.FLEET_TO_ASYNCSSH, beside, OURS, ASYNCSSH),
            _ratio(figures.ANSIBLE_TO_FLEET, ansible, SHELL, OURS),
            Figure(figures.FLEET_SPREAD, *p99),
        ),
        {**beside, **{name: ansible[name] for name in (RAW, SHELL)}},
        (
            f"The fault is {KIND}; rates are hosts a second, from no connection to the last host read clean.",
            f"Ansible is measured once: `strategy: free`, {_FORKS} forks, no facts, a playbook of one task a command.",
        ),
    )


def _rate(seconds: float) -> float:
    return HOSTS / seconds


def _ansible(hosts: SshHosts, noted: Sequence[Host]) -> Mapping[str, Callable[[], float]]:
    def by(module: str) -> Callable[[], float]:
        return lambda: _rate(over_ansible(noted, hosts.enter_command, module, "free", _FORKS))

    return {RAW: by("raw"), SHELL: by("shell")}


def _ratio(target: Target, measured: Measured, slow: str, fast: str) -> Figure:
    """Return how many times as long `slow` takes as `fast`, round by round."""
    ratios = [b / a if a else nan for a, b in zip(measured[slow], measured[fast], strict=True)]
    found, of, to = middle(ratios), middle(measured[slow]), middle(measured[fast])
    if found is None or of is None or to is None:
        return Figure(target, None, note=f"{slow} and {fast} were never measured in one round")
    ours, peer = (of, to) if slow == OURS else (to, of)
    return Figure(target, *found, ours=quantity(HOSTS / ours[0], "s"), peer=quantity(HOSTS / peer[0], "s"))


def _ours(hosts: SshHosts, noted: list[Host]) -> float:
    """Return the seconds of one fleet, and leave in `noted` what was sent."""
    targets = [NotingTarget(name, _address(hosts, name)) for name in hosts.names]
    with _fleet(targets, together=False) as (fleet, _):
        began = time.monotonic()
        side_by_side(targets, NotingTarget.open)
        fleet.prepare()
        fleet.arm()
        fleet.apply(0, _wait)
        stuck = fleet.revert()
        seconds = time.monotonic() - began
    if stuck:
        raise BenchError(f"not put back: {stuck[0]}")
    noted[:] = [target.noted for target in targets]
    return seconds


def _together(hosts: SshHosts, bench: Bench) -> float:
    """Return the p99 in ms of how long after the first host the others acted, by this machine's one clock."""
    targets = [NotingTarget(name, _address(hosts, name)) for name in hosts.names]
    with _fleet(targets, together=True) as (fleet, log):
        fleet.prepare()
        fleet.arm()
        try:
            with newest_filters(hosts) as times:
                fleet.apply(fleet.clock.now() + int(fleet.staging * NS), _wait)
            acted = sorted(times.values())
        finally:
            stuck = fleet.revert()
        [said] = [event for event in read_jsonl(log) if event["event"] == "fleet.applied"]
    if stuck:
        raise BenchError(f"not put back: {stuck[0]}")
    spread = (acted[math.ceil(0.99 * HOSTS) - 1] - acted[0]) / 1e6
    bench.say(f"together: p99 {spread:.0f} ms, by the hosts' own clocks {1000 * said['p99_s']:.0f} ms")
    return spread


@contextmanager
def _fleet(targets: Sequence[NotingTarget], together: bool) -> Iterator[tuple[Fleet, Path]]:
    """Hold a fleet on targets that are not connected yet, and the events that it writes."""
    clock, lost = SystemClock(), list[str]()
    with TemporaryDirectory(prefix="gameday-bench-") as name:
        log, ledger = EventLog(Path(name) / "events.jsonl", clock), Ledger(Path(name))
        beats = [Heartbeat(target, _LEASE, lambda error: lost.append(str(error)), lost.append) for target in targets]
        injections = [
            Injection(f"fault@{t.name}", _fault(t.name), Site(t, t, HOME, beat), log, ledger, clock, _LEASE, _LEASE)
            for t, beat in zip(targets, beats, strict=True)
        ]
        try:
            for beat in beats:
                beat.start()
            yield Fleet("fault", injections, log, ledger, clock, len(targets), together), Path(name) / "events.jsonl"
        finally:
            for beat in beats:
                beat.stop()
            side_by_side(targets, NotingTarget.close)
            log.close()
    if lost:
        raise BenchError(lost[0])


def _wait(when: int) -> bool:
    SystemClock().sleep_until(when)
    return True


def _fault(host: str) -> Fault[Any]:
    return faults().get(KIND)(**PARAMETERS).bind(HostView(host, "eth0"))


def _address(hosts: SshHosts, name: str) -> SshAddress:
    defaults = hosts.inventory().hosts[name]
    return SshAddress(
        str(defaults.address), user=defaults.user, identity_file=str(defaults.identity_file),
        known_hosts=str(defaults.known_hosts),
    )  # fmt: skip
