"""What each probe says now, in a small file mapped into memory, for who acts on it while the probes run.

A probe is a small machine, as in Kubernetes: up until `failure_threshold` checks in a row have failed, then down until
`success_threshold` in a row were well. Checks count in the order in which they were due, and a result counts once it
and all before it are known. `cancelled`, `unsent` and `local_resources` are no answers: they count as nothing.

Layout, in signed 64-bit cells of the machine's byte order, each with one writer (as in `probes.live`):

    0 magic   1 how many probes
    2 + 3 i   for probe i:  down since (ns, 0: up)   last answer known (ns, 0: none yet)   its ErrorKind
"""

from __future__ import annotations

import mmap
from dataclasses import dataclass
from pathlib import Path

from probes.errors import ErrorKind

_MAGIC = int.from_bytes(b"gdheal1\0", "little")
_CELL, _HEADER, _FIELDS = 8, 2, 3
_NO_ANSWER = (ErrorKind.CANCELLED, ErrorKind.UNSENT, ErrorKind.LOCAL_RESOURCES)


@dataclass(frozen=True, slots=True)
class State:
    """What a probe says: down since when (ns), when its last answer was known (ns), and what that was; None: never."""

    down_since: int | None
    known: int | None
    last: ErrorKind | None


class LiveStates:
    """The probes' side of the file. Raises OSError when it is there already or can't be made."""

    def __init__(self, path: Path, probes: int) -> None:
        with path.open("xb+") as file:
            file.truncate((_HEADER + _FIELDS * probes) * _CELL)
            self._cells = memoryview(mmap.mmap(file.fileno(), 0)).cast("q")
        self._cells[1] = probes
        self._cells[0] = _MAGIC  # last: a reader that sees it sees the rest

    def show(self, probe: int, state: State) -> None:
        """Show what a probe says now."""
        cell = _HEADER + _FIELDS * probe
        self._cells[cell + 2] = state.last or 0
        self._cells[cell + 1] = state.known or 0
        self._cells[cell] = state.down_since or 0


def read_states(path: Path) -> tuple[State, ...] | None:
    """Return what each probe says, in the order of the plan; None before the probes have begun."""
    try:
        cells = memoryview(path.read_bytes()).cast("q")
    except (OSError, TypeError):  # not there, or not yet of its whole length
        return None
    if len(cells) < _HEADER or cells[0] != _MAGIC:
        return None
    return tuple(_state(*cells[at : at + _FIELDS]) for at in range(_HEADER, len(cells), _FIELDS))


def _state(down: int, known: int, last: int) -> State:
    return State(down or None, known or None, ErrorKind(last) if known else None)


class Tally:
    """The machine of one probe, told of each check as it ends, in any order."""

    def __init__(self, failure_threshold: int, success_threshold: int) -> None:
        self._thresholds = (failure_threshold, success_threshold)
        self._ended: dict[int, tuple[ErrorKind, int]] = {}
        self._next, self._run, self._known = 0, 0, 0
        self.state = State(None, None, None)

    def ended(self, index: int, error: ErrorKind, at: int) -> State:
        """Count the check `index` (from 0), which ended at `at` (ns), and what waited for it; return the state then."""
        self._ended[index] = (error, at)
        while self._next in self._ended:
            error, at = self._ended.pop(self._next)
            self._next += 1
            self._known = max(self._known, at)
            if error not in _NO_ANSWER:
                self.state = self._count(error)
        return self.state

    def _count(self, error: ErrorKind) -> State:
        down = self.state.down_since
        self._run = 0 if (error is not ErrorKind.OK) == (down is not None) else self._run + 1
        if self._run == self._thresholds[down is not None]:
            down, self._run = (self._known if down is None else None), 0
        return State(down, self._known, error)
