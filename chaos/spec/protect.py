"""How far an experiment may reach: `protect` of an inventory.

Hours are read off the wall clock of their own time zone, minute by minute: a moment is within them when a clock on the
wall there shows a time of day in `between` on one of the `days`. So a night in which the clock is put back has its
doubled hour allowed or forbidden twice, and one in which it is put forward just lacks an hour. What ends before
it begins goes over midnight and belongs to the day on which it begins. Times come in as aware datetimes; nothing here
asks what time it is.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Self
from zoneinfo import ZoneInfo

from pydantic import AfterValidator, BeforeValidator, StrictBool, field_validator, model_validator

from chaos.spec.fields import Count, NotEmpty, Spec, Text
from chaos.units import Share

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_TIME = re.compile(r"([01]?[0-9]|2[0-3]):([0-5][0-9])")
_LABEL = re.compile(r"[A-Za-z0-9_.-]+")
_MINUTE = timedelta(minutes=1)


def _days(value: Any) -> Any:
    """Return the numbers of the days (Monday is 0) in `mon-fri`, `sat` or a list of such."""
    parts = value if isinstance(value, (list, tuple)) else [value]
    return tuple(sorted({day for part in parts for day in _span(part)}))


def _span(part: Any) -> Iterator[int]:
    if isinstance(part, int) and not isinstance(part, bool) and 0 <= part < len(DAYS):
        yield part  # a model that is validated again
        return
    first, _, last = part.lower().partition("-") if isinstance(part, str) else ("", "", "")
    if first not in DAYS or (last or first) not in DAYS:
        raise ValueError(f"{part!r} is no day; write `mon-fri`, or a list of: {', '.join(DAYS)}")
    begin = DAYS.index(first)
    for offset in range((DAYS.index(last or first) - begin) % 7 + 1):
        yield (begin + offset) % 7


def _time_of_day(value: Any) -> Any:
    """Return the minutes since midnight of "HH:MM"."""
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= 1440:
        return value
    if value == "24:00":
        return 1440
    if not isinstance(value, str) or not (read := _TIME.fullmatch(value)):
        raise ValueError(f'{value!r} is no time of day; write it like "09:00", from "00:00" to "24:00"')
    return int(read[1]) * 60 + int(read[2])


def _zone(value: str) -> str:
    try:
        ZoneInfo(value)
    except (OSError, ValueError) as error:  # ZoneInfoNotFoundError is a KeyError
        raise ValueError(f"{value!r} is no time zone: {error}") from error
    except KeyError:
        raise ValueError(f"{value!r} is no time zone that this machine knows; write it like Europe/Berlin") from None
    return value


def _label(value: str) -> str:
    if not _LABEL.fullmatch(value):
        raise ValueError(f"{value!r} is no name of an environment; allowed are letters, digits, _ - and .")
    return value


TimeOfDay = Annotated[int, BeforeValidator(_time_of_day)]


class Hours(Spec):
    """A window of the week in which faults may be on."""

    days: Annotated[tuple[int, ...], BeforeValidator(_days), NotEmpty] = tuple(range(7))
    """`mon-fri`, or a list of days; every day by default."""
    between: tuple[TimeOfDay, TimeOfDay] = (0, 1440)
    """From when to when, like ["09:00", "17:00"]; the whole day by default. It may go over midnight."""
    zone: Annotated[Text, AfterValidator(_zone)]
    """The time zone of the clock that is meant, as in the IANA database (Europe/Berlin)."""

    @field_validator("between", mode="before")
    @classmethod
    def _is_a_pair(cls, value: Any) -> Any:
        if not isinstance(value, (list, tuple)) or len(value) != 2:
            raise ValueError('must be two times of day, like ["09:00", "17:00"]')
        return value

    @field_validator("between")
    @classmethod
    def _lasts(cls, value: tuple[int, int]) -> tuple[int, int]:
        if value[0] % 1440 == value[1] % 1440 and value != (0, 1440):
            raise ValueError("begins when it ends; leave `between` out where the whole day is meant")
        return value

    def allow(self, moment: datetime) -> bool:
        """Whether a moment (with a time zone) is within the window."""
        local = moment.astimezone(ZoneInfo(self.zone))
        minute, day, (begin, end) = local.hour * 60 + local.minute, local.weekday(), self.between
        if begin < end:
            return day in self.days and begin <= minute < end
        return (day in self.days and minute >= begin) or ((day - 1) % 7 in self.days and minute < end)

    def __str__(self) -> str:
        begin, end = (f"{minute // 60:02}:{minute % 60:02}" for minute in self.between)
        return f"{','.join(DAYS[day] for day in self.days)} {begin}-{end} {self.zone}"


def _listed(value: Any) -> Any:
    return [value] if isinstance(value, (dict, Hours)) else value


class Protect(Spec):
    """How far an experiment may reach; a plan that goes further is refused."""

    hosts: tuple[Text, ...] = ()
    """Never a fault on these."""
    max_hosts: Count | None = None
    """The most hosts that may be under a fault at once."""
    max_fraction: Share | None = None
    """The largest share of any group that may be under a fault at once."""
    hours: Annotated[tuple[Hours, ...], BeforeValidator(_listed), NotEmpty] | None = None
    """When faults may be on: one window or a list of them; any time by default."""
    environment: Annotated[Text, AfterValidator(_label)] | None = None
    """What these hosts are called together, like production."""
    confirm: StrictBool = False
    """Whether `run` wants the environment named: `--yes-really NAME`."""

    @field_validator("max_fraction")
    @classmethod
    def _allows_something(cls, value: float) -> float:
        if value <= 0:
            raise ValueError("must be more than 0%; to protect a host from every fault name it in protect.hosts")
        return value

    @model_validator(mode="after")
    def _has_a_name_to_confirm(self) -> Self:
        if self.confirm and self.environment is None:
            raise ValueError("`confirm: true` wants an `environment: NAME` beside it, the name that is to be given")
        return self

    def first_forbidden(self, begin: datetime, end: datetime) -> datetime | None:
        """Return the first moment of a span (both ends included) that is outside `hours`; None where there is none."""
        if self.hours is None:
            return None
        moment, end = begin.astimezone(UTC), end.astimezone(UTC)
        while any(hours.allow(moment) for hours in self.hours):
            moment = moment.replace(second=0, microsecond=0) + _MINUTE
            if moment > end:
                return None
        return moment
