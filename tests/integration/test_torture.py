"""The torture of `scripts/torture`, with few seeds."""

from __future__ import annotations

import os

import pytest

from tests.torture.__main__ import report, torture

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="namespaces need root")
TRIALS = 30


@pytest.mark.timeout(300)
def test_whatever_dies_every_fault_lets_go() -> None:
    outcomes = torture(range(1, TRIALS + 1), side_by_side=8)
    assert not any(outcome.wrong for outcome in outcomes), report(outcomes)
    assert len(outcomes) == TRIALS
