"""A regular expression that was checked when the YAML was read."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import AfterValidator


def _compiles(value: str) -> str:
    try:
        re.compile(value)
    except re.error as error:
        raise ValueError(f"{value!r} is not a regular expression: {error}") from error
    if not value.strip():
        raise ValueError("an empty pattern would match every process; say which")
    return value


Pattern = Annotated[str, AfterValidator(_compiles)]
