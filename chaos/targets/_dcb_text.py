"""Data centre bridging as dcb(8) takes and prints it. Pure: text in, values out.

Its exit status is not to be relied on. That of iproute2 6.1 takes the acknowledgement of its question, which it has not
fetched, for the answer to its order: so it does not see that a driver refuses, and where the second changes between the
two (they are numbered by the time) it calls a success a failure. So it is asked what there is.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from shlex import quote
from typing import Any

from chaos.contracts import Rendered, SetDcb
from chaos.kernel import Dcb, Ets, Pfc
from chaos.targets._dcb import DCBX_BITS, TSA

_TSA = {name: number for number, name in TSA.items()}
_RECOMMENDED = ("pg_bw", "reco_tc_bw", "reco_tc_tsa", "reco_prio_tc")


def script(interface: str) -> str:
    """Return the sh that prints all that `parse` reads; it only looks, and says so where there is nothing."""
    dev = quote(interface)
    shows = [f"echo --{part}; dcb -j -s {part} show dev {dev} 2>&1" for part in ("pfc", "ets", "buffer")]
    return "\n".join([*shows, f"echo --dcbx; dcb dcbx show dev {dev} 2>&1", "true"])


def parse(printed: str) -> Dcb:
    """Return what `script` printed."""
    _, *parts = re.split(r"^--(\w+)\n", printed, flags=re.MULTILINE)
    said = dict(zip(parts[::2], parts[1::2], strict=True))
    pfc, ets, buffer = (_object(said[name]) for name in ("pfc", "ets", "buffer"))
    modes = frozenset(said["dcbx"].split())
    missing = next((said[name].strip() for name, there in (("pfc", pfc), ("ets", ets)) if there is None), "")
    return Dcb(
        pfc=None if pfc is None else _pfc(pfc),
        ets=None if ets is None else _ets(ets),
        dcbx=modes if modes <= set(DCBX_BITS.values()) else None,
        buffer=() if buffer is None else (*buffer["prio_buffer"], *buffer["buffer_size"]),
        why_not=missing,
    )


def put(action: SetDcb) -> Rendered:
    """Render the setting of a part as sh, and the condition that it is so."""
    dev, wanted = quote(action.interface), action.wanted
    maps: dict[str, Iterable[object]]
    if isinstance(wanted, Pfc):
        part, maps = "pfc", {"prio-pfc": ["on" if number in wanted.priorities else "off" for number in range(8)]}
    else:
        part, maps = "ets", {"tc-tsa": wanted.tc_tsa, "tc-bw": wanted.tc_bw, "prio-tc": wanted.prio_tc}
    words = " ".join(f"{name} {_map(values)}" for name, values in maps.items())
    shown = f"echo $(dcb {part} show dev {dev} {' '.join(maps)})"  # without quotes: one blank between two words
    is_so = f'[ "$({shown})" = {quote(words)} ]'
    return Rendered(f"dcb {part} set dev {dev} {words}\n{is_so}", is_so)


def _map(values: Iterable[object]) -> str:
    return " ".join(f"{number}:{value}" for number, value in enumerate(values))


def _object(text: str) -> Mapping[str, Any] | None:
    """Return what stands in JSON, or None for an error message."""
    try:
        found = json.loads(text)
    except ValueError:
        return None
    return found if isinstance(found, dict) else None


def _pfc(seen: Mapping[str, Any]) -> Pfc:
    priorities = frozenset(number for number, on in enumerate(seen["prio_pfc"]) if on)
    sent, received = tuple(seen["requests"]), tuple(seen["indications"])
    return Pfc(priorities, seen["pfc_cap"], seen["delay"], bool(seen["macsec_bypass"]), sent, received)


def _ets(seen: Mapping[str, Any]) -> Ets:
    rest = {name: (int(seen[name]),) for name in ("willing", "cbs")}
    rest |= {name: tuple(_TSA.get(value, value) for value in seen[name]) for name in _RECOMMENDED}
    return Ets(tuple(seen["tc_tsa"]), tuple(seen["tc_bw"]), tuple(seen["prio_tc"]), seen["ets_cap"], rest)
