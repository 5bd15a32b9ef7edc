"""Watched traffic with a known truth: rates of a service that was away, with and without what was offered."""

from __future__ import annotations

import json
from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from chaos.judge import judge
from chaos.judge.series import series_of
from chaos.record.recording import Recording
from tests.unit.judge.scripted import Injected, Script, terms, write

INTERVAL = 5.0
SCRIPT = Script(process="watched", rate=1.0, warmup=10, baseline=100, observe=200, window=INTERVAL, slo=None)
OUTAGE = (20.0, 50.0)


def watched(
    folder: Path, *, offered: bool, outage: tuple[float, float] = OUTAGE, gaps: Collection[int] = (), share: float = 0.0
) -> Recording:
    """Write a recording of 500/s, a little unsteady, of which `share` is served in the outage."""
    script = SCRIPT if outage == (0, 0) else Script(**{**vars(SCRIPT), "faults": [Injected(at=20.0, cleared=50.0)]})
    recording = write(script, folder)
    (folder / "samples.bin").unlink()
    said = {**terms(script), "offered_known": offered}
    (folder / "plan.json").write_text(json.dumps({"terms": said}))
    random, lines = np.random.default_rng(3), []
    for window in range(62):
        at = window * INTERVAL - 110
        come = 500 * (1 + 0.02 * random.standard_normal())
        row: dict[str, Any] = {"window": window, "t": 0, "qps": come * (share if outage[0] <= at < outage[1] else 1)}
        row |= {"offered": come} if offered else {}
        lines.append({"window": window, "t": 0, "why": "no answer"} if window in gaps else row)
    (folder / "traffic.jsonl").write_text("\n".join(map(json.dumps, lines)) + "\n")
    return recording


@pytest.mark.parametrize("offered", [True, False])
def test_an_outage_is_found_to_one_interval(tmp_path: Path, offered: bool) -> None:
    figures = judge(watched(tmp_path, offered=offered)).figures
    assert figures["time_to_detect_s"].value == pytest.approx(INTERVAL, abs=INTERVAL)
    assert figures["time_to_recover_s"].value == pytest.approx(30, abs=INTERVAL)
    assert figures["outage_seconds"].value == pytest.approx(30, abs=INTERVAL)
    assert figures["qps_dip"].value == pytest.approx(1, abs=0.01)
    assert figures["qps_mean"].window_s == INTERVAL


def test_goodput_is_known_only_where_all_requests_are_counted(tmp_path: Path) -> None:
    counted = judge(watched(tmp_path / "counted", offered=True))
    assert counted.figures["goodput_ratio"].value == pytest.approx(1 - 30 / 200, abs=0.005)
    assert counted.figures["offered_rate"].value == pytest.approx(500, rel=0.02)
    not_counted = judge(watched(tmp_path / "not", offered=False))
    for name in ("goodput_ratio", "availability_requests", "availability_time", "error_ratio", "offered_rate"):
        assert not_counted.figures[name].value is None
        assert any(name in reason for reason in not_counted.reasons)


def test_what_no_request_was_seen_for_is_null_with_a_reason(tmp_path: Path) -> None:
    verdict = judge(watched(tmp_path, offered=True))
    for name in ("latency_p50_s", "latency_p99_s", "lost_requests", "qps_cv_raw", "qps_cv_noise", "qps_cv_real"):
        assert verdict.figures[name].value is None
        assert any(name in reason for reason in verdict.reasons)


def test_a_failing_share_is_seen_though_qps_hardly_moves(tmp_path: Path) -> None:
    figures = judge(watched(tmp_path, offered=True, share=0.88)).figures
    assert figures["time_to_recover_s"].value == pytest.approx(30, abs=INTERVAL)
    assert figures["outage_seconds"].value == pytest.approx(0.12 * 30, abs=1.5)


def test_few_gaps_are_shown_and_many_are_no_measurement(tmp_path: Path) -> None:
    few = watched(tmp_path / "few", offered=True, outage=(0, 0), gaps=(10, 40))
    qps = series_of(few).qps
    assert np.flatnonzero(np.isnan(qps)).tolist() == [10, 40]
    assert judge(few).verdict == "pass"
    many = judge(watched(tmp_path / "many", offered=True, outage=(0, 0), gaps=range(40, 47)))
    assert (many.verdict, many.generator.sound) == ("unknown", False)
    assert any("7 of 60 windows have no value" in reason and "no answer" in reason for reason in many.reasons)


def test_a_gap_is_not_taken_for_a_recovery(tmp_path: Path) -> None:
    """The last windows of the outage are not known: it was over when windows say so again, and not before."""
    figures = judge(watched(tmp_path, offered=False, gaps=(30, 31))).figures
    assert figures["time_to_recover_s"].value == pytest.approx(30, abs=INTERVAL)
