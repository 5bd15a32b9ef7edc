"""affinity on threads of our own, by a real kernel."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chaos.faults import affinity
from chaos.faults.affinity import Affinity, Seen
from chaos.run.fuse import Undo
from chaos.run.injector import read
from chaos.targets.local import LocalTarget

HOST = LocalTarget("here")
ALL = os.sched_getaffinity(0)
pytestmark = pytest.mark.skipif(len(ALL) < 2, reason="needs two cores")

# three threads, the second of which has the last core alone; one more at each line
THREADED = """
import os, sys, threading
def live(own=False):
    if own:
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    started.release()
    threading.Event().wait()
def start(*args):
    threading.Thread(target=live, args=args, daemon=True).start()
    started.acquire()
started = threading.Semaphore(0)
start(True)
start()
print("up", flush=True)
for line in sys.stdin:
    start()
    print("born", flush=True)
"""


@pytest.fixture
def victim() -> Iterator[subprocess.Popen[str]]:
    argv = [sys.executable, "-c", THREADED, "affinity victim 60.1801"]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        says(process, "up")
        yield process
        process.kill()


def says(process: subprocess.Popen[str], word: str) -> None:
    assert process.stdout is not None
    assert process.stdout.readline().strip() == word


def masks(process: subprocess.Popen[str]) -> list[set[int]]:
    return [os.sched_getaffinity(int(task.name)) for task in sorted(Path(f"/proc/{process.pid}/task").iterdir())]


def test_every_thread_is_confined_and_gets_back_what_it_had(victim: subprocess.Popen[str]) -> None:
    fault = Affinity(match=r"affinity victim 60\.1801$", cores=(min(ALL),))
    before = read(HOST, fault.reading())
    former = masks(victim)
    assert sorted(map(len, former)) == [1, len(ALL), len(ALL)]
    assert fault.objection(before) is None
    undo = Undo.of(HOST.render(action) for action in fault.revert(before))
    assert is_clean(undo)
    for _ in range(2):
        perform(fault, before)
        assert fault.is_applied(before, now(fault))
    assert masks(victim) == [{min(ALL)}] * 3
    assert not is_clean(undo)
    assert victim.stdin is not None
    victim.stdin.write("\n")
    victim.stdin.flush()
    says(victim, "born")
    assert masks(victim) == [{min(ALL)}] * 4
    assert fault.dose(before, now(fault)).confirmed
    assert "already" in (fault.objection(now(fault)) or "")
    for _ in range(2):
        HOST.run(undo.do)
        assert masks(victim) == [*former, ALL], "what was born meanwhile gets what its process had"
        assert fault.is_reverted(before, now(fault))
        assert is_clean(undo)
    assert not fault.is_applied(before, now(fault))


def test_one_thread_that_is_off_is_seen(victim: subprocess.Popen[str]) -> None:
    fault = Affinity(match=r"affinity victim 60\.1801$", cores=(min(ALL),))
    before = read(HOST, fault.reading())
    undo = Undo.of(HOST.render(action) for action in fault.revert(before))
    perform(fault, before)
    os.sched_setaffinity(victim.pid, ALL)
    dose = fault.dose(before, now(fault))
    assert (dose.confirmed, dose.why_not) == (False, "1 of 3 threads were no longer confined")
    assert not is_clean(undo)
    HOST.run(undo.do)
    assert is_clean(undo)


def test_a_process_that_is_gone_was_let_go(victim: subprocess.Popen[str]) -> None:
    fault = Affinity(match=r"affinity victim 60\.1801$", cores=(min(ALL),))
    before = read(HOST, fault.reading())
    undo = Undo.of(HOST.render(action) for action in fault.revert(before))
    perform(fault, before)
    victim.kill()
    victim.wait()
    assert fault.dose(before, now(fault)).why_not == "none of the processes is there any more"
    HOST.run(undo.do)
    assert is_clean(undo)
    assert fault.is_reverted(before, now(fault))


@settings(deadline=None)
@given(st.frozensets(st.integers(0, 99), min_size=1))
def test_a_list_of_cores_reads_as_it_is_written(cores: frozenset[int]) -> None:
    assert affinity._cores(affinity._listed(cores)) == cores


def perform(fault: Affinity, before: Seen) -> None:
    for action in fault.apply(before):
        HOST.perform(action)


def now(fault: Affinity) -> Seen:
    seen: Seen = read(HOST, fault.reading())
    return seen


def is_clean(undo: Undo) -> bool:
    return HOST.run(undo.clean, check=False).status == 0
