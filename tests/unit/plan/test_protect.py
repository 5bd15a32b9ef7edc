"""Hours and environments: which moments of the wall clock are within them, and what a whole day of plans may do."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from chaos.errors import InventoryError, PlanRefused
from chaos.plan.day import check_day, expected_s, faulty_s
from chaos.plan.plan import Plan, make_plan
from chaos.spec.inventory import load_inventory
from chaos.spec.protect import Protect
from tests.unit.plan.test_plan import experiment, inventory, slow

BERLIN = ZoneInfo("Europe/Berlin")


def protect(**hours: Any) -> Protect:
    return Protect.model_validate({"hours": {"zone": "Europe/Berlin", **hours}})


def berlin(day: int, hour: int, minute: int = 0, month: int = 11, fold: int = 0) -> datetime:
    return datetime(2026, month, day, hour, minute, tzinfo=BERLIN, fold=fold)


OFFICE = protect(days="mon-fri", between=["09:00", "17:00"])
NIGHT = protect(days=["fri"], between=["22:00", "04:00"])


@pytest.mark.parametrize(
    ("guard", "begin", "minutes", "forbidden"),
    [
        (OFFICE, berlin(24, 9), 60, None),
        (OFFICE, berlin(24, 8, 59), 60, berlin(24, 8, 59)),
        (OFFICE, berlin(24, 16, 30), 29, None),
        (OFFICE, berlin(24, 16, 30), 30, berlin(24, 17)),
        (OFFICE, berlin(28, 10), 1, berlin(28, 10)),
        (NIGHT, berlin(27, 23), 240, None),
        (NIGHT, berlin(28, 3), 61, berlin(28, 4)),
        (NIGHT, berlin(27, 3), 1, berlin(27, 3)),
        (NIGHT, berlin(28, 22), 1, berlin(28, 22)),
        (protect(days="sat-mon"), berlin(28, 0), 3 * 1440 - 1, None),
        (protect(between=["18:00", "24:00"]), berlin(24, 23), 60, berlin(25, 0)),
    ],
)
def test_every_moment_of_a_span_must_be_within(
    guard: Protect, begin: datetime, minutes: int, forbidden: datetime | None
) -> None:
    assert guard.first_forbidden(begin, begin + timedelta(minutes=minutes)) == forbidden


def test_a_list_of_windows_that_meet_is_one() -> None:
    windows = [{"between": ["08:00", "12:00"], "zone": "UTC"}, {"between": ["12:00", "14:00"], "zone": "UTC"}]
    guard = Protect.model_validate({"hours": windows})
    begin = datetime(2026, 11, 24, 8, tzinfo=UTC)
    assert guard.first_forbidden(begin, begin + timedelta(minutes=359, seconds=59)) is None
    assert guard.first_forbidden(begin, begin + timedelta(minutes=360)) == begin + timedelta(minutes=360)


def test_the_night_the_clock_is_put_back_has_an_hour_twice() -> None:
    until_half_past_two = protect(between=["00:00", "02:30"])
    first, second = berlin(25, 2, 10, month=10), berlin(25, 2, 10, month=10, fold=1)
    assert second.timestamp() - first.timestamp() == 3600
    assert until_half_past_two.first_forbidden(first, first) is None
    assert until_half_past_two.first_forbidden(second, second) is None
    between = until_half_past_two.first_forbidden(first.astimezone(UTC), second.astimezone(UTC))
    assert between is not None
    assert between.timestamp() - first.timestamp() == 20 * 60


def test_the_night_the_clock_is_put_forward_lacks_an_hour() -> None:
    guard = protect(between=["01:00", "04:00"])
    begin = berlin(29, 1, month=3).astimezone(UTC)
    assert guard.first_forbidden(begin, begin + timedelta(minutes=119)) is None
    assert guard.first_forbidden(begin, begin + timedelta(minutes=120)) == begin + timedelta(minutes=120)


@pytest.mark.parametrize("text", ["{confirm: true}", "{environment: staging, confirm: 1}", "{hours: []}"])
def test_what_protects_nothing_is_a_mistake(text: str, tmp_path: Path) -> None:
    with pytest.raises(InventoryError, match=r"inventory\.yaml:\d+:\d+: protect"):
        inventory(tmp_path, text)


def test_one_window_or_a_list_is_read_from_yaml(tmp_path: Path) -> None:
    one = inventory(tmp_path, "{hours: {days: mon, between: [09:00, '17:00'], zone: Europe/Berlin}}").protect
    assert one.hours is not None
    assert str(one.hours[0]) == "mon 09:00-17:00 Europe/Berlin"
    many = inventory(tmp_path, "{hours: [{zone: UTC}, {days: [sat, sun], zone: UTC}]}").protect
    assert [str(h) for h in many.hours or ()][1] == "sat,sun 00:00-24:00 UTC"
    staging = load_inventory(Path(__file__).parents[3] / "inventory" / "staging.example.yaml").protect
    assert (staging.environment, staging.confirm) == ("staging", True)


def plan(folder: Path) -> Plan:
    return make_plan(experiment(folder, slow("w1", at="5s", held="10s")), inventory(folder))


def test_all_plans_of_a_day_count_until_the_last_lease_is_over(tmp_path: Path) -> None:
    one = plan(tmp_path)  # 5 s warm-up and 20 s baseline, the fault over 15 s later; 85 s in all, and a timeout
    control = one.model_copy(update={"steps": ()})
    assert faulty_s([one], lease=10) == 25 + 15 + 10
    assert faulty_s([one, one], lease=10) == expected_s(one) + 50
    assert faulty_s([one, control], lease=10) == 50
    assert faulty_s([control], lease=10) == 0
    begin = berlin(24, 16, 58).astimezone(UTC)
    check_day([one], OFFICE, begin, 10)
    check_day([control] * 9, OFFICE, berlin(28, 3), 10)  # no fault, no hours
    with pytest.raises(PlanRefused, match=r"not allowed at Tue 24 Nov 17:00 CET; .*protect\.hours"):
        check_day([one, one], OFFICE, begin, 10)


@pytest.mark.parametrize(
    ("named", "said"),
    [(None, "type --yes-really production"), ("staging", "--yes-really staging: these hosts are production; type")],
)
def test_an_environment_is_confirmed_by_its_name_alone(named: str | None, said: str, tmp_path: Path) -> None:
    guard, plans = Protect(environment="production", confirm=True), [plan(tmp_path)]
    check_day(plans, guard, datetime.now(UTC), 10, "production")
    with pytest.raises(PlanRefused, match=said):
        check_day(plans, guard, datetime.now(UTC), 10, named)


def test_a_name_for_hosts_that_have_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PlanRefused, match="the inventory names no"):
        check_day([plan(tmp_path)], Protect(), datetime.now(UTC), 10, "production")
