"""Several files of samples made one: what the processes that shared a load wrote, one after the other.

Rows are copied as they are but for their times, which are moved from the clock of the machine that stamped them to the
controller's, so the merged file says nothing that its parts did not. A few thousand rows are in memory at a time.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from probes.samples import CHUNK_COLUMNS, COLUMNS, HEADER

_AT_A_TIME = 65536
_TIMES = [name for name, kind in (*COLUMNS, *CHUNK_COLUMNS) if kind == "<i8" and name != "bytes"]
Rows = np.ndarray[Any, np.dtype[np.void]]


@dataclass(frozen=True, slots=True)
class Part:
    """One file; `offset` in ns is what the clock it was stamped by is ahead of the controller's."""

    path: Path
    offset: int = 0


def merge(parts: Sequence[Part], into: Path) -> int:
    """Write the rows of all parts into one file, which may not exist, and return how many there are.

    Raises ValueError when the parts don't have one header, OSError when a file can't be read or written. What stands
    behind the last whole row of a part (its process died over it) is left out.
    """
    headers = {_header(part.path) for part in parts}
    if len(headers) != 1:
        raise ValueError(f"{into.name}: its {len(parts)} parts have {len(headers)} different headers; one is required")
    header = headers.pop()
    dtype = np.dtype([(name, kind) for name, kind in json.loads(header)["columns"]])
    with into.open("xb") as file:
        file.write(header)
        return sum(_copy(part, dtype, file) for part in parts)


def _copy(part: Part, dtype: np.dtype[np.void], into: BinaryIO) -> int:
    count = 0
    for rows in _blocks(part.path, dtype):
        for name in _TIMES if part.offset else ():
            if name in (dtype.names or ()):
                rows[name][rows[name] != 0] -= part.offset
        into.write(rows.tobytes())
        count += len(rows)
    return count


def _blocks(path: Path, dtype: np.dtype[np.void]) -> Iterator[Rows]:
    with path.open("rb") as file:
        file.seek(HEADER)
        while len(data := file.read(dtype.itemsize * _AT_A_TIME)) >= dtype.itemsize:
            yield np.frombuffer(data[: len(data) // dtype.itemsize * dtype.itemsize], dtype).copy()


def _header(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(HEADER)
