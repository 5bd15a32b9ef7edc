"""One load shared by real processes: one schedule, one recording, and what is lost when one of them dies."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np

from chaos.judge.soundness import run_problems
from chaos.record.recording import Recording
from probes.load import schedule_of
from probes.plan import LoadPlan
from tests.unit.probes.oracle_server import running

PROCESSES = 3


@contextmanager
def probing(folder: Path, url: str, *options: str) -> Iterator[subprocess.Popen[str]]:
    """Run `gameday probe`; kill it should the test fail."""
    argv = [sys.executable, "-m", "chaos", "probe", url, "--out", str(folder), "--json", *options]
    process = subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def recording_in(folder: Path) -> Recording:
    (path,) = (p.parent for p in folder.rglob("plan.json"))
    return Recording.open(path)


def shard_plan(recording: Recording, worker: int) -> LoadPlan:
    return LoadPlan.read(recording.path / "shards" / str(worker) / "load.json")


def pid_of_shard(folder: Path, worker: int) -> int:
    """Return the process that runs a shard of the recording in `folder`, once it has its first rows to lose."""
    wanted = f"/shards/{worker}/load.json"
    end = time.monotonic() + 20
    while time.monotonic() < end:
        for entry in Path("/proc").glob("[0-9]*/cmdline"):
            try:
                command = entry.read_bytes().decode(errors="replace")
            except OSError:
                continue
            if str(folder) in command and command.rstrip("\0").endswith(wanted):
                return int(entry.parent.name)
        time.sleep(0.05)
    raise AssertionError("the shard never started")


def test_processes_share_one_schedule_and_leave_one_recording(tmp_path: Path) -> None:
    with running() as server:
        options = ("--processes", str(PROCESSES), "--rate", "90/s", "--for", "1s")
        with probing(tmp_path, server.url("/ok"), *options, "--body", '{"n": "{seq}"}') as process:
            said, errors = process.communicate(timeout=60)
        bodies = {int(found) for request in server.requests for found in re.findall(rb'"n": "(\d+)"', request)}
    assert '"achieved_rate"' in said, errors
    recording = recording_in(tmp_path)
    whole = list(schedule_of(replace(shard_plan(recording, 0), worker=0, workers=1)))
    rows = recording.samples.rows
    assert sorted(rows["scheduled"].tolist()) == [due for _, due, _ in whole]
    assert (rows["error"] == 0).all()
    for worker in range(PROCESSES):
        own = np.sort(rows["scheduled"][rows["worker"] == worker]).tolist()
        assert own == [due for number, due, _ in whole if number % PROCESSES == worker]
    assert bodies <= set(range(len(whole))), "the numbers in bodies are those of the whole load"
    assert not list(recording.path.glob("shards/*/samples.bin")), "the parts are one file now"
    assert run_problems(recording) == ()


def test_a_shard_that_dies_makes_the_run_unknown_and_what_is_lost_is_named(tmp_path: Path) -> None:
    with running() as server:
        options = ("--processes", str(PROCESSES), "--rate", "300/s", "--for", "20s")
        with probing(tmp_path, server.url("/ok"), *options) as process:
            victim = pid_of_shard(tmp_path, 1)
            time.sleep(4)
            os.kill(victim, signal.SIGKILL)
            said, errors = process.communicate(timeout=60)
    assert process.returncode == 4, errors
    recording = recording_in(tmp_path)
    (event,) = recording.named("load.shard_lost")
    assert (event["worker"], event["workers"], event["status"]) == (1, PROCESSES, -signal.SIGKILL)
    rows = recording.samples.rows
    kept = set(rows["scheduled"][rows["worker"] == 1].tolist())
    last_kept_of_others = int(rows["scheduled"][rows["worker"] != 1].max())
    missing = [(n, due) for n, due, _ in schedule_of(shard_plan(recording, 1)) if due not in kept]
    due_by_the_end = [(n, due) for n, due in missing if due <= last_kept_of_others]
    assert event["arrivals"] >= len(due_by_the_end) > 0
    assert event["numbers"] == [number for number, _ in missing[:5]]
    assert (event["first"], event["last"]) == (missing[0][1], missing[event["arrivals"] - 1][1])
    assert json.loads(said)["verdict"] == "unknown" if said.startswith("{") else '"unknown"' in said
    assert f"shard 2 of {PROCESSES} on localhost died after" in said
    assert recording.named("load.ended")[0]["t"] < rows["scheduled"].min() + 19e9, "the others are not kept sending"


def test_more_processes_than_connections_are_refused(tmp_path: Path) -> None:
    with probing(tmp_path, "http://127.0.0.1:1/", "--processes", "3000") as process:
        _, errors = process.communicate(timeout=30)
    assert process.returncode == 3
    assert "3000 processes can't share 2048 connections" in errors
    assert list(tmp_path.iterdir()) == []
