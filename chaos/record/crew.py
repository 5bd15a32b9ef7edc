"""Who made a load by Locust, as its master and its workers wrote when they ended."""

from __future__ import annotations

import json
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from chaos.errors import RecordingError


class Crew(BaseModel):
    """`users` and `workers` were asked for; all users were there from `complete` (ns), and at least `fewest` from then.

    Both are None where they never all were there.
    """

    model_config = ConfigDict(frozen=True)

    users: int
    workers: int
    complete: int | None
    fewest: int | None


def read_crew(folder: Path) -> Crew | None:
    """Return the crew of a recording; None where the master left no word. Raises RecordingError for a damaged file."""
    path = folder / "locust.json"
    if not path.exists():
        return None
    try:
        return Crew.model_validate(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, ValidationError) as error:
        raise RecordingError(f"{path}: can't be read: {error}") from error
