"""mlnx_qos: the tool of Mellanox's driver package (MLNX_OFED) for DCB, where a host has no dcb(8)."""

from __future__ import annotations

import re
from shlex import quote
from typing import Any

from chaos.contracts import Action, Output, Question, Shell
from chaos.faults._dcb import Driver
from chaos.kernel import Dcb, Ets, Pfc

_PAUSES = "[rt]x_prio[0-7]_pause:"
_ENABLED = r"sed -n 's/^[[:space:]]*enabled[[:space:]]*//p'"
_CLASSES = """awk '$1 == "tc:" { tc = $2; sub(/.*tsa: /, ""); sub(/ *$/, ""); share = $0 }
$1 == "priority:" { print $2, tc, share }' | sort"""
_MODES = {"OS controlled": frozenset({"host", "ieee"}), "Firmware controlled": frozenset({"lld-managed", "ieee"})}


class MlnxQos(Driver):
    """`mlnx_qos -i INTERFACE` prints everything, whatever it is asked to set."""

    title = "mlnx_qos"

    def question(self, interface: str) -> Question:
        """Print it, and how many pause frames the adapter has counted."""
        dev = quote(interface)
        return Output(f"mlnx_qos -i {dev} 2>&1\nethtool -S {dev} 2>/dev/null | grep -E '{_PAUSES}'\ntrue")

    def seen(self, interface: str, said: Any) -> Dcb:
        """Return what it printed."""
        del interface
        mode = re.search(r"^DCBX mode: (.*?)\s*$", said, re.MULTILINE)
        sizes = re.search(r"^Receive buffer size \(bytes\): ([\d,]*)", said, re.MULTILINE)
        buffers = _row("buffer", said)
        enabled = _row("enabled", said)
        ets = _ets(said)
        why_not = "" if enabled else said.strip()[-200:]
        return Dcb(
            pfc=_pfc(enabled, said) if enabled else None,
            ets=ets,
            dcbx=_MODES.get(mode[1]) if mode else None,
            buffer=(*buffers, *(int(size) for size in sizes[1].split(",") if size)) if sizes else buffers,
            why_not=why_not or ("" if ets else _HIDDEN),
        )

    def put(self, interface: str, wanted: Pfc | Ets, instead_of: Pfc | Ets) -> Action:
        """Set all eight priorities, or all eight classes."""
        del instead_of
        show = f"mlnx_qos -i {quote(interface)}"
        if isinstance(wanted, Pfc):
            on = ["1" if number in wanted.priorities else "0" for number in range(8)]
            until = f'[ "$(echo $({show} | {_ENABLED}))" = {quote(" ".join(on))} ]'
            return Shell(f"{show} --pfc {','.join(on)} >/dev/null", until=until)
        maps = {"tsa": wanted.tc_tsa, "tcbw": _shares(wanted), "prio_tc": wanted.prio_tc}
        lists = [f"--{name} {','.join(map(str, values))}" for name, values in maps.items() if values]
        until = f'[ "$({show} | {_CLASSES})" = {quote(_classes(wanted))} ]'
        return Shell(f"{show} {' '.join(lists)} >/dev/null", until=until)


_HIDDEN = "it shows no class that has no priority, so that could not be put back"
_CLASS = re.compile(
    r"^tc: (\d) ratelimit: [^,]*, tsa: (\w+)(?:, bw: (\d+)%)?[ \t]*\n((?:\s*priority: +\d+[ \t]*\n?)*)", re.MULTILINE
)


def _row(name: str, said: str) -> tuple[int, ...]:
    """Return the row of a name in the table of priorities."""
    found = re.search(rf"^\s*{name}((?:\s+\d+){{8}})\s*$", said, re.MULTILINE)
    return tuple(map(int, found[1].split())) if found else ()


def _pfc(enabled: tuple[int, ...], said: str) -> Pfc:
    """Return which priorities pause, and the counters of the adapter where it has them."""
    counted = {(way, int(at)): int(count) for way, at, count in re.findall(r"([rt]x)_prio(\d)_pause: (\d+)", said)}
    sent, received = (tuple(counted[way, at] for at in range(8) if (way, at) in counted) for way in ("tx", "rx"))
    return Pfc(frozenset(number for number, on in enumerate(enabled) if on), sent=sent, received=received)


def _ets(said: str) -> Ets | None:
    """Return how the classes share; None where it does not show all of them."""
    classes = {int(tc): (tsa, int(bw or 0), priorities) for tc, tsa, bw, priorities in _CLASS.findall(said)}
    prio_tc = {int(number): tc for tc, (_, _, text) in classes.items() for number in re.findall(r"\d+", text)}
    if sorted(classes) != list(range(8)) or sorted(prio_tc) != list(range(8)):
        return None
    shown = [classes[tc] for tc in range(8)]
    return Ets(tuple(tsa for tsa, _, _ in shown), tuple(bw for _, bw, _ in shown), tuple(prio_tc[n] for n in range(8)))


def _shares(wanted: Ets) -> list[int]:
    """Return the share of each class, 0 for one that has none: something must stand there; nothing where none has."""
    shares = [bw if tsa == "ets" else 0 for tsa, bw in zip(wanted.tc_tsa, wanted.tc_bw, strict=True)]
    return shares if "ets" in wanted.tc_tsa else []


def _classes(wanted: Ets) -> str:
    """Return what `_CLASSES` makes of its output once this is set."""
    algorithms = [
        f"{tsa}, bw: {bw}%" if tsa == "ets" else tsa for tsa, bw in zip(wanted.tc_tsa, wanted.tc_bw, strict=True)
    ]
    return "\n".join(f"{priority} {tc} {algorithms[tc]}" for priority, tc in enumerate(wanted.prio_tc))
