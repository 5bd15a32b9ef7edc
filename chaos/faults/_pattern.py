"""A regular expression that was checked when the YAML was read."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import AfterValidator

_MOST = 4096  # some are handed to a program on the host, which takes no argument of any length (execve(2))


def _compiles(value: str) -> str:
    try:
        re.compile(value)
    except re.error as error:
        raise ValueError(f"{value!r} is not a regular expression: {error}") from error
    if len(value) > _MOST:
        raise ValueError(f"a pattern of {len(value)} characters is longer than {_MOST}")
    if not value.strip():
        raise ValueError("an empty pattern would match every process; say which")
    return value


Pattern = Annotated[str, AfterValidator(_compiles)]
