from math import nan

import pytest

from scripts.benchmarks.figures import Figure, Target, quantity
from scripts.benchmarks.page import page, table
from scripts.benchmarks.processes import BenchError
from scripts.benchmarks.result import Result
from scripts.benchmarks.rounds import absolute, in_rounds, middle, ratio

TIMES = Target("ours : theirs", 5, "x")
CV = Target("real CV", 0.005, "", least=False)


@pytest.mark.parametrize(
    ("value", "unit", "shown"),
    [(80_368.4, "/s", "80 368/s"), (16.24, "x", "16.2 x"), (0.000481, "", "0.000481"), (-3.0, "MB/h", "-3 MB/h")],
)
def test_quantities(value: float, unit: str, shown: str) -> None:
    assert quantity(value, unit) == shown


@pytest.mark.parametrize(
    ("target", "value", "verdict"),
    [
        (TIMES, 5.0, "met"),
        (TIMES, 4.99, "missed"),
        (CV, 0.005, "met"),
        (CV, 0.0051, "missed"),
        (TIMES, None, "not measured"),
    ],
)
def test_verdicts(target: Target, value: float | None, verdict: str) -> None:
    assert Figure(target, value).verdict == verdict


def test_a_ratio_is_taken_within_each_round() -> None:
    figure = ratio(TIMES, {"ours": [10.0, 100.0, 60.0], "theirs": [1.0, 50.0, 10.0]}, "ours", "theirs")
    assert (figure.value, figure.spread) == (6.0, (2.0, 10.0))
    assert (figure.ours, figure.peer) == ("60/s", "10/s")


def test_a_round_in_which_one_failed_has_no_ratio() -> None:
    figure = ratio(TIMES, {"ours": [10.0, 100.0], "theirs": [nan, 50.0]}, "ours", "theirs")
    assert (figure.value, figure.spread) == (2.0, (2.0, 2.0))


def test_what_failed_in_every_round_is_not_measured() -> None:
    assert absolute(TIMES, [nan, nan]).verdict == "not measured"
    assert ratio(TIMES, {"ours": [10.0], "theirs": [nan]}, "ours", "theirs").verdict == "not measured"
    assert middle([]) is None


def test_rounds_interleave_and_one_that_fails_is_said() -> None:
    order: list[str] = []
    said: list[str] = []

    def working() -> float:
        order.append("a")
        return float(len(order))

    def failing() -> float:
        order.append("b")
        raise BenchError("no such peer")

    measured = in_rounds({"a": working, "b": failing}, 2, said.append)
    assert order == ["a", "b", "a", "b"]
    assert list(measured["a"]) == [1.0, 3.0]
    assert middle(measured["b"]) is None
    assert [line for line in said if "no such peer" in line] == ["round 1: b: no such peer", "round 2: b: no such peer"]


def test_the_page_shows_what_missed_as_missing() -> None:
    figures = (Figure(TIMES, 4.0, (3.5, 4.5), "40/s", "10/s"), Figure(CV, 0.001), Figure(CV, None, note="it broke"))
    result = Result("Rate", figures, {"ours": [40.0], "theirs": [nan]}, ("How it was measured.",))
    lines = page([result], {"kernel": "Linux 6"}, "scripts/bench").splitlines()
    assert "| ours : theirs | ≥ 5 x | 4 x | 3.5 x to 4.5 x | 40/s | 10/s | **missed** |" in lines
    assert "| real CV | ≤ 0.005 | 0.001 |  |  |  | met |" in lines
    assert "| real CV (it broke) | ≤ 0.005 | - |  |  |  | **not measured** |" in lines
    assert "| ours | 40/s | 40/s | 40/s | 1 |" in lines
    assert "| theirs | failed |  |  | 1 |" in lines
    assert "| kernel | Linux 6 |" in lines


def test_a_bar_in_a_cell_does_not_end_it() -> None:
    assert table(("a",), [("x|y",)]) == "| a |\n| --- |\n| x\\|y |\n"
