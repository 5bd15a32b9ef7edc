"""The samples file: one row of fixed width for each request, appended as requests end.

Byte 0 is one line of JSON that names the columns, their numpy types, the classes and the errors, padded with spaces to
HEADER bytes and ended by a newline; rows of ROW.size bytes follow. Any reader with numpy can map it:

    scheduled sent first end   i8   CLOCK_MONOTONIC in ns, 0 where it never happened
    bytes                      i8   bytes of the answer, head included
    status                     i2   HTTP status, 0 when no answer was complete
    klass worker error         i2   index into `classes`, shard, index into `errors` (0 is "ok")

`sent` is when the load acted on the arrival: wrote it to an open connection, or began to open one for it. `end` is when
the outcome was known, whatever it was.

The event loop only packs a row into a block of memory. A thread writes the blocks, so that a slow disk delays rows and
not requests; when more than QUEUE blocks wait for it, the load stands still, which the send delay shows.
"""

from __future__ import annotations

import json
import queue
import struct
import threading
from collections.abc import Sequence
from io import FileIO
from pathlib import Path

from probes.errors import NAMES

HEADER = 4096
COLUMNS = (
    *((name, "<i8") for name in ("scheduled", "sent", "first", "end", "bytes")),
    *((name, "<i2") for name in ("status", "klass", "worker", "error")),
)
ROW = struct.Struct("<5q4h")
BLOCK = ROW.size * 4096
QUEUE = 256


class SampleFile:
    """Appends rows. Raises OSError when the file exists or can't be made; later failures wait for `check`."""

    def __init__(self, path: Path, classes: Sequence[str], worker: int = 0) -> None:
        header = _header(classes)
        self._file = FileIO(path, "xb")
        self._worker = worker
        self._block, self._used, self._handed_over = bytearray(BLOCK), 0, 0
        self._pack = ROW.pack_into
        self._failure: OSError | None = None
        self._queue: queue.Queue[memoryview | None] = queue.Queue(QUEUE)
        _write_all(self._file, header)
        self._thread = threading.Thread(target=self._write_blocks, name="samples")
        self._thread.start()

    def append(
        self, scheduled: int, sent: int, first: int, end: int, received: int, status: int, klass: int, error: int
    ) -> None:
        """Add one row."""
        self._pack(self._block, self._used, scheduled, sent, first, end, received, status, klass, self._worker, error)
        self._used += ROW.size
        if self._used == BLOCK:
            self.flush()

    def flush(self) -> None:
        """Hand over the rows so far; they reach the file soon after."""
        if self._used:
            self._queue.put(memoryview(self._block)[: self._used])
            self._handed_over += self._used // ROW.size
            self._block, self._used = bytearray(BLOCK), 0

    @property
    def rows(self) -> int:
        """How many rows were added."""
        return self._handed_over + self._used // ROW.size

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
                    self._file.truncate(self._file.tell() - (self._file.tell() - HEADER) % ROW.size)


def _header(classes: Sequence[str]) -> bytes:
    fields = {"format": "gameday-samples", "version": 1, "columns": COLUMNS, "classes": list(classes), "errors": NAMES}
    line = json.dumps(fields).encode()
    if len(line) >= HEADER:
        raise OSError(f"the names of the classes take {len(line)} bytes with the rest of the header; {HEADER - 1} fit")
    return line.ljust(HEADER - 1) + b"\n"


def _write_all(file: FileIO, data: bytes | memoryview) -> None:
    """Write all of it; one write(2) may take only a part."""
    left = memoryview(data)
    while left:
        left = left[file.write(left) :]
