"""What holds for every schedule: sorted, repeatable, within its bounds, as many and as dispersed as it says, shared."""

from __future__ import annotations

import tracemalloc
from itertools import chain
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from probes.profile import Profile, Step
from probes.schedule import NS, Ints, Process, Renewals, Schedule
from probes.seeds import Stream, stream
from probes.trace import Fit, Replay, Rows, TokenCounts, Trace

PROCESSES: tuple[Process, ...] = ("constant", "poisson", "gamma")
processes = st.sampled_from(PROCESSES)
rates = st.floats(0.5, 1000)
durations = st.floats(0.01, 20)
seeds = st.integers(0, 2**64)
shapes = st.floats(0.2, 20)
some_steps = st.lists(
    st.builds(Step, st.floats(0.1, 5), st.floats(0, 400), st.floats(0, 400)), min_size=1, max_size=4
).filter(lambda steps: any(step.first + step.last > 1 for step in steps))


def renewals(
    process: Process, rate: float, duration: float, seed: int, burstiness: float = 1.0, *steps: Step
) -> Renewals:
    profile = Profile(steps or (Step(None, rate, rate),), duration)
    return Renewals.of(process, burstiness, profile, duration, seed)


def offsets_of(source: Renewals | Replay) -> Ints:
    return np.concatenate(list(source.offsets()))


def arrivals(process: Process, rate: float, duration: float, seed: int, burstiness: float = 1.0) -> Ints:
    return offsets_of(renewals(process, rate, duration, seed, burstiness))


def length(steps: list[Step]) -> float:
    return sum(step.seconds or 0 for step in steps)


def intended(steps: list[Step], until: float) -> float:
    """The integral of the rate, by the area of one trapezium a step."""
    total, begin = 0.0, 0.0
    for step in steps:
        assert step.seconds
        inside = min(max(until - begin, 0.0), step.seconds)
        reached = step.first + (step.last - step.first) * inside / step.seconds
        total, begin = total + (step.first + reached) / 2 * inside, begin + step.seconds
    return total


@given(processes, some_steps, seeds, shapes)
@settings(deadline=None, max_examples=60)
def test_sorted_repeatable_and_within_the_duration(
    process: Process, steps: list[Step], seed: int, shape: float
) -> None:
    duration = length(steps)
    source = renewals(process, 0, duration, seed, shape, *steps)
    offsets = offsets_of(source)
    assert offsets.dtype == np.int64
    assert (np.diff(offsets) >= 0).all()
    assert (offsets >= 0).all()
    assert (offsets < round(duration * NS)).all()
    assert np.array_equal(offsets, offsets_of(source))


@given(processes, rates, durations, durations, seeds, shapes)
@settings(deadline=None, max_examples=40)
def test_a_shorter_schedule_is_a_prefix_of_a_longer_one(
    process: Process, rate: float, one: float, other: float, seed: int, shape: float
) -> None:
    shorter, longer = (arrivals(process, rate, duration, seed, shape) for duration in sorted((one, other)))
    assert np.array_equal(shorter, longer[: len(shorter)])


@given(processes, some_steps, st.floats(0, 1), seeds, st.sampled_from([0.25, 1.0, 4.0]))
@settings(deadline=None, max_examples=100)
def test_as_many_arrive_up_to_any_moment_as_the_integral_of_the_rate(
    process: Process, steps: list[Step], share: float, seed: int, shape: float
) -> None:
    duration = length(steps)
    until = share * duration
    found = int((offsets_of(renewals(process, 0, duration, seed, shape, *steps)) < until * NS).sum())
    mean = intended(steps, until)
    dispersion = {"constant": 0.0, "poisson": 1.0, "gamma": 1 / shape}[process]
    # 6 standard deviations; the 12 are a burst, whose tail is longer than that of a normal count when the mean is small
    assert abs(found - mean) <= 1 + 6 * np.sqrt(dispersion * mean) + 12 * dispersion


@given(some_steps)
@settings(deadline=None, max_examples=60)
def test_paced_arrivals_come_where_the_integral_is_whole(steps: list[Step]) -> None:
    duration = length(steps)
    offsets = offsets_of(renewals("constant", 0, duration, 0, 1.0, *steps))
    reached = [intended(steps, offset / NS) for offset in offsets.tolist()]
    assert reached == pytest.approx(list(range(len(offsets))), abs=1e-3)


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
@settings(deadline=None, max_examples=20)
def test_classes_follow_their_weights(weights: list[float], seed: int) -> None:
    schedule = Schedule(renewals("constant", 10_000, 2, seed), 0, weights, seed)
    classes = [klass for _, _, klass in schedule]
    shares = np.array(weights) / sum(weights)
    found = np.bincount(classes, minlength=len(weights)) / len(classes)
    assert found == pytest.approx(shares, abs=6 * 0.5 / np.sqrt(len(classes)))
    assert classes == [klass for _, _, klass in schedule]


def test_times_and_classes_are_independent_streams_of_the_seed() -> None:
    children = np.random.SeedSequence(7).spawn(len(Stream))
    drawn = [stream(7, which).random() for which in Stream]
    assert drawn == [np.random.default_rng(child).random() for child in children]


