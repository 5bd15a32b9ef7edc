"""fd_exhaustion on a process of our own, by a real kernel; that of a host is tried in a virtual one alone."""

from __future__ import annotations

import resource
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from chaos.faults.fd_exhaustion import FdExhaustion, Limited, Seen
from chaos.kernel import Process
from chaos.run.fuse import Undo
from chaos.run.injector import read
from chaos.targets.local import LocalTarget

HOST = LocalTarget("here")

# opens 12 and closes every other, so that numbers are free in between; then opens as many as it can, at each line, and
# says how many there were; `child` starts one that inherits the limit
OPENS = """
import os, subprocess, sys
kept = [open("/dev/null") for _ in range(12)]
for file in kept[::2]:
    file.close()
print("up", flush=True)
for line in sys.stdin:
    if line == "child\\n":
        null = subprocess.DEVNULL
        print(subprocess.Popen(["sleep", "60.1901"], stdin=null, stdout=null).pid, flush=True)
        continue
    more = []
    try:
        while len(more) < 100:
            more.append(os.open("/dev/null", os.O_RDONLY))
    except OSError:
        pass
    for number in more:
        os.close(number)
    print(len(more), flush=True)
"""


class Opener:
    """A process that says how many files it can open."""

    def __init__(self) -> None:
        argv = [sys.executable, "-c", OPENS, "opener 60.1902"]
        self.process = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self.answer() == "up"

    def answer(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def says(self, line: str) -> int:
        assert self.process.stdin is not None
        self.process.stdin.write(f"{line}\n")
        self.process.stdin.flush()
        return int(self.answer())


@pytest.fixture
def opener() -> Iterator[Opener]:
    made = Opener()
    with made.process:
        yield made
        made.process.kill()


@pytest.mark.parametrize("spare", [0, 2, 30])
def test_no_more_can_be_opened_than_spared_and_all_can_afterwards(opener: Opener, spare: int) -> None:
    fault = FdExhaustion(match=r"opener 60\.1902$", spare=spare)
    before = read(HOST, fault.reading())
    former = resource.prlimit(opener.process.pid, resource.RLIMIT_NOFILE)
    assert fault.objection(before) is None
    assert opener.says("open") == 100
    undo = Undo.of(HOST.render(action) for action in fault.revert(before))
    assert is_clean(undo)
    for _ in range(2):
        for action in fault.apply(before):
            HOST.perform(action)
        assert fault.is_applied(before, now(fault))
        assert opener.says("open") == spare
    assert not is_clean(undo)
    assert fault.dose(before, now(fault)).confirmed
    for _ in range(2):
        HOST.run(undo.do)
        assert is_clean(undo)
        assert fault.is_reverted(before, now(fault))
        assert resource.prlimit(opener.process.pid, resource.RLIMIT_NOFILE) == former
    assert opener.says("open") == 100
    assert not fault.dose(before, now(fault)).confirmed


def test_a_child_gets_the_former_limit_with_its_parent(opener: Opener) -> None:
    fault = FdExhaustion(match=r"opener 60\.1902$", spare=20)
    before = read(HOST, fault.reading())
    former = resource.prlimit(opener.process.pid, resource.RLIMIT_NOFILE)
    for action in fault.apply(before):
        HOST.perform(action)
    child = opener.says("child")
    assert resource.prlimit(child, resource.RLIMIT_NOFILE) != former
    for action in fault.revert(before):
        HOST.perform(action)
    assert resource.prlimit(child, resource.RLIMIT_NOFILE) == former
    HOST.run(f"kill {child}")


def test_nothing_of_the_machine_is_touched_by_what_is_only_asked() -> None:
    most = Path("/proc/sys/fs/file-max").read_text()
    fault = FdExhaustion(host=True, spare=100)
    seen = now(fault)
    assert (seen.most, seen.processes) == (int(most), ())
    assert Path("/proc/sys/fs/file-max").read_text() == most


@pytest.mark.parametrize(
    "command", ["sshd: sre@pts/0", "/usr/sbin/sshd -D", "sshd-session: root", "/usr/lib/sshd-auth"]
)
def test_nobody_is_locked_out(command: str) -> None:
    seen = Seen((Limited(Process(77, 1, "S", command), 9, 1024, 4096),), 100, 10_000, "1000")
    assert "nobody could log in any more" in (FdExhaustion(match="ssh").objection(seen) or "")
    assert "log in as root" in (FdExhaustion(host=True).objection(seen) or "")


def now(fault: FdExhaustion) -> Seen:
    seen: Seen = read(HOST, fault.reading())
    return seen


def is_clean(undo: Undo) -> bool:
    return HOST.run(undo.clean, check=False).status == 0
