"""Prometheus' HTTP API, as little of it as is needed: an instant query, and the samples it comes to.

https://prometheus.io/docs/prometheus/latest/querying/api: `data.resultType` is scalar (one value without labels) or
vector (one value a series); values are strings, so that NaN and +Inf can stand in JSON.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import httpx


class QueryFailed(ValueError):
    """Prometheus refused a query, or the answer is not Prometheus'; the message says which. `status` is HTTP's."""

    def __init__(self, status: int, why: str) -> None:
        super().__init__(why)
        self.status = status


@dataclass(frozen=True)
class Sample:
    """One value at one moment (Unix time, s), and the labels of its series."""

    value: float
    time_s: float
    labels: Mapping[str, str] = field(default_factory=dict)


def query_url(base: str) -> str:
    """Return where instant queries go; `base` may have a path of its own (a prefix)."""
    return f"{base.rstrip('/')}/api/v1/query"


async def instant(client: httpx.AsyncClient, base: str, query: str) -> tuple[Sample, ...]:
    """Return the value of a PromQL expression now. Raises QueryFailed, and httpx.TransportError."""
    return samples_of(await client.get(query_url(base), params={"query": query}))


def samples_of(answer: httpx.Response) -> tuple[Sample, ...]:
    """Return the samples of an answer to an instant query, none for an empty vector. Raises QueryFailed."""
    body = _body(answer)
    if body.get("status") != "success":
        raise QueryFailed(answer.status_code, f"Prometheus says {body.get('errorType')}: {body.get('error')}")
    data = body.get("data", {})
    kind, result = data.get("resultType"), data.get("result")
    try:
        if kind == "scalar":
            return (_sample(result, {}),)
        if kind == "vector":
            return tuple(_sample(series["value"], series["metric"]) for series in result)
    except (KeyError, TypeError, ValueError) as error:
        raise QueryFailed(answer.status_code, f"the {kind} in Prometheus' answer can't be read: {error!r}") from error
    raise QueryFailed(answer.status_code, f"the query gives a {kind}; a scalar or an instant vector is wanted")


def _body(answer: httpx.Response) -> dict[str, Any]:
    try:
        body = answer.json()
    except ValueError:
        body = None
    if not isinstance(body, dict) or "status" not in body:
        raise QueryFailed(answer.status_code, f"{answer.url} answered {answer.status_code} and not as Prometheus does")
    return body


def _sample(pair: tuple[float, str], labels: Mapping[str, str]) -> Sample:
    time_s, value = pair
    return Sample(float(value), float(time_s), labels)
