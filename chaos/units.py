"""Quantities as people write them, parsed once at the edge; inside, everything is SI.

    "50ms" -> 0.05 s        "0.5%" -> 0.005        "100mbit" -> 12 500 000 bytes/s        "200/s" -> 200 per second

Rates follow tc(8): `bit` counts bits, `bps` bytes, and the prefixes are decimal unless an `i` stands behind them.
A number without a unit is refused where a unit could be meant: `delay: 50` says neither 50 ms nor 50 s.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Annotated, Any

from pydantic import BeforeValidator, WithJsonSchema

from chaos.errors import UnitError

_NUMBER = re.compile(r"\s*([0-9]+(?:\.[0-9]*)?|\.[0-9]+)\s*([a-zA-Z%/µ]*)\s*\Z")
_TIMES = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0, "d": 86400.0}
_PREFIXES = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12}
_BINARY = {"ki": 2**10, "mi": 2**20, "gi": 2**30, "ti": 2**40}
_BYTE_RATES = {f"{p}bps": float(n) for p, n in (_PREFIXES | _BINARY).items()}
_BIT_RATES = {f"{p}bit": n / 8 for p, n in (_PREFIXES | _BINARY).items()}
_SIZES = {f"{p}b": float(n) for p, n in (_PREFIXES | _BINARY).items()}
_PER_TIME = {"/s": 1.0, "/m": 1 / 60, "/min": 1 / 60, "/h": 1 / 3600}


def _split(text: str, what: str, units: dict[str, float], example: str) -> float:
    found = _NUMBER.match(text)
    if not found:
        raise UnitError(f"{text!r} is not {what}; write it like {example}")
    number, unit = float(found[1]), found[2]
    if not unit:
        raise UnitError(f"{text!r} has no unit; write it like {example}")
    scale = units.get(unit) or units.get(unit.lower())
    if scale is None:
        raise UnitError(f"{unit!r} is no unit of {what}; allowed: {', '.join(units)}")
    if not math.isfinite(number * scale):
        raise UnitError(f"{text[:40]!r} is too large to be {what}")
    return number * scale


def _parser(what: str, units: dict[str, float], example: str) -> Callable[[Any], float]:
    def parse(value: Any) -> float:
        if isinstance(value, bool) or not isinstance(value, (str, int, float)):
            raise UnitError(f"{value!r} is not {what}; write it like {example}")
        if value == 0:
            return 0.0
        return _split(str(value), what, units, example)

    return parse


duration = _parser("a duration", _TIMES, '"50ms" or "15s"')
rate = _parser("a rate", _PER_TIME, '"200/s"')
bit_rate = _parser("a data rate", _BIT_RATES | _BYTE_RATES, '"100mbit"')
size = _parser("a size", _SIZES, '"10MB" or "64MiB"')
_percentage = _parser("a share", {"%": 0.01}, '"0.5%"')


def seconds(number: float) -> float:
    """Return the number: it reads well where a duration is compared (`result.mttr < seconds(30)`)."""
    return float(number)


def share(value: Any) -> float:
    """Return a share in 0..1 from "0.5%"."""
    parsed = _percentage(value)
    if not 0 <= parsed <= 1:
        raise UnitError(f"{value!r} is not a share; it lies between 0% and 100%")
    return parsed


def ratio(value: Any) -> float:
    """Return a ratio >= 0 from a plain number (0.2) or a percentage ("20%")."""
    if isinstance(value, str) and value.strip().endswith("%"):
        return _percentage(value)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < math.inf:
        raise UnitError(f'{value!r} is not a ratio; write it like 0.2 or "20%"')
    return float(value)


def _quantity(parse: Callable[[Any], float], example: str) -> tuple[BeforeValidator, WithJsonSchema]:
    def once(value: Any) -> float:
        return value.si if isinstance(value, SI) else parse(value)

    return BeforeValidator(once), WithJsonSchema({"type": ["string", "number"], "examples": [example]})


class SI:
    """A quantity that is in SI units already: it passes a validator unchanged (code that builds a fault uses it)."""

    __slots__ = ("si",)

    def __init__(self, si: float) -> None:
        self.si = float(si)

    def __repr__(self) -> str:
        return f"SI({self.si})"


Duration = Annotated[float, *_quantity(duration, "50ms")]
Rate = Annotated[float, *_quantity(rate, "200/s")]
Size = Annotated[float, *_quantity(size, "10MB")]
BitRate = Annotated[float, *_quantity(bit_rate, "100mbit")]
Share = Annotated[float, *_quantity(share, "0.5%")]
Ratio = Annotated[float, *_quantity(ratio, "20%")]


def show_seconds(value: float) -> str:
    """Return a duration as people say it: "50 ms", "4.0 s", "2 min 5 s"."""
    if value < 1e-3:
        return f"{value * 1e6:.0f} µs"
    if value < 1:
        return f"{value * 1e3:.3g} ms"
    if value < 120:
        return f"{value:.3g} s"
    return f"{value // 60:.0f} min {value % 60:.0f} s"
