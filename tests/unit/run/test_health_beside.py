"""Health probes beside a load, in their own processes, from the YAML to the verdict."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import chaos.catalog
from chaos.clock import NS, SystemClock
from chaos.errors import Refusal
from chaos.judge import judge
from chaos.judge.verdict import ProbeLine, Verdict
from chaos.plan.plan import Plan, PlannedLoad, make_plan
from chaos.record.events import EventLog
from chaos.record.recording import Recording
from chaos.run.health import HealthProcess
from chaos.run.load import LoadProcess
from chaos.run.runner import Runner
from chaos.run.trial import Snapshot
from chaos.spec.experiment import load_experiment
from chaos.spec.inventory import load_inventory
from tests.unit.run.outage_server import OutageServer, outage_server

HOSTS = Path(__file__).parents[2] / "cases" / "spec" / "good-inventory.yaml"
EVERY, TIMEOUT = 0.1, 1.0
PROBES = """
  - {{kind: http, name: healthz, url: "http://127.0.0.1:{port}/healthz", failure_threshold: 1}}
  - {{kind: tcp, address: "127.0.0.1:{port}", every: 100ms}}
  - {{kind: command, run: [bash, -c, "exec 3<>/dev/tcp/127.0.0.1/{port}"], every: 100ms, failure_threshold: 1}}
  - {{kind: tcp, name: other, address: "127.0.0.1:{other}", every: 100ms}}
"""


class Silent:
    def phase(self, name: str, seconds: float) -> None: ...

    def update(self, snapshot: Snapshot) -> None: ...

    def note(self, text: str) -> None: ...


@pytest.fixture
def server() -> Iterator[OutageServer]:
    with outage_server() as running:
        yield running


def planned(folder: Path, port: int, probes: str, timeline: str) -> Plan:
    file = folder / "experiment.yaml"
    load = f"{{url: 'http://127.0.0.1:{port}/', arrivals: {{process: constant, rate: 200/s}}}}"
    file.write_text(f"name: beside\nload: {load}\ntimeline: {timeline}\nprobes:\n{probes}")
    return make_plan(load_experiment(file, chaos.catalog.faults()), load_inventory(HOSTS))


def run(plan: Plan, folder: Path) -> Verdict:
    return judge(Recording.open(Runner(plan, {}, "", folder / "runs", Silent()).run()))


class Outage:
    """The server away from `begin` to `end` (s from zero), truth taken from the clock as it went and came."""

    def __init__(self, folder: Path, plan: Plan, server: OutageServer) -> None:
        self._folder, self._plan, self._server, self._clock = folder, plan, server, SystemClock()
        self.gone_s = self.back_s = 0.0

    def record(self, begin: float, end: float) -> Recording:
        terms = self._plan.terms
        start = self._clock.now() + 2 * NS
        zero = start + round((terms.warmup + terms.baseline) * NS)
        (self._folder / "plan.json").write_text(json.dumps({"terms": terms.model_dump()}))
        events = EventLog(self._folder / "events.jsonl", self._clock)
        health = HealthProcess.start(self._folder, self._plan.probes, start, self._plan.load.duration)
        assert isinstance(self._plan.load, PlannedLoad)
        load = LoadProcess.start(self._folder, self._plan.load, start)
        events.write("load.started", zero=zero)
        try:
            self._cut(events, zero, begin, end)
            load.wait(30)
        finally:
            events.write("load.ended", status=load.stop())
            events.write("probes.ended", status=health.stop(at_once=False))
            events.write("run.ended", outcome="done", why="")
            events.close()
        return Recording.open(self._folder)

    def _cut(self, events: EventLog, zero: int, begin: float, end: float) -> None:
        fault = {"fault": "outage-0@server", "host": "server"}
        self._sleep_until(zero, begin)
        began = self._clock.now()
        self._server.go_away()
        self.gone_s = (began - zero) / NS
        events.write("fault.applied", kind="outage", asked={}, began=began, confirmed=True, **fault)
        self._sleep_until(zero, end)
        began = self._clock.now()
        self._server.come_back()
        self.back_s = (began - zero) / NS
        events.write("fault.cleared", began=began, reverted=True, by="controller", **fault)

    def _sleep_until(self, zero: int, at_s: float) -> None:
        time.sleep(max(0.0, zero / NS + at_s - time.monotonic()))


def test_each_probe_sees_an_outage_within_one_period_and_timeout_of_the_truth(
    server: OutageServer, tmp_path: Path
) -> None:
    with outage_server() as other:
        probes = PROBES.format(port=server.port, other=other.port)
        plan = planned(tmp_path, server.port, probes, "{warmup: 0.4s, baseline: 1.6s, observe: 3.5s}")
        plan = plan.model_copy(update={"terms": plan.terms.model_copy(update={"window": 0.1})})
        outage = Outage(tmp_path, plan, server)
        verdict = judge(outage.record(0.5, 1.5))
    assert not [reason for reason in verdict.reasons if "probe" in reason and "never asked" not in reason]
    healthz, tcp, command, other_tcp = verdict.probes
    for line, threshold in ((healthz, 1), (tcp, 3), (command, 1)):
        check_times(line, threshold, outage)
    assert (other_tcp.n > 0, other_tcp.failed, other_tcp.detected_at_s) == (True, 0, None)


def check_times(line: ProbeLine, threshold: int, outage: Outage) -> None:
    assert line.onset_at_s is not None
    assert line.detected_at_s is not None
    assert line.recovered_at_s is not None
    assert line.after_onset_s is not None
    assert 0 <= line.onset_at_s - outage.gone_s <= EVERY + TIMEOUT
    assert 0 <= line.detected_at_s - line.onset_at_s <= (threshold - 1) * EVERY + TIMEOUT
    assert 0 <= line.recovered_at_s - outage.back_s <= EVERY + TIMEOUT
    assert -1.0 <= line.after_onset_s <= threshold * EVERY + TIMEOUT


def test_a_run_starts_its_probes_and_ends_them(server: OutageServer, tmp_path: Path) -> None:
    probes = f"  - {{kind: tcp, address: '127.0.0.1:{server.port}', every: 200ms}}\n"
    verdict = run(planned(tmp_path, server.port, probes, "{warmup: 0s, baseline: 1s, observe: 1s}"), tmp_path)
    (line,), recording = verdict.probes, Recording.open(Path(verdict.run))
    assert (line.name, line.failed, line.detected_at_s) == ("tcp", 0, None)
    assert len(recording.checks("tcp").rows) == 10
    assert recording.named("probes.ended")[0]["status"] == 0
    assert recording.checks("tcp").classes == ("check",)


def test_probes_that_die_fail_the_run(server: OutageServer, tmp_path: Path) -> None:
    """This check kills the process that asks it."""
    probes = "  - {kind: command, run: [sh, -c, 'kill -9 $PPID'], every: 5s}\n"
    verdict = run(planned(tmp_path, server.port, probes, "{warmup: 0s, baseline: 10s, observe: 10s}"), tmp_path)
    assert verdict.verdict == "unknown"
    assert "the run failed: the health probes ended with -9" in verdict.reasons[0]
    assert any("health probes ended with status -9" in reason for reason in verdict.reasons)


def test_a_probe_that_can_not_be_asked_from_here_is_refused_before_anything_is_touched(tmp_path: Path) -> None:
    plan = planned(tmp_path, 1, "  - {kind: command, run: [no-such-program]}\n", "{baseline: 1s, observe: 1s}")
    with pytest.raises(Refusal, match="controller: probe command can ask: there is no program 'no-such-program'"):
        run(plan, tmp_path)
    assert not (tmp_path / "runs").exists()
