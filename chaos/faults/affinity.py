"""affinity: processes confined to some cores (sched_setaffinity(2)), so that their threads compete for them.

Every thread is confined, and those that are born meanwhile inherit it. The undo gives each thread the cores that it
had; one that was born meanwhile gets what the first thread of its process had, since nobody knows what it would have.
A process that a supervisor starts anew is free. With ledger and fuse lost nobody can tell who confined a process: the
sweep of `gameday heal` does not find it.

Cores that are not online count for nothing: on a host with free slots for more, a process that was never confined
reads as allowed on all that could be, and only on those that are once anybody has set it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

from pydantic import Field

from chaos.contracts import Action, Dose, Fault, Need, Output, Reading, Shell
from chaos.faults import _process
from chaos.faults._pattern import Pattern
from chaos.kernel import Process

Cores = frozenset[int]

_BOUND = 0x04000000  # PF_NO_SETAFFINITY of the kernel's sched.h: a worker of io_uring, say

# a line each for: cores that are online, threads with their cores, threads with their flags, processes with the cpuset
# that they are in, and cpusets with their cores, of v1 or v2; a group without the controller has its parent's
_READ = Output(
    r"""sed -n 's/^cpu\([0-9][0-9]*\) .*/online \1/p' /proc/stat
printf '%s\n' /proc/[0-9]*/task/[0-9]*/status | xargs grep -s '^Cpus_allowed_list' /dev/null |
    sed -n 's|^/proc/\([0-9]*\)/task/\([0-9]*\)/status:.*:[^0-9]*\(.*\)|thread \1 \2 \3|p'
printf '%s\n' /proc/[0-9]*/task/[0-9]*/stat | xargs cat 2>/dev/null |
    sed -n 's/^\([0-9]*\) (.*) [A-Za-z] [-0-9]* [-0-9]* [-0-9]* [-0-9]* [-0-9]* \([0-9]*\) .*/flags \1 \2/p'
