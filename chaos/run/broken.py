"""Why a guard stops a run: a value, for its event and for people."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

PATIENCE = 2.0  # s that a guard may know nothing for, beyond the span of its condition


@dataclass(frozen=True)
class Broken:
    """A condition that holds, or (`blind`) that nobody can tell any more.

    `values` are the last ones that were known, oldest first, in the condition's own unit; `since` (ns) is when it began
    to hold, or when it was last known whether it does; `said` is all that in words.
    """

    condition: str
    said: str
    since: int
    values: tuple[float, ...] = ()
    blind: bool = False

    def fields(self) -> dict[str, Any]:
        """Return what the event `abort` says of it; JSON has no number that is not finite."""
        values = [value if math.isfinite(value) else str(value) for value in self.values]
        return {
            "condition": self.condition,
            "blind": self.blind,
            "why": self.said,
            "values": values,
            "since": self.since,
        }

    def __str__(self) -> str:
        return f"`{self.condition}`: {self.said}"


def blind(condition: str, now: int, since: int, why: str) -> Broken:
    """Return that a guard knows nothing since a moment (ns), for a reason."""
    return Broken(condition, f"nothing is known for {(now - since) / 1e9:.1f} s: {why}", since, blind=True)
