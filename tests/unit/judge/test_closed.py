"""A closed loop, simulated user by user: what a stall looks like when those who wait send nothing."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from chaos.judge import judge
from chaos.judge.dispersion import Dispersion
from chaos.judge.fluctuation import fluctuation, fluctuation_findings
from chaos.record.recording import Recording
from chaos.record.terms import Terms
from tests.unit.judge.scripted import COLUMNS, NS, Injected, Script, write, write_samples

USERS = 30
SCRIPT = Script(process="closed", rate=1.0, warmup=5, baseline=30, observe=60, slo=1.0)
CREW: dict[str, Any] = {"users": USERS, "workers": 2, "complete": SCRIPT.zero - 33 * NS, "fewest": USERS}


def user(random: np.random.Generator, stall: tuple[float, float]) -> list[tuple[float, float]]:
    """Return when one user sent and when each answer came; while the service stalls, answers wait for its end."""
    at, sent = -35 + random.random(), []
    while at < 60:
        end = at + 0.02
        end = max(end, stall[1]) if stall[0] <= end < stall[1] else end
        sent.append((at, end))
        at = end + random.uniform(0.1, 0.3)
    return sent


def recorded(folder: Path, script: Script = SCRIPT, stall: tuple[float, float] = (99, 99), **crew: Any) -> Recording:
    """Write the recording of a closed loop with a stall; `crew` is what the master said, where it said otherwise."""
    recording = write(script, folder)
    random = np.random.default_rng(script.seed)
    told = [(worker % 2, *times) for worker in range(USERS) for times in user(random, stall)]
    rows = np.zeros(len(told), COLUMNS)
    rows["worker"] = [worker for worker, *_ in told]
    rows["scheduled"] = rows["sent"] = [script.zero + int(sent * NS) for _, sent, _ in told]
    rows["end"] = [script.zero + int(end * NS) for *_, end in told]
    write_samples(rows, folder / "samples.bin")  # of status 0, as of users who speak something else than HTTP
    (folder / "locust.json").write_text(json.dumps(CREW | crew))
    return recording


def test_a_stall_is_found_though_nobody_sends(tmp_path: Path) -> None:
    """Every user waits from 0 to 12 s: one late answer each, then no request at all to tell by."""
    stalled = replace(SCRIPT, faults=[Injected(at=0.0, cleared=12.0)])
    verdict = judge(recorded(tmp_path, stalled, stall=(0.0, 12.0)))
    figures = verdict.figures
    assert verdict.generator.sound
    assert figures["time_to_detect_s"].value == pytest.approx(1, abs=1)
    assert figures["time_to_recover_s"].value == pytest.approx(12, abs=1)
    assert figures["outage_seconds"].value == pytest.approx(12, abs=1.5)
    assert any("closed loop" in reason and "lost_requests" in reason for reason in verdict.reasons)


@pytest.mark.parametrize(
    ("strained", "said"),
    [({"busiest": 0.95}, "took 95% of a core"), ({"loop_lag_p99_s": 0.2}, "the p99 of its lag is 200 ms")],
)
def test_a_worker_that_is_short_of_its_machine_makes_the_run_unknown(
    tmp_path: Path, strained: dict[str, float], said: str
) -> None:
    usage = {"transport": "locust", "cpu_s": 1.0, "wall_s": 95.0, "busiest": 0.2, "loop_lag_p50_s": 0.0}
    usage |= {"loop_lag_p99_s": 0.001, "loop_lag_max_s": 0.3}
    recording = recorded(tmp_path)
    (tmp_path / "generator.json").write_text(json.dumps([usage, usage | strained]))
    verdict = judge(recording)
    assert verdict.verdict == "unknown"
    assert not verdict.generator.sound
    assert any(said in reason for reason in verdict.reasons)


def test_a_steady_service_has_no_fluctuation_beyond_its_baseline(tmp_path: Path) -> None:
    real, shown = [], []
    for seed in range(8):
        figures = judge(recorded(tmp_path / str(seed), replace(SCRIPT, seed=seed))).figures
        real.append(figures["qps_cv_real"].value)
        shown.append(figures["qps_cv_noise"].value)
    rate = USERS / 0.22
    assert np.median(np.array(real, float)) < 0.02
    assert np.mean(np.array(shown, float)) < 0.5 / np.sqrt(rate)  # far below Poisson's: F0 is not 1 here


def test_a_measured_noise_makes_the_test_and_the_limits_wider() -> None:
    counts = np.random.default_rng(1).poisson(200, 40)
    known, measured = fluctuation(counts, 1.0), fluctuation(counts, 1.0, noise_windows=10)
    assert measured.cv_real == known.cv_real
    limits = np.linspace(0.01, 0.2, 60)
    doubted = [{limit for limit in limits if found.doubt(limit)} for found in (known, measured)]
    assert doubted[0] < doubted[1]


def test_a_noise_measured_on_ten_windows_is_called_fluctuation_in_one_run_of_twenty() -> None:
    random = np.random.default_rng(2)
    chances = []
    for _ in range(1000):
        baseline, counts = random.poisson(400, 10), random.poisson(400, 40)
        f0 = float(np.var(baseline, ddof=1) / np.mean(baseline))
        chances.append(fluctuation(counts, f0, noise_windows=10).p)
    assert np.mean(np.array(chances) < 0.05) == pytest.approx(0.05, abs=0.02)


def test_without_a_baseline_the_noise_is_not_known() -> None:
    terms = Terms(name="x", process="closed", warmup=0, baseline=0, observe=40)
    for finding in fluctuation_findings(np.full(40, 100), terms, None).values():
        assert finding.figure.value is None
        assert "baseline" in finding.reason
    assert "0.5" in fluctuation_findings(np.full(40, 100), terms, Dispersion(0.5, 20))["qps_cv_real"].reason


@pytest.mark.parametrize(
    ("crew", "why"),
    [
        ({"complete": None}, "never all there"),
        ({"complete": SCRIPT.zero - 28 * NS}, "2 s into the baseline"),
        ({"fewest": 7}, f"only 7 of {USERS} users stayed"),
        ({"workers": 3}, "3 workers were asked for and 2 sent"),
    ],
)
def test_a_crew_that_was_not_as_asked_is_no_measurement(tmp_path: Path, crew: dict[str, Any], why: str) -> None:
    verdict = judge(recorded(tmp_path, **crew))
    assert (verdict.verdict, verdict.generator.sound) == ("unknown", False)
    assert any(why in reason for reason in verdict.reasons)


def test_a_master_that_left_no_word_is_no_measurement(tmp_path: Path) -> None:
    recording = recorded(tmp_path)
    (tmp_path / "locust.json").unlink()
    assert any("left no word" in reason for reason in judge(recording).reasons)
