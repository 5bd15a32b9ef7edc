"""What holds for every schedule: it is sorted, repeatable, within its bounds, and as dispersed as it says."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from probes.schedule import NS, Process, Schedule, arrivals, assign_classes

PROCESSES: tuple[Process, ...] = ("constant", "poisson", "gamma")
processes = st.sampled_from(PROCESSES)
rates = st.floats(0.5, 1000)
durations = st.floats(0.01, 20)
seeds = st.integers(0, 2**64)
shapes = st.floats(0.2, 20)


@given(processes, rates, durations, seeds, shapes)
@settings(deadline=None, max_examples=40)
def test_sorted_repeatable_and_within_the_duration(
    process: Process, rate: float, duration: float, seed: int, shape: float
) -> None:
    offsets = arrivals(process, rate, duration, seed, shape)
    assert offsets.dtype == np.int64
    assert (np.diff(offsets) >= 0).all()
    assert (offsets >= 0).all()
    assert (offsets < round(duration * NS)).all()
    assert np.array_equal(offsets, arrivals(process, rate, duration, seed, shape))


@given(processes, rates, durations, durations, seeds, shapes)
@settings(deadline=None, max_examples=40)
def test_a_shorter_schedule_is_a_prefix_of_a_longer_one(
    process: Process, rate: float, one: float, other: float, seed: int, shape: float
) -> None:
    shorter, longer = (arrivals(process, rate, duration, seed, shape) for duration in sorted((one, other)))
    assert np.array_equal(shorter, longer[: len(shorter)])


@given(st.integers(1, 5000), st.integers(1, 20))
@settings(deadline=None, max_examples=40)
def test_a_constant_rate_has_the_same_count_in_every_second(rate: int, duration: int) -> None:
    offsets = arrivals("constant", rate, duration, seed=0)
    assert np.bincount(offsets // NS).tolist() == [rate] * duration


@given(seeds, st.sampled_from([0.25, 1.0, 4.0]))
@settings(deadline=None, max_examples=30)
def test_the_mean_count_is_rate_times_duration_and_its_dispersion_is_one_over_the_shape(
    seed: int, shape: float
) -> None:
    windows, per_window = 1000, 100
    offsets = arrivals("gamma", per_window, windows, seed, shape)
    counts = np.bincount(offsets // NS, minlength=windows)
    # 6 standard errors: of the mean sqrt(F/(m n)), of the dispersion about F sqrt(2/n)
    assert counts.mean() == pytest.approx(per_window, abs=6 * np.sqrt(per_window / shape / windows))
    assert counts.var(ddof=1) / counts.mean() == pytest.approx(1 / shape, rel=6 * np.sqrt(2 / windows) + 0.05)


def test_a_bursty_process_has_no_extra_arrivals_at_its_start() -> None:
    """An ordinary renewal process would start with (1/b - 1)/2 = 9.5 arrivals too many; this one is stationary."""
    counts = [len(arrivals("gamma", 100, 2, seed, burstiness=0.05)) for seed in range(2000)]
    assert np.mean(counts) == pytest.approx(200, abs=4.5)  # 3 standard errors of 63 / sqrt(2000)


@given(st.lists(st.floats(0.1, 10), min_size=1, max_size=5), seeds)
@settings(deadline=None, max_examples=40)
def test_classes_follow_their_weights(weights: list[float], seed: int) -> None:
    count = 20_000
    classes = assign_classes(count, weights, seed)
    shares = np.array(weights) / sum(weights)
    found = np.bincount(classes, minlength=len(weights)) / count
    assert found == pytest.approx(shares, abs=6 * 0.5 / np.sqrt(count))
    assert np.array_equal(classes[:100], assign_classes(100, weights, seed))


@given(seeds)
@settings(deadline=None, max_examples=20)
def test_iterating_gives_the_arrays_back(seed: int) -> None:
    offsets = arrivals("poisson", 5_000, 1.2, seed)  # more than one block
    schedule = Schedule(5 * NS + offsets, assign_classes(len(offsets), [1, 3], seed))
    numbers, times, classes = zip(*schedule, strict=True)
    assert numbers == tuple(range(len(offsets)))
    assert np.array_equal(times, schedule.times)
    assert np.array_equal(classes, schedule.classes)


def test_due_and_per_window_count_the_same_arrivals() -> None:
    schedule = Schedule(NS + arrivals("poisson", 500, 4, seed=3), np.zeros(0, np.int16))
    counts = schedule.per_window(NS, NS, windows=6)
    assert counts.sum() == len(schedule.times)
    assert counts[4:].tolist() == [0, 0]
    assert schedule.due(3 * NS - 1) == counts[:2].sum()
