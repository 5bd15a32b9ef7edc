"""process_kill: processes ended by a signal, and back when whoever supervises them has started them again.

Nothing brings a dead process back but its supervisor (or the `restart` command given here). So the undo is to see the
same command line running again, by a process that was not there before, as often as it was killed.
"""

from __future__ import annotations

from collections import Counter
from shlex import quote
from typing import ClassVar, Literal

from pydantic import Field

from chaos.contracts import Action, Dose, Fault, Reading, Shell
from chaos.faults import _process
from chaos.faults._pattern import Pattern
from chaos.kernel import Process

Processes = tuple[Process, ...]


class ProcessKill(Fault[Processes]):
    """Kill every process whose command line matches, once."""

    kind: ClassVar[str] = "process_kill"
    example: ClassVar[str] = '{kind: process_kill, on: worker-1, match: "^python3 -m engine"}'
    release: ClassVar[str] = "none: connections were closed when the process died"
    shade: ClassVar[str] = "#c23030"
    settle: ClassVar[float] = 60.0
    lasts: ClassVar[bool] = False

    match: Pattern = Field(description="regular expression looked for in the whole command line")
    signal: Literal["KILL", "TERM", "INT", "ABRT", "SEGV"] = Field("KILL", description="the signal")
    restart: str = Field("", description="sh to start it again, its output dropped; none where a supervisor does")

    def reading(self) -> Reading[Processes]:
        """Ask for the matching processes."""
        return Reading((_process.LISTING,), lambda out: _process.matching(_process.parse(out), self.match))

    def objection(self, before: Processes) -> str | None:
        """Object when nothing matches, and to killing process 1."""
        if any(p.pid == 1 for p in before):
            return f"{self.match!r} matches process 1, and the host would go down; use node_kill for that"
        return None if before else f"no process matches {self.match!r}; `ps -ef` on the host lists those there are"

    def apply(self, before: Processes) -> list[Action]:
        """Kill exactly those."""
        return [Shell(_process.signal(before, self.signal))]

    def revert(self, before: Processes) -> list[Action]:
        """Start it again where a command is given; clean is when every command line runs again."""
        counts = Counter(p.command for p in before)
        wanted = " && ".join(f"runs {quote(command)} {n}" for command, n in sorted(counts.items()))
        back = _RUNS + wanted
        # what it starts must not hold our output open, or the command would last as long as the process
        again = f"{back} || {{ {self.restart}\n}} </dev/null >/dev/null 2>&1"
        return [Shell(again if self.restart else "true", until=back)]

    def typical(self) -> Processes:
        """One matching process."""
        return (Process(pid=4242, started=100, state="S", command=self.match),)

    def is_applied(self, before: Processes, now: Processes) -> bool:
        """Those of before are gone, whoever runs in their place by now."""
        return not _survivors(before, now)

    def is_reverted(self, before: Processes, now: Processes) -> bool:
        """As many run as before, each command line."""
        return not Counter(p.command for p in before) - Counter(p.command for p in now)

    def asked(self) -> dict[str, float]:
        """All of them."""
        return {"killed": 1.0}

    def dose(self, before: Processes, now: Processes) -> Dose:
        """Return the share of those of before that are gone."""
        alive = len(_survivors(before, now))
        why = f"{alive} of {len(before)} survived SIG{self.signal}" if alive else ""
        return Dose({"killed": (len(before) - alive) / len(before)}, not alive, why)


def _survivors(before: Processes, now: Processes) -> set[tuple[int, int]]:
    return {(p.pid, p.started) for p in before} & {(p.pid, p.started) for p in now}


_RUNS = """runs() { # COMMAND COUNT: as many processes with this very command line
    n=0; for f in /proc/[0-9]*/cmdline; do
        c=$(tr '\\0' ' ' 2>/dev/null <"$f"); c=${c%"${c##*[![:space:]]}"}
        [ "$c" != "$1" ] || n=$((n + 1))
    done; [ "$n" -ge "$2" ]
}
"""
