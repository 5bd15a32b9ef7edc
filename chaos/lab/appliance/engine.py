"""Continuous batching: which sequences the next step serves, how long it takes, and when it ends.

`Scheduler` is pure: sequences in, steps out, no clock. `SleepEngine` paces it: a step "computes" by letting its time
pass. The worker submits sequences and is called back with those that got a token. The rules are vLLM's (v1 scheduler):
first come first served; a sequence joins between two steps; each step gives each running sequence one token; its
context (prompt and output so far) lives in the KV cache; when the cache would overflow, the sequence admitted last is
preempted to the head of the queue and its context is computed anew when it comes back; a step that preempts admits
none.

The decision a reader would question: a step ends at an absolute time, the end of the step before plus its cost, not at
"now plus cost". Timers fire up to a millisecond off, and steps take a few: otherwise the error would be a good part of
what the worker seems able to do.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from chaos.lab.appliance.settings import WorkerSettings

MAX_LAG = 0.1
"""s. An engine that was held up longer (a stopped process) has lost that time, as an accelerator would have."""


class QueueFull(Exception):
    """As many sequences wait for admission as may."""


class TooLong(Exception):
    """The sequence would not fit the KV cache even alone."""


class Sequence:
    """One request in the engine. `arrived`, `admitted` (-1 before) and `first_token` (-1 before): s, engine's clock."""

    __slots__ = ("admitted", "arrived", "first_token", "generated", "max_tokens", "prompt_tokens")

    def __init__(self, prompt_tokens: int, max_tokens: int) -> None:
        self.prompt_tokens, self.max_tokens = prompt_tokens, max_tokens
        self.generated = 0
        self.arrived = self.admitted = self.first_token = -1.0

    @property
    def context(self) -> int:
        """Tokens that the sequence holds in the KV cache while it runs."""
        return self.prompt_tokens + self.generated

    @property
    def finished(self) -> bool:
        """Whether it has all its tokens."""
        return self.generated >= self.max_tokens


@dataclass(frozen=True, slots=True)
class Step:
    """What one step does: sequences served, tokens computed (prefill and decode), sequences preempted for it."""

    batch: int
    tokens: int
    preempted: int


def step_seconds(step: Step, settings: WorkerSettings) -> float:
    """Return what a step takes, in s."""
    return (
        settings.step_base
        + settings.step_per_sequence * step.batch
        + settings.step_per_token * step.tokens
        + settings.preemption_cost * step.preempted
    )


class Scheduler:
    """The queue, the batch and the KV cache's book-keeping."""

    def __init__(self, settings: WorkerSettings) -> None:
        self._settings = settings
        self.running: list[Sequence] = []
        self.waiting: deque[Sequence] = deque()
        self.kv_tokens = 0
        self.preemptions = 0

    def submit(self, sequence: Sequence) -> None:
        """Put a sequence at the end of the queue; raises TooLong or QueueFull."""
        if sequence.prompt_tokens + sequence.max_tokens > self._settings.kv_capacity:
            raise TooLong
        if len(self.waiting) >= self._settings.max_waiting:
            raise QueueFull
        self.waiting.append(sequence)

    def cancel(self, sequence: Sequence) -> None:
        """Take out a sequence that was submitted and has not finished."""
        if sequence in self.running:
            self.running.remove(sequence)
            self.kv_tokens -= sequence.context
        else:
            self.waiting.remove(sequence)

    def begin_step(self, now: float) -> Step | None:
        """Make up the batch of the next step; None when there is nothing to do."""
        preempted = self._preempt()
        decoding = len(self.running)
        prefill = 0 if preempted else self._admit(now)
        return Step(len(self.running), prefill + decoding, preempted) if self.running else None

    def end_step(self, now: float) -> list[Sequence]:
        """Give each sequence of the batch its token, let the finished ones go, and return them all."""
        batch = self.running
        self.kv_tokens += len(batch)
        for sequence in batch:
            sequence.generated += 1
            if sequence.first_token < 0:
                sequence.first_token = now
        self.running = [sequence for sequence in batch if not sequence.finished]
        self.kv_tokens -= sum(sequence.context for sequence in batch if sequence.finished)
        return batch

    def _preempt(self) -> int:
        preempted = 0
        while len(self.running) > 1 and self.kv_tokens + len(self.running) > self._settings.kv_capacity:
            sequence = self.running.pop()
            self.kv_tokens -= sequence.context
            self.waiting.appendleft(sequence)
            preempted += 1
        self.preemptions += preempted
        return preempted

    def _admit(self, now: float) -> int:
        """Admit while batch and cache have room; return the tokens of context to compute."""
        prefill = 0
        while self.waiting and len(self.running) < self._settings.max_batch and self._fits(self.waiting[0]):
            sequence = self.waiting.popleft()
            if sequence.admitted < 0:
                sequence.admitted = now
            self.running.append(sequence)
            self.kv_tokens += sequence.context
            prefill += sequence.context
        return prefill

    def _fits(self, sequence: Sequence) -> bool:
        # Alone it always runs: the capacity may have been lowered under it, and the queue must not stop for ever.
        if not self.running:
            return True
        next_tokens = len(self.running) + 1
        return self.kv_tokens + sequence.context + next_tokens <= self._settings.kv_capacity


class SleepEngine:
    """Runs a scheduler's steps in calibrated time.

    `now()`: a clock in s; `call_later(delay, callback)`: the loop's; `deliver(batch)`: gets what a step served.
    """

    def __init__(
        self,
        scheduler: Scheduler,
        settings: WorkerSettings,
        now: Callable[[], float],
        call_later: Callable[[float, Callable[[], None]], object],
        deliver: Callable[[list[Sequence]], None],
    ) -> None:
        self._scheduler, self._settings = scheduler, settings
        self._now, self._call_later, self._deliver = now, call_later, deliver
        self._busy = False
        self._deadline = 0.0

    def submit(self, sequence: Sequence) -> None:
        """Queue a sequence; an idle engine starts a step at once. Raises TooLong or QueueFull."""
        sequence.arrived = self._now()
        self._scheduler.submit(sequence)
        if not self._busy:
            self._begin(sequence.arrived)

    def _begin(self, start: float) -> None:
        step = self._scheduler.begin_step(start)
        self._busy = step is not None
        if step is not None:
            self._deadline = start + step_seconds(step, self._settings)
            self._call_later(max(0.0, self._deadline - self._now()), self._end)

    def _end(self) -> None:
        now = self._now()
        batch = self._scheduler.end_step(now)
        self._begin(max(self._deadline, now - MAX_LAG))
        self._deliver(batch)
