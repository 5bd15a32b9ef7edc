"""Balancers, token bucket, health and back-off: the pure decisions."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import pytest

from chaos.lab.appliance.balancer import BALANCERS, LeastOutstanding, RoundRobin
from chaos.lab.appliance.health import Health
from chaos.lab.appliance.settings import GatewaySettings, describe
from chaos.lab.appliance.supervise import BACKOFF, MAX_BACKOFF, STABLE, next_backoff
from chaos.lab.appliance.token_bucket import TokenBucket


@dataclass
class Stub:
    name: str
    outstanding: int = 0


def test_every_balancer_that_may_be_set_exists() -> None:
    assert tuple(BALANCERS) == describe(GatewaySettings())["balancer"]["choices"]


def test_round_robin_gives_each_the_same_whatever_it_has_to_do() -> None:
    workers = [Stub("a", 100), Stub("b"), Stub("c")]
    balancer = RoundRobin()
    assert Counter(balancer.pick(workers).name for _ in range(30)) == {"a": 10, "b": 10, "c": 10}


def test_round_robin_goes_on_when_a_worker_is_missing() -> None:
    workers = [Stub("a"), Stub("b"), Stub("c")]
    balancer = RoundRobin()
    balancer.pick(workers)
    assert Counter(balancer.pick(workers[:2]).name for _ in range(10)) == {"a": 5, "b": 5}


def test_least_outstanding_takes_the_least_busy() -> None:
    workers = [Stub("a", 3), Stub("b", 1), Stub("c", 2)]
    balancer = LeastOutstanding()
    assert [balancer.pick(workers).name for _ in range(3)] == ["b", "b", "b"]


def test_least_outstanding_spreads_ties() -> None:
    workers = [Stub("a"), Stub("b"), Stub("c")]
    balancer = LeastOutstanding()
    assert Counter(balancer.pick(workers).name for _ in range(30)) == {"a": 10, "b": 10, "c": 10}


def test_a_bucket_lets_its_burst_through_and_then_its_rate() -> None:
    bucket = TokenBucket()
    assert [bucket.take(0.0, rate=10, burst=3) for _ in range(3)] == [0.0, 0.0, 0.0]
    assert bucket.take(0.0, rate=10, burst=3) == pytest.approx(0.1)
    assert bucket.take(0.1, rate=10, burst=3) == 0.0
    assert bucket.take(0.1, rate=10, burst=3) == pytest.approx(0.1)


def test_a_bucket_fills_up_to_its_burst_and_no_further() -> None:
    bucket = TokenBucket()
    for _ in range(3):
        bucket.take(0.0, rate=10, burst=3)
    assert [bucket.take(100.0, rate=10, burst=3) > 0 for _ in range(4)] == [False, False, False, True]


def test_a_bucket_holds_its_rate_over_many_requests() -> None:
    bucket = TokenBucket()
    passed = sum(bucket.take(i / 2000, rate=1000, burst=10) == 0.0 for i in range(20_000))
    assert passed == pytest.approx(10_000 + 10, abs=2)


class Watched:
    def __init__(self, **settings: float) -> None:
        self.changes: list[tuple[bool, str]] = []
        options = GatewaySettings(**settings)  # type: ignore[arg-type]
        self.health = Health(options, lambda healthy, cause, _why: self.changes.append((healthy, cause)))


def test_a_worker_is_unfit_until_its_first_check_passes() -> None:
    watched = Watched(health_rise=3)
    assert not watched.health.healthy
    watched.health.check_passed(0.0)
    assert watched.health.healthy


def test_failed_checks_in_a_row_eject_and_passed_ones_readmit() -> None:
    watched = Watched(health_fall=2, health_rise=2)
    health = watched.health
    health.check_passed(0.0)
    health.check_failed("x")
    health.check_passed(1.0)
    health.check_failed("x")
    assert health.healthy
    health.check_failed("x")
    assert not health.healthy
    health.check_passed(2.0)
    health.check_failed("x")
    health.check_passed(3.0)
    assert not health.healthy
    health.check_passed(4.0)
    assert watched.changes == [(True, "check"), (False, "check"), (True, "check")]


def test_failed_requests_in_a_row_keep_a_worker_out_for_a_while() -> None:
    watched = Watched(passive_fall=2, ejection_time=5.0, health_rise=1)
    health = watched.health
    health.check_passed(0.0)
    health.request_failed(0.0, "x")
    health.request_passed()
    health.request_failed(1.0, "x")
    assert health.healthy
    health.request_failed(1.0, "x")
    assert watched.changes[-1] == (False, "requests")
    health.check_passed(5.9)
    assert not health.healthy
    health.check_passed(6.0)
    assert health.healthy
    health.request_failed(7.0, "x")
    assert health.healthy


def test_back_off_doubles_up_to_its_cap_and_begins_anew_after_a_stable_run() -> None:
    waits = [0.0]
    for _ in range(8):
        waits.append(next_backoff(waits[-1], lived=0.1))
    assert waits[1:4] == [BACKOFF, 2 * BACKOFF, 4 * BACKOFF]
    assert waits[-1] == MAX_BACKOFF
    assert next_backoff(MAX_BACKOFF, lived=STABLE) == BACKOFF
