"""What the load and the judge say, held against what scripted servers really did.

All scenarios run at once, each load and each server a process, and last as long as the longest: a stall of 5 s. Times
are held against the server's journal, so a server that was kept waiting by a busy machine is part of the truth; what
is left is the error of the measurement.
"""

from __future__ import annotations

import json
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from chaos.judge import judge
from chaos.judge.baseline import survey
from chaos.judge.incidents import Incident, watch
from chaos.judge.series import series_of
from chaos.record.recording import Recording
from probes.overlay import NUMBERS, Overlay
from probes.profile import Step
from tests.truth.measuring import Measured, Scenario
from tests.truth.script import Outage, Script
from tests.unit.judge import scripted

NS = 1_000_000_000
LATER = 3.0
"""s after the other loads: the busiest begins when those whose latency counts are over."""
FATES = {
    "/ok": "ok",
    "/chunked": "ok",
    "/interim": "ok",
    "/drip": "ok",
    "/until-eof": "ok",
    "/answer-then-close": "ok",
    "/too-long": "ok",
    "/500": "ok",
    "/too-short": "closed_early",
    "/half-close": "closed_early",
    "/close": "closed_early",
    "/reset": "reset",
    "/malformed": "malformed",
    "/never": "timeout",
}
"""What a server does, and what the load must call it."""
LAWS = {
    "constant": np.full(600, 0.020),
    "two-point": np.random.default_rng(1).choice([0.010, 0.150], 600, p=[0.9, 0.1]),
    "lognormal": np.random.default_rng(2).lognormal(np.log(0.050), 0.7, 600),
}
BURST = 200.0
OVERLAYS = (
    Overlay(begin=1.0, end=2.0, extra=(Step(None, 300.0, 300.0),)),
    Overlay(begin=2.503, end=2.953, requests=45),
)
STALL = (1.0, 6.0)
OUTAGE = (3.1, 3.97)
SERVICE = 0.1
"""s: long enough that a busy machine does not take the p95 of a window out of the band of its baseline."""
BASELINE, OBSERVE, WINDOW = 2.6, 4.8, 0.2


def scenarios(start: int) -> dict[str, Scenario]:
    late = start + round(LATER * NS)
    found = {
        "bucket": Scenario(Script(start=late, rate=1000.0, burst=BURST), {"rate": 2000.0, "duration": 3.5}),
        "fates": Scenario(Script(start=start, fates=list(FATES)), {"rate": 140.0, "duration": 2.0, "timeout": 1.0}),
    }
    found["burst"] = Scenario(Script(start=start), {"rate": 100.0, "duration": 3.0, "overlays": OVERLAYS})
    for name, law in LAWS.items():
        load = {"rate": 200.0, "duration": 3.0, "process": "poisson"}
        found[name] = Scenario(Script(start=start, delays=law.tolist()), load)
    for connections in (2048, 8):
        load = {"rate": 100.0, "duration": 6.5, "connections": connections}
        found[f"stall-{connections}"] = Scenario(Script(start=start, stalls=[STALL]), load)
    for how in ("/reset", "/503", "refuse"):
        script = Script(start=start, delays=[SERVICE], outages=[Outage(*OUTAGE, how)])
        found[how.strip("/")] = Scenario(script, {"rate": 100.0, "duration": BASELINE + OBSERVE})
    return found


def recording(found: Measured, script: scripted.Script, folder: Path) -> Recording:
    """Write the folder that a run of this load would have left."""
    (folder / "plan.json").write_text(json.dumps({"terms": scripted.terms(script)}))
    told = [json.dumps({"v": 1, "utc": "", **event}) for event in scripted.events(script)]
    (folder / "events.jsonl").write_text("\n".join(told) + "\n")
    shutil.copy(found.outcome.plan.samples, folder / "samples.bin")
    return Recording.open(folder)


def quantiles(values: NDArray[np.float64]) -> list[float]:
    return [float(value) for value in np.quantile(values, (0.5, 0.9, 0.99))]


def test_every_arrival_has_its_row_and_none_is_sent_twice(measured: dict[str, Measured]) -> None:
    for name, found in measured.items():
        plan = found.outcome.plan
        assert (name, found.outcome.status, found.strays) == (name, 0, 0)
        scheduled = (found.rows["scheduled"] - plan.start) / NS
        assert plan.rate is not None
        assert len(scheduled) == pytest.approx(
            plan.rate * plan.duration + (345 if plan.overlays else 0), rel=0.005 if plan.process == "constant" else 0.2
        )
        assert (scheduled >= 0).all()
        assert (scheduled < plan.duration).all()


