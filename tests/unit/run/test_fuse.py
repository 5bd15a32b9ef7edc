"""The fuse, run for real under each shell it may meet."""

from __future__ import annotations

import os
import re
import signal
import stat
from pathlib import Path

import pytest

from chaos.errors import FuseNotArmed
from chaos.run import fuse as fuse_module
from chaos.run.fuse import Undo
from chaos.targets.local import LocalTarget
from tests.unit.run.running_fuses import fault_of, fuse_for, pid_of, processes_in, wait_until

in_every_shell = pytest.mark.usefixtures("shell")


def test_armed_then_disarmed_leaves_nothing(host: LocalTarget, home: Path, shell: str) -> None:
    fuse, fault = fuse_for(host, home), fault_of(home)
    fuse.arm()
    assert fuse.state() == "armed"
    assert fuse.is_alive()
    assert Path(f"/proc/{pid_of(fuse)}/exe").resolve() == Path(shell).resolve()
    fuse.disarm()
    assert processes_in(home) == []
    assert list(home.iterdir()) == []
    assert fault.exists(), "a fuse that was disarmed undoes nothing"


def test_its_files_are_for_its_owner_only(host: LocalTarget, home: Path) -> None:
    fuse = fuse_for(host, home)
    fuse.arm()
    modes = {stat.S_IMODE(path.stat().st_mode) for path in (Path(fuse.folder), *Path(fuse.folder).iterdir())}
    assert all(mode & 0o077 == 0 for mode in modes)
    fuse.disarm()


@in_every_shell
def test_a_lost_lease_fires(host: LocalTarget, home: Path) -> None:
    fuse, fault = fuse_for(host, home, lease=0.4), fault_of(home)
    fuse.arm()
    wait_until(lambda: fuse.state() == "clean: the lease was not renewed")
    assert not fault.exists()
    fuse.disarm()


def test_a_renewed_lease_does_not_fire(host: LocalTarget, home: Path) -> None:
    fuse = fuse_for(host, home, lease=0.4)
    fuse.arm()
    deadline = Path(fuse.folder, "lease")
    first = int(deadline.read_text())
    longer = fuse_for(host, home, lease=30)
    longer.renew()
    assert int(deadline.read_text()) > first + 2000
    assert fuse.state() == "armed"
    fuse.disarm()


@in_every_shell
def test_the_time_to_live_is_not_renewed(host: LocalTarget, home: Path) -> None:
    fuse, fault = fuse_for(host, home, ttl=0.4), fault_of(home)
    fuse.arm()
    fuse.renew()
    wait_until(lambda: fuse.state() == "clean: the time to live was over")
    assert not fault.exists()
    fuse.disarm()


@in_every_shell
def test_it_fires_on_request(host: LocalTarget, home: Path) -> None:
    fuse, fault = fuse_for(host, home), fault_of(home)
    fuse.arm()
    assert fuse.fire(patience=8) == "clean: on request"
    assert not fault.exists()
    fuse.disarm()


@in_every_shell
def test_it_fires_when_it_is_terminated_and_survives_a_hang_up(host: LocalTarget, home: Path) -> None:
    fuse, fault = fuse_for(host, home), fault_of(home)
    fuse.arm()
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT):
        os.kill(pid_of(fuse), number)
    assert fuse.is_alive()
    assert fuse.state() == "armed"
    os.kill(pid_of(fuse), signal.SIGTERM)
    wait_until(lambda: fuse.state() == "clean: the fuse was terminated")
    assert not fault.exists()
    fuse.disarm()


def test_it_stands_in_a_session_of_its_own(host: LocalTarget, home: Path) -> None:
    fuse = fuse_for(host, home)
    fuse.arm()
    assert os.getsid(pid_of(fuse)) != os.getsid(0)
    fuse.disarm()


@in_every_shell
def test_it_keeps_watch_after_clean(host: LocalTarget, home: Path) -> None:
    """A command that was under way when the lease ran out lands after the undo."""
    fuse = fuse_for(host, home, lease=30)
    fuse.arm()
    assert fuse.fire(patience=8) == "clean: on request"
    fault = fault_of(home)
    wait_until(lambda: not fault.exists())
    fuse.disarm()


@in_every_shell
def test_the_watch_ends(host: LocalTarget, home: Path) -> None:
    fuse = fuse_for(host, home, lease=0.3)
    fuse.arm()
    wait_until(lambda: processes_in(home) == [])
    assert fuse.state() == "clean: the lease was not renewed"
    assert not fuse.is_alive()
    fuse.disarm()
    assert list(home.iterdir()) == []


def test_it_tries_until_the_host_reads_clean_and_says_stuck(
    host: LocalTarget, home: Path, shell: str, tmp_path: Path
) -> None:
    hurry(tmp_path / "bin" / "sh", shell)
    log = tmp_path / "states"
    undo = Undo(f"cat state >>'{log}'; [ $(wc -l <'{log}') -lt 8 ] || touch done\n", "[ -e done ]\n")
    fuse = fuse_for(host, home, undo=undo, lease=30)
    fuse.arm()
    assert fuse.fire(patience=8) == "clean: on request"
    states = log.read_text().splitlines()
    assert states[:5] == [f"reverting {n}: on request" for n in range(1, 6)]
    assert states[5] == f"STUCK: on request; 6 tries to undo it failed, see {fuse.folder}/log"
    assert len(states) == 8
    fuse.disarm()


def hurry(sh: Path, program: str) -> None:
    """Make `sh ./fuse.sh` a fuse that naps a fiftieth of a second whatever it is told; every other `sh` is dash."""
    interpreter = f"{program} sh" if program.endswith("busybox") else program
    nap = f"sleep() {{ {'busybox ' if program.endswith('busybox') else 'command '}sleep 0.02; }}"
    sh.unlink()
    sh.write_text(
        f'#!/usr/bin/dash\n[ "$1" = ./fuse.sh ] || exec dash "$@"\nexec {interpreter} -c \'{nap}; . ./fuse.sh\' "$@"\n'
    )
    sh.chmod(0o755)


def test_what_the_undo_prints_is_kept(host: LocalTarget, home: Path) -> None:
    fuse = fuse_for(host, home, undo=Undo("echo no such device >&2\n", "true\n"))
    fuse.arm()
    fuse.fire(patience=8)
    assert Path(fuse.folder, "log").read_text() == "no such device\n"
    fuse.disarm()


def test_a_fuse_that_can_not_start_is_not_armed(host: LocalTarget, home: Path) -> None:
    fuse = fuse_for(host, home)
    Path(fuse.folder).mkdir(parents=True)
    Path(fuse.folder, "state").write_text("clean: an older one\n")
    with pytest.raises(FuseNotArmed, match="clean: an older one"):
        fuse.arm()
    fuse.disarm()


def test_no_wall_clock() -> None:
    program = re.sub(r"#.*", "", fuse_module._PROGRAM)
    assert "/proc/uptime" in program
    assert not re.search(r"\bdate\b|\bSECONDS\b|EPOCH|-newer|-mmin", program)
