"""An accepted plan never has more hosts under a fault at once than allowed; hours hold minute by minute."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from hypothesis import assume, given
from hypothesis import strategies as st

from chaos.errors import PlanRefused
from chaos.faults.process_pause import ProcessPause
from chaos.plan.reach import check_reach
from chaos.plan.step import Step
from chaos.spec.inventory import Host, Inventory
from chaos.spec.protect import Protect

HOSTS = [f"h{n}" for n in range(6)]
GROUPS = {"all": tuple(HOSTS), "half": tuple(HOSTS[:3])}
STEPS = st.lists(
    st.tuples(st.sampled_from(HOSTS), st.integers(0, 20), st.integers(1, 8)), min_size=1, max_size=8
)  # fmt: skip
ZONES = ["Europe/Berlin", "America/New_York", "Asia/Kolkata", "Australia/Lord_Howe", "Pacific/Apia"]


@given(STEPS, st.integers(1, 6), st.sampled_from(["20%", "34%", "50%", "100%"]), st.sets(st.sampled_from(HOSTS)))
def test_an_accepted_plan_is_within_its_limits_at_every_instant(
    drawn: list[tuple[str, int, int]], most: int, share: str, never: set[str]
) -> None:
    guard = Protect.model_validate({"hosts": tuple(never), "max_hosts": most, "max_fraction": share})
    hosts = {name: Host(address="10.0.0.1") for name in HOSTS}
    inventory = Inventory(hosts=hosts, groups=GROUPS, protect=guard)
    fault = ProcessPause(match="x")
    steps = [Step(id=f"s{n}", fault=fault, host=h, at_s=at, for_s=held) for n, (h, at, held) in enumerate(drawn)]
    instants = [half / 2 for half in range(60)]
    crowds = [{h for h, at, held in drawn if at <= t <= at + held} for t in instants]
    within = all(
        len(crowd) <= most and all(len(crowd & set(g)) * 100 <= int(share[:-1]) * len(g) for g in GROUPS.values())
        for crowd in crowds
    ) and never.isdisjoint(h for h, _, _ in drawn)
    try:
        check_reach(steps, inventory)
    except PlanRefused:
        assert not within
    else:
        assert within


@given(
    st.sets(st.integers(0, 6), min_size=1),
    st.integers(0, 1439),
    st.integers(0, 1440),
    st.sampled_from(ZONES),
    st.datetimes(datetime(2026, 1, 1), datetime(2027, 12, 1)),
    st.integers(0, 300),
)
def test_hours_are_what_the_clock_on_the_wall_says_each_minute(
    days: set[int], begin: int, end: int, zone: str, start: datetime, minutes: int
) -> None:
    assume(begin % 1440 != end % 1440 or (begin, end) == (0, 1440))
    names = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
    between = [f"{m // 60:02}:{m % 60:02}" for m in (begin, end)]
    window = {"days": [names[day] for day in days], "between": between, "zone": zone}
    guard = Protect.model_validate({"hours": window})
    first = start.replace(second=0, microsecond=0, tzinfo=UTC)
    open_minutes = _open_minutes(days, begin, end)
    asked = [first + timedelta(minutes=n) for n in range(minutes + 1)]
    expected = next((t for t in asked if _minute_of_week(t, zone) not in open_minutes), None)
    assert guard.first_forbidden(first, asked[-1]) == expected


def _open_minutes(days: set[int], begin: int, end: int) -> set[int]:
    """Return the minutes of a week, from Monday 0:00 on the wall clock, that the windows cover."""
    lasts = end - begin if end > begin else end - begin + 1440
    return {(day * 1440 + begin + n) % 10080 for day in days for n in range(lasts)}


def _minute_of_week(moment: datetime, zone: str) -> int:
    local = moment.astimezone(ZoneInfo(zone))
    return local.weekday() * 1440 + local.hour * 60 + local.minute
