"""Processes as the faults see them: found by their command line, told apart by when they started.

The whole list is read, and matched here: a pattern that went to the host would stand in the command line of the very
shell that looks for it. What is sent back are process ids, each guarded by its start time (proc(5), field 22), so that
a process which took over the number of a dead one is left alone.
"""

from __future__ import annotations

import re

from chaos.contracts import Output
from chaos.kernel import Process

LISTING = Output(
    "for f in stat cmdline; do echo \"--$f\"; tail -n +1 /proc/[0-9]*/$f 2>/dev/null | tr '\\0' ' '; echo; done; true"
)

_HEADER = re.compile(r"==> /proc/(\d+)/\w+ <==\n?")

LOOK = """look() { # PID: sets state and started, empty when there is none
    state= started=; stat=$(cat "/proc/$1/stat" 2>/dev/null) || return 0
    set -- ${stat##*) }; state=$1 started=${20}
}
"""
"""sh that reads one process: the fields of proc(5) count from behind the command, which may hold anything."""


def parse(printed: str) -> tuple[Process, ...]:
    """Return the processes in what LISTING printed; kernel threads (no command line) are left out."""
    stats, cmdlines = printed.split("--stat\n", 1)[1].split("--cmdline\n", 1)
    commands = {pid: text.rstrip() for pid, text in _sections(cmdlines)}
    found = []
    for pid, text in _sections(stats):
        fields = text.rpartition(") ")[2].split()
        if commands.get(pid) and len(fields) > 19:
            found.append(Process(pid, int(fields[19]), fields[0], commands[pid]))
    return tuple(found)


def matching(processes: tuple[Process, ...], pattern: str) -> tuple[Process, ...]:
    """Return the processes whose command line matches a regular expression somewhere; zombies are left out."""
    return tuple(p for p in processes if p.state not in "ZX" and re.search(pattern, p.command))


def signal(processes: tuple[Process, ...], name: str) -> str:
    """Return sh that signals exactly these processes, and is content when one is gone already."""
    lines = [f'look {p.pid}; [ "$started" != {p.started} ] || kill -s {name} {p.pid}' for p in processes]
    return LOOK + "\n".join(lines)


def _sections(text: str) -> list[tuple[int, str]]:
    parts = _HEADER.split(text)
    return [(int(pid), body) for pid, body in zip(parts[1::2], parts[2::2], strict=True)]
