"""Traffic watched through a real Prometheus: an outage of known length, a Prometheus that dies, or is not there."""

from __future__ import annotations

import json
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from chaos.clock import NS
from chaos.errors import Refusal
from chaos.judge import judge
from chaos.judge.baseline import survey
from chaos.judge.existing import rate_watch
from chaos.judge.series import series_of
from chaos.record.recording import Recording
from chaos.report.terminal import verdict_text
from chaos.run.runner import Runner
from tests.unit.probes.real_prometheus import prometheus
from tests.unit.run import existing_loads
from tests.unit.run.scraped_service import RATE, Service, serving

INTERVAL = 0.4
RANGE = "[400ms] offset 100ms"  # one interval, and late enough for its last scrape to have come in
SERVED = f'sum(rate(done{{code="200"}}{RANGE}))'
OFFERED = f"sum(rate(done{RANGE}))"
OUTAGE = (0.8, 2.0)  # s from zero


def traffic(url: str, query: str, rest: str = "") -> str:
    return f"{{prometheus: '{url}', query: '{query}', interval: 400ms{rest}}}"


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Recording:
    """A run over an outage that begins 0.8 s after the end of the baseline."""
    folder, service = tmp_path_factory.mktemp("watched"), Service()
    with serving(service) as target, prometheus(folder, target) as running:
        plan = existing_loads.planned(
            folder, traffic(running.url, SERVED, f", offered: '{OFFERED}'"),
            "{warmup: 400ms, baseline: 6400ms, observe: 7600ms}",
        )  # fmt: skip
        runner = Runner(plan, {}, "", folder / "runs", existing_loads.Nobody())
        folders: list[Path] = []
        run = threading.Thread(target=lambda: folders.append(runner.run()))
        run.start()
        zero = wait_for_zero(folder / "runs")
        service.outage = (zero / NS + OUTAGE[0], zero / NS + OUTAGE[1])
        run.join()
    return Recording.open(folders[0])


def wait_for_zero(runs: Path) -> int:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        for events in runs.glob("*/latest/events.jsonl"):
            for event in map(json.loads, events.read_text().splitlines()):
                if event["event"] == "load.started":
                    return int(event["zero"])
        time.sleep(0.02)
    raise AssertionError("the run never started its load")


def test_the_outage_is_found_to_one_interval(recording: Recording) -> None:
    series, terms = series_of(recording), recording.terms
    baseline = survey(series, terms, 0.0).baseline
    assert baseline is not None
    # a scrape that a busy machine missed later on may be one more
    incident = next(rate_watch(series, baseline, None).incidents(-series.first, len(series.start_s)))
    assert incident.recovered
    assert series.start_s[incident.onset] == pytest.approx(OUTAGE[0], abs=INTERVAL + 1e-9)
    assert series.start_s[incident.end] == pytest.approx(OUTAGE[1], abs=INTERVAL + 1e-9)


def test_rates_are_what_the_service_counted(recording: Recording) -> None:
    series = series_of(recording)
    before = series.qps[~series.observed]
    assert np.nanmedian(before) == pytest.approx(RATE, rel=0.1)
    assert np.nanmedian(series.scheduled / series.window_s) == pytest.approx(RATE, rel=0.1)
    assert series.window_s == INTERVAL


def test_the_verdict_says_what_it_can_not(recording: Recording) -> None:
    verdict = judge(recording)
    assert (verdict.generator.loop, verdict.generator.sound, verdict.verdict) == ("watched", True, "pass")
    assert verdict.figures["qps_mean"].window_s == INTERVAL
    assert verdict.figures["goodput_ratio"].value == pytest.approx(1 - 1.2 / 7.6, abs=0.08)
    for name in ("latency_p99_s", "qps_cv_real"):
        assert verdict.figures[name].value is None
        assert any(name in reason for reason in verdict.reasons)
    assert "watched and not made by us" in verdict_text(verdict, series_of(recording))


def test_a_prometheus_that_dies_leaves_gaps_and_no_verdict(tmp_path: Path) -> None:
    with prometheus(tmp_path) as running:
        plan = existing_loads.planned(
            tmp_path, traffic(running.url, "vector(5)"), "{warmup: 400ms, baseline: 400ms, observe: 1200ms}"
        )
        runner = Runner(plan, {}, "", tmp_path / "runs", existing_loads.Nobody())
        killer = threading.Timer(2.8, running.process.kill)  # 800 ms into the load
        killer.start()
        recording = Recording.open(runner.run())
        killer.join()
    qps = series_of(recording).qps
    assert qps[0] == 5 and np.isnan(qps[-1])
    verdict = judge(recording)
    assert verdict.verdict == "unknown"
    assert any("may be gaps" in reason and "does not answer" in reason for reason in verdict.reasons)


def test_a_query_without_one_value_is_refused(tmp_path: Path) -> None:
    with prometheus(tmp_path) as running:
        refused(tmp_path, traffic(running.url, "vector(0) / 0"), "gives nan")
        refused(tmp_path, traffic(running.url, "absent(vector(1))"), "gives 0 values")
        refused(tmp_path, traffic(running.url, "sum("), "parse error")


def test_a_prometheus_that_is_not_there_is_refused(tmp_path: Path) -> None:
    refused(tmp_path, traffic("http://127.0.0.1:9", "up"), "does not answer 'up'")


def refused(folder: Path, load: str, why: str) -> None:
    with pytest.raises(Refusal, match=why):
        existing_loads.run(folder, load, "{warmup: 400ms, baseline: 400ms, observe: 1200ms}")
    assert not (folder / "runs").exists()


def test_no_dask_worker_makes_traffic_that_is_there_already(tmp_path: Path) -> None:
    plan = existing_loads.planned(
        tmp_path, traffic("http://127.0.0.1:9", "up"), "{warmup: 400ms, baseline: 400ms, observe: 1200ms}"
    )
    with pytest.raises(Refusal, match="--dask: only a load of our own"):
        Runner(plan, {}, "", tmp_path / "runs", existing_loads.Nobody(), dask="tcp://127.0.0.1:9").run()
    assert not (tmp_path / "runs").exists()
