from __future__ import annotations

import pytest

from chaos.judge.verdict import Figure
from chaos.report.marks import DEFAULT_SHADE, Band, marks_of, shades_of
from tests.unit.report import report_examples as examples


def test_recovery_counts_from_the_injection() -> None:
    marks = marks_of(examples.verdict())
    assert marks.bands == (Band("netem on worker-2", 0.2, 20.1, DEFAULT_SHADE),)
    assert (marks.releases_s, marks.recovered_s) == ((20.1,), 23.2)


@pytest.mark.parametrize("value", [None, 0.0])
def test_no_recovery_is_marked_where_there_was_none(value: float | None) -> None:
    figures = examples.figures(time_to_recover_s=Figure(value=value, unit="s"))
    assert marks_of(examples.verdict(figures=figures)).recovered_s is None


def test_one_kind_on_several_hosts_at_once_is_one_band() -> None:
    faults = [examples.NETEM.model_copy(update={"id": f"n@{h}", "host": h}) for h in ("a", "b", "c", "d")]
    assert [b.name for b in marks_of(examples.verdict(faults=tuple(faults))).bands] == ["netem on a, b, c and 1 more"]


def test_the_same_kind_at_another_time_is_another_band() -> None:
    later = examples.NETEM.model_copy(update={"id": "later", "applied_at_s": 30.0, "cleared_at_s": None})
    bands = marks_of(examples.verdict(faults=(later, examples.NETEM))).bands
    assert [(b.start_s, b.end_s) for b in bands] == [(0.2, 20.1), (30.0, None)]


def test_a_fault_that_was_never_applied_has_no_band() -> None:
    never = examples.NETEM.model_copy(update={"applied_at_s": None, "cleared_at_s": None})
    assert marks_of(examples.verdict(faults=(never,))).bands == ()


def test_a_shade_is_a_colour_and_nothing_else() -> None:
    applied = [
        {"event": "fault.applied", "fault": i, "shade": s} for i, s in [("a", "#123abc"), ("b", "url(http://x)")]
    ]
    assert shades_of(applied) == {"a": "#123abc"}
