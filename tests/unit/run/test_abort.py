"""The guard of a run: windows of the counters, answers of a query, the state of a probe, and what nobody can tell."""

from __future__ import annotations

import json
import math
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chaos.clock import NS
from chaos.errors import Refusal
from chaos.plan.plan import PlannedProbe
from chaos.run.abort import AbortGuard
from chaos.run.abort_query import QueryWatch, Sight
from chaos.run.broken import Broken
from chaos.run.health import HealthProcess
from chaos.run.runner import Runner
from chaos.spec.abort import ProbeCondition, QueryCondition, parse_abort
from probes.errors import ErrorKind
from probes.health import State
from probes.health._live import LiveStates
from probes.histogram import BUCKETS, bucket_of
from probes.live import Live
from tests.unit.probes.real_prometheus import prometheus
from tests.unit.run import existing_loads

START = 1_000 * NS


def live(scheduled: list[float], good: list[float], latencies_ms: list[int] | None = None) -> Live:
    """Counters of windows of 1 s; of the scheduled ones that are not good, all have failed."""
    offered, served = np.array(scheduled, dtype=float), np.array(good, dtype=float)
    latencies = np.zeros((len(offered), BUCKETS), np.int64)
    for window, ms in enumerate(latencies_ms or []):
        latencies[window, bucket_of(ms * 1000)] = 10
    return Live(START, NS, 0, 0, "running", offered, served, served, offered - served, served, latencies)


def at(seconds: float) -> int:
    return START + round(seconds * NS)


def guard_of(line: str, slo: float | None = 0.5) -> AbortGuard:
    return AbortGuard([parse_abort(line)], slo, START)


def first_stop(guard: AbortGuard, counters: Live | None, until: float) -> tuple[float, Broken] | None:
    """Ask every 0.25 s, as a run does; return when it said so, and what."""
    for tick in range(round(until / 0.25) + 1):
        if broken := guard.broken(counters, at(tick * 0.25)):
            return tick * 0.25, broken
    return None


@pytest.mark.parametrize(
    ("line", "values"),
    [
        ("goodput < 50% for 2s", (0.4, 0.4)),
        ("errors > 50% for 2s", (0.6, 0.6)),
        ("qps < 50/s for 2s", (40.0, 40.0)),
    ],
)
def test_it_stops_once_the_last_window_of_the_span_can_be_known(line: str, values: tuple[float, ...]) -> None:
    """Windows 3 and 4 are bad; the second ends at 5 s and has had its 0.5 s to be good at 5.5 s."""
    stopped = first_stop(guard_of(line), live([100] * 8, [100, 100, 100, 40, 40, 100, 100, 100]), 8)
    assert stopped is not None
    when, broken = stopped
    assert when == 5.5
    assert (broken.condition, broken.since, broken.blind) == (line, at(3), False)
    assert broken.values == pytest.approx(values)


def test_a_window_that_is_well_breaks_the_span() -> None:
    counters = live([100] * 9, [100, 40, 100, 40, 100, 40, 100, 40, 100])
    assert first_stop(guard_of("goodput < 50% for 2s"), counters, 9) is None


def test_a_window_without_requests_tells_nothing() -> None:
    """It neither holds by itself nor breaks the span of its neighbours."""
    assert first_stop(guard_of("goodput < 50% for 2s"), live([0] * 8, [0] * 8), 8) is None
    stopped = first_stop(guard_of("goodput < 50% for 3s"), live([9, 9, 0, 9, 9], [9, 0, 0, 0, 9]), 6)
    assert stopped is not None and stopped[0] == 4.5


@pytest.mark.parametrize(("signal", "stops"), [("latency", True), ("latency_p99", True), ("latency_p50", False)])
def test_a_latency_is_of_its_quantile(signal: str, stops: bool) -> None:
    counters = live([100] * 4, [100] * 4, [10] * 4)
    counters.latencies[:, bucket_of(3_000_000)] = 1
    assert (first_stop(guard_of(f"{signal} > 2s for 2s"), counters, 4) is not None) == stops


def test_nothing_is_asked_before_the_load_begins() -> None:
    assert guard_of("goodput < 50% for 1s").broken(None, START - 1) is None


def test_counters_that_say_nothing_end_the_run_too() -> None:
    """No counters at all, or watched traffic whose Prometheus has no values; a second that it had is counted on."""
    for counters, known in ((None, 0.0), (live([math.nan] * 20, [math.nan] * 20), 0.0), (gone_after(4), 4.0)):
        stopped = first_stop(guard_of("qps < 1/s for 3s"), counters, 20)
        assert stopped is not None and stopped[1].blind
        # its span and 2 s, and as long as the next window may take to be known
        assert known + 5.0 < stopped[0] <= known + 5.0 + 1.5 + 0.25
        assert "the load's counters say nothing" in stopped[1].said


def gone_after(windows: int) -> Live:
    values = [100.0] * windows + [math.nan] * (20 - windows)
    return live(values, values)


ABOVE = QueryCondition(text="q > 5 for 2 s", promql="q", prometheus="http://h", side=">", limit=5.0, for_s=2.0)


def seen(values: list[float | None], every: float = 1.0) -> Sight:
    sight = Sight(None, START)
    for index, value in enumerate(values):
        sight = sight if value is None else sight.told(at(index * every), value, ABOVE)
    return sight


def test_a_query_holds_from_the_first_value_to_one_a_span_later() -> None:
    assert seen([1, 9, 9]).opinion(ABOVE, at(2)) is None
    broken = seen([1, 9, 9, 9]).opinion(ABOVE, at(3))
    assert broken == Broken(ABOVE.text, "it was 9, 9, 9, for 2.0 s", at(1), (9, 9, 9))
    assert seen([9, 9, 1, 9, 9]).opinion(ABOVE, at(4)) is None
    assert seen([9, 5, 9]).opinion(ABOVE, at(2)) is None  # at the limit is not beyond it


