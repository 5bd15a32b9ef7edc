"""Several hosts under one fault: fake hosts, real fuses on this machine."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from chaos.clock import NS, SystemClock
from chaos.errors import Objection, Unreachable
from chaos.faults.process_pause import ProcessPause
from chaos.kernel import Process
from chaos.record.events import EventLog, read_jsonl
from chaos.run.fleet import Fleet, lead
from chaos.run.heartbeat import Heartbeat
from chaos.run.injector import Injection, Site
from chaos.run.ledger import Ledger
from chaos.run.staging import HostClock
from chaos.targets.local import LocalTarget
from chaos.testing import FakeTarget

PAUSE = ProcessPause(match="vllm")


def go(when: int) -> bool:
    return when >= 0


class Hosts:
    """Fake hosts with a process each, whose fuses are real and stand on this machine."""

    def __init__(self, folder: Path, home: Path, count: int, **fleet: Any) -> None:
        self.folder = folder
        self.fakes = [FakeTarget(f"h{n}", processes=[Process(7, 70, "S", "vllm serve")]) for n in range(count)]
        self._log = EventLog(folder / "events.jsonl", SystemClock())
        ledger, clock = Ledger(folder), SystemClock()
        self.fuses_on = [LocalTarget(f"h{n}") for n in range(count)]
        beats = [Heartbeat(target, 60, lambda _: None, lambda _: None) for target in self.fuses_on]
        sites = [Site(*site) for site in zip(self.fakes, self.fuses_on, [str(home)] * count, beats, strict=True)]
        injections = [
            Injection(f"f@{site.host.name}", PAUSE, site, self._log, ledger, clock, lease=60, hold=60) for site in sites
        ]
        self.fleet = Fleet("f", injections, self._log, ledger, clock, **({"min_hosts": count} | fleet))

    def states(self) -> list[str]:
        return [host.processes[0].state for host in self.fakes]

    def events(self, name: str) -> list[dict[str, Any]]:
        return [event for event in read_jsonl(self.folder / "events.jsonl") if event["event"] == name]

    def open_entries(self) -> list[str]:
        return [entry.id for entry in Ledger(self.folder).still_open()]

    def close(self) -> None:
        self._log.close()


@pytest.fixture
def make(tmp_path: Path, home: Path) -> Iterator[Any]:
    made: list[Hosts] = []

    def hosts(count: int, **fleet: Any) -> Hosts:
        made.append(Hosts(tmp_path, home, count, **fleet))
        return made[-1]

    yield hosts
    for each in made:
        each.close()


def test_all_are_armed_before_any_is_touched_and_all_are_undone(make: Any) -> None:
    hosts = make(3)
    hosts.fleet.prepare()
    hosts.fleet.arm()
    assert len(hosts.events("fault.armed")) == 3
    assert hosts.states() == ["S", "S", "S"]
    hosts.fleet.apply(0, go)
    assert hosts.states() == ["T", "T", "T"]
    [spread] = hosts.events("fleet.applied")
    assert (spread["hosts"], spread["together"]) == (3, False)
    assert 0 <= spread["p99_s"] == spread["spread_s"]
    hosts.fleet.measure_dose()
    assert hosts.fleet.revert() == []
    assert hosts.states() == ["S", "S", "S"]
    assert hosts.open_entries() == []


def test_every_objection_is_heard_and_nothing_is_touched(make: Any) -> None:
    hosts = make(3)
    for host in hosts.fakes[1:]:
        host.processes[:] = [Process(8, 80, "S", "sshd")]
    with pytest.raises(Objection, match=r"h1: process_pause: no process matches(.|\n)*h2: process_pause:"):
        hosts.fleet.prepare()
    assert hosts.fleet.revert() == []


def test_a_host_that_can_not_be_armed_means_that_nobody_is_touched(make: Any) -> None:
    hosts = make(3)
    hosts.fleet.prepare()
    fail_to_arm(hosts, 1)
    with pytest.raises(Unreachable, match="h1: the cable was pulled"):
        hosts.fleet.arm()
    assert hosts.fleet.revert() == []
    assert all("STOP" not in str(call) for host in hosts.fakes for call in host.calls)
    assert hosts.open_entries() == []


def test_unless_so_many_hosts_are_enough(make: Any) -> None:
    hosts = make(3, min_hosts=2)
    hosts.fleet.prepare()
    fail_to_arm(hosts, 1)
    hosts.fleet.arm()
    assert [(event["host"], event["why"]) for event in hosts.events("host.left_out")] == [
        ("h1", "h1: the cable was pulled")
    ]
    hosts.fleet.apply(0, go)
    assert hosts.states() == ["T", "S", "T"]
    assert hosts.fleet.revert() == []
    assert hosts.states() == ["S", "S", "S"]


def test_a_host_that_does_not_show_the_fault_is_undone_at_once_and_left_out(make: Any) -> None:
    hosts = make(3, min_hosts=2)
    hosts.fleet.prepare()
    hosts.fleet.arm()
    hosts.fakes[2].fail_at(len(hosts.fakes[2].calls) + 2, Unreachable("h2: no answer"))
    hosts.fleet.apply(0, go)
    assert hosts.states() == ["T", "T", "S"]
    assert [event["host"] for event in hosts.events("host.left_out")] == ["h2"]
    assert hosts.fleet.revert() == []


def test_more_hosts_are_given_more_time() -> None:
    assert lead(1, together=False) < lead(200, together=False) < lead(200, together=True)


def test_a_host_clock_is_bounded_by_what_it_said() -> None:
    clock = SystemClock()
    own = HostClock.of(LocalTarget("here"), clock)
    uptime = int(Path("/proc/uptime").read_text().split()[0].replace(".", ""))
    # it counts in hundredths, and was asked over a round trip
    assert abs(own.ours(uptime) - clock.now()) < own.uncertainty + 0.02 * NS
    assert own.uncertainty < NS
    assert own.uptime(own.ours(1234)) == 1234


def fail_to_arm(hosts: Hosts, index: int) -> None:
    """Have the host's next command fail, once."""
    target, run = hosts.fuses_on[index], hosts.fuses_on[index].run
    left = [Unreachable(f"{target.name}: the cable was pulled")]

    def once(*args: Any, **kwargs: Any) -> Any:
        if left:
            raise left.pop()
        return run(*args, **kwargs)

    target.run = once  # type: ignore[method-assign]
