"""What `gameday` ends with: the exit code of a verdict, and the worst of several."""

from __future__ import annotations

from pathlib import Path

import pytest

from chaos.conduct import Conducted, worst_exit
from chaos.errors import Exit
from chaos.judge.verdict import Generator, Outcome, Verdict
from chaos.record.recording import Recording

LOAD = Generator(offered_rate=1, achieved_rate=1, sound=True)


@pytest.mark.parametrize(
    ("outcome", "stuck", "code"),
    [
        ("pass", (), 0),
        ("fail", (), 1),
        ("unknown", (), 4),
        ("unknown", ("worker-1: run this",), 5),
        ("fail", ("worker-1: run this",), 5),
    ],
)
def test_an_undo_that_could_not_be_verified_outweighs_everything(
    outcome: Outcome, stuck: tuple[str, ...], code: int
) -> None:
    verdict = Verdict(experiment="x", run="r", verdict=outcome, generator=LOAD, figures={}, stuck=stuck)
    assert Conducted(Recording(Path("r")), verdict, Path("r/report.html")).exit_code == code


def test_the_worst_of_several_trials_counts() -> None:
    assert worst_exit([]) == Exit.PASS
    assert worst_exit([Exit.PASS, Exit.UNKNOWN]) == Exit.UNKNOWN
    assert worst_exit([Exit.UNKNOWN, Exit.BUDGET_BROKEN, Exit.PASS]) == Exit.BUDGET_BROKEN
    assert worst_exit([Exit.BUDGET_BROKEN, Exit.STUCK]) == Exit.STUCK
