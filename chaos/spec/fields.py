"""The base of every model read from YAML, and the types its fields share.

A key that is written must have a value: `budgets: {mttr: }` is a mistake and never "no budget".
"""

from __future__ import annotations

import math
from collections.abc import Sized
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import (
    AfterValidator,
    BeforeValidator,
    ConfigDict,
    StrictInt,
    StringConstraints,
    ValidationInfo,
    field_validator,
)

from chaos.record.terms import Frozen
from chaos.spec.sheet import found
from chaos.units import Duration, Rate, Size


class Spec(Frozen):
    """A frozen model whose field docstrings become the descriptions in the JSON Schema."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    @field_validator("*", mode="before")
    @classmethod
    def _has_value(cls, value: Any) -> Any:
        if value is None:
            raise ValueError("has no value; give it one or leave the key out")
        return value


def _above_zero(value: float) -> float:
    if not 0 < value < math.inf:
        raise ValueError(f"must be more than 0; found {value:g}")
    return value


def _finite(value: float) -> float:
    if value == math.inf:
        raise ValueError("is longer than any run")
    return value


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise ValueError(f"must be a plain number; found {found(value)}")
    return float(value)


def _beside(value: str, info: ValidationInfo) -> str:
    """Return the absolute path of a file; a relative one is taken from the folder that the context names."""
    path = Path((info.context or {}).get("folder", ""), value).absolute()
    if not path.is_file():
        raise ValueError(f"there is no file {path}")
    return str(path)


T = TypeVar("T", bound=Sized)


def _not_empty(value: T) -> T:
    """Check it here and not by min_length: pydantic would count an item that has a mistake as absent."""
    if not value:
        raise ValueError("must not be empty")
    return value


def _at_least(least: int) -> AfterValidator:
    def check(value: int) -> int:
        if value < least:
            raise ValueError(f"must be at least {least}; found {value}")
        return value

    return AfterValidator(check)


Text = Annotated[str, StringConstraints(strict=True, min_length=1, strip_whitespace=True)]
NotEmpty = AfterValidator(_not_empty)
Count = Annotated[StrictInt, _at_least(1)]
Whole = Annotated[StrictInt, _at_least(0)]
PositiveNumber = Annotated[float, BeforeValidator(_number), AfterValidator(_above_zero)]
PositiveDuration = Annotated[Duration, AfterValidator(_above_zero)]
PositiveRate = Annotated[Rate, AfterValidator(_above_zero)]
PositiveSize = Annotated[Size, AfterValidator(_above_zero), AfterValidator(int)]
Delay = Annotated[Duration, AfterValidator(_finite)]
LocalFile = Annotated[Text, AfterValidator(_beside)]
