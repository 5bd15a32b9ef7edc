"""A load whose rate changes by intent: what goodput tells stays told, what QPS can't tell is missing and says why."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from chaos.judge import judge
from chaos.judge.verdict import Verdict
from chaos.overlays import RatePiece
from chaos.record.terms import Terms

from .scripted import Injected, Outage, Script, write

FAULT = (Injected(at=0.0, cleared=20.0),)
JUMP = Script(
    rate=300.0,
    profile=((-35, 0, 100, 100), (0, 60, 300, 300)),
    faults=FAULT,
    budgets={"goodput": 0.99, "qps_cv": 0.2, "mttr": 15.0},
)
RAMP = replace(JUMP, profile=((-35, 60, 60, 300),))
NO_DIP = "the offered rate changes over time, so the QPS of the baseline is no reference: see goodput"
NO_CV = "the steps of the load change the offered rate within the observation, so QPS moves by intent"


def value(verdict: Verdict, name: str) -> float | None:
    return verdict.figures[name].value


@pytest.fixture(scope="module")
def jump(tmp_path_factory: pytest.TempPathFactory) -> Verdict:
    return judge(write(JUMP, tmp_path_factory.mktemp("jump")))


def test_a_step_at_zero_is_no_dip_and_no_fluctuation(jump: Verdict) -> None:
    assert jump.verdict == "pass"
    assert jump.generator is not None
    assert jump.generator.sound
    assert value(jump, "qps_dip") is None
    assert value(jump, "qps_cv_real") is not None
    assert f"qps_dip: {NO_DIP}" in jump.reasons


def test_a_budget_on_the_dip_is_unknown_then(tmp_path: Path) -> None:
    verdict = judge(write(replace(JUMP, budgets={"qps_dip": 0.2}), tmp_path))
    assert verdict.verdict == "unknown"
    assert any(NO_DIP in reason for reason in verdict.reasons)


def test_a_ramp_is_no_trend_of_the_service(tmp_path: Path) -> None:
    verdict = judge(write(replace(RAMP, budgets={"goodput": 0.99}), tmp_path))
    assert verdict.verdict == "pass"
    assert value(verdict, "qps_cv_real") is None
    assert f"qps_cv_raw, qps_cv_noise, qps_cv_real: {NO_CV}" in verdict.reasons


@pytest.mark.parametrize("script", [JUMP, RAMP], ids=["jump", "ramp"])
def test_an_outage_is_found_all_the_same(script: Script, tmp_path: Path) -> None:
    script = replace(script, outages=[Outage(0.0, 7.0)], budgets={"mttr": 15.0})
    verdict = judge(write(script, tmp_path))
    assert verdict.verdict == "pass"
    assert value(verdict, "time_to_recover_s") == pytest.approx(7, abs=1)


def test_a_replayed_trace_has_a_fluctuation_and_no_dip(tmp_path: Path) -> None:
    pieces = tuple((begin, begin + 1, rate, rate) for begin, rate in zip(range(-35, 60), [100, 300] * 48, strict=False))
    verdict = judge(write(replace(JUMP, profile=pieces, process="trace", budgets={"goodput": 0.99}), tmp_path))
    assert verdict.verdict == "pass"
    assert value(verdict, "qps_dip") is None
    assert value(verdict, "qps_cv_real") == pytest.approx(0.5, abs=0.1)  # the trace's own: 200/s, give or take 100


@pytest.mark.parametrize("script", [JUMP, RAMP], ids=["jump", "ramp"])
def test_lost_rows_are_missed_under_a_changing_rate_too(script: Script, tmp_path: Path) -> None:
    verdict = judge(write(replace(script, lost_rows=0.15), tmp_path))
    assert verdict.verdict == "unknown"
    assert any("were intended: the load ended early or rows were lost" in reason for reason in verdict.reasons)


def test_what_was_intended_is_the_area_under_the_rate() -> None:
    pieces = [(-10, 0, 100, 100), (0, 5, 100, 500), (5, 20, 500, 500)]
    profile = tuple(RatePiece(begin=b, end=e, first=f, last=t) for b, e, f, t in pieces)
    terms = Terms(name="x", rate=450, profile=profile, warmup=2, baseline=8, observe=20)
    assert terms.intended(-10, 20) == pytest.approx(1000 + 1500 + 7500)
    assert terms.intended(1, 2) == pytest.approx(220)
    assert [terms.offered_evenly(*span) for span in ((-8, 0), (5, 20), (-8, 20), (4, 6))] == [True, True, False, False]
    even = Terms(name="x", rate=50, warmup=2, baseline=8, observe=20)
    assert even.intended(-8, 20) == 1400
    assert even.offered_evenly(-8, 20)
    assert not even.model_copy(update={"process": "trace"}).offered_evenly(-8, 20)
