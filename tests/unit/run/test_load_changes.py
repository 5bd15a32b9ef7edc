"""Changes of a load in real runs: sent as planned, told in the events like any fault, and let go by a Ctrl-C."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

from chaos import catalog
from chaos.clock import NS, SystemClock
from chaos.judge import judge
from chaos.plan.plan import Plan, PlannedLoad, make_plan
from chaos.record.events import EventLog, read_events
from chaos.record.recording import Recording
from chaos.run.changes import Change
from chaos.run.connect import controller_home
from chaos.run.load import LoadProcess
from chaos.run.panic import panic
from chaos.run.runner import Runner
from chaos.run.stop import Stop
from chaos.run.trial import Snapshot
from chaos.spec.experiment import load_experiment
from chaos.spec.inventory import Host, Inventory
from tests.unit.probes.oracle_server import running
from tests.unit.run.namespaced_host import namespaced_host
from tests.unit.run.shared_load import Quiet

_EXPERIMENT = """\
name: changed
load:
  url: {url}
  method: POST
  classes: [{{name: hot, weight: 9, body: "{{seq}}"}}, {{name: cold, body: "{{seq}}"}}]
  arrivals: {{process: constant, rate: 100/s}}
  processes: {processes}
  timeout: 2s
timeline: {{warmup: 0s, baseline: 1s, observe: {observe}s}}
faults:
{faults}
"""


class Interrupting(Quiet):
    """Does something once a fault has been on for a while."""

    def __init__(self, do: Callable[[], object]) -> None:
        super().__init__()
        self._do, self._looks = do, 4

    def update(self, snapshot: Snapshot) -> None:
        super().update(snapshot)
        if snapshot.fault_active:
            self._looks -= 1
            if self._looks == 0:
                self._do()


def press_ctrl_c() -> None:
    os.kill(os.getpid(), signal.SIGINT)


def call_a_panic() -> None:
    with namespaced_host() as pid:
        panic(Inventory(hosts={"other": Host(connection="netns", pid=pid)}), Path(controller_home()) / "runs")


def plan_of(folder: Path, url: str, faults: str, processes: int = 1, observe: int = 3) -> Plan:
    path = folder / "changed.yaml"
    path.write_text(_EXPERIMENT.format(url=url, processes=processes, observe=observe, faults=faults), encoding="utf-8")
    nobody = Inventory(hosts={"here": Host(connection="local")})
    return make_plan(load_experiment(path, catalog.faults()), nobody)


def run(folder: Path, faults: str, watcher: Quiet, **shape: int) -> tuple[Recording, int]:
    """Run it against a server, and return what it recorded and how many requests the server saw."""
    with running() as server:
        plan = plan_of(folder, server.url("/ok"), faults, **shape)
        recording = Recording.open(Runner(plan, {}, "", folder / "runs", watcher, lease=1.0).run())
        return recording, len(server.requests)


def event(recording: Recording, name: str, fault: str) -> dict[str, Any]:
    (found,) = (e for e in recording.named(name) if e["fault"] == fault)
    return found


def due(recording: Recording, begin: float, end: float) -> np.ndarray:
    """Return the rows due from `begin` to `end`, in s from zero."""
    at = (recording.samples.rows["scheduled"] - (recording.zero or 0)) / NS
    return recording.samples.rows[(at >= begin) & (at < end)]


def test_they_are_sent_and_told_like_faults(tmp_path: Path) -> None:
    faults = """\
  - {kind: burst, at: 0.5s, for: 1s, times: 4}
  - {kind: skew, at: 1.5s, for: 1.2s, classes: {hot: 1, cold: 3}}
  - {kind: burst, at: 2.805s, requests: 60}
