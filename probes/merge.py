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
_CHUNK = np.dtype(list(CHUNK_COLUMNS))
Rows = np.ndarray[Any, np.dtype[np.void]]


@dataclass(frozen=True, slots=True)
class Part:
    """One file; `offset` in ns is what the clock it was stamped by is ahead of the controller's.

    `chunks` is the file of the chunks that its rows own, where the load was one of streams.
    """

    path: Path
    offset: int = 0
    chunks: Path | None = None


def merge(parts: Sequence[Part], into: Path) -> int:
    """Write the rows of all parts into one file, which may not exist, and return how many there are.

    Raises ValueError when the parts don't have one header, OSError when a file can't be read or written. What stands
    behind the last whole row of a part (its process died over it) is left out.
    """
    headers = {_header(part.path) for part in parts}
    if len(headers) != 1:
        raise ValueError(f"{into.name}: its {len(parts)} parts have {len(headers)} different headers; one is required")
    header = headers.pop()
    dtype = _dtype(header)
    with into.open("xb") as file:
        file.write(header)
        return sum(_copy(part, dtype, file) for part in parts)


def merge_chunks(parts: Sequence[Part], into: Path) -> int:
    """Write the chunks of all parts into one file, which may not exist, and return how many there are.

    Row k of the merged rows owns its `chunks[k]` entries here, whatever a part's file holds: a process that died may
    have written fewer than its rows claim (the rest is 0: not known when) or more (they belong to rows that are lost).
    Raises ValueError when no part has chunks, OSError when a file can't be read or written.
    """
    header = next((_header(p.chunks) for p in parts if p.chunks and p.chunks.exists()), b"")
    if len(header) != HEADER:
        raise ValueError(f"{into.name}: none of its {len(parts)} parts has a file of chunks")
    with into.open("xb") as file:
        file.write(header)
        return sum(_copy_chunks(part, file) for part in parts)


def _copy_chunks(part: Part, into: BinaryIO) -> int:
    rows = _dtype(_header(part.path))
    claimed = sum(int(block["chunks"].sum()) for block in _blocks(part.path, rows))
    written = 0
    for chunks in _blocks(part.chunks, _CHUNK) if part.chunks and part.chunks.exists() else ():
        kept = chunks[: claimed - written]
        _move(kept, part.offset)
        into.write(kept.tobytes())
        written += len(kept)
    while written < claimed:
        padding = min(claimed - written, _AT_A_TIME)
        into.write(bytes(padding * _CHUNK.itemsize))
        written += padding
    return claimed


def _copy(part: Part, dtype: np.dtype[np.void], into: BinaryIO) -> int:
    count = 0
    for rows in _blocks(part.path, dtype):
        _move(rows, part.offset)
        into.write(rows.tobytes())
        count += len(rows)
    return count


def _move(rows: Rows, offset: int) -> None:
    """Take the offset from every time; 0 is no time and stays."""
    for name in _TIMES if offset else ():
        if name in (rows.dtype.names or ()):
            rows[name][rows[name] != 0] -= offset


def _blocks(path: Path, dtype: np.dtype[np.void]) -> Iterator[Rows]:
    with path.open("rb") as file:
        file.seek(HEADER)
        while len(data := file.read(dtype.itemsize * _AT_A_TIME)) >= dtype.itemsize:
            yield np.frombuffer(data[: len(data) // dtype.itemsize * dtype.itemsize], dtype).copy()


def _dtype(header: bytes) -> np.dtype[np.void]:
    return np.dtype([(name, kind) for name, kind in json.loads(header)["columns"]])


def _header(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(HEADER)
