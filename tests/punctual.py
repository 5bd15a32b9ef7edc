"""A promise that is held against the clock, on a machine that may be busy beside: what was late is tried again."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path

_TRIES = 3


class LateError(AssertionError):
    """All was as it should be, and took too long."""


def tried_again_where_late(test: Callable[..., None]) -> Callable[..., None]:
    """Run a test again, in a folder of its own, where it raises LateError; the third time counts."""

    @functools.wraps(test)
    def tried(*, tmp_path: Path, **fixtures: object) -> None:
        for number in range(_TRIES):
            (folder := tmp_path / f"try-{number}").mkdir()
            try:
                test(tmp_path=folder, **fixtures)
                break
            except LateError:
                if number + 1 == _TRIES:
                    raise

    return tried


def on_time(seconds: float, limit: float) -> None:
    """Raise LateError for more than the limit. To be called last: whatever else is wrong is no lateness."""
    if seconds > limit:
        raise LateError(f"it took {seconds:.2f} s; {limit:.2f} s are promised")
