"""node_hang: what runs on a host stands still, while its kernel lives: it answers a ping and accepts connections.

Nothing else is answered: no process reads what it was sent. That is how a node hangs, and what a health check by ICMP
or by a mere connect never sees. Every cgroup that can be is frozen (cgroup.freeze of version 2; of version 1 the
freezer controller); processes at the top of the tree are moved to a cgroup of ours and frozen there.

Spared, so that it can be let go: process 1; sshd with every session on it, a colleague's too; the fuses; and what a
login or the network may hang on (systemd's own services, D-Bus, logging, audit, name services, DHCP, VPNs, disks), and
watchdogs, which would reset the host. Who looks at the host by SSH sees it alive. A service that systemd's own watchdog
restarts meanwhile runs again: the dose tells which share stood still. Frozen processes are killed all the same where
something kills them.

The undo lies on the host, where `gameday heal` finds it. A reboot undoes all of it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from shlex import quote
from typing import ClassVar

from chaos.contracts import Action, ControlPath, Dose, Fault, Output, Reading, Shell
from chaos.faults import _due, _process, _unit

OURS = "frozen-by-gameday"
_FOLDER = f"{_due.HOME}/node_hang"
_MOST = 2000  # groups and processes that the undo names
_STUCK = 0.9  # the share of the processes that must stand still
_SPARED = re.compile(
    r"sshd.*|dropbear|systemd.*|\(sd-pam\)|dbus-.*|init|.*syslog.*|klogd|auditd|sssd.*|nscd|unscd|nslcd|winbindd"
    r"|dhclient|dhcpcd|udhcpc|connmand|NetworkManager|wpa_supplicant|openvpn|tailscaled|charon.*|wg-.*"
    r"|iscsid|multipathd|dmeventd|watchdogd?|wd_keepalive|sbd"
)
_STAT = re.compile(r"^(\d+) \((.*)\) \w (\d+) (?:\S+ ){4}(\d+) (?:\S+ ){12}(\d+) ", re.MULTILINE)
_KERNEL_THREAD = 0x200000  # PF_KTHREAD
_FILES = {2: ("cgroup.freeze", "1", "0"), 1: ("freezer.state", "FROZEN", "THAWED")}
"""By the version of cgroups: the file, and what is written to freeze and to thaw."""

_READ = """\
root=
for all in /sys/fs/cgroup /sys/fs/cgroup/unified; do
    [ -e "$all/cgroup.procs" ] || continue
    for file in "$all"/*/cgroup.freeze "$all"/cgroup.freeze; do [ ! -e "$file" ] || root=$all; done
done
file=cgroup.freeze version=2
[ -n "$root" ] || { root=/sys/fs/cgroup/freezer file=freezer.state version=1; }
[ -e "$root/cgroup.procs" ] || root=
echo "root $version $root"
echo "self $$"
[ -z "$root" ] || find "$root" -name cgroup.procs -exec grep -H . {} + 2>/dev/null | sed 's/^/in /'
[ -z "$root" ] || find "$root" -name "$file" -exec grep -HE '^(1|FROZEN)' {} + 2>/dev/null | sed 's/^/frozen /'
ls -ld /proc/[0-9]*/cwd 2>/dev/null | sed -n 's|.* /proc/\\([0-9]*\\)/cwd -> /run/gameday.*|ours \\1|p'
echo --stat; cat /proc/[0-9]*/stat 2>/dev/null; true"""


@dataclass(frozen=True)
class Seen:
    """What could be frozen, what is, and how many processes that makes; `version` is 0 where nothing can be."""

    version: int = 0
    root: str = ""
    groups: tuple[str, ...] = ()
    """The cgroups to freeze, below `root`."""
    loose: tuple[tuple[int, int], ...] = ()
    """The processes at the top, by number and start time."""
    frozen: frozenset[str] = frozenset()
    stuck: int = field(default=0, compare=False)
    """How many processes stand still."""
    others: int = field(default=0, compare=False)
    """How many run, of those that are not spared."""


class NodeHang(Fault[Seen]):
    """Freeze all that runs on a host but the way in, while its kernel lives: it hangs."""

    kind: ClassVar[str] = "node_hang"
    example: ClassVar[str] = "{kind: node_hang, on: worker-1, for: 20s}"
    release: ClassVar[str] = "what waited is served at once, late; leases and sessions that ran out meanwhile are lost"
    shade: ClassVar[str] = "#6d2f4f"

    def reading(self) -> Reading[Seen]:
        """Ask for the cgroups and the processes; the control path is proved after applying."""
        return Reading((Output(_READ), ControlPath()), lambda said, _: _parse(said))

    def objection(self, before: Seen) -> str | None:
        """Object where nothing can be frozen, and to what somebody has frozen already."""
        if not before.version:
            return "the kernel has no freezer: neither cgroup.freeze (Linux 5.2) nor the freezer controller"
        if before.frozen:
            first = min(before.frozen) or "/"
            return f"{len(before.frozen)} cgroups are frozen already ({first}); `gameday heal`, or thaw them"
        if not before.groups and not before.loose:
            return "nothing runs that could be frozen and is not spared"
        count = len(before.groups) + len(before.loose)
        return f"{count} cgroups and processes are more than {_MOST}" if count > _MOST else None

    def apply(self, before: Seen) -> list[Action]:
        """Freeze."""
        name, on, _ = _FILES[before.version]
        (undo,) = self._undo(before)
        moves = "\n".join(
            f'look {pid}; [ "$started" != {started} ] || echo {pid} >{OURS}/cgroup.procs'
            for pid, started in before.loose
        )
        ours = f"mkdir -p {OURS}\n{moves}\necho {on} >{OURS}/{name}" if before.loose else ""
        freezes = "\n".join(f"[ ! -d {group} ] || echo {on} >{group}/{name}" for group in map(quote, before.groups))
        frozen = f"{{\n{freezes}\n{ours}\n}} 2>/dev/null"
        return [Shell(f"{_due.laid(_FOLDER, undo)}\ncd {before.root} || exit 1\n{_process.LOOK}{frozen}; true")]

    def revert(self, before: Seen) -> list[Action]:
        """Thaw, and move back what was moved."""
        return [*self._undo(before)]

    def _undo(self, before: Seen) -> list[Shell]:
        name, on, off = _FILES[before.version]
        groups = " ".join(map(quote, (*before.groups, OURS)))
        script = _THAW.format(root=before.root, groups=groups, name=name, off=off, ours=OURS, done=_due.done(_FOLDER))
        still = f'for group in {groups}; do grep -q ^{on} "$group/{name}" 2>/dev/null && exit 1; done'
        return [Shell(script, until=f"(cd {before.root} || exit 1; {still}; [ ! -e {OURS} ] && [ ! -e {_FOLDER} ])")]

    def typical(self) -> Seen:
        """A host under systemd with one service."""
        return Seen(2, "/sys/fs/cgroup", ("system.slice/engine.service",), stuck=0, others=3)

    def is_applied(self, before: Seen, now: Seen) -> bool:
        """Something is frozen, and of what could be most stands still."""
        del before
        return bool(now.frozen) and _share(now) >= _STUCK

    def is_reverted(self, before: Seen, now: Seen) -> bool:
        """Nothing of it is frozen."""
        return not now.frozen & {*before.groups, OURS}

    def asked(self) -> dict[str, float]:
        """All of it."""
        return {"stuck_share": 1.0}

    def dose(self, before: Seen, now: Seen) -> Dose:
        """Return the share of the processes that stood still at the end."""
        on, share = self.is_applied(before, now), _share(now)
        why = f"{now.others} of {now.stuck + now.others} processes ran at the end of the fault"
        return Dose({"stuck_share": share, "processes": float(now.stuck)}, on, "" if on else why)


_THAW = """cd {root} || exit 1
for group in {groups}; do [ ! -e "$group/{name}" ] || echo {off} >"$group/{name}"; done
for _ in 1 2 3 4 5; do
    [ -d {ours} ] || break
    while read -r pid; do echo "$pid" >cgroup.procs; done <{ours}/cgroup.procs
    rmdir {ours} && break
    sleep 0.1 || sleep 1
