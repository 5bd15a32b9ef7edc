"""What stands on a host while a fault is lived there, and how the host is looked at afterwards."""

from __future__ import annotations

import time

from chaos.errors import TargetError
from chaos.run.fingerprint import fingerprint
from chaos.run.sweep import MARKS, sweep
from tests.torture.hosts import INTERFACE, Host

DECOY = "sleep 98765"
"""A process to be paused."""

# somebody else's, which must stay to the letter; and the decoy
_SET = f"""
nft -f - <<'END'
table inet somebody {{ chain input {{ type filter hook input priority 0; tcp dport 9 counter drop; }}; }}
END
tc qdisc replace dev {INTERFACE} root handle 7: htb default 10
tc class replace dev {INTERFACE} parent 7: classid 7:10 htb rate 1gbit
tc filter replace dev {INTERFACE} parent 7: pref 5 handle 800::1 protocol ip u32 match ip dport 9 0xffff flowid 7:10
{DECOY} </dev/null >/dev/null 2>&1 &
echo $! >/run/decoy
"""
_CLEAR = f"""
nft delete table inet somebody; tc qdisc del dev {INTERFACE} root
[ ! -e /run/decoy ] || {{ kill -KILL "$(cat /run/decoy)"; rm -f /run/decoy; }}
true
"""
# a new link-local address brings its route once nobody else was found to have it (RFC 4862, 5.4)
_SETTLED = 'for i in 1 2 3 4 5 6 7 8 9; do [ -n "$(ip -6 addr show tentative)" ] || break; sleep 0.5; done'
# what impairs a host, and fuses that have not let go: looked at again and again, so as few programs as can be
_GLANCE = """
grep -l '^State:.T' /proc/[0-9]*/status; nft list tables | grep gameday_; ip -o link show type ifb | grep gameday
tc qdisc show | grep ' c4a[56]: '; cat /run/gameday/fuses/*/state | grep -v -e ^clean -e ^disarmed | sed 's/^/fuse: /'
"""


def set_scene(host: Host) -> tuple[str, ...]:
    """Put it there; return the host's fingerprint."""
    host.target.run(_SET)
    return settled_fingerprint(host)


def clear_scene(host: Host) -> None:
    """Take it away; on a host that was booted meanwhile there is nothing of it."""
    host.target.run(_CLEAR)


def settled_fingerprint(host: Host) -> tuple[str, ...]:
    """Return the host's fingerprint once its addresses are what they will be."""
    host.target.run(_SETTLED)
    return fingerprint(host.target)


def impaired(host: Host) -> list[str]:
    """Return what impairs the host, at a glance."""
    try:
        return host.target.run(f"{{ {_GLANCE} }} 2>/dev/null; true").stdout.splitlines()
    except TargetError as error:
        return [f"can't be read: {error}"]


def left(host: Host) -> list[str]:
    """Return all of ours that impairs the host, and all that bears a mark."""
    return impaired(host) + [f"{swept.name} {swept.item}" for swept in sweep(host.target, MARKS, remove=False)]


def wait_until_clear(host: Host, start: float, allowed: float) -> tuple[float, list[str]]:
    """Look until nothing of ours is left; return how long that took (s), and what was left when the time was over.

    What a glance takes beyond its time shows a machine without time, and does not count; nor does a thorough look.
    """
    while True:
        began = time.monotonic()
        found, ended = impaired(host), time.monotonic()
        cleared = ended - start - max(0.0, ended - began - host.glance)
        found = found or left(host)
        if not found or cleared > allowed:
            return max(0.0, cleared), [f"left: {what}" for what in found]
        start = time.monotonic() - cleared
        time.sleep(0.1)
