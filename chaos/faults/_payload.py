"""Payloads: programs that run on a host for as long as a fault does, and take what the host has.

A payload is a directory in HOME beside those of the fuses, with a program, its keeper (`_payload.sh`) and what it
reports. Every process of it has GAMEDAY_PAYLOAD=NAME in its environment: by that it is found, counted and ended, and
whoever merely looks into the directory is left alone. It runs in cgroups of its own, `gameday-NAME`, and ends by
itself where the fuse that would end it is gone, or is late.

How much of the CPU it took is read from the kernel (proc(5), stat), and not from what it says.
"""

from __future__ import annotations

import hashlib
from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.resources import files
from shlex import quote
from typing import ClassVar

from chaos.contracts import Action, Dose, Fault, Need, Output, Reading, Shell

HOME = "/run/gameday/payloads"
"""Where payloads lie on a host, a folder each: beside the fuses, in which their keepers look."""
PYTHON = Need("python3", "command -v python3", "python3-minimal")

_KEEPER = files("chaos.faults").joinpath("_payload.sh").read_text(encoding="utf-8")
_TICKS = 100  # a second: USER_HZ, the same on every architecture that Debian runs on
_PATIENCE = 10  # s until the program must say that it is at work

# sets pids; not by the shell's own list of words, which thousands of processes would make too long for a command
_FIND = """\
found() { printf '%s\\n' /proc/[0-9]*/environ | xargs grep -lsF "GAMEDAY_PAYLOAD=$name" | tr -dc '0-9\\n'; }
"""

STOP = f"""\
name=${{item##*/}} roots='/sys/fs/cgroup /sys/fs/cgroup/unified /sys/fs/cgroup/cpu /sys/fs/cgroup/cpuacct'
{_FIND}for _ in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25 26 27 28 29 30; do
    left=
    for pid in $(found); do left=1; kill -KILL "$pid" 2>/dev/null; done
    for root in $roots /sys/fs/cgroup/memory; do
        [ ! -d "$root/gameday-$name" ] || rmdir "$root/gameday-$name" 2>/dev/null || left=1
    done
    [ -n "$left" ] || break
    sleep 0.1 2>/dev/null || sleep 1
done
rm -rf "$item"; rmdir "${{item%/*}}" 2>/dev/null; true
"""
"""Sh that ends the payload in the folder `$item` and takes all of it away."""

_GONE = f"""name=${{item##*/}}; {_FIND}[ ! -e "$item" ] && [ -z "$(found)" ]"""

_START = """\
umask 077; mkdir -p {folder} && cd {folder} || exit 1
stands() {{ {{ read -r pid <keeper; }} 2>/dev/null && [ "/proc/$pid/cwd" -ef . ]; }}
if ! stands; then
    rm -f report ended
    {writes}
    export GAMEDAY_PAYLOAD={name}
    command -v setsid >/dev/null && set -- setsid || set -- nohup
    "$@" sh ./keeper.sh {weight} {command} </dev/null >/dev/null 2>&1 &
fi
read -r up _ </proc/uptime; until [ -s report ] || [ -e ended ]; do
    read -r now _ </proc/uptime; [ "${{now%.*}}" -lt $((${{up%.*}} + {patience})) ] || break
    sleep 0.1 2>/dev/null || sleep 1
done
"""

_LOOK = f"""\
name=${{item##*/}}; {_FIND}if [ -d "$item" ]; then
    echo "report $(tail -n 1 "$item/report" 2>/dev/null)"
    [ ! -e "$item/ended" ] || echo "ended $(cat "$item/ended"): $(tail -n 1 "$item/log")"
fi
read -r up _ </proc/uptime; echo "uptime $up"
for pid in $(found); do {{ read -r stat <"/proc/$pid/stat"; }} 2>/dev/null && echo "process $stat"; done; true
"""


@dataclass(frozen=True, slots=True)
class Seen:
    """What a host shows of a payload: `cpu` is what its processes took, `uptime` when it was read, both in s."""

    exists: bool = False
    ended: str = ""
    """Its exit status and its last complaint, once it has ended."""
    report: Mapping[str, float] = field(default_factory=dict)
    processes: int = 0
    cpu: float = 0.0
    uptime: float = 0.0
    also: Mapping[str, str] = field(default_factory=dict, compare=False)
    """What the reading printed beside it, line by line: the first word, and the rest."""

    @property
    def at_work(self) -> bool:
        """Whether it has begun and has not ended."""
        return self.exists and not self.ended and bool(self.report) and self.processes > 0

    @property
    def gone(self) -> bool:
        """Whether nothing of it is left."""
        return not self.exists and not self.processes

    def objection(self, payload: Payload) -> str | None:
        """Why none can be started: one of the same parameters is there already."""
        return None if self.gone else f"a payload of ours is there already ({payload.folder}); `gameday heal` ends it"


