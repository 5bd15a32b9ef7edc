"""netem as arguments of tc(8), and what tc prints of one in JSON, in the names and SI units of `chaos.kernel.Qdisc`.

tc reads a distribution from a file NAME.dist in the folder that TC_LIB_DIR names; `tables` says which it needs.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from chaos import delay_tables
from chaos.kernel import Option
from chaos.targets._netem import CORRELATIONS, scaled

_DIGITS = 12  # that tell the shares apart which a kernel can
_STATE_WORDS = ("p13", "p31", "p32", "p23", "p14")  # in tc's order, which is not the kernel's
_BURST_WORDS = ("p", "r", "1-h", "1-k")


def tables(options: Mapping[str, Option]) -> dict[str, tuple[int, ...]]:
    """Return the distributions that the words of these options name, with their entries."""
    asked = {
        _table_name(name, options): str(options[name])
        for name in ("distribution", "slot_distribution")
        if name in options
    }
    return {name: table for name, text in asked.items() if (table := delay_tables.entries(text))}


def words(options: Mapping[str, Option]) -> list[str]:
    """Return the arguments of `netem` for options in SI."""
    get = {key: float(value) for key, value in options.items() if not isinstance(value, str)}.get
    return [
        "limit",
        str(int(get("limit", 1000))),
        *_delay(options),
        *_loss(options),
        *(word for name in ("duplicate", "corrupt", "reorder") for word in _shares(name, options)),
        *(["gap", str(int(get("gap", 0)))] if get("gap", 0) else []),
        *_rate(options),
        *_slot(options),
        *(["seed", str(int(options["seed"]))] if "seed" in options else []),
    ]


def _delay(options: Mapping[str, Option]) -> Iterator[str]:
    delay, jitter, correlation = (float(options.get(n, 0)) for n in ("delay", "jitter", "delay_correlation"))
    forced = _alone(options) and not _is_random(options)
    if delay or jitter or forced:
        yield from ("delay", _time(delay))
        if jitter or forced:
            yield _time(jitter)
        if correlation or forced:
            yield _percent(correlation)
    if options.get("distribution", "uniform") != "uniform":
        yield from ("distribution", _table_name("distribution", options))


def _loss(options: Mapping[str, Option]) -> Iterator[str]:
    if "state_p13" in options:
        yield from ("loss", "state", *(_percent(float(options.get(f"state_{name}", 0))) for name in _STATE_WORDS))
    elif "gemodel_p" in options:
        yield from ("loss", "gemodel", *(_percent(float(options.get(f"gemodel_{name}", 0))) for name in _BURST_WORDS))
    elif "loss" in options or _alone(options):
        yield from ("loss", "random", _percent(float(options.get("loss", 0))))
        if "loss_correlation" in options or _alone(options):
            yield _percent(float(options.get("loss_correlation", 0)))
    if "ecn" in options:
        yield "ecn"


def _alone(options: Mapping[str, Option]) -> bool:
    """Whether duplicates alone have a correlation: tc 6.1 leaves that out unless another has one, be it of 0."""
    return [name for name in CORRELATIONS if name in options] == ["duplicate_correlation"]


def _is_random(options: Mapping[str, Option]) -> bool:
    return "state_p13" not in options and "gemodel_p" not in options


def _shares(name: str, options: Mapping[str, Option]) -> Iterator[str]:
    if name in options:
        yield from (name, _percent(float(options[name])))
        if f"{name}_correlation" in options:
            yield _percent(float(options[f"{name}_correlation"]))


def _rate(options: Mapping[str, Option]) -> Iterator[str]:
    if "rate" in options:
        yield from ("rate", f"{round(float(options['rate'])) * 8}bit")
        parts = [int(options.get(name, 0)) for name in ("packet_overhead", "cell_size", "cell_overhead")]
        if any(parts):
            yield from map(str, parts)


def _slot(options: Mapping[str, Option]) -> Iterator[str]:
    get = {key: float(value) for key, value in options.items() if not isinstance(value, str)}.get
    if "slot_distribution" in options:
        times = (get("slot_delay", 0), get("slot_jitter", 0))
        yield from ("slot", "distribution", _table_name("slot_distribution", options), *map(_exactly, times))
    elif "slot_max" in options:
        yield from ("slot", *map(_exactly, (get("slot_min", 0), get("slot_max", 0))))
    for name in ("packets", "bytes"):
        if f"slot_{name}" in options:
            yield from (name, str(int(get(f"slot_{name}", 0))))


def _table_name(name: str, options: Mapping[str, Option]) -> str:
    given = str(options[name])
    return given if given in delay_tables.NAMES else {"distribution": "samples"}.get(name, "slot_samples")


def _time(value: float) -> str:
    # tc before 6.9 counts a delay in whole µs and calls "ns" illegal
    return f"{round(value * 1e6)}us"


def _exactly(value: float) -> str:
    return f"{round(value * 1e9)}ns"


def _percent(value: float) -> str:
    """Return the shortest text from which tc makes the very share that the kernel is to have."""
    for digits in range(_DIGITS):
        text = f"{value * 100:.{digits}f}"
        if scaled(float(text) / 100) == scaled(value):
            return f"{text}%"
    return f"{value * 100:.{_DIGITS}f}%"


# --- reading ----------------------------------------------------------------------------------------------------------


def options(seen: Mapping[str, Any]) -> dict[str, Option]:
    """Return what `tc -j` prints of a netem, under our names and in SI; what is off is left out."""
    found: dict[str, Option] = {name: seen.get(name, 0) for name in ("limit", "gap", "ecn")}
    for part, names in _PRINTED.items():
        found |= {name: seen.get(part, {}).get(key, 0) for key, name in names.items()}
    return {key: value for key, value in found.items() if value} | ({"seed": seen["seed"]} if "seed" in seen else {})


_PRINTED: dict[str, dict[str, str]] = {
    "delay": {"delay": "delay", "jitter": "jitter", "correlation": "delay_correlation"},
    "loss-random": {"loss": "loss", "correlation": "loss_correlation"},
    "loss-state": {name: f"state_{name}" for name in _STATE_WORDS},
    "loss-gemodel": {name: f"gemodel_{name}" for name in _BURST_WORDS},
    **{name: {name: name, "correlation": f"{name}_correlation"} for name in ("duplicate", "corrupt", "reorder")},
    "rate": {
        "rate": "rate",
        "packetoverhead": "packet_overhead",
        "cellsize": "cell_size",
        "celloverhead": "cell_overhead",
    },
    "slot": {
        "min-delay": "slot_min",
        "max-delay": "slot_max",
        "distribution": "slot_delay",
        "jitter": "slot_jitter",
        "packets": "slot_packets",
        "bytes": "slot_bytes",
    },
}
