"""Filters of ours (`chaos.selection.Steer`) as tc-u32(8)'s words and as netlink bytes, and read back from both.

The layout of the bytes is include/uapi/linux/pkt_cls.h and tc_act/tc_mirred.h, in the order in which tc sends them.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from dataclasses import replace

from chaos.kernel import OUR_PREFERENCES
from chaos.selection import EVERYTHING, Key, Steer
from chaos.targets import _nla

_CLASSID, _SEL, _ACT = 1, 5, 7
_ACT_KIND, _ACT_OPTIONS, _MIRRED_PARMS = 1, 2, 2
_NESTED = 0x8000
_TERMINAL = 1  # TC_U32_TERMINAL
_STOLEN, _TO_EGRESS = 4, 1  # TC_ACT_STOLEN, TCA_EGRESS_REDIR
_HEAD = struct.Struct(">BBBxHHhhI")  # struct tc_u32_sel: flags, offshift, nkeys, offmask, off, offoff, hoff, hmask
_KEY = struct.Struct(">II")  # mask and value; then two numbers in the host's own order
_OFFSET = struct.Struct("=ii")
_MIRRED = struct.Struct("=IIiiiiI")  # index, capab, action, refcnt, bindcnt, eaction, ifindex


def words(steer: Steer) -> str:
    """Return the arguments of `tc filter add dev ... HOOK` for a filter."""
    keys = " ".join(f"match u32 {key.value:#010x} {key.mask:#010x} at {key.at}" for key in steer.keys)
    then = f"action mirred egress redirect dev {steer.device}" if steer.device else "flowid :1"
    return f"pref {steer.preference} protocol {steer.protocol} u32 {keys} {then}"


def encode(steer: Steer, index: int) -> bytes:
    """Return TCA_OPTIONS for a filter whose device has this index."""
    head = _HEAD.pack(_TERMINAL, 0, len(steer.keys), 0, 0, 0, 0, 0)
    sel = head + b"".join(_KEY.pack(key.mask, key.value) + _OFFSET.pack(key.at, 0) for key in steer.keys)
    if not steer.device:
        return _nla.pack(_CLASSID, struct.pack("=I", 1)) + _nla.pack(_SEL, sel)
    parms = _nla.pack(_MIRRED_PARMS, _MIRRED.pack(0, 0, _STOLEN, 0, 0, _TO_EGRESS, index))
    action = _nla.pack(_ACT_KIND, b"mirred\0") + _nla.pack(_ACT_OPTIONS | _NESTED, parms)
    return _nla.pack(_ACT, _nla.pack(1, action)) + _nla.pack(_SEL, sel)


def is_filter(raw: bytes) -> bool:
    """Whether TCA_OPTIONS are those of a filter and not of the table that holds it."""
    return any(number == _SEL for number, _ in _nla.unpack(raw))


def decode(raw: bytes) -> tuple[tuple[Key, ...], int]:
    """Return the keys of TCA_OPTIONS as a kernel shows them, and the index of the device, 0 where packets pass."""
    seen = dict(_nla.unpack(raw))
    sel = seen.get(_SEL, b"")
    keys = tuple(_key(sel, at) for at in range(_HEAD.size, len(sel), _KEY.size + _OFFSET.size))
    action = dict(_nla.unpack(dict(_nla.unpack(seen.get(_ACT, b""))).get(1, b"")))
    parms = dict(_nla.unpack(action.get(_ACT_OPTIONS, b""))).get(_MIRRED_PARMS)
    return keys, _MIRRED.unpack_from(parms)[-1] if parms else 0


def _key(sel: bytes, at: int) -> Key:
    mask, value = _KEY.unpack_from(sel, at)
    return Key(value, mask, _OFFSET.unpack_from(sel, at + _KEY.size)[0])


# --- what tc prints ---------------------------------------------------------------------------------------------------

_FILTER = re.compile(r"filter protocol (\S+) pref (\d+) u32 .*\bfh \S+::")
_MATCH = re.compile(r" +match ([0-9a-f]{8})/([0-9a-f]{8}) at (\d+)")
_REDIRECT = re.compile(r"\taction order \d+: mirred \(Egress Redirect to device ([^)]*)\) stolen")


def printed(hook: str, lines: list[str]) -> Iterator[Steer]:
    """Yield the filters of ours among the lines of `tc filter show dev ... HOOK`."""
    steer: Steer | None = None
    for line in lines:
        if line.startswith("filter "):
            yield from _complete(steer)
            found = _FILTER.match(line)
            steer = Steer(hook, int(found[2]), found[1], ()) if found else None
        elif steer is not None and (key := _MATCH.match(line)):
            steer = replace(steer, keys=(*steer.keys, Key(int(key[1], 16), int(key[2], 16), int(key[3]))))
        elif steer is not None and (device := _REDIRECT.match(line)):
            steer = replace(steer, device=device[1])
    yield from _complete(steer)


def _complete(steer: Steer | None) -> Iterator[Steer]:
    if steer is not None and steer.preference in OUR_PREFERENCES:
        yield replace(steer, keys=tuple(sorted(steer.keys, key=lambda key: key.at)) or EVERYTHING)
