"""What an oracle is to do and what it says it did, as values that travel between processes as JSON.

Times in a script are s from `start`, so a script and a load plan with the same `start` share one clock.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple


class Outage(NamedTuple):
    """From `begin` to `end` requests meet `how`: a path of `behaviours`, or "refuse" for a port nobody listens on."""

    begin: float
    end: float
    how: str


@dataclass(frozen=True, kw_only=True)
class Script:
    """How request number n is answered.

    start    CLOCK_MONOTONIC in ns
    delays   the answer is held for delays[n % len(delays)] s: drawn in advance, so the law is known
    fates    a path of `behaviours`, chosen in the same way
    rate     tokens a second of a bucket that holds `burst`; without a token the answer is 429; None for no limit
    stalls   (begin, end): what would be answered in between is answered at the end
    outages  see Outage
    pieces   what "/stream" sends as an event stream: (s since the piece before, text), each piece a chunk of its own
    """

    start: int
    delays: Sequence[float] = (0.0,)
    fates: Sequence[str] = ("/ok",)
    rate: float | None = None
    burst: float = 0.0
    stalls: Sequence[tuple[float, float]] = ()
    outages: Sequence[Outage] = ()
    pieces: Sequence[tuple[float, str]] = ()

    def dumps(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def loads(cls, text: str) -> Script:
        values: dict[str, Any] = json.loads(text)
        return cls(**values | {"outages": [Outage(*entry) for entry in values["outages"]]})


class Entry(NamedTuple):
    """One request as the oracle saw it. `answered` is just before the first byte of the answer; all times in ns."""

    seq: int
    received: int
    answered: int
    fate: str
    pieces: list[int]
    """When each piece of a stream was about to be sent."""
