"""The order in which a fault is applied and undone: a fake host for the fault, a real fuse on this machine."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest

from chaos.contracts import Completed, Fault, LinkState, PlantQdisc, SwitchPower, UprootQdisc
from chaos.errors import CommandFailed, NotApplied, Objection, Stuck, TargetError, Unreachable
from chaos.faults.netem import Netem
from chaos.faults.node_kill import NodeKill
from chaos.faults.process_pause import ProcessPause
from chaos.kernel import Flow, Link, Process, Qdisc
from chaos.record.events import EventLog, read_jsonl
from chaos.run.heartbeat import Heartbeat
from chaos.run.injector import Injection, Site, read
from chaos.run.ledger import Ledger
from chaos.targets.local import LocalTarget
from chaos.testing import FakeClock, FakeTarget
from tests.unit.run.running_fuses import wait_until

PLAIN = Link("eth0", True, (Qdisc("noqueue"),))
DELAY = Netem.model_validate({"interface": "eth0", "delay": "50ms"})
SSH = Flow(ip_address("192.0.2.1"), 22)

Inject = Callable[..., Injection]


class Watched(LocalTarget):
    """This machine, noting what the ledger held each time a fuse was placed."""

    def __init__(self, run: Path) -> None:
        super().__init__("here")
        self.ledger_when_armed: list[int] = []
        self._ledger = Ledger(run)

    def run(self, script: str, *, check: bool = True, timeout: float = 30.0) -> Completed:
        if "fuse.sh" in script:
            self.ledger_when_armed.append(len(self._ledger.still_open()))
        return super().run(script, check=check, timeout=timeout)


@pytest.fixture
def inject(tmp_path: Path, home: Path) -> Iterator[Inject]:
    log = EventLog(tmp_path / "events.jsonl", FakeClock())

    def make(fault: Fault[Any], host: FakeTarget, fuse_on: LocalTarget | FakeTarget | None = None) -> Injection:
        clock = FakeClock()
        stands_on = fuse_on or Watched(tmp_path)
        site = Site(host, stands_on, str(home), Heartbeat(stands_on, 60, lambda _: None, lambda _: None))
        return Injection("f-0", fault, site, log, Ledger(tmp_path), clock, lease=60, hold=60)

    yield make
    log.close()


def events(folder: Path) -> list[str]:
    return [event["event"] for event in read_jsonl(folder / "events.jsonl")]


def actions(host: FakeTarget) -> list[type[object]]:
    return [type(call) for call in host.calls if isinstance(call, PlantQdisc | UprootQdisc | SwitchPower)]


def test_the_whole_way(inject: Inject, tmp_path: Path) -> None:
    host, fuse_on = FakeTarget(links=[PLAIN], flows=[SSH]), Watched(tmp_path)
    injection = inject(DELAY, host, fuse_on)
    injection.prepare()
    assert actions(host) == []
    injection.arm()
    assert fuse_on.ledger_when_armed == [1], "the undo is written down before the fuse is placed"
    assert actions(host) == [], "and both before anything is touched"
    assert injection.fuse is not None
    assert injection.fuse.state() == "armed"
    injection.apply()
    assert host.links["eth0"] != PLAIN
    assert "probe_control_path" in host.calls
    assert injection.measure_dose().achieved["delay_s"] == 0.05
    folder = injection.fuse.folder
    injection.revert()
    assert host.links["eth0"] == PLAIN
    assert isinstance(host.calls[-1], LinkState | type(DELAY.reading().questions[1])), "it ends with a reading"
    assert not Path(folder).exists()
    assert Ledger(tmp_path).still_open() == []
    assert events(tmp_path) == ["fault.armed", "fault.applied", "fault.dose", "fault.cleared"]
    cleared = list(read_jsonl(tmp_path / "events.jsonl"))[-1]
    assert (cleared["reverted"], cleared["by"]) == (True, "controller")
    calls = len(host.calls)
    injection.revert()
    assert len(host.calls) == calls, "a second revert has nothing to do"


def test_an_objection_touches_nothing(inject: Inject, tmp_path: Path, home: Path) -> None:
    tree = (Qdisc("htb", "1:"), Qdisc("sfq", "10:", "1:10"))
    host = FakeTarget(links=[Link("eth0", True, tree)])
    injection = inject(DELAY, host)
    with pytest.raises(Objection, match="fake-host: netem: eth0 carries queueing that somebody set"):
        injection.prepare()
    injection.revert()
    assert actions(host) == []
    assert list(home.iterdir()) == []
    assert not (tmp_path / "ledger.jsonl").exists()


def test_what_does_not_show_is_not_applied(inject: Inject, tmp_path: Path) -> None:
    host = FakeTarget(links=[PLAIN], ignores=(PlantQdisc,))
    injection = inject(DELAY, host)
    injection.prepare()
    injection.arm()
    with pytest.raises(NotApplied, match="the reading taken after it does not show the fault"):
        injection.apply()
    injection.revert()
    assert Ledger(tmp_path).still_open() == []
    assert events(tmp_path) == ["fault.armed"]


def test_a_fuse_that_fired_meanwhile_is_not_applied(inject: Inject) -> None:
    injection = inject(DELAY, FakeTarget(links=[PLAIN]))
    injection.prepare()
    injection.arm()
    fuse = injection.fuse
    assert fuse is not None
    fuse.fire(patience=0)
    wait_until(lambda: fuse.state().startswith(("clean", "reverting")))
    with pytest.raises(NotApplied, match="its fuse says"):
        injection.apply()
    injection.revert()


def test_a_control_path_that_is_cut_is_undone(inject: Inject) -> None:
    host = FakeTarget(links=[PLAIN], flows=[SSH])
    injection = inject(DELAY, host)
    injection.prepare()
    injection.arm()
    # prepare asked two questions; apply performs one action and asks two more before it probes
    host.fail_at(len(host.calls) + 4, Unreachable("fake-host: no second connection"))
    with pytest.raises(Unreachable, match="no second connection"):
        injection.apply()
    injection.revert()
    assert host.links["eth0"] == PLAIN


@pytest.mark.parametrize("ahead", range(1, 9))
def test_a_failure_at_any_call_ends_clean(inject: Inject, tmp_path: Path, ahead: int) -> None:
    host = FakeTarget(links=[PLAIN], flows=[SSH])
    injection = inject(DELAY, host)
    injection.prepare()
    injection.arm()
    host.fail_at(len(host.calls) + ahead, Unreachable("fake-host: gone for a moment"))
    try:
        injection.apply()
    except TargetError:
        assert not injection.applied
    injection.revert()
    assert host.links["eth0"] == PLAIN
    assert Ledger(tmp_path).still_open() == []


def test_what_never_reads_clean_is_stuck_and_stays_in_the_ledger(inject: Inject, tmp_path: Path) -> None:
    host = FakeTarget(links=[PLAIN], ignores=(UprootQdisc,))
    injection = inject(DELAY, host)
    injection.prepare()
    injection.arm()
    injection.apply()
    with pytest.raises(Stuck, match=r"fake-host: netem may still be on: it reads (.|\n)*run on fake-host as root: cd "):
        injection.revert()
    assert [entry.fuse for entry in Ledger(tmp_path).still_open()] == ["f-0"]
    assert events(tmp_path)[-1] == "fault.stuck"
    assert injection.fuse is not None
    assert injection.fuse.is_alive(), "the fuse goes on where the controller gave up"
    injection.fuse.disarm()


def test_a_fuse_that_can_not_be_disarmed_is_tried_again(inject: Inject, tmp_path: Path, home: Path) -> None:
    host, fuse_on = FakeTarget(links=[PLAIN]), Flaky("here")
    injection = inject(DELAY, host, fuse_on)
    injection.prepare()
    injection.arm()
    injection.apply()
    fuse_on.failures = 2
    injection.revert()
    assert Ledger(tmp_path).still_open() == []
    assert list(home.iterdir()) == []


class Flaky(LocalTarget):
    failures = 0

    def run(self, script: str, *, check: bool = True, timeout: float = 30.0) -> Completed:
        if self.failures:
            self.failures -= 1
            raise Unreachable("here: the cable was pulled")
        return super().run(script, check=check, timeout=timeout)


def test_a_node_comes_back_with_another_boot(inject: Inject, tmp_path: Path) -> None:
    host = FakeTarget()
    injection = inject(NodeKill(), host)
    injection.prepare()
    injection.arm()
    assert Ledger(tmp_path).still_open()[0].at == "controller"
    injection.apply()
    assert not host.power.on
    injection.revert()
    assert host.power.boot == "boot-1+1"


def test_a_pause_lets_go_of_what_is_left(inject: Inject) -> None:
    host = FakeTarget(processes=[Process(7, 70, "S", "vllm serve"), Process(8, 80, "S", "vllm serve")])
    injection = inject(ProcessPause(match="vllm"), host)
    injection.prepare()
    injection.arm()
    injection.apply()
    assert [process.state for process in host.processes] == ["T", "T"]
    del host.processes[0]
    assert not injection.measure_dose().confirmed
    injection.revert()
    assert [process.state for process in host.processes] == ["S"]


def test_an_answer_that_makes_no_sense_is_a_target_error() -> None:
    host = FakeTarget(shell=lambda _: Completed(0, "\0", ""))
    with pytest.raises(TargetError, match="fake-host: an answer can't be understood"):
        read(host, ProcessPause(match="x").reading().__class__((), lambda: json.loads("{")))


def test_a_failed_action_is_said_in_its_own_words(inject: Inject) -> None:
    host = FakeTarget(links=[PLAIN])
    injection = inject(DELAY, host)
    injection.prepare()
    injection.arm()
    host.fail_at(len(host.calls) + 1, CommandFailed("fake-host", "tc qdisc add", 2, "", "Unknown qdisc"))
    with pytest.raises(CommandFailed, match="Unknown qdisc"):
        injection.apply()
    injection.revert()
