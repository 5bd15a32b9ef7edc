"""Budgets as they are written: a key for each name in `record.terms.BUDGETS`, read by that budget's unit."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import AfterValidator, Field, create_model

from chaos.record.terms import BUDGETS, STREAMED, Budget, BudgetKind
from chaos.spec.fields import Delay, PositiveDuration, PositiveRate, Spec, Whole
from chaos.units import Ratio


def _at_most_one(value: float) -> float:
    if not 0 <= value <= 1:
        raise ValueError(f'{value:g} is more than the whole; write a share like 0.2 or "20%"')
    return value


_Part = Annotated[Ratio, AfterValidator(_at_most_one)]
_UNBOUNDED = ("qps_cv",)


def _type(name: str, kind: BudgetKind) -> Any:
    """Return how a budget is written; no answer takes no time, so a limit of 0 on one could never be kept."""
    if kind.unit == "s":
        return PositiveDuration if name.startswith(("latency", *STREAMED)) else Delay
    if kind.unit == "1/s":
        return PositiveRate
    if kind.unit == "1":
        return Ratio if name in _UNBOUNDED else _Part
    return Whole


def _field(name: str, kind: BudgetKind) -> Any:
    side = "At most" if kind.side == "max" else "At least"
    return _type(name, kind), Field(default=None, description=f"{side} this {kind.figure}.")


Budgets: type[Spec] = create_model(
    "Budgets",
    __base__=Spec,
    __doc__="Limits on figures; a budget that is broken fails the run.",
    **{name: _field(name, kind) for name, kind in BUDGETS.items()},
)


def given(budgets: Spec) -> tuple[Budget, ...]:
    """Return the budgets that were written, in the order of BUDGETS; each limit in its budget's unit."""
    return tuple(Budget(name=n, limit=getattr(budgets, n)) for n in BUDGETS if n in budgets.model_fields_set)
