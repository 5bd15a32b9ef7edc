"""What holds for the detection of every probe, whatever its checks came to."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from chaos.judge.probes import Checks, Turn, turns

thresholds = st.integers(1, 5)
answers = st.lists(st.booleans(), max_size=60)


def told(well: list[bool], failures: int, successes: int) -> list[Turn]:
    return list(turns(Checks(np.arange(len(well), dtype=float), np.array(well, np.bool_)), failures, successes))


def by_definition(well: list[bool], failures: int, successes: int) -> list[tuple[bool, int]]:
    """Walk the checks as the definition reads: is this one the last of the first run that is long enough?"""
    found, down, since = [], False, 0
    for index in range(len(well)):
        need = successes if down else failures
        run = well[max(since, index + 1 - need) : index + 1]
        if len(run) == need and all(answer == down for answer in run):
            down, since = not down, index + 1
            found.append((down, index))
    return found


@given(answers, thresholds, thresholds)
def test_it_is_the_definition(well: list[bool], failures: int, successes: int) -> None:
    assert [(t.down, int(t.at_s)) for t in told(well, failures, successes)] == by_definition(well, failures, successes)


@given(answers, thresholds, thresholds)
def test_turns_alternate_and_each_is_a_whole_run(well: list[bool], failures: int, successes: int) -> None:
    seen = told(well, failures, successes)
    assert [turn.down for turn in seen] == [index % 2 == 0 for index in range(len(seen))]
    for turn in seen:
        need = failures if turn.down else successes
        assert turn.at_s - turn.began_s == need - 1
        assert {well[index] for index in range(int(turn.began_s), int(turn.at_s) + 1)} == {not turn.down}
    assert all(earlier.at_s < later.began_s for earlier, later in pairwise(seen))


@given(answers, thresholds, thresholds)
def test_failures_in_shorter_runs_are_never_told(well: list[bool], failures: int, successes: int) -> None:
    broken_up = [answer or index % failures == 0 for index, answer in enumerate(well)]
    assert told(broken_up, failures, successes) == []


@given(answers, thresholds, thresholds, st.integers(0, 60))
def test_what_comes_later_changes_nothing_that_was_told(
    well: list[bool], failures: int, successes: int, length: int
) -> None:
    prefix = told(well[:length], failures, successes)
    assert told(well, failures, successes)[: len(prefix)] == prefix


@given(answers, thresholds, thresholds)
def test_a_higher_threshold_is_never_sooner(well: list[bool], failures: int, successes: int) -> None:
    sooner, later = told(well, failures, successes), told(well, failures + 1, successes)
    if later:
        assert later[0].at_s > sooner[0].at_s
