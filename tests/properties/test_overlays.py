"""What holds for every overlay: the load beneath stays what it was, workers share it, calling off ends it."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from itertools import chain
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from probes.keys import KeyLaw, hot_keys, key_of
from probes.overlay import NUMBERS, Overlay
from probes.plan import LoadPlan, RequestClass
from probes.profile import Step
from probes.request import forms
from probes.schedule import NS, Arrival, Process
from probes.superposition import schedule_of

DURATION = 6.0
KEYS = 50
PROCESSES: tuple[Process, ...] = ("constant", "poisson", "gamma")
seeds = st.integers(0, 2**63)
spans = st.tuples(st.floats(0, 5.9), st.floats(0.01, 6)).map(lambda s: (s[0], min(s[0] + s[1], DURATION)))
laws = st.one_of(
    st.builds(lambda hot, share: KeyLaw(hot=hot, share=share), st.floats(0.01, 1), st.floats(0.01, 1)),
    st.builds(lambda zipf: KeyLaw(zipf=zipf), st.floats(0.1, 3)),
)
ramps = st.lists(st.builds(Step, st.floats(0.05, 1), st.floats(1, 900), st.floats(0, 900)), min_size=0, max_size=2)


def _extra(span: tuple[float, float], steps: list[Step], last: float) -> Overlay:
    """Return a burst of steps that fit into a span, the last of which goes on to its end."""
    room, kept = span[1] - span[0], []
    for step in steps:
        assert step.seconds
        if step.seconds < room:
            kept.append(step)
            room -= step.seconds
    return Overlay(begin=span[0], end=span[1], extra=(*kept, Step(None, last, last)))


bursts = st.builds(_extra, spans, ramps, st.floats(1, 900))
at_once = st.builds(lambda at, n: Overlay(begin=at, end=at, requests=n), st.floats(0, 5.9), st.integers(1, 3000))
evenly = st.builds(lambda s, n: Overlay(begin=s[0], end=s[1], requests=n), spans, st.integers(1, 3000))
skews = st.builds(
    lambda s, weights, law: Overlay(begin=s[0], end=s[1], weights=weights, keys=law),
    spans,
    st.sampled_from([(), (1.0, 9.0), (0.0, 1.0)]),
    st.one_of(st.none(), laws),
)
adding = st.lists(st.one_of(bursts, at_once, evenly), min_size=1, max_size=3)


def plan(process: Process, seed: int, *overlays: Overlay, rate: float = 300.0, **changes: Any) -> LoadPlan:
    classes = (
        RequestClass(name="hot", weight=3, body='{"k": "{key}"}'), RequestClass(name="cold", body="{seq}")
    )  # fmt: skip
    base: dict[str, Any] = {
        "url": "http://x/", "duration": DURATION, "start": 7 * NS, "samples": "s", "live": "l", "method": "POST",
        "rate": rate, "process": process, "burstiness": 0.5, "seed": seed, "keys": KEYS, "classes": classes,
    }  # fmt: skip
    return LoadPlan(**base | {"overlays": overlays} | changes)


def sent(plan: LoadPlan) -> list[Arrival]:
    return list(schedule_of(plan))


@given(st.sampled_from(PROCESSES), seeds, adding)
@settings(deadline=None, max_examples=40)
def test_the_load_beneath_a_burst_stays_what_it_was(process: Process, seed: int, overlays: list[Overlay]) -> None:
    plain, laid = sent(plan(process, seed)), sent(plan(process, seed, *overlays))
    assert [arrival for arrival in laid if arrival[0] < NUMBERS] == plain
    assert [time for _, time, _ in laid] == sorted(time for _, time, _ in laid)
    assert len({number for number, _, _ in laid}) == len(laid)
    for index, overlay in enumerate(overlays):
        own = [time - 7 * NS for number, time, _ in laid if number // NUMBERS == index + 1]
        assert all(round(overlay.begin * NS) <= time <= round(overlay.end * NS) for time in own)
        assert not overlay.requests or len(own) == overlay.requests


@given(st.sampled_from(PROCESSES), seeds, skews)
@settings(deadline=None, max_examples=40)
def test_a_skew_moves_no_arrival_and_touches_none_outside_of_it(process: Process, seed: int, skew: Overlay) -> None:
    plain, laid = sent(plan(process, seed)), sent(plan(process, seed, skew))
    assert [arrival[:2] for arrival in laid] == [arrival[:2] for arrival in plain]
    begin, end = 7 * NS + round(skew.begin * NS), 7 * NS + round(skew.end * NS)
    outside = [index for index, (_, time, _) in enumerate(plain) if not begin <= time < end]
    assert [laid[index] for index in outside] == [plain[index] for index in outside]
    if not skew.weights:
        assert [form % 2 for _, _, form in laid] == [form for _, _, form in plain]


@given(st.sampled_from(PROCESSES), seeds, st.lists(st.one_of(bursts, at_once, skews), max_size=3), st.integers(1, 4))
@settings(deadline=None, max_examples=30)
def test_workers_share_all_of_it_exactly(process: Process, seed: int, overlays: list[Overlay], workers: int) -> None:
    whole = plan(process, seed, *overlays)
    shares = [schedule_of(replace(whole, worker=worker, workers=workers)) for worker in range(workers)]
    assert sorted(chain.from_iterable(shares)) == sorted(schedule_of(whole))
    for share in shares:
        own = [time for _, time, _ in share]
        assert share.per_window(NS, 7).sum() == len(own)
        due = share.due()
        assert [due.by(moment) for moment in own[::50]] == [sum(t <= moment for t in own) for moment in own[::50]]


@given(st.sampled_from(PROCESSES), seeds, st.one_of(bursts, at_once, evenly, skews), st.floats(0, DURATION))
@settings(deadline=None, max_examples=40)
def test_calling_off_leaves_what_was_before_and_the_plain_load_after(
    process: Process, seed: int, overlay: Overlay, at: float
) -> None:
    laid, when = plan(process, seed, overlay), round(at * NS)
    whole, plain, called_off = sent(laid), sent(replace(laid, overlays=())), sent(laid.called_off(0, when))
    assert [a for a in called_off if a[1] < 7 * NS + when] == [a for a in whole if a[1] < 7 * NS + when]
    assert [a for a in called_off if a[1] >= 7 * NS + when] == [a for a in plain if a[1] >= 7 * NS + when]
    assert laid.called_off(0, when).called_off(0, when + NS) == laid.called_off(0, when)


@pytest.mark.parametrize(("process", "dispersion"), [("constant", 0.0), ("poisson", 1.0), ("gamma", 2.0)])
def test_the_sum_has_the_rate_of_both_and_the_dispersion_of_each(process: Process, dispersion: float) -> None:
    burst = Overlay(begin=0.0, end=400.0, extra=(Step(None, 200.0, 200.0),))
    times = [time for _, time, _ in sent(plan(process, 5, burst, rate=100.0, duration=400.0))]
    counts = np.bincount((np.array(times) - 7 * NS) // NS, minlength=400)
    assert counts.mean() == pytest.approx(300, abs=6 * np.sqrt(max(dispersion, 0.01) * 300 / 400))
    assert counts.var(ddof=1) / counts.mean() == pytest.approx(dispersion, abs=0.02 + 6 * dispersion * np.sqrt(2 / 400))


def test_classes_under_a_skew_are_within_their_binomial_interval() -> None:
    skew = Overlay(begin=1.0, end=5.0, weights=(1.0, 9.0))
    for share, inside in ((0.1, True), (0.75, False)):
        chosen = [
            form for _, time, form in sent(plan("poisson", 3, skew, rate=2000.0))
            if (8 * NS <= time < 12 * NS) == inside
        ]  # fmt: skip
        low, high = stats.binom.interval(0.99, len(chosen), share)
        assert low <= chosen.count(0) <= high


@given(laws, seeds, st.integers(1, 2000))
@settings(deadline=None, max_examples=40)
def test_a_law_of_keys_is_a_law(law: KeyLaw, seed: int, keys: int) -> None:
    chances = law.probabilities(keys)
    assert len(chances) == keys
    assert chances.sum() == pytest.approx(1)
    assert (chances >= 0).all()
    draw = key_of(keys, law, seed)
    drawn = [draw(number) for number in range(200)]
    assert drawn == [draw(number) for number in range(200)]
    assert 0 <= min(drawn) <= max(drawn) < keys


def test_ninety_percent_of_the_requests_go_to_twenty_percent_of_the_keys() -> None:
    draw = key_of(100, KeyLaw(hot=0.2, share=0.9), 1)
    drawn = [draw(number) for number in range(20_000)]
    low, high = stats.binom.interval(0.99, len(drawn), 0.9)
    assert low <= sum(key < 20 for key in drawn) <= high
    assert stats.chisquare([drawn.count(key) for key in range(20)]).pvalue > 0.001, "alike among the hot ones"
    assert [hot_keys(*few) for few in ((3, 0.01), (10, 0.2), (10, 0.21), (7, 1.0))] == [1, 2, 3, 7]


def test_zipf_has_its_shape_and_without_a_law_all_are_alike() -> None:
    for law, chances in (
        (KeyLaw(zipf=1.0), (1 / np.arange(1, 41)) / (1 / np.arange(1, 41)).sum()),
        (None, np.full(40, 1 / 40)),
    ):
        draw, n = key_of(40, law, 2), 20_000
        counted = Counter(draw(number) for number in range(n))
        assert stats.chisquare([counted[key] for key in range(40)], chances * n).pvalue > 0.001


def test_a_body_says_its_key_by_the_law_of_its_moment() -> None:
    skew = Overlay(begin=2.0, end=4.0, keys=KeyLaw(hot=0.02, share=1.0))
    laid = plan("poisson", 4, skew)
    encoders = forms(laid)
    assert len(encoders) == 4
    keys = {False: set(), True: set()}  # type: dict[bool, set[bytes]]
    for number, time, form in sent(laid):
        if form % 2 == 0:
            keys[9 * NS <= time < 11 * NS].add(encoders[form](number).rpartition(b"\r\n\r\n")[2])
    assert keys[True] == {b'{"k": "0"}'}
    assert len(keys[False]) == KEYS
