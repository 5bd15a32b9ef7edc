"""Renewing what is held, on this machine as the host."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from chaos.contracts import Completed
from chaos.errors import TargetError, Unreachable
from chaos.run.heartbeat import Heartbeat, Held
from chaos.targets.local import LocalTarget
from chaos.testing import FakeTarget
from tests.unit.run.running_fuses import fault_of, fuse_for, processes_in, wait_until

LEASE = 2.0


@pytest.fixture
def told() -> tuple[list[TargetError], list[str]]:
    return [], []


@pytest.fixture
def beat(host: LocalTarget, told: tuple[list[TargetError], list[str]]) -> Iterator[Heartbeat]:
    beat = Heartbeat(host, LEASE, told[0].append, told[1].append)
    beat.start()
    yield beat
    beat.stop()


def test_fuses_whose_leases_are_renewed_stay_armed(
    host: LocalTarget, home: Path, beat: Heartbeat, told: tuple[list[TargetError], list[str]]
) -> None:
    fuse, fault = fuse_for(host, home, lease=LEASE), fault_of(home)
    fuse.arm()
    beat.keep("the fuse", Held(fuse.renewal, "armed"))
    with pytest.raises(AssertionError):
        wait_until(lambda: not fault.exists(), within=2 * LEASE)
    assert fuse.state() == "armed"
    assert told == ([], [])
    beat.let_go("the fuse")
    wait_until(lambda: not fault.exists())
    fuse.disarm()


def test_a_fuse_that_somebody_fired_is_lost(
    host: LocalTarget, home: Path, beat: Heartbeat, told: tuple[list[TargetError], list[str]]
) -> None:
    fuse = fuse_for(host, home, lease=60)
    fuse.arm()
    beat.keep("the fuse", Held(fuse.renewal, "armed"))
    fuse.fire(patience=5)
    wait_until(lambda: bool(told[1]))
    assert told[1][0] == "here: the fuse says 'clean: on request' where 'armed' was expected"
    fuse.disarm()
    wait_until(lambda: told[1][-1] == "here: the fuse says 'gone' where 'armed' was expected")
    assert told[0] == []


def test_a_fuse_whose_pair_is_killed_at_once_is_lost_within_a_beat(
    host: LocalTarget, home: Path, beat: Heartbeat, told: tuple[list[TargetError], list[str]]
) -> None:
    fuse, fault = fuse_for(host, home, lease=60), fault_of(home)
    fuse.arm()
    wait_until(lambda: len(processes_in(Path(fuse.folder))) >= 2)
    kill_all_in(Path(fuse.folder))
    assert fuse.state() == "armed"
    beat.keep("the fuse", Held(fuse.renewal, "armed"))
    wait_until(lambda: bool(told[1]), within=LEASE + 2)
    assert told[1][0] == "here: the fuse says 'gone' where 'armed' was expected"
    fault.unlink()
    fuse.disarm()


def kill_all_in(folder: Path) -> None:
    """Kill again until nobody is left: one of a pair that met the signal later may have started the other."""
    while pids := processes_in(folder):
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def test_a_host_that_does_not_answer_is_missed_and_asked_again(told: tuple[list[TargetError], list[str]]) -> None:
    host = FakeTarget(shell=lambda _: Completed(0, "held\n", ""))
    host.fail_at(1, Unreachable("fake-host: the cable was pulled"))
    beat = Heartbeat(host, LEASE, told[0].append, told[1].append)
    beat.keep("its lock", Held("echo held", "held"))
    beat.start()
    wait_until(lambda: len(host.calls) >= 2)
    beat.stop()
    assert [str(error) for error in told[0]] == ["fake-host: the cable was pulled"]
    assert told[1] == []


def test_all_is_renewed_by_one_command(told: tuple[list[TargetError], list[str]]) -> None:
    host = FakeTarget(shell=lambda _: Completed(0, "held\nclean: on request\n", ""))
    beat = Heartbeat(host, LEASE, told[0].append, told[1].append)
    beat.keep("its lock", Held("echo held", "held"))
    beat.keep("the fuse", Held("false", "armed"))
    beat.start()
    wait_until(lambda: bool(told[1]))
    beat.stop()
    beat.stop()
    assert host.calls[0] == "echo held || echo gone\nfalse || echo gone"
    assert told[1][0].startswith("fake-host: the fuse says 'clean")


def test_one_that_never_began_can_be_stopped() -> None:
    Heartbeat(FakeTarget(), 10, lambda _: None, lambda _: None).stop()
