"""fd_exhaustion: no more files, sockets and pipes can be opened, by a process (EMFILE) or on the whole host (ENFILE).

For a process its own limit is lowered (prlimit(2), RLIMIT_NOFILE) until no more numbers are free below it than `spare`.
What is open stays open; the hard limit stays as it is. Children that it starts meanwhile inherit the lower limit, and
get the former one with it as long as they are its children.

For the host the limit of the kernel is lowered (fs.file-max, proc(5)) to what is open and `spare` more. It binds
whoever lacks CAP_SYS_ADMIN, so the fuse, sshd and a root's login go on. A login of anybody else could not even start a
shell, and that is why the fault objects to a controller that comes by sudo.

With ledger and fuse lost nobody can tell who lowered a limit: the sweep of `gameday heal` does not find it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import ClassVar, Self

from pydantic import Field, model_validator

from chaos.contracts import Action, Dose, Fault, Need, Output, Reading, Shell
from chaos.faults import _process
from chaos.faults._pattern import Pattern
from chaos.kernel import Process

_VITAL = re.compile(r"(^|/)sshd(-session|-auth)?(:|\s|$)")
_MAX = "/proc/sys/fs/file-max"

# a line each for: limits and open files of every process; open files and their limit on the host; who logged in
_READ = Output(
    r"""printf '%s\n' /proc/[0-9]*/limits | xargs grep -s '^Max open files' /dev/null |
    sed -n 's|^/proc/\([0-9]*\)/limits:Max open files *\([0-9]*\) *\([0-9]*\) .*|limit \1 \2 \3|p'
printf '%s\n' /proc/[0-9]*/fd | xargs sh -c 'find "$@"' sh 2>/dev/null |
    awk -F/ 'NF == 5 { open[$3]++ } END { for (pid in open) print "open", pid, open[pid] }'
