"""What the load's own processes used of their machine, as each wrote it when it ended (`probes.generator`).

generator.json holds one object, or a list of them for a load that several processes shared.
"""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from chaos.errors import RecordingError
from chaos.record.reading import read_json, why


class Usage(BaseModel):
    """One process. `busiest` is its highest share of one core in any second; the lags are of its event loop, in s."""

    model_config = ConfigDict(frozen=True)

    transport: str
    cpu_s: float
    wall_s: float
    busiest: float
    loop_lag_p50_s: float
    loop_lag_p99_s: float
    loop_lag_max_s: float
    connections_opened: int = 0


_USAGES = TypeAdapter(list[Usage])


def read_usage(path: Path) -> tuple[Usage, ...]:
    """Return what each process used; none where the file is not there. Raises RecordingError for a damaged one."""
    if not path.exists():
        return ()
    try:
        loaded = read_json(path)
        return tuple(_USAGES.validate_python(loaded if isinstance(loaded, list) else [loaded]))
    except ValidationError as error:
        raise RecordingError(f"{path}: can't be read: {why(error)}") from error
