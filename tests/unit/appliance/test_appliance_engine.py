"""Continuous batching, by a clock that a test holds."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from chaos.lab.appliance.engine import MAX_LAG, QueueFull, Scheduler, Sequence, SleepEngine, Step, TooLong, step_seconds
from chaos.lab.appliance.settings import WorkerSettings


def scheduler(**settings: int) -> Scheduler:
    return Scheduler(WorkerSettings(**settings))


def submit(to: Scheduler, *sequences: Sequence) -> None:
    for sequence in sequences:
        to.submit(sequence)


def test_a_step_costs_base_batch_tokens_and_preemptions() -> None:
    settings = WorkerSettings(step_base=1.0, step_per_sequence=0.1, step_per_token=0.01, preemption_cost=0.5)
    assert step_seconds(Step(batch=3, tokens=20, preempted=2), settings) == pytest.approx(1.0 + 0.3 + 0.2 + 1.0)


def test_an_idle_scheduler_has_no_step() -> None:
    assert scheduler().begin_step(0.0) is None


def test_the_first_step_computes_the_prompt_and_the_next_one_token_each() -> None:
    engine = scheduler()
    submit(engine, Sequence(10, 3), Sequence(20, 3))
    assert engine.begin_step(0.0) == Step(batch=2, tokens=30, preempted=0)
    engine.end_step(1.0)
    assert engine.begin_step(1.0) == Step(batch=2, tokens=2, preempted=0)


def test_a_sequence_joins_between_two_steps_and_leaves_when_it_has_its_tokens() -> None:
    engine = scheduler()
    first, second = Sequence(10, 2), Sequence(10, 2)
    submit(engine, first)
    engine.begin_step(0.0)
    submit(engine, second)
    assert engine.end_step(1.0) == [first]
    assert engine.begin_step(1.0) == Step(batch=2, tokens=11, preempted=0)
    assert engine.end_step(2.0) == [first, second]
    assert first.finished
    assert engine.running == [second]
    assert engine.kv_tokens == second.context == 11


def test_admission_stops_at_max_batch_in_order_of_arrival() -> None:
    engine = scheduler(max_batch=2)
    sequences = [Sequence(5, 1) for _ in range(3)]
    submit(engine, *sequences)
    engine.begin_step(0.0)
    assert engine.running == sequences[:2]
    engine.end_step(1.0)
    engine.begin_step(1.0)
    assert engine.running == sequences[2:]
    assert (sequences[0].admitted, sequences[2].admitted) == (0.0, 1.0)


def test_max_batch_counts_from_the_next_step_when_it_changes() -> None:
    settings = WorkerSettings(max_batch=1)
    engine = Scheduler(settings)
    submit(engine, Sequence(5, 9), Sequence(5, 9))
    engine.begin_step(0.0)
    engine.end_step(1.0)
    settings.max_batch = 2
    assert engine.begin_step(1.0) == Step(batch=2, tokens=6, preempted=0)


def test_a_full_queue_refuses() -> None:
    engine = scheduler(max_waiting=1)
    submit(engine, Sequence(5, 1))
    with pytest.raises(QueueFull):
        engine.submit(Sequence(5, 1))


def test_what_would_not_fit_the_cache_alone_is_refused() -> None:
    engine = scheduler(kv_capacity=16)
    submit(engine, Sequence(12, 4))
    with pytest.raises(TooLong):
        engine.submit(Sequence(13, 4))


def test_admission_waits_for_room_in_the_cache() -> None:
    engine = scheduler(kv_capacity=16)
    submit(engine, Sequence(7, 1), Sequence(8, 1))
    assert engine.begin_step(0.0) == Step(batch=1, tokens=7, preempted=0)


def test_overflow_preempts_the_last_admitted_and_its_context_is_computed_anew() -> None:
    engine = scheduler(kv_capacity=18)
    old, young = Sequence(7, 6), Sequence(7, 6)
    submit(engine, old, young)
    for now in range(2):
        assert engine.begin_step(now) == Step(2, 14 if now == 0 else 2, 0)
        engine.end_step(now + 1)
    assert engine.kv_tokens == 18
    assert engine.begin_step(2.0) == Step(batch=1, tokens=1, preempted=1)
    assert (list(engine.waiting), engine.preemptions, engine.kv_tokens) == ([young], 1, 9)
    steps = run_to_the_end(engine)
    assert (old.generated, young.generated) == (6, 6)
    # When it came back, prompt and the two tokens it had were computed again.
    assert Step(batch=1, tokens=9, preempted=0) in steps
    assert (engine.kv_tokens, young.first_token, young.admitted) == (0, 1.0, 0.0)


def run_to_the_end(engine: Scheduler) -> list[Step]:
    steps = []
    engine.end_step(3.0)
    while (step := engine.begin_step(3.0)) is not None:
        steps.append(step)
        engine.end_step(3.0)
    return steps


def test_a_capacity_lowered_under_a_sequence_lets_it_run_alone() -> None:
    settings = WorkerSettings(kv_capacity=100)
    engine = Scheduler(settings)
    submit(engine, Sequence(40, 4), Sequence(40, 4))
    settings.kv_capacity = 16
    for _ in range(8):
        step = engine.begin_step(0.0)
        assert step is not None
        assert step.batch == 1
        engine.end_step(0.0)
    assert engine.begin_step(0.0) is None


def test_cancelling_takes_a_sequence_out_of_queue_or_batch() -> None:
    engine = scheduler(max_batch=1)
    running, waiting = Sequence(5, 3), Sequence(6, 3)
    submit(engine, running, waiting)
    engine.begin_step(0.0)
    engine.cancel(running)
    assert (engine.end_step(1.0), engine.kv_tokens) == ([], 0)
    engine.cancel(waiting)
    assert engine.begin_step(1.0) is None


class HeldClock:
    """Time and timers; `run(late)` fires the next timer that much after it was due."""

    def __init__(self) -> None:
        self.now = 0.0
        self._timers: list[tuple[float, Callable[[], None]]] = []

    def read(self) -> float:
        return self.now

    def call_later(self, delay: float, callback: Callable[[], None]) -> None:
        self._timers.append((self.now + delay, callback))

    def run(self, late: float = 0.0) -> None:
        due, callback = self._timers.pop(0)
        self.now = due + late
        callback()

    @property
    def idle(self) -> bool:
        return not self._timers


def paced(clock: HeldClock) -> tuple[SleepEngine, list[float]]:
    settings = WorkerSettings(step_base=0.01, step_per_sequence=0.0, step_per_token=0.0)
    ends: list[float] = []
    engine = SleepEngine(
        Scheduler(settings), settings, clock.read, clock.call_later, lambda batch: ends.extend(clock.now for _ in batch)
    )
    return engine, ends


def test_late_timers_do_not_add_up() -> None:
    clock = HeldClock()
    engine, ends = paced(clock)
    engine.submit(Sequence(1, 100))
    for _ in range(100):
        clock.run(late=0.004)
    assert ends[-1] == pytest.approx(100 * 0.01 + 0.004)
    assert clock.idle


def test_an_engine_that_was_held_up_does_not_catch_up_for_ever() -> None:
    clock = HeldClock()
    engine, ends = paced(clock)
    engine.submit(Sequence(1, 100))
    clock.run(late=5.0)
    while not clock.idle:
        clock.run()
    assert ends[-1] == pytest.approx(5.01 + 99 * 0.01 - MAX_LAG)


def test_an_idle_engine_begins_at_the_arrival() -> None:
    clock = HeldClock()
    engine, ends = paced(clock)
    engine.submit(Sequence(1, 1))
    clock.run()
    clock.now = 7.0
    engine.submit(Sequence(1, 1))
    clock.run()
    assert ends == [pytest.approx(0.01), pytest.approx(7.01)]
