"""A quantity written in any unit reads back as the same number of SI units, in a fault and in an experiment alike."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter

from chaos.spec.abort import AbortCondition, parse_abort
from chaos.units import SI, BitRate, Duration, Rate, Ratio, Share

numbers = st.floats(1e-3, 1e6).map(lambda number: round(number, 3))
TIMES = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0, "d": 86400.0}
DATA = {
    "bit": 0.125,
    "kbit": 125.0,
    "mbit": 125e3,
    "gbit": 125e6,
    "kibit": 128.0,
    "bps": 1.0,
    "kbps": 1e3,
    "mibps": 2**20,
}


@given(numbers, st.sampled_from(sorted(TIMES)), st.sampled_from(["", " "]))
def test_durations(number: float, unit: str, gap: str) -> None:
    assert TypeAdapter(Duration).validate_python(f"{number}{gap}{unit}") == pytest.approx(number * TIMES[unit])


@given(numbers, st.sampled_from(sorted(DATA)))
def test_data_rates(number: float, unit: str) -> None:
    assert TypeAdapter(BitRate).validate_python(f"{number}{unit}") == pytest.approx(number * DATA[unit])


@given(numbers, st.sampled_from([("/s", 1.0), ("/m", 60.0), ("/min", 60.0), ("/h", 3600.0)]))
def test_rates(number: float, unit: tuple[str, float]) -> None:
    assert TypeAdapter(Rate).validate_python(f"{number}{unit[0]}") == pytest.approx(number / unit[1])


@given(st.floats(0.001, 100).map(lambda number: round(number, 3)))
def test_shares_and_ratios(percent: float) -> None:
    assert TypeAdapter(Share).validate_python(f"{percent}%") == pytest.approx(percent / 100)
    assert TypeAdapter(Ratio).validate_python(f"{percent}%") == pytest.approx(percent / 100)
    assert TypeAdapter(Ratio).validate_python(percent) == percent


@given(st.floats(0, 1e9))
def test_si_passes_unchanged(number: float) -> None:
    for kind in (Duration, Rate, BitRate):
        assert TypeAdapter(kind).validate_python(SI(number)) == number


@given(numbers, numbers)
def test_abort_conditions(limit: float, held: float) -> None:
    condition = parse_abort(f"latency > {limit}ms for {held}s")
    assert isinstance(condition, AbortCondition)
    assert (condition.limit, condition.for_s) == pytest.approx((limit / 1000, held))
