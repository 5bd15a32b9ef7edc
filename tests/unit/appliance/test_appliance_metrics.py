"""The text format of `/metrics`."""

from __future__ import annotations

from chaos.lab.appliance.metrics import Histogram, Page
from tests.unit.appliance.appliance_processes import parse_metrics


def test_a_histogram_is_cumulative_and_includes_its_bounds() -> None:
    histogram = Histogram((0.1, 1.0))
    for value in (0.1, 0.5, 1.0, 7.0):
        histogram.observe(value)
    page = Page({"worker": "w"})
    page.histogram("h_seconds", "Text.", histogram)
    assert parse_metrics(page.encode().decode()) == {
        'h_seconds_bucket{worker="w",le="0.1"}': 1,
        'h_seconds_bucket{worker="w",le="1"}': 3,
        'h_seconds_bucket{worker="w",le="+Inf"}': 4,
        'h_seconds_sum{worker="w"}': 8.6,
        'h_seconds_count{worker="w"}': 4,
    }


def test_a_family_is_announced_once_and_label_values_are_escaped() -> None:
    page = Page({})
    page.counter("c_total", "Text.", ({"a": 'x"\\\n'}, 1), ({"a": "y"}, 2))
    assert page.encode().decode() == (
        '# HELP c_total Text.\n# TYPE c_total counter\nc_total{a="x\\"\\\\\\n"} 1\nc_total{a="y"} 2\n'
    )


def test_the_process_tells_of_itself() -> None:
    page = Page({})
    page.process()
    found = parse_metrics(page.encode().decode())
    assert found["process_resident_memory_bytes"] > 1_000_000
    assert found["process_open_fds"] >= 3
    assert found["process_start_time_seconds"] > 1.6e9
