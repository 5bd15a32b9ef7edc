"""Finding our marks on a host, and taking them away, when both the ledger and the fuse that knew of them are lost.

Everything that a fault makes on a host bears a mark: a handle, a name. `MARKS` lists them; each says how to list what
bears it, an item a line, and how to remove `$item`. Only what is certainly ours is listed. What a root qdisc of ours
replaced is not known any more: the kernel's default comes back; nor is it known whether an empty clsact is ours where
no device of ours tells, so it stays. And a process that a fault stopped, killed, confined to some cores or gave a lower
limit bears no mark, and no more does a limit of the kernel: with its ledger and its fuse lost, nobody can know of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from shlex import quote

from chaos.contracts import Target
from chaos.faults import _due, _payload

_PERSISTENT = (
    "/var/lib/gameday"  # undos that run at boot, for what outlives one: a folder each, with `undo` and `clean`
)


@dataclass(frozen=True)
class Mark:
    """What ours may be on a host; `lists` and `remove` are sh."""

    name: str
    lists: str
    remove: str


@dataclass(frozen=True)
class Swept:
    """One thing of ours that was found. `by_hand` removes it."""

    name: str
    item: str
    gone: bool
    by_hand: str


# those beside an interface's tree, by the preferences that are reserved for them (`chaos.kernel.OUR_PREFERENCES`); of
# one impairment's the redirecting one goes first, so that nothing is sent to a device that is being taken away
_FILTERS = r"""
for dev in /sys/class/net/*; do
    dev=${dev##*/}
    for hook in ingress egress; do
        tc filter show dev "$dev" "$hook" |
            sed -n "s/^filter protocol \([a-z0-9_]*\) pref \(655[0-3][0-9]\) .*/$dev $hook pref \2 protocol \1/p"
    done
done | sort -ru
"""

# what our device still holds is given two seconds to leave it; a `t` in its name says that the clsact beside it is ours
_END_IFB = r"""
for _ in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do
    case $(tc -s qdisc show dev "$item") in *' backlog 0b 0p '*) break ;; esac
    sleep 0.1 || { sleep 1; break; }
done
ip link del dev "$item"
case $item in
*t*)
    index=${item%t*}
    dev=$(ip -o link | sed -n "s/^$((0x${index#gameday})): \([^:@]*\).*/\1/p")
    left=$(tc filter show dev "$dev" ingress && tc filter show dev "$dev" egress) && [ -z "$left" ] &&
        tc qdisc del dev "$dev" clsact
    ;;
esac
"""

# a fuse's unit is the fuse's own, until its directory is lost
_UNITS = r"""
for unit in /run/systemd/transient/gameday-*.service; do
    [ -e "$unit" ] || continue
    folder=$(sed -n 's/^WorkingDirectory=//p' "$unit")
    [ -n "$folder" ] && [ -d "$folder" ] || echo "${unit##*/}"
done
"""

# a process `0` is of another namespace, and its cgroup another host's; what systemd made is a unit; the fuses' own
# impairs nothing, may hold fuses of another host that this kernel runs, and the last one out removes it
_CGROUPS = r"""
find /sys/fs/cgroup -type d -name 'gameday*' ! -name '*.service' ! -name '*.scope' ! -name '*.slice' -prune |
    while IFS= read -r group; do
        case $group in */gameday-fuse) continue ;; esac
        find "$group" -name cgroup.procs -exec cat {} + | grep -qx 0 || echo "$group"
    done
"""
_END_CGROUP = r"""
if [ -e "$item/cgroup.kill" ]; then echo 1 >"$item/cgroup.kill"
else find "$item" -name cgroup.procs -exec cat {} + | while read -r pid; do kill -9 "$pid"; done; fi
for _ in 1 2 3 4 5; do
    find "$item" -depth -type d -exec rmdir {} \; ; [ -e "$item" ] || break; sleep 0.1 || sleep 1
