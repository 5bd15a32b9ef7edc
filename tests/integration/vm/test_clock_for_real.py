"""clock on a virtual host, whose clock is its own: what date(1) says there, and that it is right again afterwards."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from typing import Any

import pytest

from chaos.contracts import Target
from chaos.faults.clock import Clock, ClockFault
from chaos.run.fuse import Fuse, Undo
from chaos.run.injector import read
from chaos.targets.local import LocalTarget
from tests.unit.run.namespaced_host import namespaced_host


@pytest.fixture
def keeper(worker: Target) -> Iterator[str]:
    """A program that bears the name of one that keeps the clock, and leaves it alone."""
    script = "cp /bin/sleep /run/ntpd; /run/ntpd 600 >/dev/null 2>&1 & echo $!"
    pid = worker.run(script).stdout.strip()
    yield pid
    worker.run(f"kill -KILL {pid}; rm /run/ntpd")


def off(worker: Target) -> float:
    """How far the host's date is ahead of ours, in s; within the time that a command takes."""
    before = time.time()
    there = float(worker.run("date +%s.%N").stdout)
    return there - (before + time.time()) / 2


def act(worker: Target, fault: ClockFault, before: Clock) -> None:
    for action in fault.apply(before):
        worker.perform(action)


def state_of(worker: Target, pid: str) -> str:
    return worker.run(f"cat /proc/{pid}/stat").stdout.split()[2]


@pytest.mark.parametrize(
    "parameters",
    [
        {"offset": "1h"},
        {"offset": "100s", "drift": "0.5%", "direction": "behind"},
    ],
    ids=str,
)
def test_the_host_shows_another_time_and_then_the_right_one(
    worker: Target, keeper: str, parameters: dict[str, Any]
) -> None:
    fault = ClockFault.model_validate(parameters)
    before, skew = read(worker, fault.reading()), off(worker)
    assert fault.objection(before) is None
    [undo] = [worker.render(action) for action in fault.revert(before)]
    worker.run(undo.do)
    assert fault.is_reverted(before, read(worker, fault.reading())), "there was nothing to undo"
    for _ in range(2):
        act(worker, fault, before)
    now = read(worker, fault.reading())
    dose = fault.dose(before, now)
    assert (fault.is_applied(before, now), dose.confirmed) == (True, True), dose
    for name, asked in fault.asked().items():
        assert dose.achieved[name] == pytest.approx(asked, abs=max(0.01, 0.02 * abs(asked)) if fault.drift else 0.01)
    step = fault.asked().get("offset_s", 0.0)
    assert off(worker) - skew == pytest.approx(step, abs=1.0)
    assert state_of(worker, keeper) == "T"
    assert worker.run(f"({undo.until})", check=False).status != 0 or not step
    for _ in range(2):
        worker.run(undo.do)
        assert fault.is_reverted(before, read(worker, fault.reading()))
        assert worker.run(f"({undo.until})", check=False).status == 0
    after = read(worker, fault.reading())
    assert (after.tick, after.freq, after.status & 0xFF) == (before.tick, before.freq, before.status & 0xFF)
    assert off(worker) - skew == pytest.approx(0, abs=1.0)
    assert state_of(worker, keeper) == "S"


def test_a_fuse_does_not_go_by_the_clock_and_puts_it_right(worker: Target) -> None:
    """It is a day later than when it was armed, and its lease is not over."""
    fault = ClockFault.model_validate({"offset": "1d"})
    before = read(worker, fault.reading())
    fuse = Fuse(worker, "clock-test", Undo.of(worker.render(a) for a in fault.revert(before)), lease=90, ttl=90)
    fuse.arm()
    act(worker, fault, before)
    assert fuse.state() == "armed"
    assert fuse.fire(patience=60) == "clean: on request"
    fuse.disarm()
    assert fault.is_reverted(before, read(worker, fault.reading()))


def test_after_a_reboot_the_undo_leaves_the_clock_alone(worker: Target) -> None:
    fault = ClockFault.model_validate({"offset": "1h"})
    before = read(worker, fault.reading())
    other = Clock(before.raw, before.wall + 9999, 1.0, boot="another")
    [undo] = [worker.render(action) for action in fault.revert(other)]
    worker.run(undo.do)
    assert worker.run(f"({undo.until})").status == 0
    now = read(worker, fault.reading())
    assert (fault.is_reverted(before, now), fault.is_reverted(other, now)) == (True, True)


@pytest.mark.skipif(os.geteuid() != 0, reason="namespaces need root")
def test_a_clock_that_is_not_the_hosts_own_is_objected_to() -> None:
    with namespaced_host() as pid:
        host = LocalTarget("there", pid)
        fault = ClockFault.model_validate({"offset": "1h"})
        objection = fault.objection(read(host, fault.reading()))
        assert objection == "this host is a container or a namespace, and its clock is the machine's"
        host.close()
