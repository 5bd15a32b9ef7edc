"""Which answers are good."""

from __future__ import annotations

import pytest

from probes.slo import NS, Slo

SECOND = NS


@pytest.mark.parametrize(
    ("slo", "end", "first_token", "tokens", "good"),
    [
        (Slo(), 100.0, 0.0, 0, True),
        (Slo(latency=1.0), 1.0, 0.0, 0, True),
        (Slo(latency=1.0), 1.001, 0.0, 0, False),
        (Slo(ttft=0.5), 9.0, 0.5, 3, True),
        (Slo(ttft=0.5), 9.0, 0.501, 3, False),
        (Slo(ttft=0.5), 0.1, 0.0, 0, False),  # no token at all
        (Slo(tpot=0.1), 1.4, 1.0, 5, True),
        (Slo(tpot=0.1), 1.41, 1.0, 5, False),
        (Slo(tpot=0.1), 9.0, 1.0, 1, True),  # one token has none after it
        (Slo(tpot=0.1), 9.0, 0.0, 0, False),
        (Slo(latency=2.0, ttft=0.5, tpot=0.1), 0.9, 0.5, 5, True),
        (Slo(latency=0.8, ttft=0.5, tpot=0.1), 0.9, 0.5, 5, False),
    ],
)
def test_all_limits_must_be_met(slo: Slo, end: float, first_token: float, tokens: int, good: bool) -> None:
    begin = 7 * SECOND
    token = begin + round(first_token * NS) if first_token else 0
    assert slo.met(begin, begin + round(end * NS), token, tokens) is good
