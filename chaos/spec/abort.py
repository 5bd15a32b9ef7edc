"""Abort conditions as values that a run can watch. Three things can be watched, each for a time without a break:

    goodput < 50% for 10s                 the load's live counters
    probe healthz unhealthy for 5s        a health probe of the experiment, by its name
    {promql: 'sum(rate(http_requests_total{code=~"5.."}[30s]))', prometheus: http://{gateway}:9090, above: 5, for: 10s}

Each signal of the counters has one bad side. A condition turned the wrong way round would stop every healthy run, and
one that lies beyond what the signal can be would never stop any; both are refused.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Annotated, Any, Literal, NamedTuple, get_args

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Discriminator,
    Field,
    PlainValidator,
    Tag,
    WithJsonSchema,
    model_validator,
)

from chaos.record.terms import Frozen
from chaos.spec.fields import PositiveDuration, Spec, Text
from chaos.spec.load import check_template
from chaos.spec.sheet import found, nearest
from chaos.units import duration, rate, share, show_seconds

Signal = Literal["goodput", "errors", "latency", "latency_p50", "latency_p90", "latency_p99", "qps"]
EXAMPLE = "goodput < 50% for 10s"
PROBE_EXAMPLE = "probe NAME unhealthy for 5s"

_FORM = re.compile(r"\s*(\w+)\s*(<|>)\s*(\S.*?)\s+for\s+(.+?)\s*")
_PROBE = re.compile(r"\s*probe\s+(\S+)\s+unhealthy\s+for\s+(.+?)\s*")


class _Kind(NamedTuple):
    side: Literal["<", ">"]
    parse: Callable[[Any], float]
    most: float = math.inf


_SIGNALS: dict[str, _Kind] = {
    "goodput": _Kind("<", share, 1.0),
    "errors": _Kind(">", share, 1.0),
    "latency": _Kind(">", duration),
    "latency_p50": _Kind(">", duration),
    "latency_p90": _Kind(">", duration),
    "latency_p99": _Kind(">", duration),
    "qps": _Kind("<", rate),
}


class AbortCondition(Frozen):
    """Stop when `signal` lies on `side` of `limit` for `for_s` seconds without a break.

    goodput and errors are shares (0..1) of the requests, latency is in s (`latency` is its p99), qps in 1/s. `text` is
    the condition as given.
    """

    text: str
    signal: Signal
    side: Literal["<", ">"]
    limit: float
    for_s: float


class ProbeCondition(Frozen):
    """Stop when the health probe `probe` has been unhealthy for `for_s` seconds; its thresholds say when it is."""

    text: str
    probe: str
    for_s: float


class QueryCondition(Frozen):
    """Stop when a PromQL expression lies on `side` of `limit` for `for_s` seconds; asked at the URL `prometheus`."""

    text: str
    promql: str
    prometheus: str
    side: Literal["<", ">"]
    limit: float
    for_s: float


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise ValueError(f"must be a plain number, in the unit of the query; found {found(value)}")
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise ValueError(f"must be a number that a value can lie beyond; found {number:g}")
    return number


Limit = Annotated[float, BeforeValidator(_number)]


class GivenQuery(Spec):
    """A PromQL query as it was written: its value beyond `above` or `below` for a time ends the run."""

    promql: Text
    """An expression with one value: a scalar, or a vector with one element. Nothing is not zero: see `or vector(0)`."""
    prometheus: Annotated[Text, AfterValidator(check_template)]
    """Its address; `{name}` stands for a host of the inventory, or for the first host of a group."""
    above: Limit | None = None
    """The value is bad above this."""
    below: Limit | None = None
    """The value is bad below this; one of the two."""
    for_: PositiveDuration = Field(alias="for")
    """How long the value must be bad, without a break."""

    @model_validator(mode="after")
    def _has_one_limit(self) -> GivenQuery:
        if (self.above is None) == (self.below is None):
            raise ValueError("needs one limit: `above` or `below`")
        return self

    @property
    def for_s(self) -> float:
        """How long it must be bad, in s."""
        return self.for_

    def at(self, prometheus: str) -> QueryCondition:
        """Return the condition, asked at an address."""
        side: Literal["<", ">"] = "<" if self.above is None else ">"
        limit = self.below if self.above is None else self.above
        assert limit is not None, "it has one limit"
        text = f"{' '.join(self.promql.split())} {side} {limit:g} for {show_seconds(self.for_)}"
        return QueryCondition(
            text=text, promql=self.promql, prometheus=prometheus, side=side, limit=limit, for_s=self.for_
        )


def parse_abort(value: Any) -> AbortCondition | ProbeCondition:
    """Return a condition written as one line. Raises ValueError (UnitError among them)."""
    if isinstance(value, AbortCondition | ProbeCondition):
        return value
    if isinstance(value, str) and (probe := _PROBE.fullmatch(value)):
        return ProbeCondition(text=value, probe=probe[1], for_s=_for(probe[2]))
    form = _FORM.fullmatch(value) if isinstance(value, str) else None
    if not form:
        raise ValueError(
            f'{found(value)} is no condition; write it like "{EXAMPLE}", "{PROBE_EXAMPLE}"'
            " or {promql: ..., prometheus: ..., above: ..., for: ...}"
        )
    return _of_counters(value, *form.groups())


def _of_counters(text: str, name: str, side: str, limit: str, held: str) -> AbortCondition:
    if name not in _SIGNALS:
        raise ValueError(f"{name!r} can't be watched{nearest(name, _SIGNALS)} (allowed: {', '.join(_SIGNALS)})")
    kind = _SIGNALS[name]
    if side != kind.side:
        raise ValueError(f"{name} is watched with {kind.side!r}; {text!r} would stop a run for being well")
    for_s, edge = _for(held), kind.parse(limit)
    if edge >= kind.most if side == ">" else edge <= 0:
        raise ValueError(f"{name} is never {'more' if side == '>' else 'less'} than {limit}: it would stop no run")
    signal = next(s for s in get_args(Signal) if s == name)
    return AbortCondition(text=text, signal=signal, side=kind.side, limit=edge, for_s=for_s)


def _for(held: str) -> float:
    if not 0 < (for_s := duration(held)) < math.inf:
        raise ValueError(f"the time after `for` must be more than 0; found {held}")
    return for_s


def _form(value: Any) -> str:
    return "GivenQuery" if isinstance(value, dict | GivenQuery) else "line"


_LINE = f"^({'|'.join(_SIGNALS)}) *[<>] *\\S+ +for +\\S+$|^probe +\\S+ +unhealthy +for +\\S+$"

Line = Annotated[
    AbortCondition | ProbeCondition,
    PlainValidator(parse_abort),
    WithJsonSchema({"type": "string", "pattern": _LINE, "examples": [EXAMPLE, PROBE_EXAMPLE]}),
]
Abort = Annotated[
    Annotated[Line, Tag("line")] | Annotated[GivenQuery, Tag("GivenQuery")],
    Discriminator(_form),
]
PlannedAbort = AbortCondition | ProbeCondition | QueryCondition
