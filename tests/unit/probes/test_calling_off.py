"""A real load that is told, in the middle of a burst, to leave out the rest of it."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from chaos.run.load import LIVE, LoadProcess
from probes.errors import PlanError
from probes.keys import KeyLaw
from probes.live import Live
from probes.overlay import NUMBERS, Overlay
from probes.plan import LoadPlan, RequestClass
from probes.profile import Step
from probes.superposition import schedule_of
from tests.unit.probes.oracle_server import Oracle, running
from tests.unit.probes.running_load import plan_for, read

NS = 1_000_000_000
BURST = Overlay(begin=0.2, end=1.8, extra=(Step(None, 400.0, 400.0),))


def seen(load: LoadProcess) -> Live:
    """Return its counters, all 0 before there are any."""
    nothing = np.zeros(1, np.int64)
    return load.live() or Live(0, NS, 0, 0, "ready", nothing, nothing, nothing, nothing, nothing, nothing[:, None])


def wait_until(is_so: Callable[[], bool], within: float = 15.0) -> None:
    end = time.monotonic() + within
    while not is_so():
        assert time.monotonic() < end, "it never came to be"
        time.sleep(0.01)


def numbers(server: Oracle) -> list[int]:
    return sorted(int(found) for request in server.requests for found in re.findall(rb"<(\d+)>", request))


def told(folder: Path, url: str, **changes: object) -> LoadPlan:
    classes = (RequestClass(name="a", body="<{seq}>"), RequestClass(name="b", body="<{seq}>"))
    values = {"rate": 50.0, "duration": 2.0, "method": "POST", "classes": classes, "live": str(folder / LIVE)}
    return plan_for(folder, url, **values | {"start": time.monotonic_ns() + 2 * NS} | changes)


def test_what_is_called_off_is_left_out_at_once_and_the_rest_goes_on(tmp_path: Path) -> None:
    skew = Overlay(begin=0.2, end=1.8, weights=(0.0, 1.0))
    with running() as server:
        plan = told(tmp_path, server.url("/ok"), overlays=(BURST, skew))
        load = LoadProcess.launch(tmp_path, plan)
        try:
            wait_until(lambda: seen(load).completed.sum() > 150)
            for overlay in (0, 1, 0):  # twice is once
                load.call_off(overlay)
            wait_until(lambda: seen(load).called_off == 0b11)
            heard = time.monotonic_ns()
            assert seen(load).scheduled.sum() < 640, "the counters hold no more than what is left"
            assert load.wait(10) == 0
            assert seen(load).scheduled.sum() == seen(load).ok.sum() == len(server.requests)
        finally:
            load.stop()
        outcome = read(plan, 0)
        received = numbers(server)
    base = [number for number, _, _ in schedule_of(told(tmp_path, server.url("/ok")))]
    assert [number for number in received if number < NUMBERS] == base, "none is lost, none is sent twice"
    extra = sum(number >= NUMBERS for number in received)
    assert 50 < extra < 640 - 100
    rows = outcome.rows
    assert sorted({*outcome.errors}) == ["ok"]
    late = rows[rows["scheduled"] > heard]
    assert len(late) == pytest.approx((plan.start + 2 * NS - heard) / NS * 50, abs=2), "the plain load, at its own rate"
    assert set(late["klass"].tolist()) == {0, 1}
    skewed = rows[(rows["scheduled"] >= plan.start + 2 * NS // 10) & (rows["scheduled"] < heard - NS // 5)]
    assert set(skewed["klass"].tolist()) == {1}


def test_an_overlay_that_ended_or_never_began_can_be_called_off(tmp_path: Path) -> None:
    over, ahead = Overlay(begin=0.0, end=0.0, requests=30), Overlay(begin=1.9, end=1.9, requests=500)
    with running() as server:
        plan = told(tmp_path, server.url("/ok"), overlays=(over, ahead), duration=2.0)
        load = LoadProcess.launch(tmp_path, plan)
        wait_until(lambda: seen(load).completed.sum() > 40)
        for overlay in (0, 1):
            load.call_off(overlay)
        assert load.wait(10) == 0
        load.stop()
        assert len(server.requests) == 130
    assert np.isin(read(plan, 0).rows["error"], [0]).all()


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"begin": -1.0}, r"overlays\.begin: must be a number >= 0"),
        ({"end": 3.0}, r"overlays\.end: the load lasts 2 s; found 3"),
        ({"end": 0.1}, r"overlays\.end: must be a number >= 0\.2"),
        ({"end": 0.2}, "a rate needs some time"),
        ({"requests": 3}, "either extra or requests"),
        ({"weights": (1.0,)}, r"overlays\.weights: must be one for each class; found 1"),
        ({"weights": (0.0, 0.0)}, "at least one must be more than 0"),
        ({"keys": KeyLaw(zipf=1.0)}, "the load has no keys"),
    ],
)
def test_an_overlay_that_makes_no_sense_is_refused(tmp_path: Path, changes: dict[str, object], says: str) -> None:
    values = {"begin": 0.2, "end": 1.8, "extra": BURST.extra, **changes}
    with pytest.raises(PlanError, match=says):
        told(tmp_path, "http://x/", overlays=(Overlay(**values),))  # type: ignore[arg-type]  # that is what is tried


@pytest.mark.parametrize("law", [{}, {"hot": 0.2}, {"hot": 0.2, "share": 0.5, "zipf": 1.0}, {"hot": 2.0, "share": 0.5}])
def test_a_law_that_makes_no_sense_is_refused(law: dict[str, float]) -> None:
    with pytest.raises(PlanError, match="keys"):
        KeyLaw(**law)


def test_a_plan_with_overlays_is_read_as_it_was_written(tmp_path: Path) -> None:
    skew = Overlay(begin=0.5, end=1.0, weights=(1.0, 2.0), keys=KeyLaw(hot=0.2, share=0.9), called_off=5)
    plan = told(tmp_path, "http://x/", overlays=(BURST, skew), keys=10)
    plan.write(tmp_path / "plan.json")
    assert LoadPlan.read(tmp_path / "plan.json") == plan
