"""process_pause and process_kill on processes of our own, through a real target."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from chaos.contracts import Fault
from chaos.faults.process_kill import ProcessKill
from chaos.faults.process_pause import ProcessPause
from chaos.run.fuse import Undo
from chaos.run.injector import read
from chaos.targets.local import LocalTarget

HOST = LocalTarget("here")
Start = Callable[..., "subprocess.Popen[bytes]"]


@pytest.fixture
def start() -> Iterator[Start]:
    started: list[subprocess.Popen[bytes]] = []

    def run(*argv: str) -> subprocess.Popen[bytes]:
        started.append(subprocess.Popen(argv))
        return started[-1]

    yield run
    for process in started:
        process.kill()
        process.wait()


def act(fault: Fault[Any], before: Any) -> None:
    for action in fault.apply(before):
        HOST.perform(action)


def becomes(fault: Fault[Any], test: Callable[[Any, Any], bool], before: Any) -> bool:
    end = time.monotonic() + 5
    while time.monotonic() < end:
        if test(before, read(HOST, fault.reading())):
            return True
    return False


def is_clean(undo: Undo) -> bool:
    return HOST.run(undo.clean, check=False).status == 0


def undo_of(fault: Fault[Any], before: Any) -> Undo:
    return Undo.of(HOST.render(action) for action in fault.revert(before))


def test_a_pause_and_its_undo(start: Start) -> None:
    start("sleep", "60.1701")
    start("sleep", "60.1701")
    bystander = start("sleep", "60.1702")
    fault = ProcessPause(match=r"^sleep 60\.1701$")
    before = read(HOST, fault.reading())
    assert len(before) == 2
    undo = undo_of(fault, before)
    assert is_clean(undo)
    for _ in range(2):
        act(fault, before)
        assert becomes(fault, fault.is_applied, before)
    assert not is_clean(undo)
    assert Path(f"/proc/{bystander.pid}/stat").read_text().split()[2] == "S"
    for _ in range(2):
        HOST.run(undo.do)
        assert becomes(fault, fault.is_reverted, before)
        assert is_clean(undo)


def test_a_pause_spares_who_took_over_the_number(start: Start) -> None:
    start("sleep", "60.1703")
    fault = ProcessPause(match=r"^sleep 60\.1703$")
    before = read(HOST, fault.reading())
    act(fault, tuple(type(p)(p.pid, p.started - 1, p.state, p.command) for p in before))
    assert read(HOST, fault.reading())[0].state == "S"


def test_a_kill_and_the_return(start: Start) -> None:
    victims = [start("sleep", "60.1704"), start("sleep", "60.1704")]
    fault = ProcessKill(match=r"^sleep 60\.1704$")
    before = read(HOST, fault.reading())
    undo = undo_of(fault, before)
    assert is_clean(undo)
    act(fault, before)
    assert becomes(fault, fault.is_applied, before)
    assert [victim.wait(5) for victim in victims] == [-9, -9]
    start("sleep", "60.1704")
    assert not is_clean(undo), "one of two is back"
    start("sleep", "60.1704")
    assert becomes(fault, fault.is_reverted, before)
    assert is_clean(undo)
    act(fault, before)
    assert is_clean(undo), "a second apply kills nobody who was not there before"


def test_a_command_that_starts_it_again_is_run_once(tmp_path: Path, start: Start) -> None:
    start("sleep", "60.1705")
    pids = tmp_path / "pids"
    fault = ProcessKill(match=r"^sleep 60\.1705$", restart=f"sleep 60.1705 & echo $! >>'{pids}'; sleep 0.2")
    before = read(HOST, fault.reading())
    undo = undo_of(fault, before)
    act(fault, before)
    try:
        for _ in range(3):
            HOST.run(undo.do, timeout=10)
        assert becomes(fault, fault.is_reverted, before)
    finally:
        HOST.run(f"kill $(cat '{pids}')")
    assert len(pids.read_text().split()) == 1


def test_a_title_that_was_padded_is_recognised(start: Start) -> None:
    start("sh", "-c", "while :; do read -r x; done </dev/zero", "it's $(id)   ")
    fault = ProcessKill(match=r"it's \$\(id\)")
    before = read(HOST, fault.reading())
    assert len(before.processes) == 1
    assert is_clean(undo_of(fault, before))
