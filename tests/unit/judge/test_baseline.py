"""Levels and spreads of a bare series, and which windows they are taken from."""

import numpy as np
import pytest

from chaos.judge.baseline import survey
from chaos.judge.series import Series
from chaos.record.terms import Terms

TERMS = Terms(name="x", rate=1000, warmup=5, baseline=25, observe=0)


def series(good: list[int]) -> Series:
    n = len(good)
    counts, p95 = np.array(good), np.full(n, 0.02)
    start = np.arange(-n, 0, dtype=np.float64)
    return Series(1.0, start, np.full(n, 1000), counts, counts, counts, p95, p95, p95)


def test_warm_up_and_guard_are_left_out() -> None:
    found = survey(series([0] * 5 + [1000] * 20 + [0] * 5), TERMS, 0.0)
    assert found.problems == ()
    assert found.baseline is not None
    assert (found.baseline.n, found.baseline.goodput.x0, found.baseline.qps.x0) == (20, 1.0, 1000.0)


def test_the_spread_is_at_least_the_standard_deviation_where_the_mad_is_nothing() -> None:
    found = survey(series([1000] * 5 + [1000] * 8 + [900] + [1000] * 11 + [1000] * 5), TERMS, 0.0)
    assert found.baseline is not None
    assert found.baseline.goodput.s0 == pytest.approx(np.std([1.0] * 19 + [0.9], ddof=1))


def test_the_spread_is_at_least_what_arrivals_make() -> None:
    found = survey(series([1000] * 30), TERMS, 0.0)
    assert found.baseline is not None
    assert found.baseline.qps.s0 == pytest.approx(np.sqrt(1000))


def test_no_more_than_sixty_windows_count() -> None:
    found = survey(series([500] * 45 + [1000] * 65), TERMS.model_copy(update={"baseline": 105.0}), 0.0)
    assert found.baseline is not None
    assert (found.baseline.n, found.baseline.goodput.x0) == (60, 1.0)
