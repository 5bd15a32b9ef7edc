"""Windows: which request counts where, and as what."""

from pathlib import Path

import numpy as np
import pytest

from chaos.judge.series import series_of, whole_windows
from chaos.record.recording import Recording

from .scripted import COLUMNS, NS, Script, write, write_samples

ZERO = 5_000 * NS
SHORT = Script(warmup=1.0, baseline=1.0, observe=3.0, slo=0.5, faults=())


def row(scheduled: float, end: float, status: int = 200, error: int = 0) -> tuple[int, ...]:
    at, done = (ZERO + round(t * NS) for t in (scheduled, end))
    return (at, at, done, done, 10, status, 0, 0, error, 0, 0, 0)


def recorded(folder: Path, *rows: tuple[int, ...], script: Script = SHORT) -> Recording:
    recording = write(script, folder)
    write_samples(np.array(list(rows), COLUMNS), folder / "samples.bin")
    return recording


def test_a_request_belongs_to_the_window_it_was_due_in_and_its_answer_to_the_one_it_ended_in(tmp_path: Path) -> None:
    series = series_of(recorded(tmp_path, row(0.9, 1.1), row(-0.1, 0.2), row(2.0, 2.4)))
    assert series.start_s.tolist() == [-2, -1, 0, 1, 2]
    assert series.scheduled.tolist() == [0, 1, 1, 0, 1]
    assert series.qps.tolist() == [0, 0, 1, 1, 1]


def test_late_is_answered_but_not_good_and_a_500_is_neither(tmp_path: Path) -> None:
    rows = (
        row(0.1, 0.2),
        row(0.1, 0.7),
        row(0.1, 0.2, status=500),
        row(0.1, 0.2, status=0, error=1),
        row(0.1, 0.2, 304),
    )
    series = series_of(recorded(tmp_path, *rows))
    assert (series.scheduled[2], series.answered[2], series.good[2], series.errors[2]) == (5, 3, 2, 2)
    assert series.goodput[2] == pytest.approx(0.4)
    assert np.isnan(series.goodput[3])


def test_latency_is_from_the_scheduled_instant_over_the_answered(tmp_path: Path) -> None:
    # sent two seconds late, answered within one
    late = (ZERO, ZERO + 2 * NS, 0, ZERO + 3 * NS, 10, 200, 0, 0, 0, 0, 0, 0)
    series = series_of(recorded(tmp_path, late, row(0.1, 0.2, status=0, error=1)))
    assert series.latency_p50_s[2] == series.latency_p99_s[2] == 3.0
    assert np.isnan(series.latency_p50_s[3])


def test_the_window_is_the_one_of_the_terms(tmp_path: Path) -> None:
    script = Script(warmup=0.0, baseline=1.0, observe=1.0, window=0.25)
    series = series_of(recorded(tmp_path, row(0.30, 0.31), script=script))
    assert series.start_s.tolist() == [-1, -0.75, -0.5, -0.25, 0, 0.25, 0.5, 0.75]
    assert series.qps[5] == 4


def test_a_run_that_broke_off_ends_with_the_last_whole_window_of_its_load(tmp_path: Path) -> None:
    script = Script(warmup=1.0, baseline=1.0, observe=3.0, outcome="interrupted")
    assert series_of(recorded(tmp_path, row(0.5, 0.6), row(1.5, 1.6), script=script)).start_s.tolist() == [-2, -1, 0]


def test_without_a_load_or_without_samples_the_series_is_empty(tmp_path: Path) -> None:
    assert len(series_of(write(Script(started=False), tmp_path / "a")).start_s) == 0
    recording = write(SHORT, tmp_path / "b")
    (tmp_path / "b" / "samples.bin").unlink()
    assert len(series_of(recording).qps) == 0


@pytest.mark.parametrize(("span", "window", "count"), [(0.3, 0.1, 3), (20, 1, 20), (2.5, 1, 2), (0, 1, 0)])
def test_whole_windows(span: float, window: float, count: int) -> None:
    assert whole_windows(span, window) == count