printf '%s\n' /proc/[0-9]*/cpuset | xargs grep -s '^/' /dev/null | sed -n 's|^/proc/\([0-9]*\)/cpuset:|cpuset \1 |p'
cat /proc/[0-9]*/cpuset 2>/dev/null | sort -u | while IFS= read -r path; do
    group=$path
    while :; do
        for file in cpuset$group/cpuset.effective_cpus ${group#/}/cpuset.cpus.effective; do
            [ ! -s "/sys/fs/cgroup/$file" ] || { echo "cores $(cat "/sys/fs/cgroup/$file") $path"; break 2; }
        done
        [ -n "$group" ] && group=${group%/*} || break
    done
done
echo --processes
"""
    + _process.LISTING.script
)


@dataclass(frozen=True)
class Thread:
    """A thread, the cores that it may run on, as the kernel writes them too, and whether it can't be moved."""

    tid: int
    cores: Cores
    written: str
    bound: bool


@dataclass(frozen=True)
class Threads:
    """A process that matches, its threads (the first is its own), and the cores of its cpuset where it has one."""

    process: Process
    threads: tuple[Thread, ...]
    cpuset: Cores | None = None

    @property
    def key(self) -> tuple[int, int]:
        """What tells it from a later one with the same number."""
        return self.process.pid, self.process.started


@dataclass(frozen=True)
class Seen:
    """The processes that match, and the cores that are online."""

    processes: tuple[Threads, ...]
    online: Cores


class Affinity(Fault[Seen]):
    """Confine every process whose command line matches to some cores."""

    kind: ClassVar[str] = "affinity"
    example: ClassVar[str] = '{kind: affinity, on: worker-1, for: 20s, match: "^python3 -m engine", cores: [0]}'
    release: ClassVar[str] = "none of its own: what waited for the cores spreads over all of them"
    shade: ClassVar[str] = "#9c8a2e"
    needs: ClassVar[tuple[Need, ...]] = (Need("taskset", "command -v taskset", "util-linux"),)

    match: Pattern = Field(description="regular expression looked for in the whole command line")
    cores: tuple[Annotated[int, Field(ge=0, lt=8192)], ...] = Field(
        description="the cores that they are left with, by number", min_length=1
    )

    def reading(self) -> Reading[Seen]:
        """Ask for every thread and its cores."""
        return Reading((_READ,), self._parse)

    def objection(self, before: Seen) -> str | None:
        """Object when nothing matches, and to what could not be confined, or is already."""
        if not before.processes:
            return f"no process matches {self.match!r}; `ps -ef` on the host lists those there are"
        if off := self._asked - before.online:
            return f"cores {_listed(off)} are not online; {_listed(before.online)} are"
        if all(t.cores & before.online <= self._asked for p in before.processes for t in p.threads):
            return f"what matches runs on no other cores than {_listed(self._asked)} already"
        return next((why for process in before.processes if (why := self._why_not(process))), None)

    def _why_not(self, found: Threads) -> str | None:
        pid = found.process.pid
        if found.cpuset is not None and (off := self._asked - found.cpuset):
            return f"process {pid} is in a cpuset of cores {_listed(found.cpuset)}, without {_listed(off)}"
        bound = [str(thread.tid) for thread in found.threads if thread.bound]
        return f"the kernel lets nobody move thread {', '.join(bound)} of process {pid}" if bound else None

    def apply(self, before: Seen) -> list[Action]:
        """Confine them, twice: a thread may be born of one whose turn has not come."""
        return [Shell(_process.LOOK + "\n".join(_confine(p, _listed(self._asked)) for p in before.processes))]

    def revert(self, before: Seen) -> list[Action]:
        """Give each thread what it had; clean is when it has it."""
        undo = "\n".join(_give_back(process) for process in before.processes)
        clean = "\n".join(_has_back(process, before.online) for process in before.processes)
        return [Shell(_process.LOOK + undo, until=_process.LOOK + _ALLOWED + clean + "\ntrue")]

    def typical(self) -> Seen:
        """One matching process of two threads, on all of a dozen cores and more if more are asked."""
        online = frozenset(range(max(12, *self.cores) + 2))
        threads = tuple(Thread(tid, online, _listed(online), False) for tid in (4242, 4243))
        return Seen((Threads(Process(pid=4242, started=100, state="S", command=self.match), threads),), online)

    def is_applied(self, before: Seen, now: Seen) -> bool:
        """Every thread of theirs is confined; a process that is gone is not."""
        confined, threads = self._confined(before, now)
        return confined == threads > 0

    def is_reverted(self, before: Seen, now: Seen) -> bool:
        """Every thread may run where it could, and one that is new where its process could."""
        was = {process.key: process for process in before.processes}
        return all(_same(was[p.key], p, before.online & now.online) for p in now.processes if p.key in was)

    def asked(self) -> dict[str, float]:
        """All of their threads."""
        return {"confined": 1.0}

    def dose(self, before: Seen, now: Seen) -> Dose:
        """Return the share of the threads that are confined at the end."""
        confined, threads = self._confined(before, now)
        why = "none of the processes is there any more" if not threads else ""
        if confined != threads:
            why = f"{threads - confined} of {threads} threads were no longer confined"
        return Dose({"confined": confined / threads} if threads else {}, not why, why)

    def _confined(self, before: Seen, now: Seen) -> tuple[int, int]:
        """Return how many threads are confined, and how many there are of the processes of before."""
        ours = {process.key for process in before.processes}
        threads = [thread for process in now.processes if process.key in ours for thread in process.threads]
        return sum(thread.cores == self._asked for thread in threads), len(threads)

    @property
    def _asked(self) -> Cores:
        return frozenset(self.cores)

    def _parse(self, printed: str) -> Seen:
        said, processes = printed.split("--processes\n", 1)
        words = [line.split(" ", 3) for line in said.splitlines()]
        flags = {int(w[1]): int(w[2]) for w in words if w[0] == "flags"}
        sets = {path: _cores(cores) for w in words if w[0] == "cores" for cores, path in [(w[1], " ".join(w[2:]))]}
        inside = {int(w[1]): sets.get(" ".join(w[2:])) for w in words if w[0] == "cpuset"}
        threads: dict[int, list[Thread]] = {}
        for w in words:
            if w[0] == "thread":
                tid = int(w[2])
                thread = Thread(tid, _cores(w[3]), w[3], bool(flags.get(tid, 0) & _BOUND))
                threads.setdefault(int(w[1]), []).append(thread)
        found = [
            Threads(p, tuple(sorted(threads[p.pid], key=lambda t: t.tid != p.pid)), inside.get(p.pid))
            for p in _process.matching(_process.parse(processes), self.match)
            if p.pid in threads
        ]
        return Seen(tuple(found), frozenset(int(w[1]) for w in words if w[0] == "online"))


_ALLOWED = """allowed() { # DIRECTORY of a thread: prints its cores, nothing where it is gone
    { while read -r word list; do [ "$word" != Cpus_allowed_list: ] || echo "$list"; done <"$1/status"; } 2>/dev/null
}
"""


def _confine(found: Threads, cores: str) -> str:
    pid, started = found.key
    taskset = f"taskset -a -p -c {cores} {pid} >/dev/null"
    # a thread that ends while it is at it ends taskset
    return f'look {pid}; [ "$started" != {started} ] || for i in 1 2 3 4; do {taskset}; done'


def _give_back(found: Threads) -> str:
    pid, started = found.key
    first, *others = found.threads
    lines = [f"for i in 1 2 3 4; do taskset -a -p -c {first.written} {pid} >/dev/null; done"]
    lines += [
        f"[ ! -d /proc/{pid}/task/{t.tid} ] || taskset -p -c {t.written} {t.tid} >/dev/null"
        for t in others
        if t.cores != first.cores
    ]
    return f'look {pid}; [ "$started" != {started} ] || {{\n' + "\n".join(lines) + "\ntrue; }"


def _has_back(found: Threads, online: Cores) -> str:
    pid, started = found.key
    first, *others = found.threads
    cases = ["*' ') ;;"]  # it is gone by now
    for thread in others:
        if thread.cores != first.cores:
            cases += [f"{_either(str(thread.tid), thread, online)}) ;;", f"'{thread.tid} '*) exit 1 ;;"]
    cases += [f"{_either('*', first, online)}) ;;", "*) exit 1 ;;"]
    look = 'case "${task##*/} $(allowed "$task")" in\n' + "\n".join(cases) + "\nesac"
    return f'look {pid}; [ "$started" != {started} ] || for task in /proc/{pid}/task/*; do {look}; done'


def _either(tid: str, thread: Thread, online: Cores) -> str:
    """A pattern of sh for a thread that may run where it could: as it was written, and as it is once it was set."""
    prefix = tid if tid == "*" else f"'{tid}'"
    return "|".join(f"{prefix}' {cores}'" for cores in dict.fromkeys((thread.written, _listed(thread.cores & online))))


def _same(was: Threads, now: Threads, online: Cores) -> bool:
    had = {thread.tid: thread.cores for thread in was.threads}
    return all(t.cores & online == had.get(t.tid, was.threads[0].cores) & online for t in now.threads)


def _cores(written: str) -> Cores:
    """Return the cores of a list as the kernel writes it (cpuset(7), "List format"): 0-3,8."""
    ranges = [part.partition("-") for part in written.strip().split(",") if part]
    return frozenset(core for low, _, high in ranges for core in range(int(low), int(high or low) + 1))


def _listed(cores: Cores) -> str:
    """Return cores as the kernel writes them."""
    parts: list[list[int]] = []
    for core in sorted(cores):
        if parts and core == parts[-1][-1] + 1:
            parts[-1][1:] = [core]
        else:
            parts.append([core])
    return ",".join("-".join(map(str, part)) for part in parts)
