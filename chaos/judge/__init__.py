"""From a recording to figures and a verdict: pure, and the same again on any machine from the recording alone.

    samples -> requests -> series -> baseline -> incidents -> figures -> budgets
    events  -> what was done to whom ----^                                  |
    terms   -> what was intended, and the limits              soundness ----'-> verdict

It takes a `Recording` and gives a `Verdict`; the CLI, the report and the pytest plugin call it. Definitions are those
of the field where there are any, and each module names its own. The one decision that governs all: soundness is asked
first. A run whose load, baseline, fault or end was not what it was meant to be can neither pass nor break a budget.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from chaos.judge.verdict import Verdict
    from chaos.record.recording import Recording


def judge(recording: Recording) -> Verdict:
    """Return what is to be said of a run. Raises RecordingError when the recording can't be read."""
    from chaos.judge.judging import conclude  # numpy and scipy load here, not when a name of this package is imported

    return conclude(recording)
