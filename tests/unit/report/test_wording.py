from __future__ import annotations

import pytest

from chaos.report import wording
from tests.unit.report import report_examples as examples


@pytest.mark.parametrize(
    ("value", "unit", "name", "said"),
    [
        (None, "s", "", "—"),
        (float("nan"), "1/s", "", "—"),
        (0.0, "s", "", "0 s"),
        (0.0501, "s", "", "50.1 ms"),
        (-3.0, "s", "", "-3 s"),
        (199.6, "1/s", "", "199.6/s"),
        (12_345.6, "1/s", "", "12,346/s"),
        (0.0492, "1", "qps_cv_real", "0.0492"),
        (0.452, "1", "qps_dip", "45.2 %"),
        (0.0048, "1", "error_ratio", "0.48 %"),
        (0.2, "1", "qps_dip", "20 %"),
        (1.0, "1", "availability", "100 %"),
        (0.99, "1", "availability", "99 %"),
        (0.99995, "1", "availability", "99.995 %"),
        (0.9999997, "1", "availability", "99.99997 %"),
        (12_500_000.0, "B/s", "", "12.5 MB/s"),
        (1893.0, "requests", "", "1,893"),
    ],
)
def test_a_value_is_said_with_its_unit(value: float | None, unit: str, name: str, said: str) -> None:
    assert wording.say(value, unit, name) == said


def test_a_share_below_one_is_never_said_to_be_all() -> None:
    assert all(wording.say(1 - 10.0**-n, "1") != "100 %" for n in range(1, 10))


def test_a_value_that_reads_like_its_limit_is_given_with_all_its_digits() -> None:
    line = examples.budget("qps_dip", 0.2, 0.200004, "fail", "1")
    assert (wording.say_limit(line), wording.say_value(line)) == ("≤ 20 %", "20 % (0.200004)")


def test_a_dose_is_said_in_the_unit_its_name_ends_with() -> None:
    asked = {"delay_s": 0.05, "loss": 0.005, "loss_correlation": 0.25, "rate_bytes_per_s": 12_500_000.0}
    assert wording.say_dose(asked, {"delay_s": 0.0501, "packets": 12.0}) == [
        ("delay", "50 ms", "50.1 ms"),
        ("loss", "0.5 %", "—"),
        ("loss correlation", "25 %", "—"),
        ("rate", "12.5 MB/s", "—"),
        ("packets", "—", "12"),
    ]


def test_control_characters_are_shown_and_not_obeyed() -> None:
    assert wording.printable("a\x1b[2Jb\n c\u202ed 中文") == "a\ufffd[2Jb c\ufffdd 中文"


def test_a_span_says_what_never_happened() -> None:
    assert wording.say_span(None, None) == "never applied"
    assert wording.say_span(0.2, None) == "0.2 s, never cleared"
