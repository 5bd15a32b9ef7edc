"""The fuse on a host whose process 1 is a real systemd."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from chaos.run.fuse import Fuse, Undo, unit_of
from chaos.targets.local import LocalTarget
from tests.integration.booted_host import wait_until

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="namespaces need root")
NAME = "20261124T180000Z-3f2a.netem-0@worker 2"


@pytest.fixture
def host(systemd_host: LocalTarget) -> LocalTarget:
    return systemd_host


@pytest.fixture
def fuse(host: LocalTarget) -> Iterator[Fuse]:
    host.run("touch /tmp/fault")
    fuse = Fuse(host, NAME, Undo("rm -f /tmp/fault\n", "[ ! -e /tmp/fault ]\n"), lease=60, ttl=60)
    fuse.arm()
    yield fuse
    fuse.disarm()
    wait_until(lambda: not host.run("ls /run/systemd/transient | grep gameday-fuse; true").stdout)
    assert host.run("ls -A /run/gameday 2>/dev/null; true").stdout.split() in ([], ["fuses"])


def pid_of(fuse: Fuse) -> int:
    return int(fuse.target.run(f"cat '{fuse.folder}/pid'").stdout)


def faulted(host: LocalTarget) -> bool:
    return host.run("[ -e /tmp/fault ]", check=False).status == 0


def test_it_is_a_transient_unit_in_a_slice_of_its_own(host: LocalTarget, fuse: Fuse) -> None:
    shown = host.run(f"systemctl show {unit_of(NAME)} -p ActiveState,Restart,OOMScoreAdjust,Slice,Transient").stdout
    assert set(shown.split()) == {
        "ActiveState=active",
        "Restart=on-failure",
        "OOMScoreAdjust=-1000",
        "Slice=gameday.slice",
        "Transient=yes",
    }
    assert fuse.state() == "armed"
    assert faulted(host)


def test_however_often_it_is_killed_it_is_back_and_lets_go(host: LocalTarget, fuse: Fuse) -> None:
    for _ in range(7):  # systemd's own limit is five starts in ten seconds
        killed = pid_of(fuse)
        host.run(f"kill -KILL {killed}")
        wait_until(lambda killed=killed: pid_of(fuse) != killed)  # type: ignore[misc]
    assert fuse.is_alive()
    assert faulted(host)
    assert fuse.fire(patience=10) == "clean: on request"
    assert not faulted(host)


def test_who_stops_the_unit_lets_go(host: LocalTarget, fuse: Fuse) -> None:
    host.run(f"systemctl stop {unit_of(NAME)}")
    assert fuse.state() == "clean: the fuse was terminated"
    assert not faulted(host)


def test_a_lost_lease_lets_go(host: LocalTarget, fuse: Fuse) -> None:
    host.run(f"echo 1 >'{fuse.folder}/lease'")
    host.run(f"kill -USR1 {pid_of(fuse)}")
    wait_until(lambda: fuse.state() == "clean: the lease was not renewed")
    assert not faulted(host)


def test_one_that_is_disarmed_while_it_is_dead_is_not_started_again(host: LocalTarget, fuse: Fuse) -> None:
    host.run(f"kill -KILL {pid_of(fuse)}")
    fuse.disarm()
    assert host.run(f"systemctl is-active {unit_of(NAME)}", check=False).stdout.strip() == "inactive"


def test_what_an_undo_has_started_stays_and_is_nobodys_ward(host: LocalTarget) -> None:
    undo = Undo("sleep 4242 </dev/null >/dev/null 2>&1 & echo $! >/tmp/daemon\n", "[ -e /tmp/daemon ]\n")
    fuse = Fuse(host, "daemon", undo, lease=60, ttl=60)
    fuse.arm()
    assert fuse.fire(patience=10) == "clean: on request"
    fuse.disarm()
    shown = host.run("cd /proc/$(cat /tmp/daemon) && tr '\\0' ' ' <cmdline && cat oom_score_adj").stdout
    assert shown == "sleep 4242 0\n"
    host.run("kill $(cat /tmp/daemon)")
