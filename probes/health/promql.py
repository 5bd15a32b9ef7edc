"""promql: an instant query whose one value is held against a condition.

Its resolution is Prometheus' own: the value is as old as the last scrape (and the last evaluation, for a rule), so a
detection by it can't be quicker than the scrape interval, however often it is asked. No sample at all is not well: that
is how a series shows that vanished with its target. Several samples can't be held against one condition; they count as
`malformed`, as does a query that Prometheus refuses: aggregate them, with min() or sum().
"""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Callable
from time import monotonic_ns
from typing import Annotated, ClassVar

from pydantic import AfterValidator

from probes.errors import ErrorKind
from probes.health._address import checked_url
from probes.health._failure import why_failed
from probes.health._probe import Outcome, Probe, Target
from probes.prometheus import QueryFailed, instant

_CONDITION = re.compile(r"\s*(<=|>=|==|!=|<|>)\s*([+-]?[0-9.]+(?:[eE][+-]?[0-9]+)?)\s*")
_SIDES: dict[str, Callable[[float, float], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "==": operator.eq,
    "!=": operator.ne,
}


def _query(text: str) -> str:
    if not text.strip():
        raise ValueError("must not be empty")
    return text


def holds(condition: str, value: float) -> bool:
    """Return whether "> 0" is true of a value; nothing is true of NaN. Raises ValueError for what is no condition."""
    form = _CONDITION.fullmatch(condition)
    if not form:
        raise ValueError(f'{condition!r} is no condition; write it like "> 0" (allowed: {" ".join(_SIDES)})')
    return not math.isnan(value) and _SIDES[form[1]](value, float(form[2]))


def _ok(condition: str) -> str:
    holds(condition, 0.0)
    return condition


class Promql(Probe):
    """Ask Prometheus; well when the query's one value meets a condition."""

    kind: ClassVar[str] = "promql"

    url: Annotated[Target, AfterValidator(checked_url)]
    """Prometheus' own address; /api/v1/query is added."""
    query: Annotated[str, AfterValidator(_query)]
    """A PromQL expression with one value: a scalar, or a vector with one element."""
    ok: Annotated[str, AfterValidator(_ok)]
    """The condition on the value, like "> 0"."""

    async def check(self) -> Outcome:
        """Ask once, on a connection of its own."""
        import httpx

        try:
            async with httpx.AsyncClient(trust_env=False, timeout=None) as client:
                samples = await instant(client, self.url, self.query)
        except QueryFailed as error:
            return Outcome(ErrorKind.MALFORMED, error.status)
        except (httpx.InvalidURL, UnicodeError):  # a host that no name can be, which httpx finds out here
            return Outcome(ErrorKind.DNS_FAILED)
        except httpx.DecodingError:
            return Outcome(ErrorKind.MALFORMED)
        except httpx.TransportError as error:
            return Outcome(why_failed(error))
        return Outcome(self._opinion([sample.value for sample in samples]), 200, monotonic_ns())

    def prepare(self) -> None:
        """Load the library."""
        import httpx  # noqa: F401

    def _opinion(self, values: list[float]) -> ErrorKind:
        if len(values) > 1:
            return ErrorKind.MALFORMED
        return ErrorKind.OK if values and holds(self.ok, values[0]) else ErrorKind.UNHEALTHY