"""
    watcher = Quiet()
    recording, seen = run(tmp_path, faults, watcher, processes=2)
    assert seen == len(recording.samples.rows) == 400 + 300 + 60
    counts = [len(due(recording, begin, begin + 0.5)) for begin in (0, 0.5, 1, 1.5, 2, 2.5)]
    assert counts == [50, 200, 200, 50, 50, 110]
    skewed = due(recording, 1.5, 2.7)["klass"]
    low, high = stats.binom.interval(0.99, len(skewed), 0.75)
    assert low <= (skewed == 1).sum() <= high
    zero = recording.zero or 0
    for fault, begin, end in (("burst-0", 0.5, 1.5), ("skew-1", 1.5, 2.7), ("burst-2", 2.805, 2.805)):
        applied, cleared = event(recording, "fault.applied", fault), event(recording, "fault.cleared", fault)
        assert [(e["t"] - zero) / NS for e in (applied, cleared)] == pytest.approx([begin, end])
    verdict = judge(recording)
    lines = {line.id: line for line in verdict.faults}
    assert {(line.host, line.confirmed, line.reverted) for line in lines.values()} == {("load", True, True)}
    assert (lines["burst-0"].asked, lines["burst-0"].achieved) == ({"offered_rate": 400.0}, {"offered_rate": 400.0})
    assert (lines["burst-2"].asked, lines["burst-2"].achieved) == ({"requests": 60.0}, {"requests": 60.0})
    assert lines["skew-1"].achieved["share_of_cold"] == pytest.approx((skewed == 1).mean())
    assert watcher.last is not None and watcher.last.hosts["burst-0"] == "undone"
    assert not [reason for reason in verdict.reasons if "dose" in reason or "intended" in reason]


@pytest.mark.parametrize(("do", "outcome"), [(press_ctrl_c, "interrupted"), (call_a_panic, "aborted")])
def test_a_stop_lets_go_in_the_middle(tmp_path: Path, do: Callable[[], None], outcome: str) -> None:
    faults = "  - {kind: burst, at: 0s, for: 20s, times: 5}\n  - {kind: burst, at: 15s, for: 2s, times: 2}\n"
    recording, seen = run(tmp_path, faults, Interrupting(do), observe=30)
    assert seen <= len(recording.samples.rows) + 5
    cleared = event(recording, "fault.cleared", "burst-0")
    assert cleared["t"] - cleared["began"] < 2 * NS
    (ended,) = recording.named("load.ended")
    assert ended["t"] > cleared["t"], "it was let go before the load ended, and not by its end"
    held = (cleared["began"] - (recording.zero or 0)) / NS
    assert 150 * held < len(due(recording, 0, held)) <= 500 * held + 5
    assert len(due(recording, held + 1, 30)) < 110 * 30, "the plain load, if any"
    assert event(recording, "fault.dose", "burst-0")["confirmed"]
    assert [e["fault"] for e in recording.named("fault.applied")] == ["burst-0"], "the other one never was"
    assert recording.named("run.ended")[0]["outcome"] == outcome
    verdict = judge(recording)
    assert verdict.verdict == "unknown"
    assert not [reason for reason in verdict.reasons if "reverted" in reason]


def test_a_load_that_does_not_hear_is_let_go_by_its_end(tmp_path: Path) -> None:
    with running() as server:
        plan = plan_of(tmp_path, server.url("/ok"), "  - {kind: burst, for: 20s, times: 5}\n", observe=30)
        assert isinstance(plan.load, PlannedLoad)
        clock = SystemClock()
        stop, events, start = Stop(clock), EventLog(tmp_path / "events.jsonl", clock), clock.now() + NS
        load = LoadProcess.start(tmp_path, plan.load, start)
        change = Change(plan.changes[0], 0, start + NS, load, events, clock, stop)
        thread = threading.Thread(target=change.carry_out)
        thread.start()
        clock.sleep_until(start + 2 * NS)
        load.process.send_signal(signal.SIGSTOP)
        stop.set("interrupted", "by a test")
        thread.join(10)
        assert change.state == "burst applied", "nobody says that it is over"
        load.process.kill()
        load.stop()
        change.close(tmp_path)
        events.close()
    told = read_events(tmp_path / "events.jsonl")
    assert [e["event"] for e in told] == ["fault.applied", "note", "fault.cleared", "fault.dose"]
    assert (told[2]["by"], change.state) == ("end", "undone")
