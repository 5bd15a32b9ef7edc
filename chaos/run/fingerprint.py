"""What of a host's state is compared whole, before and after a run: whatever differs is drift, and is named.

It is text, one fact a line with its section in front, so that a difference reads by itself. Counters, and anything else
that traffic changes, are left out.
"""

from __future__ import annotations

from chaos.contracts import Target

_SECTIONS = {
    "qdisc": "tc qdisc show | sed 's/ direct_packets_stat [0-9]*//'",  # htb prints a counter as an option
    "filter": 'for d in /sys/class/net/*; do tc filter show dev "${d##*/}"; done',
    "link": "ip -o link show | sed 's/^[0-9]*: //'",
    "address": "ip -o address show | sed -e 's/^[0-9]*: //' -e 's/valid_lft.*//' -e 's/ tentative//'",
    "route": "ip route show; ip -6 route show | sed 's/expires [0-9]*sec//'",
    "nft": "nft -s list ruleset",
    "stopped": "grep -l '^State:.T' /proc/[0-9]*/status",
    "ours": "ls /run/gameday/fuses",
}
_SCRIPT = "\n".join(f"{{ {command}; }} 2>/dev/null | sed 's/^/{name}: /'" for name, command in _SECTIONS.items())


def fingerprint(target: Target) -> tuple[str, ...]:
    """Return the host's state, sorted lines."""
    return tuple(sorted(target.run(_SCRIPT).stdout.splitlines()))


def drift(before: tuple[str, ...], after: tuple[str, ...]) -> list[str]:
    """Return what was lost (`- `) and what is new (`+ `)."""
    lost, new = set(before) - set(after), set(after) - set(before)
    return [f"- {line}" for line in sorted(lost)] + [f"+ {line}" for line in sorted(new)]