@dataclass(frozen=True)
class Payload:
    """A program and its arguments, at most one of the same on a host; `weight` is its cgroup's, 1 to 10000."""

    kind: str
    program: str
    arguments: tuple[str, ...]
    weight: int = 100
    command: tuple[str, ...] = ("python3", "-I", "-S", "./program")
    afterwards: str = ""
    """Sh that undoes what would be of no use without it, however it ends."""

    @classmethod
    def of(cls, kind: str, *arguments: object, weight: int = 100) -> Payload:
        """Return the payload whose program is `_payloads/KIND.py`."""
        program = files("chaos.faults").joinpath("_payloads", f"{kind}.py").read_text(encoding="utf-8")
        return cls(kind, program, tuple(str(argument) for argument in arguments), weight)

    @property
    def name(self) -> str:
        """Its name: of what it does, so that two that differ are two."""
        text = repr((self.command, self.arguments, self.weight))
        return f"{self.kind}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"

    @property
    def folder(self) -> str:
        """Its directory on the host."""
        return f"{HOME}/{self.name}"

    def start(self) -> Shell:
        """Place it and start it, unless it runs already; wait until it says that it is at work."""
        parts = {"keeper.sh": _KEEPER, "stop": f"item={self.folder}\n{STOP}{self.afterwards}", "program": self.program}
        parts |= {"afterwards": self.afterwards} if self.afterwards else {}
        writes = "\n    ".join(f"printf %s {quote(text)} >{name}" for name, text in parts.items())
        command = " ".join(quote(word) for word in (*self.command, *self.arguments))
        return Shell(
            _START.format(
                folder=self.folder, name=self.name, writes=writes, weight=self.weight, command=command,
                patience=_PATIENCE,
            )
        )  # fmt: skip

    def stop(self) -> Shell:
        """End it and take it away; clean is when nothing of it is left."""
        return Shell(f"item={self.folder}\n{STOP}", until=f"item={self.folder}; {_GONE}")

    def look(self, also: str = "true") -> Output:
        """Ask what can be seen of it, and what sh prints beside it; `parse` reads the answer."""
        return Output(f"item={self.folder}; {_LOOK}\n{also}")


def parse(printed: str) -> Seen:
    """Return what `Payload.look` printed. Raises ValueError for what it never prints."""
    said: dict[str, str] = {}
    stats = []
    for line in printed.splitlines():
        word, _, rest = line.partition(" ")
        if word == "process":
            # 14 and 15 of proc(5), counted from behind the command
            stats.append([int(number) for number in rest.rpartition(") ")[2].split()[11:13]])
        else:
            said[word] = rest
    cpu = sum(utime + stime for utime, stime in stats) / _TICKS
    pairs = (pair.split("=") for pair in said.get("report", "").split())
    report = {name: float(value) for name, value in pairs}
    ended, uptime = said.get("ended", ""), float(said.get("uptime", 0))
    return Seen("report" in said, ended, report, len(stats), cpu, uptime, said)


class PayloadFault(Fault[Seen]):
    """A fault that is a payload's doing. Subclasses say which payload, judge its dose, and may object to more."""

    needs: ClassVar[tuple[Need, ...]] = (PYTHON,)
    beside: ClassVar[str] = "true"
    """Sh that prints what else is to be known of the host, for `Seen.also`."""

    @property
    @abstractmethod
    def payload(self) -> Payload:
        """What does it."""

    @abstractmethod
    def measured(self, before: Seen, now: Seen) -> Dose:
        """Judge the reading of a payload that is at work."""

    def reading(self) -> Reading[Seen]:
        """Ask for the payload, and for what is to be known beside it."""
        return Reading((self.payload.look(self.beside),), parse)

    def objection(self, before: Seen) -> str | None:
        """Object to a payload of ours that is there already."""
        return before.objection(self.payload)

    def apply(self, before: Seen) -> list[Action]:
        """Start the payload."""
        del before
        return [self.payload.start()]

    def revert(self, before: Seen) -> list[Action]:
        """End it."""
        del before
        return [self.payload.stop()]

    def is_applied(self, before: Seen, now: Seen) -> bool:
        """It is at work."""
        del before
        return now.at_work

    def is_reverted(self, before: Seen, now: Seen) -> bool:
        """Nothing of it is left."""
        del before
        return now.gone

    def dose(self, before: Seen, now: Seen) -> Dose:
        """Judge it; one that has ended by itself did not last."""
        if now.at_work:
            return self.measured(before, now)
        return Dose({}, False, f"its payload was not at work at the end: {now.ended or 'it is gone'}")
