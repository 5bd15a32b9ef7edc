"""Every error this package raises, in one tree.

    ChaosError
    ├── InputError              the input is wrong: nothing was touched           (exit 2)
    │   ├── SpecError           an experiment, at file:line:column
    │   ├── InventoryError      an inventory, at file:line:column
    │   ├── UnitError           a quantity that can't be read
    │   ├── Misfit              a fault's parameter that does not fit the inventory or the load
    │   └── CatalogError        UnknownKind · DuplicateKind
    ├── Refusal                 a guard said no: nothing was touched              (exit 3)
    │   ├── PlanRefused         the blast radius is larger than the inventory allows
    │   ├── Objection           a fault, on seeing this host
    │   ├── Locked              another run holds this host
    │   └── LockedOut           somebody called `gameday panic`
    ├── TargetError             a host did not do what was asked
    │   ├── Unreachable
    │   ├── CommandFailed
    │   └── FuseNotArmed        the fuse did not say `armed`; the fault must not be applied
    ├── LoadFailed              the load process did not start, or ended too soon     (exit 4)
    ├── RecordingError          a recording that can't be read                    (exit 2)
    ├── NotApplied              the fault is not in the reading taken after it    (exit 4)
    └── Stuck                   an undo that could not be verified                (exit 5)

The class carries the policy: `exit_code` is what `gameday` ends with when the error travels all the way up. A message
says what was asked, what is allowed, what was found and, where there is something to do, what to do.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import IntEnum


class Exit(IntEnum):
    """Exit codes of `gameday`, by what they promise."""

    PASS = 0
    BUDGET_BROKEN = 1
    BAD_INPUT = 2
    REFUSED = 3
    UNKNOWN = 4
    STUCK = 5


class ChaosError(Exception):
    """The root: catch this to catch everything this package raises on purpose."""

    exit_code: Exit = Exit.UNKNOWN


class InputError(ChaosError):
    """What was given is wrong. Nothing was touched."""

    exit_code = Exit.BAD_INPUT


class Place:
    """Where in a file something stands: `file:line:column`, counted from 1; the file alone where no line is known."""

    __slots__ = ("column", "file", "line")

    def __init__(self, file: str, line: int = 0, column: int = 0) -> None:
        self.file, self.line, self.column = file, line, column

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}" if self.line else self.file


class Mistakes(InputError):
    """One or more mistakes in one file, each a line `file:line:column: key.path: what is wrong`."""

    def __init__(self, lines: Sequence[str]) -> None:
        super().__init__("\n".join(lines))
        self.lines = tuple(lines)


class SpecError(Mistakes):
    """An experiment file is wrong."""


class InventoryError(Mistakes):
    """An inventory file is wrong."""


class UnitError(InputError, ValueError):
    """A quantity that can't be read; a ValueError too, so that a validator reports it with its place."""


class Misfit(InputError):
    """A parameter does not fit the inventory, or the load; `path` leads to it from the fault, as in ("peers", 0)."""

    def __init__(self, path: tuple[str | int, ...], text: str) -> None:
        super().__init__(text)
        self.path = path


class CatalogError(InputError):
    """The catalogue of kinds."""


class UnknownKind(CatalogError):
    """No such kind; the message lists those there are and names the nearest."""


class DuplicateKind(CatalogError):
    """Two owners claim one kind; the message names both."""


class Refusal(ChaosError):
    """A guard, a preflight or a fault said no. Nothing was touched."""

    exit_code = Exit.REFUSED


class PlanRefused(Refusal):
    """The plan would reach further than the inventory's `protect` allows."""


class Objection(Refusal):
    """A fault does not want to act on a host as it found it."""


class Locked(Refusal):
    """Another controller holds the host; the message says who."""


class LockedOut(Refusal):
    """Somebody called `gameday panic`; the message says who, and how it ends."""


class TargetError(ChaosError):
    """A host did not do what it was asked."""

    exit_code = Exit.REFUSED


class Unreachable(TargetError):
    """No connection to the host, or it was lost."""


class CommandFailed(TargetError):
    """A command ended with an exit status that was not expected."""

    def __init__(self, host: str, command: str, status: int, stdout: str, stderr: str) -> None:
        said = (stderr.strip() or stdout.strip() or "it said nothing")[-2000:]
        super().__init__(f"{host}: `{command.strip()[:400]}` ended with {status}: {said}")
        self.host, self.command, self.status, self.stdout, self.stderr = host, command, status, stdout, stderr


class FuseNotArmed(TargetError):
    """The fuse did not say `armed`; the fault must not be applied."""


class LoadFailed(ChaosError):
    """The load process did not start, or ended before its time."""


class RecordingError(InputError):
    """A folder that is not a recording, or one whose files are damaged."""


class NotApplied(ChaosError):
    """The reading taken after applying does not show the fault; it was reverted."""


class Stuck(ChaosError):
    """An undo could not be verified: the host may still be faulted. Never a warning."""

    exit_code = Exit.STUCK