done 2>/dev/null
[ -e {ours} ] || {{ {done}; }}"""


@dataclass(frozen=True)
class _Process:
    name: str
    parent: int
    started: int
    kernel: bool


def _share(seen: Seen) -> float:
    return seen.stuck / max(1, seen.stuck + seen.others)


def _parse(printed: str) -> Seen:
    lines, _, stats = printed.partition("--stat\n")
    said: dict[str, list[str]] = {}
    for word, _, rest in (line.partition(" ") for line in lines.splitlines()):
        said.setdefault(word, []).append(rest)
    version, _, root = said["root"][0].partition(" ")
    if not root:
        return Seen()
    processes = {
        int(pid): _Process(name, int(parent), int(started), bool(int(flags) & _KERNEL_THREAD))
        for pid, name, parent, flags, started in _STAT.findall(stats)
    }
    asking = int(said["self"][0])
    ours = {*map(int, said.get("ours", [])), *_line(processes, asking)}
    spared = _spared(processes, asking, ours)
    members = _members(root, said.get("in", []), processes)
    frozen = frozenset(path.rpartition(":")[0][len(root) + 1 :].rpartition("/")[0] for path in said.get("frozen", []))
    stuck = sum(len(pids) for group, pids in members.items() if _is_in(group, frozen))
    run = [pids - spared for group, pids in members.items() if not _is_in(group, frozen) and not _kept(group)]
    loose = sorted((pid, processes[pid].started) for pid in members.get("", set()) - spared)
    groups, others = _free(members, spared), sum(map(len, run))
    return Seen(int(version), root, groups, tuple(loose), frozen, stuck, others)


def _members(root: str, lines: Iterable[str], processes: Mapping[int, _Process]) -> dict[str, set[int]]:
    """Return the processes of each cgroup, by its path below the root; without kernel threads, which none freezes."""
    members: dict[str, set[int]] = {}
    for path, _, pid in (line.rpartition(":") for line in lines):
        if (process := processes.get(int(pid))) and not process.kernel:
            members.setdefault(path[len(root) + 1 :].rpartition("/")[0], set()).add(int(pid))
    return members


def _line(processes: Mapping[int, _Process], pid: int) -> set[int]:
    """Return a process with its parents."""
    line: set[int] = set()
    while pid in processes and pid not in line:
        line.add(pid)
        pid = processes[pid].parent
    return line


def _spared(processes: Mapping[int, _Process], asking: int, ours: set[int]) -> set[int]:
    """Return who is spared: process 1, ours, those of the names above, and all below an sshd and who asks."""
    logins = {pid for pid, process in processes.items() if process.name.startswith(("sshd", "dropbear"))}
    logins.add(asking)
    below = {pid for pid in processes if _line(processes, pid) & logins}
    return {1, *ours, *below} | {pid for pid, process in processes.items() if _SPARED.fullmatch(process.name)}


def _kept(group: str) -> bool:
    return any(_unit.KEPT.fullmatch(name) for name in group.split("/"))


def _is_in(group: str, groups: Iterable[str]) -> bool:
    return any(group == other or group.startswith(f"{other}/") for other in groups)


def _free(members: Mapping[str, set[int]], spared: set[int]) -> tuple[str, ...]:
    """Return the highest cgroups in which, and below which, nobody is spared."""
    held = {group for group, pids in members.items() if pids & spared or _kept(group)}
    free: list[str] = []
    for group in sorted(members):
        names = group.split("/")
        above = ["/".join(names[:depth]) for depth in range(1, len(names) + 1)]
        highest = next((path for path in above if path and not any(_is_in(other, [path]) for other in held)), "")
        free += [highest] if highest and highest not in free else []
    return tuple(free)
