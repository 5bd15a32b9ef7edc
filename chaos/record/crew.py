"""Who made a load by Locust, as its master and its workers wrote when they ended."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from chaos.errors import RecordingError
from chaos.record.reading import read_json, why


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
        return Crew.model_validate(read_json(path))
    except ValidationError as error:
        raise RecordingError(f"{path}: can't be read: {why(error)}") from error
