"""A figure with what a budget must know about it before it is held against a limit.

A number alone can't be judged: it may be known only from below (an outage that was not over), or be finer than the
measurement resolves (fluctuation under sampling noise). Each module that computes a figure says so here, once, and
`budgets` needs no special case. Intervals stay empty for a single run: windows of one run depend on each other, and the
intervals that assume otherwise are too narrow (a bootstrap of the CV covers two thirds where it claims 95 %). They
belong between runs.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from chaos.judge.verdict import Figure


def _none(limit: float) -> str:
    del limit
    return ""


@dataclass(frozen=True)
class Finding:
    """A figure, `reason` where its value is absent or needs a word, and how a limit may be held against it.

    `at_least`: the truth is not below this, and may be anything above (censored).
    `doubt(limit)`: why the measurement can't tell on which side of a limit the truth lies, or "".
    """

    figure: Figure
    reason: str = ""
    at_least: float | None = None
    doubt: Callable[[float], str] = _none


Findings = dict[str, Finding]


def measured(value: float, unit: str, *, window_s: float | None = None, n: int | None = None) -> Finding:
    """Return a plain figure."""
    return Finding(Figure(value=value, unit=unit, window_s=window_s, n=n))


def missing(unit: str, reason: str, at_least: float | None = None) -> Finding:
    """Return a figure without a value, and why."""
    return Finding(Figure(value=None, unit=unit), reason, at_least)
