"""tbf's netlink attribute (TCA_OPTIONS) as bytes, both ways, in the names and SI units of `chaos.kernel.Qdisc`.

The layout is include/uapi/linux/pkt_sched.h: `struct tc_tbf_qopt` in an attribute, then the 64-bit rate and the burst
in bytes, which kernels of 3.13 or later read. The link layer is named, so that no rate table is needed.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping

from chaos.kernel import Option
from chaos.targets import _nla

_PARMS, _RATE64, _BURST = 1, 4, 6
_ETHERNET = 1  # TC_LINKLAYER_ETHERNET
_RATE = "BBHhHI"  # struct tc_ratespec: cell_log, link layer, overhead, cell_align, mpu, bytes/s
_QOPT = struct.Struct(f"={_RATE}{_RATE}3I")  # rate, peak rate, limit, buffer (ticks), mtu
_TICK = 64e-9  # s, on every kernel since 2.6.31 (PSCHED_SHIFT)
_MOST = 2**32 - 1


def encode(options: Mapping[str, Option]) -> bytes:
    """Return TCA_OPTIONS for a tbf of `rate` (bytes/s), `burst` and `limit` (bytes)."""
    rate, burst, limit = (int(options[name]) for name in ("rate", "burst", "limit"))
    ticks = min(int(burst / rate / _TICK), _MOST)
    plain = (0, _ETHERNET, 0, -1, 0, min(rate, _MOST), *(0,) * 6)
    out = _nla.pack(_PARMS, _QOPT.pack(*plain, limit, ticks, 0))
    if rate > _MOST:
        out += _nla.pack(_RATE64, struct.pack("=Q", rate))
    return out + _nla.pack(_BURST, struct.pack("=I", burst))


def decode(raw: bytes) -> dict[str, Option]:
    """Return the options in a kernel's TCA_OPTIONS; it keeps the burst as the time it takes, so that rounds."""
    seen = dict(_nla.unpack(raw))
    *spec, limit, ticks, _ = _QOPT.unpack(seen[_PARMS][: _QOPT.size])
    rate = struct.unpack("=Q", seen[_RATE64][:8])[0] if _RATE64 in seen else spec[5]
    return {"rate": rate, "burst": round(ticks * _TICK * rate), "limit": limit}
