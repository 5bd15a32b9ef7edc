"""process_pause: processes stopped by SIGSTOP and let go by SIGCONT (signal(7)).

A paused process keeps its sockets, so its peers see silence and no reset: the failure that health checks miss longest.
"""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from chaos.contracts import Action, Dose, Fault, Reading, Shell
from chaos.faults import _process
from chaos.faults._pattern import Pattern
from chaos.kernel import Process

Processes = tuple[Process, ...]


class ProcessPause(Fault[Processes]):
    """Stop every process whose command line matches, for a while."""

    kind: ClassVar[str] = "process_pause"
    example: ClassVar[str] = '{kind: process_pause, on: worker-1, for: 5s, match: "^python3 -m engine"}'
    release: ClassVar[str] = "what waited in the process's sockets is served at once, late"
    shade: ClassVar[str] = "#7a6fac"

    match: Pattern = Field(description="regular expression looked for in the whole command line")

    def reading(self) -> Reading[Processes]:
        """Ask for the matching processes."""
        return Reading((_process.LISTING,), lambda out: _process.matching(_process.parse(out), self.match))

    def objection(self, before: Processes) -> str | None:
        """Object when nothing matches, or when something is stopped already (it would be let go by us)."""
        if not before:
            return f"no process matches {self.match!r}; `ps -ef` on the host lists those there are"
        stopped = [str(p.pid) for p in before if p.state == "T"]
        return f"already stopped, and not by this run: process {', '.join(stopped)}" if stopped else None

    def apply(self, before: Processes) -> list[Action]:
        """Stop them."""
        return [Shell(_process.signal(before, "STOP"))]

    def revert(self, before: Processes) -> list[Action]:
        """Let them go; clean is when none of them is stopped."""
        still = " || ".join(f'{{ look {p.pid}; [ "$started$state" = {p.started}T ]; }}' for p in before)
        return [Shell(_process.signal(before, "CONT"), until=f"{_process.LOOK}! {{ {still}; }}")]

    def typical(self) -> Processes:
        """One matching process."""
        return (Process(pid=4242, started=100, state="S", command=self.match),)

    def is_applied(self, before: Processes, now: Processes) -> bool:
        """Every one of them is stopped."""
        return _stopped(before, now) == len(before)

    def is_reverted(self, before: Processes, now: Processes) -> bool:
        """None of them is stopped; one that is gone was let go too."""
        return _stopped(before, now) == 0

    def asked(self) -> dict[str, float]:
        """All of them."""
        return {"paused": 1.0}

    def dose(self, before: Processes, now: Processes) -> Dose:
        """Return the share that is still stopped: a supervisor may have replaced some."""
        stopped = _stopped(before, now)
        why = "" if stopped == len(before) else f"{len(before) - stopped} of {len(before)} were no longer stopped"
        return Dose({"paused": stopped / len(before)}, stopped == len(before), why)


def _stopped(before: Processes, now: Processes) -> int:
    ours = {(p.pid, p.started) for p in before}
    return sum(p.state == "T" for p in now if (p.pid, p.started) in ours)
