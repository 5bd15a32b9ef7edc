"""Waiting to absolute times, and many equal timeouts."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from time import monotonic_ns

import uvloop

from probes.timer import AbsoluteTimer, Deadlines


def in_loop(main: Callable[[], Awaitable[None]]) -> None:
    async def run() -> None:
        await main()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(run())


def test_the_timer_is_never_early_and_one_in_the_past_fires_at_once() -> None:
    async def main() -> None:
        loop, fired = asyncio.get_running_loop(), asyncio.Queue[int]()
        timer = AbsoluteTimer(loop, lambda: fired.put_nowait(monotonic_ns()))
        when = monotonic_ns() + 5_300_000
        timer.arm(when)
        assert await asyncio.wait_for(fired.get(), 2) >= when
        timer.arm(1)
        await asyncio.wait_for(fired.get(), 2)
        timer.close()
        assert fired.empty()

    in_loop(main)


def test_arming_anew_forgets_the_time_before() -> None:
    async def main() -> None:
        loop, fired = asyncio.get_running_loop(), asyncio.Queue[int]()
        timer = AbsoluteTimer(loop, lambda: fired.put_nowait(monotonic_ns()))
        timer.arm(1)
        later = monotonic_ns() + 20_000_000
        timer.arm(later)
        assert await asyncio.wait_for(fired.get(), 2) >= later
        timer.close()

    in_loop(main)


def test_deadlines_expire_in_order_and_only_what_was_not_discarded() -> None:
    async def main() -> None:
        expired: list[tuple[str, int]] = []
        deadlines = Deadlines[str](
            asyncio.get_running_loop(), 0.03, lambda item: expired.append((item, monotonic_ns()))
        )
        began = {}
        for item in ("a", "b", "c"):
            began[item] = monotonic_ns()
            deadlines.add(item, began[item])
            await asyncio.sleep(0.01)
        deadlines.discard("b")
        assert deadlines.items() == ["a", "c"] or expired
        while len(expired) < 2:
            await asyncio.sleep(0.005)
        assert [item for item, _ in expired] == ["a", "c"]
        assert all(when - began[item] >= 30_000_000 for item, when in expired)
        assert len(deadlines) == 0

    in_loop(main)
