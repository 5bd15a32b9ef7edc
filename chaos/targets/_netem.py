"""netem's netlink attribute (TCA_OPTIONS) as bytes, both ways, in the names and SI units of `chaos.kernel.Qdisc`.

The layout is include/uapi/linux/pkt_sched.h: `struct tc_netem_qopt`, then attributes in the order in which tc(8) sends
them. Times go into the 64-bit attributes (ns), so that they don't depend on the kernel's tick; shares are scaled to
0..2^32-1 and rounded, not cut. A kernel takes distributions and does not show them again.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping

from chaos import delay_tables
from chaos.kernel import Option
from chaos.targets import _nla

CORRELATIONS = tuple(f"{name}_correlation" for name in ("delay", "loss", "duplicate", "reorder", "corrupt"))
STATES = ("state_p13", "state_p31", "state_p32", "state_p14", "state_p23")  # struct tc_netem_gimodel
BURSTS = ("gemodel_p", "gemodel_r", "gemodel_1-h", "gemodel_1-k")  # struct tc_netem_gemodel, which has h and not 1-h
SLOTS = ("slot_min", "slot_max", "slot_packets", "slot_bytes", "slot_delay", "slot_jitter")  # struct tc_netem_slot
_COUNTS = ("slot_packets", "slot_bytes")
_CORR, _DELAY_DIST, _REORDER, _CORRUPT, _LOSS, _RATE, _ECN, _RATE64 = range(1, 9)
_LATENCY64, _JITTER64, _SLOT, _SLOT_DIST, _SEED = range(10, 15)
_STATE_MODEL, _BURST_MODEL = 1, 2  # NETEM_LOSS_GI and NETEM_LOSS_GE
_NESTED = 0x8000
_QOPT = struct.Struct("=6I")  # latency (ticks), limit, loss, gap, duplicate, jitter (ticks)
_RATE_PARTS = struct.Struct("=IiIi")  # bytes/s, packet overhead, cell size, cell overhead
_SLOT_PARTS = struct.Struct("=qqiiqq")
_MOST = 2**32 - 1


def encode(options: Mapping[str, Option]) -> bytes:
    """Return TCA_OPTIONS for a netem; a kernel of 4.16 or later reads the 64-bit times."""
    get = {key: float(value) for key, value in options.items() if not isinstance(value, str)}.get
    gap = int(get("gap", 0)) or (1 if get("reorder", 0) else 0)
    shares = {name: scaled(get(name, 0)) for name in ("loss", "duplicate")}
    head = _QOPT.pack(0, int(get("limit", 1000)), shares["loss"], gap, shares["duplicate"], 0)
    return head + b"".join(_nla.pack(number, payload) for number, payload in _attributes(options))


def _attributes(options: Mapping[str, Option]) -> Iterator[tuple[int, bytes]]:
    yield from _delays(options)
    yield from _shares_of_packets(options)
    if any(name in options for name in SLOTS):
        yield _SLOT, _SLOT_PARTS.pack(*(_slot_part(name, float(options.get(name, 0))) for name in SLOTS))
    yield from _loss_model(options)
    yield from _rate(options)
    for number, name in ((_DELAY_DIST, "distribution"), (_SLOT_DIST, "slot_distribution")):
        if table := delay_tables.entries(str(options.get(name, "uniform"))):
            yield number, struct.pack(f"={len(table)}h", *table)
    if "seed" in options:
        yield _SEED, struct.pack("=Q", int(options["seed"]))


def _delays(options: Mapping[str, Option]) -> Iterator[tuple[int, bytes]]:
    for number, name in ((_LATENCY64, "delay"), (_JITTER64, "jitter")):
        if name in options:
            yield number, struct.pack("=q", round(float(options[name]) * 1e9))


def _shares_of_packets(options: Mapping[str, Option]) -> Iterator[tuple[int, bytes]]:
    if any(name in options for name in CORRELATIONS):
        yield _CORR, struct.pack("=3I", *(scaled(float(options.get(name, 0))) for name in CORRELATIONS[:3]))
    for number, name in ((_REORDER, "reorder"), (_ECN, "ecn"), (_CORRUPT, "corrupt")):
        if name in options:
            yield number, struct.pack("=I", 1) if name == "ecn" else _pair(name, options)


def _rate(options: Mapping[str, Option]) -> Iterator[tuple[int, bytes]]:
    if rate := round(float(options.get("rate", 0))):
        if rate > _MOST:
            yield _RATE64, struct.pack("=Q", rate)
        parts = (int(options.get(name, 0)) for name in ("packet_overhead", "cell_size", "cell_overhead"))
        yield _RATE, _RATE_PARTS.pack(min(rate, _MOST), *parts)


def _loss_model(options: Mapping[str, Option]) -> Iterator[tuple[int, bytes]]:
    if any(name in options for name in STATES):
        model = struct.pack("=5I", *(scaled(float(options.get(name, 0))) for name in STATES))
        yield _LOSS | _NESTED, _nla.pack(_STATE_MODEL, model)
    elif any(name in options for name in BURSTS):
        p, r, lost, lost_when_good = (scaled(float(options.get(name, 0))) for name in BURSTS)
        yield _LOSS | _NESTED, _nla.pack(_BURST_MODEL, struct.pack("=4I", p, r, _MOST - lost, lost_when_good))


def decode(raw: bytes) -> dict[str, Option]:
    """Return the options in a kernel's TCA_OPTIONS; what is off is left out."""
    latency, limit, loss, gap, duplicate, jitter = _QOPT.unpack_from(raw)
    seen = dict(_nla.unpack(raw[_QOPT.size :]))
    found: dict[str, Option] = {"limit": limit, "gap": gap, "loss": loss / _MOST, "duplicate": duplicate / _MOST}
    found["delay"] = _ns(seen.get(_LATENCY64), latency)
    found["jitter"] = _ns(seen.get(_JITTER64), jitter)
    if _CORR in seen:
        found |= _shares(CORRELATIONS[:3], seen[_CORR])
    for name, number in (("reorder", _REORDER), ("corrupt", _CORRUPT)):
        if number in seen:
            found |= _shares((name, f"{name}_correlation"), seen[number])
    if _RATE in seen:
        rate, *parts = _RATE_PARTS.unpack_from(seen[_RATE])
        found["rate"] = struct.unpack_from("=Q", seen[_RATE64])[0] if _RATE64 in seen else rate
        found |= zip(("packet_overhead", "cell_size", "cell_overhead"), parts, strict=True)
    found["ecn"] = _ECN in seen and any(seen[_ECN])
    found |= _decoded_loss(dict(_nla.unpack(seen.get(_LOSS, b""))))
    if _SLOT in seen:
        slot = zip(SLOTS, _SLOT_PARTS.unpack_from(seen[_SLOT]), strict=True)
        found |= {name: part if name in _COUNTS else part / 1e9 for name, part in slot}
    options = {key: value for key, value in found.items() if value}
    return options | ({"seed": struct.unpack_from("=Q", seen[_SEED])[0]} if _SEED in seen else {})


