"""Checks of single values of a plan: each names the key, what it must be and what was found."""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import fields
from typing import Any, TypeVar

from probes.errors import PlanError

T = TypeVar("T")


def build(cls: type[T], prefix: str, values: Any) -> T:
    """Call a dataclass with the values; unknown and missing keys are named."""
    if not isinstance(values, dict):
        raise PlanError(f"{prefix or 'plan'}: must be a JSON object; found {values!r}")
    allowed = [f.name for f in fields(cls)]  # type: ignore[arg-type]  # T is one of the dataclasses of a plan
    if unknown := sorted(set(values) - set(allowed)):
        raise PlanError(f"{prefix}{unknown[0]}: no such key; allowed are {', '.join(allowed)}")
    try:
        return cls(**values)
    except TypeError as error:
        raise PlanError(f"{prefix or 'plan'}: {error}") from error


def check_text(name: str, value: object) -> str:
    """Return the value, a string that is not empty."""
    if not isinstance(value, str) or not value:
        raise PlanError(f"{name}: must be a string that is not empty; found {value!r}")
    return value


def check_one_of(name: str, value: object, allowed: Collection[str]) -> None:
    """Refuse what is not one of the words."""
    if value not in allowed:
        raise PlanError(f"{name}: allowed are {', '.join(allowed)}; found {value!r}")


def check_number(name: str, value: object, *, above: float = -math.inf, least: float = -math.inf) -> None:
    """Refuse what is no finite number within the limit."""
    number = isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
    if not number or not isinstance(value, (int, float)) or value <= above or value < least:
        limit = f"> {above:g}" if above > -math.inf else f">= {least:g}"
        raise PlanError(f"{name}: must be a number {limit}; found {value!r}")


def check_optional(name: str, value: object, *, above: float = -math.inf, least: float = -math.inf) -> None:
    """Like `check_number`, where there may be none."""
    if value is not None:
        check_number(name, value, above=above, least=least)


def check_whole(name: str, value: object, least: int) -> None:
    """Refuse what is no whole number of at least `least`."""
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise PlanError(f"{name}: must be a whole number >= {least}; found {value!r}")


def check_list(name: str, value: object) -> list[Any]:
    """Return the value, a list."""
    if not isinstance(value, list):
        raise PlanError(f"{name}: must be a list; found {value!r}")
    return value
