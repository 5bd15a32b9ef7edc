"""Figures against limits. A limit is met where the figure is on its good side; equal is met.

the measurement is not sound                  unknown, whatever the figure says
known only from below, and that is too much   fail: however it went on, the limit is broken
known only from below, within the limit       unknown: it was not watched for long enough
no value, or one the limit is too fine for    unknown
"""

from __future__ import annotations

from dataclasses import dataclass

from chaos.judge.finding import Finding, Findings
from chaos.judge.verdict import BudgetLine, Outcome
from chaos.record.terms import BUDGETS, STREAMED, Budget, BudgetKind


@dataclass(frozen=True)
class Judged:
    """A line of the verdict, and why it is not a pass ("" where it is, or where the run was not sound)."""

    line: BudgetLine
    reason: str


def judge_budget(budget: Budget, findings: Findings, sound: bool) -> Judged:
    """Return a budget's line. Raises KeyError for a name that is not in BUDGETS."""
    kind = BUDGETS[budget.name]
    finding = findings.get(kind.figure)
    outcome, reason = _outcome(budget, kind, finding) if sound else ("unknown", "")
    figure = finding.figure if finding else None
    line = BudgetLine(
        name=budget.name,
        limit=budget.limit,
        side=kind.side,
        unit=kind.unit,
        value=figure.value if figure else None,
        interval=figure.interval if figure else None,
        verdict=outcome,
    )
    return Judged(line, f"{budget.name}: {reason}" if reason else "")


def _outcome(budget: Budget, kind: BudgetKind, finding: Finding | None) -> tuple[Outcome, str]:
    if finding is None:
        return "unknown", _why_absent(kind)
    if finding.at_least is not None:
        return ("fail", finding.reason) if finding.at_least > budget.limit else ("unknown", finding.reason)
    value = finding.figure.value
    if value is None:
        return "unknown", finding.reason
    if doubt := finding.doubt(budget.limit):
        return "unknown", doubt
    if value <= budget.limit if kind.side == "max" else value >= budget.limit:
        return "pass", ""
    return "fail", _broken(budget, kind, value)


def _why_absent(kind: BudgetKind) -> str:
    if kind.figure.startswith(STREAMED):
        return "the answers were not streamed, so no token was timed: set load.stream: true or remove this budget"
    return "no fault was applied, so there is nothing to recover from: add a fault or remove this budget"


def _broken(budget: Budget, kind: BudgetKind, value: float) -> str:
    unit = "" if kind.unit == "1" else f" {kind.unit}"
    allowed = "at most" if kind.side == "max" else "at least"
    return f"{value:.4g}{unit} was measured, {allowed} {budget.limit:.4g}{unit} is allowed"
