"""Onset and recovery on a bare series: goodput by window goes in, windows come out."""

from collections.abc import Sequence

import numpy as np
import pytest

from chaos.judge.baseline import Baseline, Level
from chaos.judge.incidents import Alarm, Incident, cusum, watch
from chaos.judge.series import Series

DUE = 1000
BASELINE = Baseline(60, Level(1.0, 0.01), Level(1000.0, 31.6), 1.0, Level(np.log(0.021), 0.1), 0.001, 0.0)


def series(goodput: Sequence[float], latency: Sequence[float] | None = None) -> Series:
    n, good = len(goodput), np.rint(np.array(goodput) * DUE).astype(np.int64)
    p95 = np.array(latency if latency is not None else [0.02] * n)
    return Series(1.0, np.arange(n, dtype=np.float64), np.full(n, DUE), good, good, good, p95, p95, p95)


def incidents(
    goodput: Sequence[float], latency: Sequence[float] | None = None, slo: float | None = 1
) -> list[Incident]:
    return list(watch(series(goodput, latency), BASELINE, slo).incidents(0, len(goodput)))


def test_cusum_alarms_when_the_sum_passes_h_and_dates_the_onset_after_its_last_zero() -> None:
    assert cusum(np.array([0, 0, 3, 3, 3, 3.0])) == Alarm(onset=2, detected=4)  # sums 2, 4, 6
    assert cusum(np.array([3, 0, 0, 9.0])) == Alarm(onset=3, detected=3)


def test_cusum_is_silent_below_k_and_at_h() -> None:
    assert cusum(np.ones(1000)) is None
    assert cusum(np.array([6.0])) is None


@pytest.mark.parametrize("depth", [1.0, 0.5, 0.334, 0.2])
@pytest.mark.parametrize("length", [1, 2, 3, 7, 30])
def test_a_clean_outage_is_found_to_the_window(depth: float, length: int) -> None:
    found = incidents([1] * 10 + [1 - depth] * length + [1] * 30)
    assert [(i.onset, i.end, i.recovered) for i in found] == [(10, 10 + length, True)]


def test_an_alarm_that_never_leaves_the_band_is_no_incident() -> None:
    level = BASELINE.goodput.x0 - 4 * BASELINE.goodput.s0
    loose = Baseline(60, BASELINE.goodput, BASELINE.qps, 1.0, BASELINE.log_latency, 0.1, 0.1)
    low = series([1] * 10 + [level] * 30)
    assert cusum((1 - low.goodput) / 0.01) is not None
    assert list(watch(low, loose, 1).incidents(0, 40)) == []


def test_errors_beyond_the_baseline_hold_the_recovery_off_although_goodput_is_within_its_band() -> None:
    assert [(i.onset, i.end) for i in incidents([1] * 10 + [0] * 5 + [0.95] * 10 + [1] * 30)] == [(10, 25)]


def test_latency_holds_the_recovery_off() -> None:
    found = incidents([1] * 10 + [0] * 5 + [1] * 40, [0.02] * 15 + [0.03] * 10 + [0.02] * 30)
    assert [(i.onset, i.end) for i in found] == [(10, 25)]


@pytest.mark.parametrize(("slo", "expected"), [(None, [(10, 20)]), (1.0, [])])
def test_latency_opens_an_incident_only_where_no_slo_says_what_is_slow(
    slo: float | None, expected: list[tuple[int, int]]
) -> None:
    found = incidents([1] * 50, [0.02] * 10 + [0.2] * 10 + [0.02] * 30, slo)
    assert [(i.onset, i.end) for i in found] == expected


def test_never_back_is_open_and_has_no_good_spell() -> None:
    assert incidents([1] * 10 + [0.5] * 30) == [Incident(10, 10, 40, recovered=False, in_band_from=40)]


def test_back_for_less_than_the_hold_is_open_with_its_spell_dated() -> None:
    assert incidents([1] * 10 + [0] * 20 + [1] * 8) == [Incident(10, 10, 38, recovered=False, in_band_from=30)]


def test_a_dip_within_the_hold_moves_the_recovery_on() -> None:
    assert [(i.onset, i.end) for i in incidents([1] * 10 + [0] * 5 + [1] * 7 + [0] * 3 + [1] * 30)] == [(10, 25)]


def test_a_second_outage_after_the_hold_is_a_second_incident() -> None:
    found = incidents([1] * 10 + [0] * 5 + [1] * 20 + [0] * 3 + [1] * 30)
    assert [(i.onset, i.end) for i in found] == [(10, 15), (35, 38)]


def test_windows_in_which_nothing_was_due_say_nothing() -> None:
    quiet = series([1] * 10 + [0] * 5 + [1] * 30)
    quiet.scheduled[10:15] = 0
    assert list(watch(quiet, BASELINE, 1).incidents(0, 45)) == []