def test_the_load_and_the_server_agree_on_every_request_that_was_served(measured: dict[str, Measured]) -> None:
    for name, found in measured.items():
        if name != "fates":
            assert (found.served == found.truly_served).all(), name


@pytest.mark.parametrize("name", ["bucket", *LAWS])
def test_the_rate_is_what_was_asked_for(measured: dict[str, Measured], name: str) -> None:
    found = measured[name]
    received = found.journaled("received")
    assert received.all()
    sent_rate = (len(received) - 1) / (found.rows["sent"].max() - found.rows["sent"].min()) * NS
    offered = (len(received) - 1) / (found.rows["scheduled"].max() - found.rows["scheduled"].min()) * NS
    assert sent_rate == pytest.approx(offered, rel=0.005)
    assert sent_rate == pytest.approx((len(received) - 1) / (received.max() - received.min()) * NS, rel=0.005)


def test_a_burst_comes_when_it_is_due_and_leaves_the_load_beneath_it_as_it_was(measured: dict[str, Measured]) -> None:
    found = measured["burst"]
    plain = [number for number in found.numbers if number < NUMBERS]
    assert plain == list(range(300)), "its own, in order"
    seconds = (found.journaled("received") - found.outcome.plan.start) / NS
    counted = [int(((seconds >= begin) & (seconds < begin + 0.5)).sum()) for begin in np.arange(0, 3, 0.5)]
    assert counted == pytest.approx([50, 50, 200, 200, 50, 95], abs=2)
    own = seconds[np.array(found.numbers) < NUMBERS]
    assert np.median(own - np.arange(300) / 100) < 0.002


def test_a_token_bucket_refuses_what_it_refuses_and_serves_its_rate(measured: dict[str, Measured]) -> None:
    found = measured["bucket"]
    refused = Counter(entry.fate for entry in found.journal.values())["/429"]
    assert int((found.rows["status"] == 429).sum()) == refused
    lasted = (found.rows["end"].max() - found.outcome.plan.start) / NS
    assert (found.served.sum() - BURST) / lasted == pytest.approx(1000, rel=0.005)


def test_a_token_bucket_looks_steady_while_half_is_refused(measured: dict[str, Measured], tmp_path: Path) -> None:
    found = measured["bucket"]
    script = scripted.Script(
        rate=2000, process="constant", warmup=0.5, baseline=0, observe=2.8, window=0.4, slo=1.0,
        zero=found.outcome.plan.start + NS // 2,
    )  # fmt: skip
    figures = {name: figure.value for name, figure in judge(recording(found, script, tmp_path)).figures.items()}
    assert figures["qps_mean"] == pytest.approx(1000, rel=0.02)  # some answers cross the edges of the observation
    cv = figures["qps_cv_raw"]
    assert cv is not None
    assert cv < 0.05
    assert figures["goodput_ratio"] == pytest.approx(0.5, abs=0.01)
    assert figures["offered_rate"] == pytest.approx(2000, rel=0.005)


@pytest.mark.parametrize("name", list(LAWS))
def test_latency_is_what_the_server_made_it(measured: dict[str, Measured], name: str) -> None:
    found = measured[name]
    held = (found.journaled("answered") - found.journaled("received")) / NS
    drawn = LAWS[name][np.arange(len(held)) % len(LAWS[name])]
    assert (held >= drawn - 1e-6).all()
    assert np.median(held - drawn) < 0.001
    behind = (found.rows["end"] - found.journaled("answered")) / NS
    assert (behind > 0).all()
    assert np.median(behind) < 0.001


def test_latency_quantiles_of_a_long_tail(measured: dict[str, Measured]) -> None:
    found = measured["lognormal"]
    truth = quantiles((found.journaled("answered") - found.rows["scheduled"]) / NS)
    latency = quantiles((found.rows["end"] - found.rows["scheduled"]) / NS)
    for said, true in zip(latency, truth, strict=True):
        assert said == pytest.approx(true, rel=0.01, abs=0.001)


