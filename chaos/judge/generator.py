"""Whether the load was what it was meant to be: asked before any figure is believed.

It takes the requests that were due between warm-up and the end of the observation. The generator is sound unless

    the p99 of the send delay (sent - scheduled) is above 10 % of the smallest SLO on a time from the intended send
    (latency, ttft), or above 10 ms where none is declared
    the p99 of the lag of its event loop is above the same
    more than 0.1 % of the requests were due and never sent
    a process of it took more than 80 % of a core in some second
    fewer than 99 % of the offered requests left by the end, give or take one permitted delay
    the recording holds fewer requests than the arrival process explains: rows are missing

A request whose connection was refused did leave: that failure is the system's. One that waited for a free connection
until it was too late did not. The 10 ms follow inference-perf's advice for its `schedule_delay`. The lag has the limit
of the delay because it does the same harm: an answer that waits for the loop is timed late by as much as a request
that waited for it was sent late. Of several processes the worst is judged.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from chaos.judge.requests import BoolArray, Requests
from chaos.judge.verdict import Generator
from chaos.record.terms import Terms
from chaos.record.usage import Usage

SLO_SHARE = 0.10
DELAY_WITHOUT_SLO_S = 0.010
UNSENT = 0.001
ACHIEVED = 0.99
SIGMAS = 5
BUSIEST = 0.80


@dataclass(frozen=True)
class Gate:
    """The generator's figures, and a sentence for each thing that is wrong with it."""

    generator: Generator
    problems: tuple[str, ...]


def gate(requests: Requests, terms: Terms, begin: int, end: int, usage: Sequence[Usage] = ()) -> Gate:
    """Judge the generator over windows `[begin, end)`, counted from zero; `usage` has an entry for each process."""
    due = (requests.scheduled_window >= begin) & (requests.scheduled_window < end)
    span_s, n = (end - begin) * terms.window, int(due.sum())
    if n == 0:
        idle = Generator(offered_rate=terms.rate, achieved_rate=0.0, sound=False)
        return Gate(
            idle, (f"no request was recorded, {terms.rate:g}/s were asked for: see why the load did not start",)
        )
    limit = delay_limit_s(terms)
    unsent = int((requests.unsent & due).sum())
    left = n - unsent - _late(requests, due, end, terms.window, limit)
    p50, p99, longest = _delays(requests, due)
    problems = (
        *_slow(p99, limit),
        *_unsent(unsent, n),
        *_behind(left, n, span_s),
        *_incomplete(n, terms, begin * terms.window, end * terms.window),
        *strain(usage, terms),
    )
    generator = Generator(
        offered_rate=n / span_s,
        achieved_rate=left / span_s,
        send_delay_p50_s=p50,
        send_delay_p99_s=p99,
        send_delay_max_s=longest,
        unsent=unsent,
        **used(usage),
        sound=not problems,
    )
    return Gate(generator, problems)


def strain(usage: Sequence[Usage], terms: Terms) -> tuple[str, ...]:
    """Return what is wrong with how the load's processes fared on their machine, a sentence each."""
    return (*_lagging(usage, delay_limit_s(terms)), *_busy(usage))


def delay_limit_s(terms: Terms) -> float:
    """Return the largest p99 of the send delay at which the load still is what it claims to be, in s."""
    limits = [slo for slo in (terms.slo_latency, terms.slo_ttft) if slo is not None]
    return SLO_SHARE * min(limits) if limits else DELAY_WITHOUT_SLO_S


def used(usage: Sequence[Usage]) -> dict[str, Any]:
    """Return the fields of Generator that say what its processes used, the worst of each."""
    if not usage:
        return {}
    return {
        "transport": ", ".join(sorted({u.transport for u in usage})),
        "cpu_busiest": max(u.busiest for u in usage),
        "loop_lag_p99_s": max(u.loop_lag_p99_s for u in usage),
        "loop_lag_max_s": max(u.loop_lag_max_s for u in usage),
    }


def _late(requests: Requests, due: BoolArray, end: int, window_s: float, limit: float) -> int:
    """Count the requests that left only after the span and the permitted delay.

    A row knows its window and its delay, which bounds when it was sent: at the earliest at the start of its window.
    """
    room = (end - requests.scheduled_window[due]) * window_s + limit
    return int(np.sum(requests.send_delay_s[due] > room))


def _delays(requests: Requests, due: BoolArray) -> tuple[float | None, float | None, float | None]:
    delays = requests.send_delay_s[due]
    delays = delays[~np.isnan(delays)]
    if not len(delays):
        return None, None, None
    p50, p99, longest = np.quantile(delays, (0.5, 0.99, 1.0)).tolist()
    return p50, p99, longest


def _slow(p99: float | None, limit: float) -> tuple[str, ...]:
    if p99 is None or p99 <= limit:
        return ()
    return (
        f"the generator sent late: the p99 of the send delay is {p99 * 1e3:.3g} ms, at most {limit * 1e3:.3g} ms is "
        "allowed: lower the rate, allow more connections, or give the generator a free core",
    )


def _unsent(unsent: int, n: int) -> tuple[str, ...]:
    if unsent <= UNSENT * n:
        return ()
    return (
        f"{unsent} of {n} requests were never sent, at most {UNSENT:.1%} is allowed: lower the rate or allow more "
        "connections",
    )


def _behind(left: int, n: int, span_s: float) -> tuple[str, ...]:
    if left >= ACHIEVED * n:
        return ()
    return (
        f"the generator fell behind: {left / span_s:.5g}/s of the offered {n / span_s:.5g}/s left in time, at least "
        f"{ACHIEVED:.0%} is required: lower the rate or give the generator a free core",
    )


def _incomplete(n: int, terms: Terms, begin_s: float, end_s: float) -> tuple[str, ...]:
    expected = terms.intended(begin_s, end_s)
    least = ACHIEVED * expected - SIGMAS * math.sqrt((terms.arrival_dispersion or 0.0) * expected) - 1
    if n >= least:
        return ()
    return (
        f"the recording holds {n} requests in {end_s - begin_s:g} s, about {expected:.0f} were intended: the load "
        "ended early or rows were lost; repeat the run",
    )


def _lagging(usage: Sequence[Usage], limit: float) -> tuple[str, ...]:
    lag = max((u.loop_lag_p99_s for u in usage), default=0.0)
    if lag <= limit:
        return ()
    return (
        f"the generator's event loop was held up: the p99 of its lag is {lag * 1e3:.3g} ms, at most {limit * 1e3:.3g} "
        "ms is allowed: lower the rate, or give the generator a free core",
    )


def _busy(usage: Sequence[Usage]) -> tuple[str, ...]:
    busiest = max((u.busiest for u in usage), default=0.0)
    if busiest <= BUSIEST:
        return ()
    return (
        f"the generator took {busiest:.0%} of a core in its busiest second, at most {BUSIEST:.0%} is allowed: lower "
        "the rate, or share the load between more processes",
    )