echo "host $(cat /proc/sys/fs/file-nr /proc/sys/fs/file-max | tr '\n' ' ')"
echo "login ${SUDO_UID:-${DOAS_USER:-0}}"
echo --processes
"""
    + _process.LISTING.script
)

_LIMITS = """limits() { # PID: sets soft and hard, empty where it is gone
    soft='' hard=''
    { while read -r one two three four five _; do
        [ "$one $two $three" != 'Max open files' ] || { soft=$four hard=$five; }
    done <"/proc/$1/limits"; } 2>/dev/null
}
"""

# the free numbers below a limit are counted from the lowest open one on, since the lowest free one is taken next
_LOWER = """lower() { # PID SPARE: no more numbers are left than SPARE
    limits "$1"; left=$2 limit=0
    for number in $(ls "/proc/$1/fd" | sort -n); do
        [ $((number - limit)) -lt "$left" ] || break
        left=$((left - number + limit)) limit=$((number + 1))
    done
    limit=$((limit + left))
    [ -z "$soft" ] || [ "$limit" -ge "$soft" ] || prlimit --pid "$1" --nofile="$limit:$hard"
}
"""

_RAISE = """raise() { # PID SOFT HARD: of a process, and of the children that have inherited what it has
    limits "$1"; lowered=$soft family=" $1 " grown=1
    [ -n "$lowered" ] && [ "$lowered" != "$2" ] || return 0
    while [ -n "$grown" ]; do
        grown=
        for folder in /proc/[0-9]*; do
            pid=${folder#/proc/}
            { read -r stat <"$folder/stat"; } 2>/dev/null || continue
            stat=${stat##*) } stat=${stat#* }
            case $family in *" $pid "*) continue ;; *" ${stat%% *} "*) ;; *) continue ;; esac
            limits "$pid"
            [ "$soft" != "$lowered" ] || prlimit --pid "$pid" --nofile="$2:$hard"
            family="$family$pid " grown=1
        done
    done
    prlimit --pid "$1" --nofile="$2:$3"
}
"""


@dataclass(frozen=True)
class Limited:
    """A process that matches: how many descriptors it has, and how many it may have."""

    process: Process
    open: int
    soft: int
    hard: int

    @property
    def key(self) -> tuple[int, int]:
        """What tells it from a later one with the same number."""
        return self.process.pid, self.process.started


@dataclass(frozen=True)
class Seen:
    """The processes that match; how many files are open on the host, and may be; who logged in ("0": root itself)."""

    processes: tuple[Limited, ...]
    open: int
    most: int
    login: str


class FdExhaustion(Fault[Seen]):
    """Leave processes, or the whole host, no more file descriptors than a few."""

    kind: ClassVar[str] = "fd_exhaustion"
    example: ClassVar[str] = "{kind: fd_exhaustion, on: worker-1, for: 20s, match: '^python3 -m engine', spare: 2}"
    release: ClassVar[str] = "connections that waited to be accepted are accepted at once"
    shade: ClassVar[str] = "#a0627d"
    needs: ClassVar[tuple[Need, ...]] = (Need("prlimit", "command -v prlimit", "util-linux"),)

    match: Pattern | None = Field(None, description="regular expression looked for in the whole command line")
    host: bool = Field(False, description="in place of processes: everybody on the host who is not root")
    spare: int = Field(0, description="how many more can be opened", ge=0, le=1_000_000)

    @model_validator(mode="after")
    def _one_of_them(self) -> Self:
        if self.host == (self.match is not None):
            raise ValueError(f"takes either `match` or `host: true`; found {'both' if self.host else 'neither'}")
        return self

    def reading(self) -> Reading[Seen]:
        """Ask for limits and what is open."""
        return Reading((_READ,), self._parse)

    def objection(self, before: Seen) -> str | None:
        """Object to what would lock people out, and to what has no more left as it is."""
        return self._no_host(before) if self.host else self._no_process(before)

    def _no_host(self, before: Seen) -> str | None:
        if before.login != "0":
            return f"the controller logs in as user {before.login}, who could open nothing either; log in as root"
        if before.open + self.spare >= before.most:
            return f"{before.open} files are open of {before.most}: no more than {self.spare} are left as it is"
        return None

    def _no_process(self, before: Seen) -> str | None:
        if not before.processes:
            return f"no process matches {self.match!r}; `ps -ef` on the host lists those there are"
        for found in before.processes:
            pid = found.process.pid
            if pid == 1 or _VITAL.search(found.process.command):
                return f"process {pid} ({found.process.command:.40}) matches, and nobody could log in any more"
            if found.open + self.spare >= found.soft:
                return f"process {pid} has {found.open} of {found.soft}: no more than {self.spare} are left as it is"
        return None

    def apply(self, before: Seen) -> list[Action]:
        """Lower the limit to what is open at that moment, and `spare` more."""
        if self.host:
            # by cat: a read of sh asks for single bytes, and of a number of the kernel it gets the first alone
            lower = (
                f"read -r used _ <<E\n$(cat /proc/sys/fs/file-nr)\nE\nmost=$(cat {_MAX}) limit=$((used + {self.spare}))"
            )
            return [Shell(f'{lower}\n[ "$limit" -ge "$most" ] || echo "$limit" >{_MAX}')]
        lines = [f'look {p}; [ "$started" != {s} ] || lower {p} {self.spare}' for p, s in _keys(before)]
        return [Shell(_process.LOOK + _LIMITS + _LOWER + "\n".join([*lines, "true"]))]

    def revert(self, before: Seen) -> list[Action]:
        """Put the limit back."""
        if self.host:
            return [Shell(f"echo {before.most} >{_MAX}", until=f'[ "$(cat {_MAX})" = {before.most} ]')]
        undo, clean = [], []
        for found in before.processes:
            (pid, started), limit = found.key, f"{found.soft} {found.hard}"
            undo.append(f'look {pid}; [ "$started" != {started} ] || raise {pid} {limit}')
            is_back = f'{{ limits {pid}; [ "$soft $hard" = "{limit}" ]; }}'
            clean.append(f'look {pid}; [ "$started" != {started} ] || {is_back} || exit 1')
        given = _process.LOOK + _LIMITS
        return [
            Shell(given + _RAISE + "\n".join([*undo, "true"]), until=given + "\n".join([*clean, "true"])),
        ]

    def typical(self) -> Seen:
        """One matching process that has opened a few files; a host that is not short of them."""
        process = Process(pid=4242, started=100, state="S", command=self.match or "")
        limited = Limited(process, 12, self.spare + 1024, self.spare + 4096)
        return Seen((limited,) if self.match else (), 3000, self.spare + 100_000, "0")

    def is_applied(self, before: Seen, now: Seen) -> bool:
        """The limit is lower; a process that is gone has none."""
        if self.host:
            return now.most < before.most
        return self._lowered(before, now) == len(before.processes)

    def is_reverted(self, before: Seen, now: Seen) -> bool:
        """The limit is what it was; a process that is gone was let go too."""
        if self.host:
            return now.most == before.most
        was = {found.key: (found.soft, found.hard) for found in before.processes}
        return all((p.soft, p.hard) == was[p.key] for p in now.processes if p.key in was)

    def asked(self) -> dict[str, float]:
        """All of them."""
        return {"limited": 1.0}

    def dose(self, before: Seen, now: Seen) -> Dose:
        """Return the share of the processes that are limited at the end: a supervisor may have replaced some."""
        if self.host:
            lower = now.most < before.most
            return Dose({"limited": float(lower)}, lower, "" if lower else "fs.file-max was no longer lower")
        lowered, of = self._lowered(before, now), len(before.processes)
        why = "" if lowered == of else f"{of - lowered} of {of} were no longer limited"
        return Dose({"limited": lowered / of}, lowered == of, why)

    def _lowered(self, before: Seen, now: Seen) -> int:
        limits = {found.key: found.soft for found in now.processes}
        return sum(limits.get(found.key, found.soft) < found.soft for found in before.processes)

    def _parse(self, printed: str) -> Seen:
        said, processes = printed.split("--processes\n", 1)
        words = [line.split() for line in said.splitlines()]
        limits = {int(w[1]): (int(w[2]), int(w[3])) for w in words if w[0] == "limit"}
        opened = {int(w[1]): int(w[2]) for w in words if w[0] == "open"}
        used, most = next((int(w[1]), int(w[4])) for w in words if w[0] == "host")
        listed = _process.matching(_process.parse(processes), self.match) if self.match else ()
        found = tuple(Limited(p, opened.get(p.pid, 0), *limits[p.pid]) for p in listed if p.pid in limits)
        return Seen(found, used, most, next(w[1] for w in words if w[0] == "login"))


def _keys(seen: Seen) -> list[tuple[int, int]]:
    return [found.key for found in seen.processes]
