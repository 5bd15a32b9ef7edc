"""One load shared by real processes: one schedule, one recording, and what is lost when one of them dies."""

from __future__ import annotations

import os
import re
import signal
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from chaos.errors import Refusal
from chaos.judge.soundness import run_problems
from chaos.record.recording import Recording
from chaos.run.generators import generators
from chaos.run.runner import Runner
from chaos.run.trial import Snapshot
from probes.plan import LoadPlan
from probes.superposition import schedule_of
from tests.unit.probes.oracle_server import running
from tests.unit.run.shared_load import Quiet, plan_of

PROCESSES = 3


def shard_plan(recording: Recording, worker: int) -> LoadPlan:
    return LoadPlan.read(recording.path / "shards" / str(worker) / "load.json")


def test_processes_share_one_schedule_and_leave_one_recording(tmp_path: Path) -> None:
    watcher = Quiet()
    with running() as server:
        folder = Runner(plan_of(tmp_path, server.url("/ok"), PROCESSES), {}, "", tmp_path / "runs", watcher).run()
        sent = sorted(int(found) for request in server.requests for found in re.findall(rb"<(\d+)>", request))
    recording = Recording.open(folder)
    whole = list(schedule_of(replace(shard_plan(recording, 0), worker=0, workers=1)))
    assert sent == [number for number, _, _ in whole], "each number of the load, once"
    rows = recording.samples.rows
    assert (rows["error"] == 0).all()
    assert sorted(rows["scheduled"].tolist()) == [due for _, due, _ in whole]
    for worker in range(PROCESSES):
        own = np.sort(rows["scheduled"][rows["worker"] == worker]).tolist()
        assert own == [due for number, due, _ in whole if number % PROCESSES == worker]
    assert [shard_plan(recording, worker).connections for worker in range(PROCESSES)] == [34, 33, 33]
    assert watcher.last is not None and sum(watcher.last.qps) > len(whole) / 4, "the counters of all are added"
    assert not list(folder.glob("shards/*/samples.bin")), "the parts are one file now"
    assert run_problems(recording) == ()


class Killing(Quiet):
    """Kills the process of a shard once the load has run for a while."""

    def __init__(self, folder: Path, worker: int) -> None:
        super().__init__()
        self._folder, self._plan = str(folder), f"/shards/{worker}/load.json"
        self.killed = False

    def update(self, snapshot: Snapshot) -> None:
        if snapshot.elapsed < 1 or self.killed:
            return
        (pid,) = (int(p.parent.name) for p in Path("/proc").glob("[0-9]*/cmdline") if self._is_it(p))
        os.kill(pid, signal.SIGKILL)
        self.killed = True

    def _is_it(self, path: Path) -> bool:
        try:
            last = path.read_bytes().rstrip(b"\0").split(b"\0")[-1].decode(errors="replace")
        except OSError:
            return False
        return last.startswith(self._folder) and last.endswith(self._plan)


def test_a_shard_that_dies_makes_the_run_unknown_and_what_is_lost_is_named(tmp_path: Path) -> None:
    with running() as server:
        plan = plan_of(tmp_path, server.url("/ok"), PROCESSES, rate=300, observe=30)
        watcher = Killing(tmp_path / "runs", 1)
        recording = Recording.open(Runner(plan, {}, "", tmp_path / "runs", watcher).run())
    assert watcher.killed
    (event,) = recording.named("load.shard_lost")
    assert (event["worker"], event["workers"], event["status"]) == (1, PROCESSES, -signal.SIGKILL)
    rows = recording.samples.rows
    assert set(rows["worker"].tolist()) >= {0, 2}
    kept = set(rows["scheduled"][rows["worker"] == 1].tolist())
    missing = [(number, due) for number, due, _ in schedule_of(shard_plan(recording, 1)) if due not in kept]
    assert event["arrivals"] > 0
    assert event["numbers"] == [number for number, _ in missing[:5]]
    assert (event["first"], event["last"]) == (missing[0][1], missing[event["arrivals"] - 1][1])
    assert recording.named("run.ended")[0]["outcome"] == "failed"
    (problem,) = (p for p in run_problems(recording) if "lost" in p)
    assert re.match(r"shard 2 of 3 on localhost died after \d+\.\d s: \d+ arrival\(s\) are lost, numbers \d", problem)
    last_sent = int(rows["scheduled"].max()) - shard_plan(recording, 0).start
    assert last_sent < 15e9, "the others are not kept sending for nothing"


def test_more_processes_than_connections_are_refused(tmp_path: Path) -> None:
    load = plan_of(tmp_path, "http://127.0.0.1:1/", PROCESSES).load.model_copy(update={"processes": 101})
    with pytest.raises(Refusal, match="101 processes can't share 100 connections"), generators(load, {}):
        pass
