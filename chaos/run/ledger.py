"""The ledger: each undo on this machine's disk before its fault, one JSON line a change, fsynced, never rewritten.

    {"id": "netem-0@worker-2", "state": "open", "host": ..., "at": "host", "fuse": ..., "undo": {...}, "after": "",
     "hmac": ...}
    {"id": "netem-0@worker-2", "state": "closed", "after": (the hmac of the line before), "hmac": ...}

An entry that was opened and never closed is what `gameday heal` looks for, whatever became of the run in between. The
undo is sh text, so it needs nothing of the fault that wrote it. It is also run as root, so each line is signed
(`chaos.run.signature`) and only what this user wrote on this machine counts: a ledger of somebody else's is data.

The lines are a chain: each says, under its own signature, the signature of the line of ours before it. Where that is
not so, a line was taken out, put elsewhere, replaced or written twice, and it may have been one that closed an undo:
what was opened before that place is not run any more. What was cut off at the end is not seen. The first lines of a
ledger from before there were chains say nothing of the line before; they count as they are, and the chain begins after
them.
"""

from __future__ import annotations

import fcntl
import json
import os
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Literal

from chaos.record.events import read_jsonl
from chaos.run.fuse import Undo
from chaos.run.signature import is_ours, signature_of, signed

NAME = "ledger.jsonl"
_AFTER = "after"
Standing = Literal["sound", "misplaced", "foreign"]
"""How a line stands: ours and after the line that it names; ours and not so; not ours."""


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
        """Return our entries that were never closed by us, in the order in which they were opened.

        Where the chain is broken, those that were opened before are left out: nobody can tell whether they were closed.
        """
        entries: dict[str, Entry] = {}
        for line, standing in _standings(read_jsonl(self.path)):
            if standing == "foreign":
                continue
            if standing == "misplaced":
                entries.clear()
            if line["state"] == "open":
                undo = Undo(line["undo"]["do"], line["undo"]["clean"])
                entries[line["id"]] = Entry(line["id"], line["host"], line["at"], line["fuse"], undo)
            else:
                entries.pop(line["id"], None)
        return list(entries.values())

    def standings(self) -> list[Standing]:
        """Return how each of its lines stands."""
        return [standing for _, standing in _standings(read_jsonl(self.path))]

    def _append(self, *lines: Mapping[str, object]) -> None:
        with self._lock, self.path.open("a+b") as file:
            # `alive` has a lock of the other kind: flock(2) and fcntl(2) do not see each other on Linux
            fcntl.lockf(file, fcntl.LOCK_EX)
            is_new = file.tell() == 0
            file.write(_chained(_last_of_ours(_whole_lines(file)), lines))
            file.flush()
            os.fsync(file.fileno())
            if is_new:
                _fsync_folders(self.path.parent)


def _standings(lines: Iterable[Any]) -> Iterator[tuple[Any, Standing]]:
    """Yield each line, which may be anything, and how it stands."""
    last, is_chain = "", False
    for line in lines:
        if not is_ours(line):
            yield line, "foreign"
            continue
        is_chain |= _AFTER in line
        yield line, "misplaced" if is_chain and line.get(_AFTER) != last else "sound"
        last = signature_of(line)


def _chained(last: str, lines: Iterable[Mapping[str, object]]) -> bytes:
    """Return lines, signed, as the next of a chain."""
    written = b""
    for line in lines:
        done = signed({**line, _AFTER: last})
        last = signature_of(done)
        written += json.dumps(done).encode() + b"\n"
    return written


def _last_of_ours(lines: list[bytes]) -> str:
    """Return the signature of the last line of ours; empty where there is none."""
    for text in reversed(lines):
        try:
            line = json.loads(text)
        except (ValueError, RecursionError):
            continue  # a reader says so
        if is_ours(line):
            return signature_of(line)
    return ""


def _whole_lines(file: BinaryIO) -> list[bytes]:
    """Return the lines, and cut off what a crash left behind the last whole one: a line joined to it would be lost."""
    file.seek(0)
    text = file.read()
    whole = text[: text.rfind(b"\n") + 1]
    file.truncate(len(whole))
    return whole.splitlines()


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
