"""The live counters against the samples of the same load."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest

from probes.live import WINDOW, LiveReader, LiveWriter, total
from probes.slo import Slo
from tests.unit.probes import oracle_server
from tests.unit.probes.running_load import run


def test_counters_agree_with_the_samples(tmp_path: Path) -> None:
    with oracle_server.running() as oracle:
        start = time.monotonic_ns() + 50_000_000
        oracle.gate = start / 1e9 + 1.0
        outcome = run(tmp_path, oracle.url("/stall"), rate=100.0, duration=1.5, slo=Slo(latency=0.3), start=start)
    live, rows = LiveReader(outcome.plan.live).read(), outcome.rows
    assert (live.state, live.start, live.window, live.in_flight, live.waiting) == ("ended", start, WINDOW, 0, 0)

    def windows(times: np.ndarray) -> list[int]:
        return np.bincount((times - start) // WINDOW, minlength=len(live.ok)).tolist()  # type: ignore[no-any-return]

    assert live.scheduled.tolist() == windows(rows["scheduled"])
    assert live.ok.tolist() == windows(rows["scheduled"])
    assert live.good.tolist() == windows(rows["scheduled"][outcome.latency <= 0.3])
    assert live.completed.tolist() == windows(rows["end"])
    assert live.completed[0] == 0 < live.scheduled[0]
    assert not live.failed.any()


def test_a_status_of_500_and_an_error_are_failed(tmp_path: Path) -> None:
    with oracle_server.running() as oracle:
        for path in ("/500", "/reset"):
            (folder := tmp_path / path[1:]).mkdir()
            live = LiveReader(run(folder, oracle.url(path)).plan.live).read()
            assert (live.failed.sum(), live.ok.sum(), live.good.sum(), live.completed.sum()) == (10, 0, 0, 0)


def test_an_end_behind_the_last_window_counts_in_the_last(tmp_path: Path) -> None:
    writer = LiveWriter(tmp_path / "live", WINDOW, np.array([3, 0]))
    writer.ended(scheduled=WINDOW, end=9 * WINDOW, ok=True, good=True)
    assert LiveReader(tmp_path / "live").read().completed.tolist() == [0, 1]


def test_what_two_processes_say_adds_up(tmp_path: Path) -> None:
    for name in ("a", "b"):
        writer = LiveWriter(tmp_path / name, 0, np.array([2, 1]))
        writer.ended(scheduled=5, end=WINDOW // 2, ok=True, good=name == "a")
        writer.gauge(1, 2, "ended" if name == "a" else "running")
    both = total([LiveReader(tmp_path / name).read() for name in ("a", "b")])
    assert (both.scheduled.tolist(), both.ok.tolist(), both.good.tolist()) == ([4, 2], [2, 0], [1, 0])
    assert (both.in_flight, both.waiting, both.state) == (2, 4, "running")
    assert both.latency(0.5, 0, 2)[0] == pytest.approx(0.5, rel=1 / 16)
    assert np.isnan(both.latency(0.5, 0, 2)[1])


def test_counters_of_different_loads_do_not_add_up(tmp_path: Path) -> None:
    for name, windows in (("a", 1), ("b", 2)):
        LiveWriter(tmp_path / name, 0, np.zeros(windows, np.int64))
    with pytest.raises(ValueError, match="one load"):
        total([LiveReader(tmp_path / name).read() for name in ("a", "b")])


def test_another_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "live").write_bytes(bytes(4096))
    with pytest.raises(ValueError, match="not the live counters"):
        LiveReader(tmp_path / "live")
