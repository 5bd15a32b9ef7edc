"""What was watched of traffic that is there already: one line of JSON a window, in order.

window    index from the start of the load        t     when it was asked for, CLOCK_MONOTONIC ns
qps       successful requests per second          why   in place of the values: why there is none
offered   all requests per second, where there was a query for it; `latency` (s) likewise
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from chaos.errors import RecordingError
from chaos.record.events import Event, read_jsonl
from chaos.record.reading import why

TRAFFIC = "traffic.jsonl"


class _Row(BaseModel):
    model_config = ConfigDict(strict=True, extra="allow")

    window: Annotated[int, Field(ge=0, lt=2**31)]
    qps: float | None = None
    offered: float | None = None
    latency: float | None = None
    why: str = ""


def read_traffic(folder: Path) -> tuple[Event, ...]:
    """Return the rows; none for a run that broke off before anything was asked."""
    path = folder / TRAFFIC
    rows = tuple(read_jsonl(path))
    for number, row in enumerate(rows, 1):
        try:
            _Row.model_validate(row)
        except ValidationError as error:
            raise RecordingError(f"{path}:{number}:1: not a window of traffic: {why(error)}") from error
    return rows
