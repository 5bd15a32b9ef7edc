"""process_kill: processes ended by a signal, and back when whoever supervises them has started them again.

Nothing brings a dead process back but its supervisor (or the `restart` command given here). So the undo is to see the
same command line running again, by a process that was not there before, as often as it was killed.

With `every`, all that matches is killed again and again, by a payload on the host, until a supervisor backs off or
gives up. One that has given up starts nothing again: give a `restart` (systemctl reset-failed, then start).
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from shlex import quote
from typing import ClassVar, Literal

from pydantic import Field

from chaos.contracts import Action, Dose, Fault, Output, Reading, Shell
from chaos.faults import _payload, _process
from chaos.faults._pattern import Pattern
from chaos.kernel import Process
from chaos.units import Duration

Processes = tuple[Process, ...]


@dataclass(frozen=True)
class Seen:
    """The processes that match, and the payload that kills them, where one is to."""

    processes: Processes
    payload: _payload.Seen = field(default_factory=_payload.Seen, compare=False)
    has_python: bool = field(default=True, compare=False)


class ProcessKill(Fault[Seen]):
    """Kill every process whose command line matches, once or again and again."""

    kind: ClassVar[str] = "process_kill"
    example: ClassVar[str] = '{kind: process_kill, on: worker-1, match: "^python3 -m engine"}'
    release: ClassVar[str] = "none: connections were closed when the process died"
    shade: ClassVar[str] = "#c23030"
    settle: ClassVar[float] = 60.0

    match: Pattern = Field(description="regular expression looked for in the whole command line")
    signal: Literal["KILL", "TERM", "INT", "ABRT", "SEGV"] = Field("KILL", description="the signal")
    every: Duration | None = Field(
        None, description="kill again so often, for as long as the fault is held; once by default", ge=0.2, le=3600
    )
    restart: str = Field("", description="sh to start it again, its output dropped; none where a supervisor does")

    @property
    def lasts(self) -> bool:
        """One kill is over at once."""
        return self.every is not None

    def reading(self) -> Reading[Seen]:
        """Ask for the processes, and for the payload."""
        if self.every is None:
            return Reading((_process.LISTING,), lambda out: self._seen(out))
        look = self.killer.look("command -v python3 >/dev/null && echo python3").script
        return Reading((Output(f"{_process.LISTING.script}\necho --payload\n{look}\ntrue"),), self._parse)

    def objection(self, before: Seen) -> str | None:
        """Object when nothing matches, and to killing process 1."""
        if any(p.pid == 1 for p in before.processes):
            return f"{self.match!r} matches process 1, and the host would go down; use node_kill for that"
        if not before.processes:
            return f"no process matches {self.match!r}; `ps -ef` on the host lists those there are"
        if not before.has_python:
            return "there is no python3, which kills again and again; without `every` it needs none"
        return before.payload.objection(self.killer)

    def apply(self, before: Seen) -> list[Action]:
        """Kill exactly those; with `every`, whatever matches by then."""
        return [self.killer.start() if self.every else Shell(_process.signal(before.processes, self.signal))]

    def revert(self, before: Seen) -> list[Action]:
        """Kill no more, and start it again where a command is given; clean is when every command line runs again."""
        counts = Counter(p.command for p in before.processes)
        wanted = " && ".join(f"runs {quote(command)} {n}" for command, n in sorted(counts.items()))
        back = _RUNS + wanted
        # what it starts must not hold our output open, or the command would last as long as the process
        again = f"{back} || {{ {self.restart}\n}} </dev/null >/dev/null 2>&1"
        stop = [self.killer.stop()] if self.every else []
        return [*stop, Shell(again if self.restart else "true", until=back)]

    def typical(self) -> Seen:
        """One matching process."""
        return Seen((Process(pid=4242, started=100, state="S", command=self.match),))

    def is_applied(self, before: Seen, now: Seen) -> bool:
        """Those of before are gone, whoever runs in their place by now."""
        return not _survivors(before, now) and (self.every is None or now.payload.at_work)

    def is_reverted(self, before: Seen, now: Seen) -> bool:
        """As many run as before, each command line."""
        missing = Counter(p.command for p in before.processes) - Counter(p.command for p in now.processes)
        return not missing and now.payload.gone

    def asked(self) -> dict[str, float]:
        """All of them, or how often."""
        return {"killed": 1.0} if self.every is None else {"every_s": self.every}

    def dose(self, before: Seen, now: Seen) -> Dose:
        """Return the share of those of before that are gone; with `every`, how many were killed in how many rounds."""
        alive = len(_survivors(before, now))
        why = f"{alive} of {len(before.processes)} survived SIG{self.signal}" if alive else ""
        if self.every is None:
            return Dose({"killed": 1 - alive / len(before.processes)}, not alive, why)
        if not now.payload.at_work:
            return Dose({}, False, f"its payload was not at work at the end: {now.payload.ended or 'it is gone'}")
        return Dose({name: now.payload.report[name] for name in ("kills", "rounds")}, not alive, why)

    @property
    def killer(self) -> _payload.Payload:
        """Who kills again and again."""
        return _payload.Payload.of("process_kill", self.match.encode().hex(), self.signal, repr(self.every))

    def _seen(self, listed: str) -> Seen:
        return Seen(_process.matching(_process.parse(listed), self.match))

    def _parse(self, printed: str) -> Seen:
        listed, _, payload = printed.rpartition("--payload\n")
        seen = _payload.parse(payload)
        return Seen(self._seen(listed).processes, seen, "python3" in seen.also)


def _survivors(before: Seen, now: Seen) -> set[tuple[int, int]]:
    return {(p.pid, p.started) for p in before.processes} & {(p.pid, p.started) for p in now.processes}


_RUNS = """runs() { # COMMAND COUNT: as many processes with this very command line
    n=0; for f in /proc/[0-9]*/cmdline; do
        c=$(tr '\\0' ' ' 2>/dev/null <"$f"); c=${c%"${c##*[![:space:]]}"}
        [ "$c" != "$1" ] || n=$((n + 1))
    done; [ "$n" -ge "$2" ]
}
"""
