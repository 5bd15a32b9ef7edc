"""Asking a Prometheus for one value, beside a run: the value, or why there is none now."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from probes.prometheus import QueryFailed, query_url, samples_of

if TYPE_CHECKING:
    import httpx


class NoValueError(Exception):
    """A query gives no single number now; the message says which and why."""


def open_client(timeout: float) -> httpx.Client:
    """Return what asks; an answer that takes longer than `timeout` s is none."""
    import httpx

    return httpx.Client(timeout=timeout, trust_env=False)


def one_value(client: httpx.Client, base: str, query: str) -> float:
    """Return the one value of an expression now, which may be infinite. Raises NoValueError."""
    import httpx

    try:
        samples = samples_of(client.get(query_url(base), params={"query": query}))
    except (httpx.HTTPError, httpx.InvalidURL, UnicodeError, QueryFailed) as error:
        raise NoValueError(f"{base} does not answer {query!r}: {error or type(error).__name__}") from error
    if len(samples) != 1:
        advice = "aggregate them, as sum(...) does" if samples else "write `or vector(0)` where absence means none"
        raise NoValueError(f"{query!r} gives {len(samples)} values, one is wanted: {advice}")
    if math.isnan(samples[0].value):
        raise NoValueError(f"{query!r} gives nan, a number is wanted")
    return samples[0].value
