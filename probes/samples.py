"""The samples file: one row of fixed width for each request, appended as requests end; and the chunks of streams.

Byte 0 is one line of JSON that names the columns, their numpy types, the classes and the errors, padded with spaces to
HEADER bytes and ended by a newline; rows of ROW.size bytes follow. Any reader with numpy can map it:

    scheduled sent first end   i8   CLOCK_MONOTONIC in ns, 0 where it never happened
    bytes                      i8   bytes of the answer, head included
    first_token                i8   like the times: the first token that was not empty; 0 where nothing was streamed
    tokens chunks              i4   of a streamed answer: output tokens, and events that carried some
    status                     i2   HTTP status, 0 when no answer was complete
    klass worker error         i2   index into `classes`, shard, index into `errors` (0 is "ok")

`sent` is when the load acted on the arrival: wrote it to an open connection, or began to open one for it. `end` is when
the outcome was known, whatever it was.

A load of streams has a second file of the same build, one column `received` (i8): when each event that carried tokens
came, request after request in the order of the rows, so row k owns the `chunks[k]` entries after those of row k - 1.

The event loop only packs a row into a block of memory. A thread writes the blocks, so that a slow disk delays rows and
not requests; when more than QUEUE blocks wait for it, the load stands still, which the send delay shows.
"""

from __future__ import annotations

import json
import queue
import struct
import threading
from array import array
from collections.abc import Sequence
from io import FileIO
from pathlib import Path

from probes.errors import NAMES

HEADER = 4096
COLUMNS = (
    *((name, "<i8") for name in ("scheduled", "sent", "first", "end", "bytes", "first_token")),
    *((name, "<i4") for name in ("tokens", "chunks")),
    *((name, "<i2") for name in ("status", "klass", "worker", "error")),
)
ROW = struct.Struct("<6q2i4h")
CHUNK_COLUMNS = (("received", "<i8"),)
_CHUNK = 8
BLOCK = ROW.size * 4096
QUEUE = 256


class _RowFile:
    """Appends rows of fixed width by a thread of its own. Raises OSError when the file exists or can't be made."""

    def __init__(self, path: Path, header: bytes, width: int) -> None:
        self._file = FileIO(path, "xb")
        self._width = width
        self._block, self._used, self._handed_over = bytearray(BLOCK), 0, 0
        self._failure: OSError | None = None
        self._queue: queue.Queue[memoryview | None] = queue.Queue(QUEUE)
        _write_all(self._file, header)
        self._thread = threading.Thread(target=self._write_blocks, name=path.stem)
        self._thread.start()

    def flush(self) -> None:
        """Hand over the rows so far; they reach the file soon after."""
        if self._used:
            self._queue.put(memoryview(self._block)[: self._used])
            self._handed_over += self._used // self._width
            self._block, self._used = bytearray(BLOCK), 0

    @property
    def rows(self) -> int:
        """How many rows were added."""
        return self._handed_over + self._used // self._width

    def check(self) -> None:
        """Raise the OSError that a write met, if one did."""
        if self._failure:
            raise self._failure

    def close(self) -> None:
        """Write what is left and close the file. Raises the OSError that a write met."""
        self.flush()
        self._queue.put(None)
        self._thread.join()
        self._file.close()
        self.check()

    def _write_blocks(self) -> None:
        """Write until told to end. After a failure the rest is dropped: the file ends with its last whole row."""
        while (block := self._queue.get()) is not None:
            if self._failure is None:
                try:
                    _write_all(self._file, block)
                except OSError as error:
                    self._failure = error
                    self._file.truncate(self._file.tell() - (self._file.tell() - HEADER) % self._width)


class SampleFile(_RowFile):
    """A row a request. Later failures than those of opening wait for `check`."""

    def __init__(self, path: Path, classes: Sequence[str], worker: int = 0) -> None:
        super().__init__(path, _header("gameday-samples", COLUMNS, classes=list(classes), errors=NAMES), ROW.size)
        self._worker = worker
        self._pack = ROW.pack_into

    def append(
        self,
        scheduled: int,
        sent: int,
        first: int,
        end: int,
        received: int,
        status: int,
        klass: int,
        error: int,
        first_token: int = 0,
        tokens: int = 0,
        chunks: int = 0,
    ) -> None:
        """Add one row."""
        self._pack(
            self._block, self._used, scheduled, sent, first, end, received, first_token, tokens, chunks, status, klass,
            self._worker, error,
        )  # fmt: skip
        self._used += ROW.size
        if self._used == BLOCK:
            self.flush()


class ChunkFile(_RowFile):
    """The times of the chunks of streams, to be appended in the order of the rows of the samples."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, _header("gameday-chunks", CHUNK_COLUMNS), _CHUNK)

    def append(self, received: Sequence[int]) -> None:
        """Add the times of one request's chunks, in ns."""
        data = memoryview(array("q", received)).cast("B")
        while data:
            room = BLOCK - self._used
            self._block[self._used : self._used + len(data[:room])] = data[:room]
            self._used += len(data[:room])
            data = data[room:]
            if self._used == BLOCK:
                self.flush()


def _header(kind: str, columns: Sequence[tuple[str, str]], **names: Sequence[str]) -> bytes:
    line = json.dumps({"format": kind, "version": 2, "columns": columns, **names}).encode()
    if len(line) >= HEADER:
        raise OSError(f"the names of the classes take {len(line)} bytes with the rest of the header; {HEADER - 1} fit")
    return line.ljust(HEADER - 1) + b"\n"


def _write_all(file: FileIO, data: bytes | memoryview) -> None:
    """Write all of it; one write(2) may take only a part."""
    left = memoryview(data)
    while left:
        left = left[file.write(left) :]
