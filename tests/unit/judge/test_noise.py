"""What sampling noise does to figures of fluctuation and recovery, with fixed seeds.

The expectations are those of simulations made beforehand; they are why the figures are computed as they are.
"""

from pathlib import Path

import numpy as np
import pytest

from chaos.judge import judge
from chaos.judge.fluctuation import fluctuation
from chaos.judge.requests import BoolArray, FloatArray
from chaos.judge.series import series_of

from .scripted import Injected, Outage, Script, samples, write, write_samples

THRESHOLD = 0.2


@pytest.mark.parametrize(
    ("per_window", "raw_share", "tolerance"), [(20, 0.94, 0.04), (25, 0.49, 0.07), (30, 0.065, 0.04), (50, 0.0, 0.005)]
)
def test_a_slow_probe_trips_a_threshold_by_noise_alone_and_the_corrected_figure_does_not(
    per_window: int, raw_share: float, tolerance: float
) -> None:
    runs = np.random.default_rng(1).poisson(per_window, (600, 120))
    found = [fluctuation(counts, dispersion=1.0) for counts in runs]
    assert np.mean([f.cv_raw > THRESHOLD for f in found]) == pytest.approx(raw_share, abs=tolerance)
    assert not any(f.cv_real > THRESHOLD for f in found)


@pytest.mark.parametrize(("real", "per_window"), [(0.08, 50), (0.15, 20), (0.08, 1200), (0.35, 200)])
def test_the_real_fluctuation_is_found_under_the_noise(real: float, per_window: int) -> None:
    random = np.random.default_rng(2)
    levels = per_window * np.clip(random.normal(1, real, (400, 180)), 0, None)
    found = [fluctuation(counts, dispersion=1.0).cv_real for counts in random.poisson(levels)]
    assert np.mean(found) == pytest.approx(real, abs=0.01)


def test_the_dispersion_test_keeps_its_level() -> None:
    runs = np.random.default_rng(3).poisson(100, (1000, 60))
    assert np.mean([fluctuation(counts, 1.0).p < 0.05 for counts in runs]) == pytest.approx(0.05, abs=0.02)


def test_a_token_bucket_makes_served_qps_look_perfect_and_goodput_tells(tmp_path: Path) -> None:
    script = Script(rate=2000, warmup=1, baseline=15, observe=20)
    recording = write(script, tmp_path)
    rows = samples(script)
    rows = rows[np.argsort(rows["scheduled"])]
    rows["status"][~_admitted(rows["scheduled"] / 1e9, rate=1000.0, burst=10.0)] = 429
    write_samples(rows, tmp_path / "samples.bin")
    figures = judge(recording).figures
    assert figures["qps_cv_raw"].value == pytest.approx(0.0, abs=0.01)
    assert figures["qps_mean"].value == pytest.approx(1000, rel=0.01)
    assert figures["goodput_ratio"].value == pytest.approx(0.5, abs=0.01)


def _admitted(times: FloatArray, rate: float, burst: float) -> BoolArray:
    tokens, last, admitted = burst, float(times[0]), []
    for now in times.tolist():
        tokens, last = min(burst, tokens + (now - last) * rate), now
        admitted.append(tokens >= 1)
        tokens -= tokens >= 1
    return np.array(admitted)


def test_the_first_window_above_ninety_percent_is_far_too_early_and_the_held_recovery_is_not(tmp_path: Path) -> None:
    naive, held = [], []
    for seed in range(24):
        script = Script(
            rate=50,
            cv=0.03,
            seed=seed,
            observe=80,
            faults=[Injected(cleared=37.0)],
            outages=[Outage(0, 37, depth=1 / 3)],
        )
        recording = write(script, tmp_path)
        series = series_of(recording)
        qps = series.qps[series.observed]
        level = np.median(series.qps[5:30])
        naive.append(int(np.argmax(qps[1:] >= 0.9 * level)) + 1)
        held.append(judge(recording).figures["time_to_recover_s"].value)
    assert np.median(naive) < 26
    assert None not in held
    errors = np.abs(np.array(held, float) - 37)
    assert np.median(errors) <= 1
    assert np.quantile(errors, 0.95) <= 4


def test_time_to_recover_at_enough_requests_a_window(tmp_path: Path) -> None:
    errors = []
    for seed in range(30):
        random = np.random.default_rng(seed)
        depth, length = random.uniform(0.2, 1), float(np.exp(random.uniform(np.log(0.5), np.log(60))))
        begin = float(random.uniform(0, 1))
        script = Script(
            rate=250,
            cv=0.03,
            seed=seed,
            observe=100,
            faults=[Injected(begin, begin + length)],
            outages=[Outage(begin, begin + length, depth)],
        )
        found = judge(write(script, tmp_path)).figures["time_to_recover_s"].value
        assert found is not None
        errors.append(abs(found - length))
    assert np.median(errors) <= 1
    assert np.quantile(errors, 0.95) <= 3


def test_false_onsets_are_rarer_than_one_an_hour(tmp_path: Path) -> None:
    script = Script(rate=100, cv=0.03, observe=3600, baseline=60, faults=[Injected(cleared=3600.0)], seed=11)
    verdict = judge(write(script, tmp_path))
    assert verdict.figures["outage_seconds"].value == pytest.approx(0, abs=1)
