"""The ledger: each undo on this machine's disk before its fault, one JSON line a change, fsynced, never rewritten.

    {"id": "netem-0@worker-2", "state": "open", "host": ..., "at": "host", "fuse": ..., "undo": {...}, "hmac": ...}
    {"id": "netem-0@worker-2", "state": "closed", "hmac": ...}

An entry that was opened and never closed is what `gameday heal` looks for, whatever became of the run in between. The
undo is sh text, so it needs nothing of the fault that wrote it. It is also run as root, so each line is signed
(`chaos.run.signature`) and only what this user wrote on this machine counts: a ledger of somebody else's is data.
"""

from __future__ import annotations

import fcntl
import json
import os
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from chaos.record.events import read_jsonl
from chaos.run.fuse import Undo
from chaos.run.signature import is_ours, signed

NAME = "ledger.jsonl"


@dataclass(frozen=True)
class Entry:
    """An undo that may still be owed. `at` says where its fuse stands ("host" or "controller")."""

    id: str
    host: str
    at: str
    fuse: str
    undo: Undo


class Ledger:
    """The ledger of one run; safe to write from several threads."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / NAME
        self._lock = threading.Lock()

    def open(self, *entries: Entry) -> None:
        """Write undos down; returns once all are on the disk."""
        self._append(
            *(
                {
                    "id": entry.id,
                    "state": "open",
                    "host": entry.host,
                    "at": entry.at,
                    "fuse": entry.fuse,
                    "undo": {"do": entry.undo.do, "clean": entry.undo.clean},
                }
                for entry in entries
            )
        )

    @contextmanager
    def alive(self) -> Iterator[None]:
        """Mark the run as alive for as long as this process holds it: a lock that the kernel drops when we die."""
        with self.path.open("a", encoding="utf-8") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def is_alive(self) -> bool:
        """Whether some process still runs this ledger's run."""
        with self.path.open("a", encoding="utf-8") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return True
            return False

    def close(self, *ids: str) -> None:
        """Note that undos were done and read back."""
        self._append(*({"id": entry_id, "state": "closed"} for entry_id in ids))

    def still_open(self) -> list[Entry]:
        """Return our entries that were never closed by us, in the order in which they were opened."""
        entries: dict[str, Entry] = {}
        for line in filter(is_ours, read_jsonl(self.path)):
            if line["state"] == "open":
                undo = Undo(line["undo"]["do"], line["undo"]["clean"])
                entries[line["id"]] = Entry(line["id"], line["host"], line["at"], line["fuse"], undo)
            else:
                entries.pop(line["id"], None)
        return list(entries.values())

    def not_ours(self) -> tuple[int, int]:
        """Return how many of its lines this user did not write on this machine, and how many lines it has."""
        ours = [is_ours(line) for line in read_jsonl(self.path)]
        return ours.count(False), len(ours)

    def _append(self, *lines: Mapping[str, object]) -> None:
        written = b"".join(json.dumps(signed(line)).encode() + b"\n" for line in lines)
        with self._lock, self.path.open("a+b") as file:
            is_new = file.tell() == 0
            _drop_torn_line(file)
            file.write(written)
            file.flush()
            os.fsync(file.fileno())
            if is_new:
                _fsync_folders(self.path.parent)


def _drop_torn_line(file: BinaryIO) -> None:
    """Cut off what a crash left behind the last whole line: a line joined to it would be lost with it."""
    file.seek(0)
    whole = file.read()
    file.truncate(whole.rfind(b"\n") + 1)


def _fsync_folders(folder: Path) -> None:
    """Have the disk know the names that lead to a new file, or its data is lost with them: run, experiment, runs."""
    for each in (folder, *folder.parents[:2]):
        descriptor = os.open(each, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def all_ledgers(root: Path) -> list[Ledger]:
    """Return the ledgers under a folder of runs, `latest` links aside."""
    return [Ledger(path.parent) for path in sorted(root.glob(f"*/*/{NAME}")) if not path.parent.is_symlink()]
