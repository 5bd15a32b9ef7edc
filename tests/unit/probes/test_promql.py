"""Instant queries and the probe made of them, against a real Prometheus."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Iterator

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from probes.errors import ErrorKind
from probes.health import Outcome
from probes.health.promql import Promql, holds
from probes.prometheus import QueryFailed, Sample, instant, query_url, samples_of
from tests.unit.probes.real_prometheus import prometheus

UP = 'label_replace(vector(1), "job", "gateway", "", "")'


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with prometheus(tmp_path_factory.mktemp("prometheus")) as running:
        yield running.url


def query(url: str, text: str) -> tuple[Sample, ...]:
    async def ask() -> tuple[Sample, ...]:
        async with httpx.AsyncClient(trust_env=False) as client:
            return await instant(client, url, text)

    return asyncio.run(ask())


def check(url: str, text: str, ok: str = "> 0") -> Outcome:
    return asyncio.run(Promql(url=url, query=text, ok=ok).check())


def test_a_scalar_a_vector_and_nothing(url: str) -> None:
    (scalar,) = query(url, "1.5")
    assert (scalar.value, dict(scalar.labels)) == (1.5, {})
    (up,) = query(url, UP)
    assert (up.value, dict(up.labels)) == (1.0, {"job": "gateway"})
    assert abs(up.time_s - time.time()) < 60
    assert query(url, 'up{job="nobody"}') == ()
    assert math.isnan(query(url, "0 / 0")[0].value)


def test_a_query_that_is_refused_says_why(url: str) -> None:
    with pytest.raises(QueryFailed, match=r"bad_data.*parse error") as refused:
        query(url, "up{")
    assert refused.value.status == 400
    with pytest.raises(QueryFailed, match="a scalar or an instant vector is wanted"):
        query(url, "up[1m]")


def test_what_is_not_prometheus_is_told_from_it() -> None:
    answer = httpx.Response(200, text="ok", request=httpx.Request("GET", "http://x/api/v1/query"))
    with pytest.raises(QueryFailed, match="http://x/api/v1/query answered 200 and not as Prometheus does"):
        samples_of(answer)


def test_a_prefix_stays_in_the_address() -> None:
    assert query_url("http://x:9090") == query_url("http://x:9090/") == "http://x:9090/api/v1/query"
    assert query_url("http://x/prometheus") == "http://x/prometheus/api/v1/query"


@pytest.mark.parametrize(
    ("text", "ok", "error"),
    [
        (UP, "> 0", ErrorKind.OK),
        (UP, "== 0", ErrorKind.UNHEALTHY),
        ("vector(0.25)", "<= 0.25", ErrorKind.OK),
        ("0 / 0", ">= 0", ErrorKind.UNHEALTHY),
        ('up{job="nobody"}', "> 0", ErrorKind.UNHEALTHY),
        (f"{UP} or vector(2)", "> 0", ErrorKind.MALFORMED),
        ("up{", "> 0", ErrorKind.MALFORMED),
    ],
)
def test_one_value_is_held_against_the_condition(url: str, text: str, ok: str, error: ErrorKind) -> None:
    assert check(url, text, ok).error is error


def test_no_prometheus_is_no_answer() -> None:
    assert check("http://127.0.0.1:1", "up").error is ErrorKind.CONNECT_REFUSED


@given(st.floats(allow_nan=False, allow_infinity=False), st.floats(allow_nan=False, allow_infinity=False))
def test_a_condition_and_its_opposite_never_both_hold(value: float, limit: float) -> None:
    for one, other in (("<", ">="), (">", "<="), ("==", "!=")):
        assert holds(f"{one} {limit!r}", value) != holds(f"{other} {limit!r}", value)
        assert not holds(f"{one} {limit!r}", math.nan)


@pytest.mark.parametrize("condition", ["", "0", "> ", "=> 1", "> 1 2", "> one", "> 1.2.3", "!> 0"])
def test_what_is_no_condition_is_refused(condition: str) -> None:
    with pytest.raises(ValueError, match=r"is no condition|could not convert"):
        holds(condition, 0.0)
