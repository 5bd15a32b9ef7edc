"""The monitor sees a loop that is held up, and a core that is kept busy."""

from __future__ import annotations

import asyncio
import json
import time
from pathlib import Path
from typing import Any

import uvloop

from probes.generator import GeneratorMonitor
from tests.unit.probes import oracle_server
from tests.unit.probes.running_load import run


def _monitored(path: Path, hold_up: float, busy: float) -> dict[str, Any]:
    async def main() -> None:
        monitor = GeneratorMonitor(asyncio.get_running_loop())
        await asyncio.sleep(0.1)
        time.sleep(hold_up)
        until = time.monotonic() + busy
        while time.monotonic() < until:
            sum(range(1000))
            await asyncio.sleep(0)
        await asyncio.sleep(0.1)
        monitor.close()
        monitor.write(path, "wire", 3)

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main())
    found: dict[str, Any] = json.loads(path.read_text())
    return found


def test_a_loop_that_is_held_up(tmp_path: Path) -> None:
    seen = _monitored(tmp_path / "seen.json", hold_up=0.3, busy=0)
    assert 0.27 <= seen["loop_lag_max_s"] < 5
    assert seen["loop_lag_p50_s"] < 0.1
    assert seen["wall_s"] >= 0.45  # a timer may fire within its clock's resolution early
    assert (seen["transport"], seen["connections_opened"]) == ("wire", 3)


def test_a_core_that_is_busy(tmp_path: Path) -> None:
    idle = _monitored(tmp_path / "idle.json", hold_up=1.2, busy=0)
    busy = _monitored(tmp_path / "busy.json", hold_up=0, busy=1.2)
    assert idle["busiest"] < busy["busiest"] <= 1.5
    assert busy["cpu_s"] > idle["cpu_s"]


def test_a_load_writes_what_it_used(tmp_path: Path) -> None:
    with oracle_server.running() as oracle:
        run(tmp_path, oracle.url("/ok"), connections=4, statistics=str(tmp_path / "generator.json"))
    seen = json.loads((tmp_path / "generator.json").read_text())
    assert seen["connections_opened"] == 4
    assert 0 < seen["cpu_s"] <= 2 * seen["wall_s"]
