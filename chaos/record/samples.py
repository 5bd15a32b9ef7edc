"""The samples of a run as a numpy array, read with numpy alone.

The file says what it holds: one line of JSON, padded with spaces and ended by a newline at byte HEADER, then rows of
fixed width. The header names the columns and their types, so a reader needs no code of the writer's; a crash costs at
most the row that was being written.

Columns (times are CLOCK_MONOTONIC in ns, 0 where it never happened): `scheduled sent first end` (i8), `bytes` (i8),
`first_token` (i8, a time; of streamed answers), `tokens chunks` (i4; output tokens, and events that carried some),
`status` (i2; the HTTP status, 0 when no response was complete), `klass` (i2; an index into the header's `classes`),
`worker` (i2; the shard), `error` (i2; an index into the header's `errors`, 0 for none).

`sent` is when the generator acted: it wrote to an open connection or began to open one, so connecting is the service's
time and not the generator's delay. `end` is set for every row; `bytes` counts the whole answer, head included.

A load of streams has a second file, one column `received` (i8): when each event that carried tokens came. Row k owns
the `chunks[k]` entries after those of row k - 1. Either file may be cut short by a crash.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from chaos.errors import RecordingError
from chaos.record.reading import why

HEADER = 4096
_KINDS = ("<i8", "<i4", "<i2")
_NEEDED = ("scheduled", "sent", "first", "end", "bytes", "status", "klass", "worker", "error")


@dataclass(frozen=True)
class Samples:
    """All rows of one run, in the order in which they ended, and the names behind their indexes."""

    rows: np.ndarray[Any, np.dtype[np.void]]
    classes: tuple[str, ...]
    errors: tuple[str, ...]


def read_samples(path: Path) -> Samples:
    """Map a samples file into memory. Raises RecordingError when the file is absent or its header is damaged."""
    header, rows = _read_rows(path)
    names = {name: header.get(name, usual) for name, usual in (("classes", ["default"]), ("errors", ["ok"]))}
    missing = [name for name in _NEEDED if name not in (rows.dtype.names or ())]
    if missing or not all(isinstance(n, list) and n and all(isinstance(e, str) for e in n) for n in names.values()):
        raise RecordingError(
            f"{path}: its header is damaged: {', '.join(missing) or 'classes or errors'} can't be read"
        )
    for column, known in (("klass", names["classes"]), ("error", names["errors"])):
        if len(rows) and not 0 <= rows[column].min() <= rows[column].max() < len(known):
            raise RecordingError(f"{path}: a row's {column} is none of the {len(known)} that its header names")
    return Samples(rows, tuple(names["classes"]), tuple(names["errors"]))


def read_chunks(path: Path) -> np.ndarray[Any, np.dtype[np.int64]]:
    """Map the times (ns) of all chunks of streams into memory. Raises RecordingError like `read_samples`."""
    _, rows = _read_rows(path)
    if rows.dtype.names != ("received",):
        raise RecordingError(f"{path}: holds the columns {rows.dtype.names}; one column `received` was expected")
    received: np.ndarray[Any, np.dtype[np.int64]] = rows["received"]
    return received


def _read_rows(path: Path) -> tuple[dict[str, Any], np.ndarray[Any, np.dtype[np.void]]]:
    try:
        with path.open("rb") as file:
            header = json.loads(file.read(HEADER))
        dtype = _dtype(header["columns"])
        count = (path.stat().st_size - HEADER) // dtype.itemsize
        rows = np.memmap(path, dtype, "r", offset=HEADER, shape=(count,)) if count > 0 else np.empty(0, dtype)
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise RecordingError(f"{path}: no samples can be read from it: {why(error)}") from error
    return header, rows


def _dtype(columns: Any) -> np.dtype[np.void]:
    """Return the type of a row: whole numbers alone. Raises ValueError and TypeError."""
    if strange := [kind for _, kind in columns if kind not in _KINDS]:
        raise ValueError(f"a column is of type {str(strange[0])[:20]!r}; there are {', '.join(_KINDS)}")
    return np.dtype([(str(name), kind) for name, kind in columns])
