"""The fuse on a host whose process 1 is a real systemd."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from chaos.lab.children import end_with
from chaos.run.fuse import Fuse, Undo, unit_of
from chaos.targets.local import LocalTarget

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="namespaces need root")
_BOOT = Path(__file__).parents[1] / "hosts" / "systemd.sh"
_ISOLATE = ("unshare", "--fork", "--kill-child=SIGKILL", "--pid", "--mount", "--net", "--uts", "--ipc", "--cgroup")
NAME = "20261124T180000Z-3f2a.netem-0@worker 2"


@pytest.fixture(scope="module")
def host() -> Iterator[LocalTarget]:
    folder = tempfile.mkdtemp(prefix="gameday-systemd-")
    owner = os.getpid()
    with subprocess.Popen(
        [*_ISOLATE, "sh", _BOOT, folder],
        cwd="/",
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        preexec_fn=lambda: end_with(owner),
    ) as parent:
        try:
            target = LocalTarget("under-systemd", first_process(parent.pid))
            wait_until(lambda: "running" in target.run("systemctl is-system-running", check=False).stdout, 60)
            yield target
        finally:
            parent.kill()
    shutil.rmtree(folder)


def first_process(parent: int) -> int:
    """The host's process 1, once it is systemd."""
    children = Path(f"/proc/{parent}/task/{parent}/children")

    def found() -> list[str]:
        pids = children.read_text().split()
        return [pid for pid in pids if Path(f"/proc/{pid}/comm").read_text() == "systemd\n"]

    wait_until(lambda: bool(found()), 30)
    return int(found()[0])


def wait_until(true: Callable[[], bool], within: float = 10) -> None:
    end = time.monotonic() + within
    while not true():
        assert time.monotonic() < end, f"not within {within:.0f} s"
        time.sleep(0.05)


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
