"""The fuse, run for real under each shell it may meet."""

from __future__ import annotations

import os
import re
import signal
import stat
import subprocess
from pathlib import Path

import pytest

from chaos.errors import FuseNotArmed
from chaos.run import fuse as fuse_module
from chaos.run.fuse import Fuse, Undo
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
    fuse, fault = fuse_for(host, home, lease=1), fault_of(home)
    fuse.arm()
    wait_until(lambda: fuse.state() == "clean: the lease was not renewed")
    assert not fault.exists()
    fuse.disarm()


def test_a_renewed_lease_does_not_fire(host: LocalTarget, home: Path) -> None:
    fuse = fuse_for(host, home, lease=3)
    fuse.arm()
    deadline = Path(fuse.folder, "lease")
    first = int(deadline.read_text())
    longer = fuse_for(host, home, lease=30)
    host.run(longer.renewal)
    assert int(deadline.read_text()) > first + 2000
    assert fuse.state() == "armed"
    fuse.disarm()


@in_every_shell
def test_the_time_to_live_is_not_renewed(host: LocalTarget, home: Path) -> None:
    fuse, fault = fuse_for(host, home, ttl=1), fault_of(home)
    fuse.arm()
    host.run(fuse.renewal)
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
        send(fuse, "pid", number)
    assert fuse.is_alive()
    assert fuse.state() == "armed"
    send(fuse, "pid", signal.SIGTERM)
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
    fuse = fuse_for(host, home, lease=1)
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


@pytest.mark.parametrize("role", ["pid", "guardian"])
def test_one_of_the_pair_that_is_killed_is_back_and_the_fault_is_let_go(
    role: str, host: LocalTarget, home: Path
) -> None:
    fuse, fault = fuse_for(host, home), fault_of(home)
    fuse.arm()
    for _ in range(2):
        killed = send(fuse, role, signal.SIGKILL)
        wait_until(lambda killed=killed: number(fuse, role) not in (0, killed))  # type: ignore[misc]
        assert fuse.is_alive()
    wait_until(lambda: fuse.state() == "armed")
    assert fault.exists()
    assert fuse.fire(patience=8) == "clean: on request"
    assert not fault.exists()
    fuse.disarm()
    assert not fuse.is_alive()


@in_every_shell
def test_a_fuse_killed_while_it_undoes_goes_on_with_it(host: LocalTarget, home: Path, tmp_path: Path) -> None:
    fault = fault_of(home)
    undo = Undo(f"[ -e '{tmp_path}/let' ] && rm -f '{fault}'\n", f"[ ! -e '{fault}' ]\n")
    fuse = fuse_for(host, home, undo=undo)
    fuse.arm()
    Path(fuse.folder, "fire").touch()
    send(fuse, "pid", signal.SIGUSR1)
    wait_until(lambda: fuse.state().startswith("reverting"))
    killed = send(fuse, "pid", signal.SIGKILL)
    wait_until(lambda: number(fuse, "pid") not in (0, killed))
    (tmp_path / "let").touch()
    wait_until(lambda: fuse.state() == "clean: on request")
    assert not fault.exists()
    fuse.disarm()


@in_every_shell
def test_a_lease_that_ran_out_while_the_fuse_was_dead(host: LocalTarget, home: Path) -> None:
    fuse, fault = fuse_for(host, home, lease=1.5), fault_of(home)
    fuse.arm()
    send(fuse, "pid", signal.SIGKILL)
    wait_until(lambda: fuse.state() == "clean: the lease was not renewed")
    assert not fault.exists()
    wait_until(lambda: processes_in(home) == [])


def test_a_hang_up_of_the_guardian_lets_go_by_sigterm_only(host: LocalTarget, home: Path) -> None:
    fuse, fault = fuse_for(host, home), fault_of(home)
    fuse.arm()
    send(fuse, "guardian", signal.SIGHUP)
    assert fuse.state() == "armed"
    send(fuse, "guardian", signal.SIGTERM)
    wait_until(lambda: fuse.state() == "clean: on request")
    assert not fault.exists()
    fuse.disarm()


def test_another_boot_lets_go_at_once(host: LocalTarget, home: Path) -> None:
    fuse, fault = fuse_for(host, home), fault_of(home)
    fuse.arm()
    Path(fuse.folder, "boot").write_text("another\n")
    send(fuse, "pid", signal.SIGKILL)
    wait_until(lambda: fuse.state() == "clean: the host was booted")
    assert not fault.exists()
    fuse.disarm()


@in_every_shell
def test_a_lease_file_that_is_half_written_neither_blows_nor_disables_it(host: LocalTarget, home: Path) -> None:
    fuse, fault = fuse_for(host, home, lease=1.5), fault_of(home)
    fuse.arm()
    Path(fuse.folder, "lease").write_text("")
    send(fuse, "pid", signal.SIGUSR1)
    assert fuse.state() == "armed"
    wait_until(lambda: fuse.state() == "clean: the lease was not renewed")
    assert not fault.exists()
    fuse.disarm()


def test_it_is_out_of_reach_of_the_oom_killer_and_has_a_cgroup_of_its_own(host: LocalTarget, home: Path) -> None:
    may = subprocess.run(["sh", "-c", "echo -1000 >/proc/self/oom_score_adj"], capture_output=True).returncode == 0
    groups = [root for root in CGROUPS if os.access(f"{root}/cgroup.procs", os.W_OK)]
    fuse = fuse_for(host, home)
    fuse.arm()
    for role in ("pid", "guardian"):
        process = Path(f"/proc/{number(fuse, role)}")
        assert (process / "oom_score_adj").read_text() == ("-1000\n" if may else "0\n")
        assert (process / "cgroup").read_text().count(":/gameday-fuse") == len(groups)
    fuse.disarm()


CGROUPS = ("/sys/fs/cgroup", "/sys/fs/cgroup/unified", "/sys/fs/cgroup/cpu", "/sys/fs/cgroup/memory")


def send(fuse: Fuse, role: str, what: signal.Signals) -> int:
    """Signal the process of a role and return its number; a number of 0 would mean our own process group (kill(2))."""
    wait_until(lambda: number(fuse, role) > 0)
    process = number(fuse, role)
    assert process > 1
    os.kill(process, what)
    return process


def number(fuse: Fuse, role: str) -> int:
    """The process of a role; 0 while it is not there."""
    try:
        return int(Path(fuse.folder, role).read_text())
    except (FileNotFoundError, ValueError):
        return 0


def test_no_wall_clock() -> None:
    program = re.sub(r"#.*", "", fuse_module._PROGRAM)
    assert "/proc/uptime" in program
    assert not re.search(r"\bdate\b|\bSECONDS\b|EPOCH|-newer|-mmin", program)