@given(processes, seeds, st.integers(1, 5))
@settings(deadline=None, max_examples=30)
def test_workers_share_one_schedule_exactly(process: Process, seed: int, workers: int) -> None:
    source = renewals(process, 3000, 1.2, seed)  # more than one block
    whole = list(Schedule(source, 5 * NS, [1, 3], seed))
    assert [number for number, _, _ in whole] == list(range(len(whole)))
    shares = [Schedule(source, 5 * NS, [1, 3], seed, worker, workers) for worker in range(workers)]
    assert sorted(chain.from_iterable(shares)) == whole
    counted = np.sum([share.per_window(NS // 10, 13) for share in shares], axis=0)
    assert np.array_equal(counted, Schedule(source, 5 * NS).per_window(NS // 10, 13))
    for worker, share in enumerate(shares):
        own = list(share)
        assert [number % workers for number, _, _ in own] == [worker] * len(own)
        assert share.due().by(2**62) == len(own)


@given(seeds, st.lists(st.floats(0, 5), min_size=1, max_size=20), st.integers(0, 2))
@settings(deadline=None, max_examples=30)
def test_what_is_due_is_what_has_come_up_to_now(seed: int, moments: list[float], worker: int) -> None:
    schedule = Schedule(renewals("poisson", 1500, 4, seed), NS, seed=seed, worker=worker, workers=3)
    times = [time for _, time, _ in schedule]
    due = schedule.due()
    for now in sorted(NS + round(moment * NS) for moment in moments):
        assert due.by(now) == sum(time <= now for time in times)


def test_ten_hours_take_no_more_memory_than_a_minute() -> None:
    """Half a million arrivals are enough to see what would grow with them: as arrays they take 4 MB, as tuples 60."""
    schedule = Schedule(renewals("poisson", 2000, 36_000, 1), 0, [1, 2], 1)
    due, arrived = schedule.due(), iter(schedule)
    tracemalloc.start()
    try:
        for number, _, _ in arrived:
            if number == 500_000:
                break
        due.by(250 * NS)
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
    finally:
        tracemalloc.stop()


# --- traces -----------------------------------------------------------------------------------------------------------


def synthetic_trace(path: Path, gaps: list[float], tokens: int = 1000) -> Path:
    """Write a trace of the form of Azure's, with rows of numbers that are easily told apart."""
    when = np.datetime64("2023-11-16T18:15:46.680590000") + np.cumsum([round(g * 1e7) * 100 for g in gaps])
    rows = [f"{str(t).replace('T', ' ')[:-2]},{tokens + i},{i}" for i, t in enumerate(when)]
    path.write_text("\n".join(["TIMESTAMP,ContextTokens,GeneratedTokens", *rows]) + "\n")
    return path


def columns(replay: Replay) -> Rows:
    return Rows(*(np.concatenate(column) for column in zip(*replay.rows(), strict=True)))


@pytest.fixture(scope="module")
def trace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    gaps = np.random.default_rng(3).gamma(0.5, 0.02, 4000)
    return synthetic_trace(tmp_path_factory.mktemp("traces") / "synthetic.csv", gaps.tolist())


def test_a_trace_is_replayed_as_recorded(trace: Path) -> None:
    whole = columns(Replay.of(trace, None, None, 20, 1))
    lines = trace.read_text().splitlines()[1:]
    recorded = np.array([line.split(",")[0] for line in lines], "datetime64[ns]").astype(np.int64)
    recorded -= recorded[0]
    assert np.array_equal(whole.times, recorded[recorded < 20 * NS])
    assert whole.generated.tolist() == list(range(len(whole.times)))
    assert np.array_equal(whole.context, 1000 + whole.generated)


@given(seeds, st.floats(0.05, 1))
@settings(deadline=None, max_examples=20)
def test_thinning_keeps_a_share_in_order_and_shifts_nothing(trace: Path, seed: int, share: float) -> None:
    rows, seconds = Trace(trace).extent()
    whole = columns(Replay.of(trace, None, None, seconds, seed))
    thinned = columns(Replay.of(trace, "thin", share * (rows - 1) / seconds, seconds, seed))
    assert np.array_equal(thinned.times, whole.times[thinned.generated])  # generated is the number of the row
    assert (np.diff(thinned.generated) > 0).all()
    assert len(thinned.times) == pytest.approx(share * rows, abs=1 + 6 * np.sqrt(rows * share * (1 - share)))


@given(st.floats(0.2, 5))
@settings(deadline=None, max_examples=20)
def test_scaling_keeps_every_row_and_the_proportions_of_the_gaps(trace: Path, factor: float) -> None:
    rows, seconds = Trace(trace).extent()
    mean = (rows - 1) / seconds
    duration = seconds / factor * 0.999
    whole = columns(Replay.of(trace, None, None, seconds, 0))
    scaled = columns(Replay.of(trace, "scale", mean * factor, duration, 0))
    assert scaled.generated.tolist() == list(range(len(scaled.times)))
    assert np.allclose(scaled.times * factor, whole.times[: len(scaled.times)], rtol=1e-9, atol=factor * 2)
    assert len(scaled.times) / duration == pytest.approx(mean * factor, rel=0.02)


@pytest.mark.parametrize(("fit", "rate"), [(None, None), ("thin", 20.0), ("scale", 200.0)])
def test_a_trace_is_shared_by_workers_and_counts_its_tokens_by_number(
    trace: Path, fit: Fit | None, rate: float | None
) -> None:
    replay = Replay.of(trace, fit, rate, 15, 9)
    shares = [Schedule(replay, NS, [1, 1], 9, worker, 3) for worker in range(3)]
    assert sorted(chain.from_iterable(shares)) == list(Schedule(replay, NS, [1, 1], 9))
    rows, counts = columns(replay), TokenCounts(replay)
    expected = list(zip(rows.context.tolist(), rows.generated.tolist(), strict=True))
    assert [counts(number) for number in range(1, len(expected), 3)] == expected[1::3]
    assert counts(0) == expected[0]  # asked for out of order it is slower, not wrong
