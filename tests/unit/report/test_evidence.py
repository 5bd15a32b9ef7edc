from __future__ import annotations

from chaos.report.evidence import Happening, happenings
from tests.unit.report import report_examples as examples


def test_the_undo_is_told_with_its_proof() -> None:
    rows = happenings(examples.events(), examples.ZERO)
    cleared = next(row for row in rows if row.what == "fault cleared")
    detail = "took 100 ms; read back: as before; by controller; fault netem-0@worker-2"
    assert cleared == Happening(20.1, "worker-2", "fault cleared", detail)


def test_an_undo_that_was_not_verified_says_so() -> None:
    row = happenings([examples.event("fault.cleared", 20.0, fault="f", host="h", reverted=False)], examples.ZERO)[0]
    assert row.detail == "fault f; read back: NOT AS BEFORE"


def test_an_abort_is_told_with_its_last_values_and_how_long_it_held() -> None:
    fields = {"condition": "qps < 5/s for 2s", "blind": False, "values": [4.0, 0.0], "since": examples.ZERO}
    (row,) = happenings([examples.event("abort", 2.5, **fields)], examples.ZERO)
    assert (row.what, row.detail) == ("aborted", "condition qps < 5/s for 2s; it held; values [4.0, 0.0]; for 2.5 s")


def test_nothing_is_assumed_of_a_field() -> None:
    odd = {"event": "host.drift", "t": "noon", "host": ["\x1b"], "what": {"a": [1, "\x1b"]}}
    assert happenings([odd], None) == [Happening(None, "['\\x1b']", "drift", 'what {"a": [1, "\\u001b"]}')]


def test_the_phases_of_the_load_are_left_to_the_charts() -> None:
    assert happenings([examples.event("phase", 0.0, name="observe")], examples.ZERO) == []