done
"""

# at the top of the file systems that are local: one of the network may hang whoever looks
_FILLS = r"""
while read -r _ mount kind _; do
    case $kind in ext[234] | xfs | btrfs | f2fs | tmpfs | overlay) ;; *) continue ;; esac
    mount=$(printf %b "${mount%/}")
    for fill in "$mount"/.gameday-fill-*; do [ ! -d "$fill" ] || echo "$fill"; done
done </proc/mounts
"""

MARKS = (
    Mark("filter", _FILTERS, "tc filter del dev $item"),
    Mark(
        "root qdisc",
        r"tc qdisc show | sed -n 's/^qdisc [a-z_]* c4a[56]: dev \([^ ]*\) root.*/\1/p' | grep -v '^gameday[0-9a-t]*$'",
        'tc qdisc del dev "$item" root',
    ),
    Mark(
        "ifb device",
        r"ip -o link show type ifb | sed -n 's/^[0-9]*: \(gameday[0-9a-f]*[tk][0-9a-f]*\)[:@].*/\1/p'",
        _END_IFB,
    ),
    Mark(
        "nftables table",
        r"nft list tables | sed -n 's/^table \([a-z0-9]* gameday_[A-Za-z0-9_]*\)$/\1/p'",
        "nft delete table $item",
    ),
    Mark("payload", f'for item in {_payload.HOME}/*; do [ ! -d "$item" ] || echo "$item"; done', _payload.STOP),
    Mark("undo that is due", f'for item in {_due.HOME}/*; do [ ! -d "$item" ] || echo "$item"; done', _due.REMOVE),
    Mark("transient unit", _UNITS, 'systemctl stop "$item"; systemctl reset-failed "$item"'),
    Mark("cgroup", _CGROUPS, _END_CGROUP),
    Mark("filled disk", _FILLS, 'rm -rf "$item"'),
    Mark(
        "undo at boot",
        f"for undo in {_PERSISTENT}/*; do [ ! -d \"$undo\" ] || echo \"$undo\"; done",
        _due.REMOVE,
    ),
    Mark(
        "start of an undo at boot",  # it stays for as long as an undo does; one that names our folder is ours
        f"grep -ls {_PERSISTENT} /etc/systemd/system/gameday-*.service /etc/cron.d/gameday*",
        f'rmdir {_PERSISTENT}; [ -e {_PERSISTENT} ] || {{ systemctl disable "${{item##*/}}"; rm -f "$item"; }}',
    ),
)  # fmt: skip

_SWEEP = """
sweep() { # NUMBER LISTS REMOVE; prints a line for each item: number, gone or left, item
    found=$(eval "$2" 2>/dev/null)
    [ -n "$found" ] || return 0
    printf '%s\\n' "$found" | while IFS= read -r item; do
        [ -z "$removing" ] || eval "$3" </dev/null >/dev/null 2>&1
    done
    still=$(eval "$2" 2>/dev/null)
    printf '%s\\n' "$found" | while IFS= read -r item; do
        if printf '%s\\n' "$still" | grep -Fqx -- "$item"; then echo "$1 left $item"; else echo "$1 gone $item"; fi
    done
}
"""


def sweep(target: Target, marks: Sequence[Mark], *, remove: bool) -> list[Swept]:
    """Find what bears a mark on a host and, with `remove`, take it away and look again. Raises TargetError."""
    calls = [f"sweep {number} {quote(mark.lists)} {quote(mark.remove)}" for number, mark in enumerate(marks)]
    script = "\n".join([f"export LC_ALL=C; removing={'yes' if remove else ''}", _SWEEP, *calls, "true"])
    return [_swept(line, marks) for line in target.run(script).stdout.splitlines()] if marks else []


def _swept(line: str, marks: Sequence[Mark]) -> Swept:
    number, state, item = line.split(" ", 2)
    mark = marks[int(number)]
    return Swept(mark.name, item, state == "gone", f"item={quote(item)}; {mark.remove.strip()}")
