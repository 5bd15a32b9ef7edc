"""What a game day may do: all its plans together, one after the other, against the hours and the environment protected.

What counts is the whole time in which a fault could be on: from now to when the last fault of the last plan is undone,
and a lease beyond it, since that is how long a fault may outlive its controller. A plan is taken to last its timeline
and as long again as a last answer may take.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from chaos.errors import PlanRefused
from chaos.plan.plan import Plan
from chaos.spec.protect import Protect


def expected_s(plan: Plan) -> float:
    """Return how long one trial may take, in s."""
    return plan.load.duration + plan.load.timeout


def faulty_s(plans: Sequence[Plan], lease: float) -> float:
    """Return when the last fault of plans that follow each other is over for certain, in s; 0 where there is none."""
    over, begin = 0.0, 0.0
    for plan in plans:
        if plan.faulty_until_s:
            over = begin + plan.faulty_until_s + lease
        begin += expected_s(plan)
    return over


def check_day(
    plans: Sequence[Plan], protect: Protect, now: datetime, lease: float, confirmed: str | None = None
) -> None:
    """Return when all of it is allowed; `confirmed` is the environment that was named. Raises PlanRefused."""
    objections = [line for line in (_unconfirmed(protect, confirmed), _untimely(plans, protect, now, lease)) if line]
    if objections:
        raise PlanRefused("\n".join(objections))


def hours_line(plans: Sequence[Plan], protect: Protect, now: datetime, lease: float) -> str:
    """Return the hours that are protected, and whether plans that began now would keep to them."""
    if protect.hours is None:
        return "any"
    said = "; ".join(map(str, protect.hours))
    return f"{said}: {_untimely(plans, protect, now, lease) or 'it may begin now'}"


def _unconfirmed(protect: Protect, confirmed: str | None) -> str:
    name = protect.environment
    if confirmed is not None and confirmed != name:
        is_called = f"these hosts are {name}" if name else "the inventory names no protect.environment"
        return f"--yes-really {confirmed}: {is_called}; " + (f"type --yes-really {name}" if name else "leave it out")
    if protect.confirm and confirmed is None:
        return f"these hosts are {name}, which wants to be confirmed (protect.confirm); type --yes-really {name}"
    return ""


def _untimely(plans: Sequence[Plan], protect: Protect, now: datetime, lease: float) -> str:
    """Return why the plans can't begin now; "" where they can."""
    lasting = faulty_s(plans, lease)
    if protect.hours is None or not lasting:
        return ""
    end = now + timedelta(seconds=lasting)
    outside = protect.first_forbidden(now, end)
    if outside is None:
        return ""
    zone = ZoneInfo(protect.hours[0].zone)
    allowed = "; ".join(map(str, protect.hours))
    return (
        f"faults would be on from {_said(now, zone)} to {_said(end, zone)}, and not allowed at {_said(outside, zone)};"
        f" allowed are {allowed} (protect.hours)"
    )


def _said(moment: datetime, zone: ZoneInfo) -> str:
    return f"{moment.astimezone(zone):%a %d %b %H:%M %Z}"
