"""A burst of the load counts as offered and is no fluctuation; what it does to the service is seen."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from chaos.judge import judge
from chaos.judge.verdict import Verdict
from chaos.report.marks import marks_of

from .scripted import Injected, Outage, Script, write

BURST = Injected(at=10.0, cleared=20.0, id="burst-0", host="load")
QUIET = Script(
    rate=600.0,  # the highest of all: what is sent is thinned to the profile
    profile=((-35, 10, 200, 200), (10, 20, 600, 600), (20, 60, 200, 200)),
    faults=(BURST,),
    budgets={"qps_cv": 0.1, "qps_dip": 0.2, "goodput": 0.99},
)
ADDED = [{"fault": "burst-0", "begin": 10.0, "end": 20.0, "first": 400.0, "last": 400.0}]


def judged(script: Script, folder: Path, added: list[dict[str, Any]] = ADDED) -> Verdict:
    """Judge a script whose profile is the sum: the terms have the load's own rate, and what is added to it."""
    return judge(write(replace(script, terms={"rate": 200.0, "profile": [], "added": added}), folder))


def value(verdict: Verdict, name: str) -> float | None:
    return verdict.figures[name].value


def test_a_burst_that_is_borne_passes(tmp_path: Path) -> None:
    verdict = judged(QUIET, tmp_path)
    assert (verdict.verdict, verdict.reasons[:0]) == ("pass", ())
    assert verdict.generator.sound
    assert value(verdict, "offered_rate") == pytest.approx((30 * 200 + 50 * 200 + 10 * 600) / 90, rel=0.02)
    assert value(verdict, "qps_mean") == pytest.approx(200 + 400 / 6, rel=0.03)
    assert value(verdict, "qps_cv_real") == pytest.approx(0, abs=0.04), "a burst is no fluctuation of the service"
    assert value(verdict, "qps_dip") == pytest.approx(0, abs=0.1)
    assert value(verdict, "time_to_recover_s") == 0
    (line,) = verdict.faults
    assert (line.applied_at_s, line.cleared_at_s, line.host) == (10.0, 20.0, "load")
    assert [band.name for band in marks_of(verdict).bands] == ["netem on load"]


def test_the_same_load_without_a_burst_in_its_terms_is_all_fluctuation(tmp_path: Path) -> None:
    verdict = judged(QUIET, tmp_path, [])
    assert (value(verdict, "qps_cv_real") or 0) > 0.3


def test_a_service_that_fails_under_it_has_an_incident_a_recovery_and_a_dip(tmp_path: Path) -> None:
    script = replace(QUIET, outages=[Outage(12.0, 26.0, depth=0.9)], budgets={"mttr": 20.0})
    verdict = judged(script, tmp_path)
    assert verdict.verdict == "pass"
    assert value(verdict, "time_to_recover_s") == pytest.approx(16, abs=1.5)
    assert value(verdict, "recovery_lag_s") == pytest.approx(6, abs=1.5)
    assert value(verdict, "qps_dip") == pytest.approx(0.9, abs=0.05), "QPS fell below what it was before"


def test_one_that_was_called_off_is_expected_up_to_there(tmp_path: Path) -> None:
    script = replace(
        QUIET, profile=((-35, 10, 200, 200), (10, 13, 600, 600), (13, 60, 200, 200)), budgets={},
        faults=(replace(BURST, cleared=13.0),), outcome="interrupted", why="stopped by SIGINT",
    )  # fmt: skip
    verdict = judged(script, tmp_path)
    assert verdict.verdict == "unknown"
    assert not any("were intended" in reason for reason in verdict.reasons)
    assert any("interrupted" in reason for reason in verdict.reasons)


def test_one_that_never_was_is_not_expected(tmp_path: Path) -> None:
    script = replace(QUIET, profile=(), rate=200.0, faults=(), budgets={})
    assert judged(script, tmp_path).verdict == "pass"


def test_rows_that_are_lost_of_a_burst_are_missed(tmp_path: Path) -> None:
    script = replace(QUIET, profile=((-35, 60, 200, 200),), budgets={})
    verdict = judged(script, tmp_path)
    assert verdict.verdict == "unknown"
    assert any("about 22000 were intended" in reason for reason in verdict.reasons)