def test_the_share_of_slow_answers_is_exact(measured: dict[str, Measured]) -> None:
    found = measured["two-point"]
    slow = LAWS["two-point"][np.arange(len(found.rows)) % 600] > 0.1
    service = (found.rows["end"] - found.rows["sent"]) / NS
    assert (service[slow] >= 0.150).all()
    assert np.median(service[slow]) == pytest.approx(0.150, rel=0.01)
    assert np.median(service[~slow]) == pytest.approx(0.010, abs=0.001)


@pytest.mark.parametrize("connections", [2048, 8])
def test_a_stall_shows_in_the_percentiles_and_not_in_the_number_of_samples(
    measured: dict[str, Measured], connections: int
) -> None:
    found = measured[f"stall-{connections}"]
    assert Counter(found.errors) == {"ok": 650}
    scheduled = (found.rows["scheduled"] - found.outcome.plan.start) / NS
    stalled = (scheduled >= STALL[0]) & (scheduled < STALL[1])
    least = np.where(stalled, STALL[1] - scheduled, 0.0)  # what the script alone makes of it, with no work to do
    truth = (found.journaled("answered") - found.rows["scheduled"]) / NS
    latency = (found.rows["end"] - found.rows["scheduled"]) / NS
    assert (latency >= least).all()
    for said, true, script in zip(quantiles(latency), quantiles(truth), quantiles(least), strict=True):
        assert said == pytest.approx(true, rel=0.01)
        assert said == pytest.approx(script, rel=0.1)
    waited = (found.rows["sent"] - found.rows["scheduled"]) / NS
    late = int((waited > 0.5).sum())
    # of the 500 that the stall met, those that found a connection were sent in time, and the rest after it
    assert late == 0 if connections > 500 else 430 <= late <= 550


@pytest.mark.parametrize("how", ["reset", "503", "refuse"])
def test_an_outage_begins_ends_and_costs_what_it_did(measured: dict[str, Measured], tmp_path: Path, how: str) -> None:
    found = measured[how]
    begin, end = (at - BASELINE for at in OUTAGE)
    script = scripted.Script(
        rate=100, process="constant", warmup=0, baseline=BASELINE, observe=OBSERVE, window=WINDOW, slo=1.0,
        zero=found.outcome.plan.start + round(BASELINE * NS), faults=[scripted.Injected(at=begin, cleared=end)],
    )  # fmt: skip
    kept = recording(found, script, tmp_path)
    verdict = judge(kept)
    figures = {name: figure.value for name, figure in verdict.figures.items()}
    assert figures["lost_requests"] == int((~found.truly_served).sum())
    assert figures["time_to_recover_s"] == pytest.approx(end - begin, abs=WINDOW)
    assert figures["outage_seconds"] == pytest.approx(end - begin, abs=WINDOW)
    incident, starts = _incident(kept)
    assert starts[incident.onset] == pytest.approx(begin, abs=WINDOW)
    assert starts[incident.end] == pytest.approx(end, abs=WINDOW)


def _incident(kept: Recording) -> tuple[Incident, NDArray[np.float64]]:
    series = series_of(kept)
    baseline = survey(series, kept.terms, OUTAGE[0] - BASELINE).baseline
    assert baseline
    (incident,) = watch(series, baseline, kept.terms.slo_latency).incidents(0, len(series.start_s))
    return incident, series.start_s


def test_an_outage_is_named_for_what_it_was(measured: dict[str, Measured]) -> None:
    assert set(measured["503"].errors) == {"ok"}
    assert set(measured["reset"].errors) == {"ok", "reset"}
    refused = Counter(measured["refuse"].errors)
    assert refused.keys() <= {"ok", "connect_refused", "reset", "closed_early", "stale_connection"}
    assert refused["connect_refused"] >= 0.9 * (OUTAGE[1] - OUTAGE[0]) * 100  # the others were out as it began


def test_every_end_is_named_and_counted(measured: dict[str, Measured]) -> None:
    found = measured["fates"]
    expected = [_expected(found, seq) for seq in range(len(found.rows))]
    assert found.errors == expected
    assert Counter(entry.fate for entry in found.journal.values()).keys() == FATES.keys()


def _expected(found: Measured, seq: int) -> str:
    """Return the kind; a request that met a connection which was being closed never reached the server's journal."""
    return FATES[found.journal[seq].fate] if seq in found.journal else "stale_connection"
