from __future__ import annotations

import math

from chaos.report.marks import Band, Marks
from chaos.report.sparkline import span_line, sparkline

FAULT = Band("netem on a", 10.0, 20.0, "#d9822b")


def test_bars_start_at_zero() -> None:
    assert sparkline([0, 50, 100], 10) == "▁▅█"
    assert sparkline([90, 100], 10) == "▇█"


def test_more_values_than_bars_are_averaged() -> None:
    assert sparkline([100, 100, 0, 0], 2) == "█▁"


def test_no_value_is_a_blank_and_no_series_is_empty() -> None:
    assert sparkline([1.0, math.nan, 1.0], 3) == "█ █"
    assert sparkline([], 5) == ""
    assert sparkline([0.0, 0.0], 5) == "▁▁"


def test_the_span_line_marks_fault_and_recovery() -> None:
    assert span_line(Marks((FAULT,), (20.0,), 25.0), 0.0, 30.0, 30) == " " * 10 + "━" * 11 + " " * 4 + "▲"


def test_a_fault_that_was_never_cleared_runs_to_the_end() -> None:
    forever = Marks((Band("netem on a", 10.0, None, "#d9822b"),), (), None)
    assert span_line(forever, 0.0, 20.0, 20) == " " * 10 + "━" * 10


def test_what_lies_outside_is_drawn_at_the_edge() -> None:
    assert span_line(Marks((), (), 99.0), 0.0, 10.0, 10) == " " * 9 + "▲"