def test_an_answer_that_is_missing_is_no_zero_and_no_value() -> None:
    assert seen([9, None, 9]).opinion(ABOVE, at(2)) is not None  # it breaks no span
    assert seen([9, None, None, None]).opinion(ABOVE, at(3)) is None  # it makes none either
    below = ABOVE.model_copy(update={"side": "<"})
    assert Sight(None, START).opinion(below, at(3.9)) is None


def test_a_query_without_answers_is_a_reason_to_stop_after_its_span_and_two_seconds() -> None:
    assert seen([1, 1]).opinion(ABOVE, at(5)) is None
    broken = seen([1, 1]).opinion(ABOVE, at(5.01))
    assert broken is not None and broken.blind and broken.since == at(1)


@given(st.lists(st.one_of(st.none(), st.sampled_from([1.0, 5.0, 9.0, math.inf])), max_size=12))
def test_a_query_never_holds_without_a_span_of_nothing_but_bad_values(values: list[float | None]) -> None:
    sight = seen(values)
    broken = sight.opinion(ABOVE, sight.known)
    bad = [(i, v) for i, v in enumerate(values) if v is not None]
    while bad and bad[0][1] <= 5:
        bad = bad[1:]
    tail = [i for k, (i, v) in enumerate(bad) if all(v > 5 for _, v in bad[k:])]
    assert (broken is not None) == (bool(tail) and tail[-1] - tail[0] >= 2)
    if broken:
        json.loads(json.dumps(broken.fields()), parse_constant=pytest.fail)


PROBE = PlannedProbe(name="healthz", type="unused", parameters={"every": 0.5, "timeout": 1.0})


def test_a_probe_must_stay_unhealthy_for_the_span(tmp_path: Path) -> None:
    health = HealthProcess(tmp_path, None, 1.0, (PROBE,))
    condition = parse_abort("probe healthz unhealthy for 2s")
    assert isinstance(condition, ProbeCondition)
    guard, states = AbortGuard([condition], None, START, health), LiveStates(tmp_path / "probes-live.bin", 1)
    states.show(0, State(at(3), at(4.9), ErrorKind.CONNECT_REFUSED))
    assert guard.broken(None, at(4.9)) is None
    broken = guard.broken(None, at(5))
    said = "it said so for 2.0 s, its last check was: connect refused"
    assert broken == Broken("probe healthz unhealthy for 2s", said, at(3))
    states.show(0, State(None, at(5.1), ErrorKind.OK))
    assert guard.broken(None, at(6)) is None


def test_a_probe_without_answers_is_a_reason_to_stop(tmp_path: Path) -> None:
    """From the beginning, with no file at all, and later; after the span, its period, its timeout and 2 s."""
    health = HealthProcess(tmp_path, None, 1.0, (PROBE,))
    guard = AbortGuard([parse_abort("probe healthz unhealthy for 2s")], None, START, health)
    assert guard.broken(None, at(5.5)) is None
    broken = guard.broken(None, at(5.6))
    assert broken is not None and broken.blind and "the probe healthz has no answers" in broken.said
    LiveStates(tmp_path / "probes-live.bin", 1).show(0, State(None, at(5), ErrorKind.OK))
    assert guard.broken(None, at(10.5)) is None
    assert guard.broken(None, at(10.6)) is not None


def query(url: str, promql: str, rest: str = "above: 5, for: 500ms") -> str:
    return f"{{promql: '{promql}', prometheus: '{url}', {rest}}}"


def refused(folder: Path, abort: str, why: str) -> None:
    timeline = "{warmup: 0s, baseline: 1s, observe: 1s}"
    load = f"{{url: 'http://127.0.0.1:9/', arrivals: {{rate: 10/s}}}}\nabort: [\"{abort}\"]".replace('"', "")
    plan = existing_loads.planned(folder, load, timeline)
    with pytest.raises(Refusal, match=why):
        Runner(plan, {}, "", folder / "runs", existing_loads.Nobody()).run()
    assert not (folder / "runs").exists()


def test_a_query_that_can_not_be_told_is_refused_before_anything_is_touched(tmp_path: Path) -> None:
    refused(tmp_path, query("http://127.0.0.1:9", "up"), "controller: abort `up > 5 for 500 ms` can be told: .*refused")
    with prometheus(tmp_path) as running:
        refused(tmp_path, query(running.url, "absent(vector(1))"), "gives 0 values, one is wanted")
        refused(tmp_path, query(running.url, "vector(0) / 0"), "gives nan")
        refused(tmp_path, query(running.url, "sum("), "parse error")


def test_a_prometheus_that_dies_leaves_no_guard(tmp_path: Path) -> None:
    with prometheus(tmp_path) as running:
        condition = ABOVE.model_copy(update={"promql": "vector(1)", "prometheus": running.url, "for_s": 0.5})
        watch = QueryWatch(condition, time.monotonic_ns())
        watch.start()
        try:
            time.sleep(0.7)
            assert watch.broken(None, time.monotonic_ns()) is None
            running.process.kill()
            assert watch.broken(None, time.monotonic_ns()) is None  # an answer that is missing is no reason yet
            broken = stop_of(watch)
        finally:
            watch.close()
    assert broken.blind and "does not answer 'vector(1)'" in broken.said


def stop_of(watch: QueryWatch) -> Broken:
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        if broken := watch.broken(None, time.monotonic_ns()):
            return broken
        time.sleep(0.05)
    raise AssertionError("the guard never said anything")
