from __future__ import annotations

import re

import numpy as np
import pytest

from chaos.judge.series import Series
from chaos.record.terms import Terms
from chaos.report.charts import POINTS, draw_charts
from chaos.report.marks import Band, Marks
from tests.unit.report import report_examples as examples

TERMS = Terms.model_validate(examples.TERMS)
NO_MARKS = Marks((), (), None)


def series_with(completed: list[int], latency_s: float = 0.01) -> Series:
    counts, latency = np.array(completed, dtype=np.int64), np.full(len(completed), latency_s)
    return Series(
        1.0,
        np.arange(len(completed), dtype=np.float64) - 25.0,
        counts,
        counts,
        counts,
        counts,
        latency,
        latency,
        latency,
    )


@pytest.mark.parametrize("dip", [0, 50])
def test_one_bad_window_of_many_is_still_drawn(dip: int) -> None:
    """4000 windows are drawn as 400 points; the band of the one with the dip reaches down to it (150 px is zero)."""
    many = [100] * 4000
    many[2345] = dip
    svg = draw_charts(series_with(many), NO_MARKS, TERMS)[0].svg
    band = re.search(r'd="([^"]*)"[^>]*fill="var\(--blue\)"', svg)
    assert band
    lowest = max(float(y) for y in re.findall(r",([0-9.]+)", band[1]))
    assert lowest == pytest.approx(150 * (1 - dip / 105), abs=0.1)
    assert svg.count("<title>") == POINTS


def test_a_latency_that_spans_decades_is_drawn_by_its_logarithm() -> None:
    narrow = draw_charts(series_with([100] * 50), NO_MARKS, TERMS.model_copy(update={"slo_latency": 0.02}))[2].svg
    wide = draw_charts(series_with([100] * 50), NO_MARKS, TERMS.model_copy(update={"slo_latency": 2.0}))[2].svg
    assert ">10,000<" not in narrow
    assert re.findall(r">(1,000|10)<", wide)


def test_windows_without_an_answer_leave_a_gap() -> None:
    series = series_with([0] * 30, latency_s=float("nan"))
    assert "NaN" not in "".join(chart.svg for chart in draw_charts(series, NO_MARKS, TERMS))


def test_many_bands_are_all_shaded_and_the_first_four_named() -> None:
    bands = tuple(Band(f"fault {i}", 2.0 * i, 2.0 * i + 1, "#abcdef") for i in range(6))
    svg = draw_charts(series_with([100] * 50), Marks(bands, (1.0,), 0.5), TERMS)[0].svg
    assert svg.count("#abcdef") == 6
    assert [i for i in range(6) if f">fault {i}<" in svg] == [0, 1, 2, 3]


def test_the_picture_has_a_name_and_no_size_of_its_own() -> None:
    svg = draw_charts(series_with([1]), NO_MARKS, TERMS)[0].svg
    assert re.match(r'<svg [^>]*role="img"[^>]*aria-label="QPS over time', svg)
    assert not re.match(r'<svg [^>]* width="', svg)