def _decoded_loss(models: Mapping[int, bytes]) -> dict[str, Option]:
    if _STATE_MODEL in models:
        return _shares(STATES, models[_STATE_MODEL])
    if _BURST_MODEL not in models:
        return {}
    p, r, kept, lost_when_good = struct.unpack_from("=4I", models[_BURST_MODEL])
    return dict(zip(BURSTS, (n / _MOST for n in (p, r, _MOST - kept, lost_when_good)), strict=True))


def _shares(names: tuple[str, ...], raw: bytes) -> dict[str, Option]:
    return dict(zip(names, (n / _MOST for n in struct.unpack_from(f"={len(names)}I", raw)), strict=True))


def scaled(share: float) -> int:
    """Return a share as the kernel counts it, of the digits that its text for tc would have."""
    return round(round(share, 12) * _MOST)


def _pair(name: str, options: Mapping[str, Option]) -> bytes:
    shares = (float(options.get(part, 0)) for part in (name, f"{name}_correlation"))
    return struct.pack("=2I", *map(scaled, shares))


def _slot_part(name: str, value: float) -> int:
    return round(value) if name in _COUNTS else round(value * 1e9)


def _ns(wide: bytes | None, ticks: int) -> float:
    # a tick is 64 ns on every kernel since 2.6.31 (PSCHED_SHIFT)
    return (struct.unpack_from("=q", wide)[0] if wide else ticks * 64) / 1e9
