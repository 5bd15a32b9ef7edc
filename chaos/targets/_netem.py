"""netem's netlink attribute (TCA_OPTIONS) as bytes, both ways, in the names and SI units of `chaos.kernel.Qdisc`.

The layout is include/uapi/linux/pkt_sched.h: `struct tc_netem_qopt`, then attributes. Times go into the 64-bit
attributes (ns), so that they don't depend on the kernel's tick; shares are scaled to 0..2^32-1 and rounded, not cut.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping

from chaos.kernel import Option
from chaos.targets import _nla

_CORR, _REORDER, _CORRUPT, _RATE, _RATE64, _LATENCY64, _JITTER64 = 1, 3, 4, 6, 8, 10, 11
_QOPT = struct.Struct("=6I")  # latency (ticks), limit, loss, gap, duplicate, jitter (ticks)
_MOST = 2**32 - 1


def encode(options: Mapping[str, Option]) -> bytes:
    """Return TCA_OPTIONS for a netem; a kernel of 4.16 or later reads the 64-bit times."""
    get = {key: float(value) for key, value in options.items()}.get
    gap = int(get("gap", 0)) or (1 if get("reorder", 0) else 0)
    out = _QOPT.pack(0, int(get("limit", 1000)), _scaled(get("loss", 0)), gap, _scaled(get("duplicate", 0)), 0)
    correlations = (get("delay_correlation", 0), get("loss_correlation", 0), get("duplicate_correlation", 0))
    out += _nla.pack(_CORR, struct.pack("=3I", *map(_scaled, correlations)))
    out += _nla.pack(_LATENCY64, struct.pack("=q", round(get("delay", 0) * 1e9)))
    out += _nla.pack(_JITTER64, struct.pack("=q", round(get("jitter", 0) * 1e9)))
    for name, number in (("reorder", _REORDER), ("corrupt", _CORRUPT)):
        if get(name, 0):
            pair = (_scaled(get(name, 0)), _scaled(get(f"{name}_correlation", 0)))
            out += _nla.pack(number, struct.pack("=2I", *pair))
    if rate := round(get("rate", 0)):
        if rate > _MOST:
            out += _nla.pack(_RATE64, struct.pack("=Q", rate))
        out += _nla.pack(_RATE, struct.pack("=IiIi", min(rate, _MOST), 0, 0, 0))
    return out


def decode(raw: bytes) -> dict[str, Option]:
    """Return the options in a kernel's TCA_OPTIONS; what is off is left out."""
    latency, limit, loss, gap, duplicate, jitter = _QOPT.unpack_from(raw)
    seen = dict(_nla.unpack(raw[_QOPT.size :]))
    found: dict[str, Option] = {"limit": limit, "gap": gap, "loss": loss / _MOST, "duplicate": duplicate / _MOST}
    found["delay"] = _ns(seen.get(_LATENCY64), latency)
    found["jitter"] = _ns(seen.get(_JITTER64), jitter)
    if _CORR in seen:
        names = ("delay_correlation", "loss_correlation", "duplicate_correlation")
        found |= dict(zip(names, (n / _MOST for n in struct.unpack("=3I", seen[_CORR][:12])), strict=True))
    for name, number in (("reorder", _REORDER), ("corrupt", _CORRUPT)):
        if number in seen:
            probability, correlation = struct.unpack("=2I", seen[number][:8])
            found |= {name: probability / _MOST, f"{name}_correlation": correlation / _MOST}
    if _RATE in seen:
        found["rate"] = (
            struct.unpack("=Q", seen[_RATE64][:8])[0] if _RATE64 in seen else struct.unpack_from("=I", seen[_RATE])[0]
        )
    return {key: value for key, value in found.items() if value}


def _scaled(share: float) -> int:
    return round(share * _MOST)


def _ns(wide: bytes | None, ticks: int) -> float:
    # a tick is 64 ns on every kernel since 2.6.31 (PSCHED_SHIFT)
    return (struct.unpack("=q", wide[:8])[0] if wide else ticks * 64) / 1e9
