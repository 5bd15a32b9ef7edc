"""Abort conditions: "goodput < 50% for 10s" as a value that the runner can watch.

Each signal has one bad side. A condition turned the wrong way round would stop every healthy run, so it is refused.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Annotated, Any, Literal, NamedTuple, get_args

from pydantic import PlainValidator, WithJsonSchema

from chaos.record.terms import Frozen
from chaos.spec.sheet import nearest
from chaos.units import duration, rate, share

Signal = Literal["goodput", "errors", "latency", "qps"]
EXAMPLE = "goodput < 50% for 10s"

_FORM = re.compile(r"\s*(\w+)\s*(<|>)\s*(\S.*?)\s+for\s+(.+?)\s*")


class _Kind(NamedTuple):
    side: Literal["<", ">"]
    parse: Callable[[Any], float]


_SIGNALS: dict[str, _Kind] = {
    "goodput": _Kind("<", share),
    "errors": _Kind(">", share),
    "latency": _Kind(">", duration),
    "qps": _Kind("<", rate),
}


class AbortCondition(Frozen):
    """Stop when `signal` lies on `side` of `limit` for `for_s` seconds without a break.

    goodput and errors are shares (0..1) of the requests, latency is in s, qps in 1/s. `text` is the condition as given.
    """

    text: str
    signal: Signal
    side: Literal["<", ">"]
    limit: float
    for_s: float


def parse_abort(value: Any) -> AbortCondition:
    """Return a condition. Raises ValueError (UnitError among them)."""
    if isinstance(value, AbortCondition):
        return value
    form = _FORM.fullmatch(value) if isinstance(value, str) else None
    if not form:
        raise ValueError(f'{value!r} is no condition; write it like "{EXAMPLE}"')
    name, side, limit, held = form.groups()
    if name not in _SIGNALS:
        raise ValueError(f"{name!r} can't be watched{nearest(name, _SIGNALS)} (allowed: {', '.join(_SIGNALS)})")
    kind = _SIGNALS[name]
    if side != kind.side:
        raise ValueError(f"{name} is watched with {kind.side!r}; {value!r} would stop a run for being well")
    if (for_s := duration(held)) <= 0:
        raise ValueError(f"the time after `for` must be more than 0; found {held}")
    signal = next(s for s in get_args(Signal) if s == name)
    return AbortCondition(text=value, signal=signal, side=kind.side, limit=kind.parse(limit), for_s=for_s)


Abort = Annotated[
    AbortCondition,
    PlainValidator(parse_abort),
    WithJsonSchema(
        {"type": "string", "pattern": f"^({'|'.join(_SIGNALS)}) *[<>] *\\S+ +for +\\S+$", "examples": [EXAMPLE]}
    ),
]
