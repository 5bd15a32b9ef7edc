"""How many streamed chat completions a second our load follows on one core, with its chunk times still true.

The server notes when it sent each chunk, the load when it got it; both read one CLOCK_MONOTONIC. The difference holds
the kernel's way from one to the other and whatever the load was late.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from numpy.typing import NDArray

from probes.plan import RequestClass
from probes.samples import HEADER
from probes.timer import NS
from scripts.benchmarks import figures
from scripts.benchmarks.chat_server import CHUNKS, GAP
from scripts.benchmarks.load import Load, loaded
from scripts.benchmarks.processes import BenchError, cpu_seconds, end
from scripts.benchmarks.result import Bench, Result
from scripts.benchmarks.rounds import absolute, in_rounds
from scripts.benchmarks.search import highest, twice
from scripts.benchmarks.servers import chat_server

ROUNDS = 2
_GUESS = 2_000.0
_TRIAL = 3.0  # s
_CHUNK_ERROR = 1.0  # ms
_OURS = "our load, streams"
_BODY = json.dumps({"model": "bench", "stream": True, "messages": [{"role": "user", "content": "{seq}"}]})


@dataclass(frozen=True)
class Trial:
    """One load of streams: its rate, whether all was sent in time and answered whole, and what both sides noted.

    `error` is the p99 of received - sent over all chunks in ms; `ceiling` what the server could do at most, in
    streams/s, going by the CPU time that one stream cost it.
    """

    rate: float
    sound: bool
    error: float
    ceiling: float

    @property
    def sustained(self) -> bool:
        """Whether the rate counts."""
        return self.sound and self.error <= _CHUNK_ERROR


def measure(bench: Bench) -> Result:
    """Search the highest rate in each round, and take the chunk times at the rate of the target."""
    sustained: list[Trial] = []
    at_target: list[float] = []

    def sustains(rate: float) -> bool:
        done = trial(bench, rate)
        if done.sustained:
            sustained.append(done)
        return done.sustained

    def search() -> float:
        at_target.append(trial(bench, figures.STREAMS.limit).error)
        return highest(twice(sustains), max((done.rate for done in sustained), default=_GUESS))

    rates = in_rounds({_OURS: search}, ROUNDS, bench.say)
    return Result(
        "Streams on one core",
        (
            absolute(figures.STREAMS, rates[_OURS], "aim: 4 000/s"),
            absolute(figures.CHUNK_ERROR, at_target, f"at {figures.STREAMS.limit:.0f} streams/s"),
        ),
        rates,
        (
            f"Each stream has {CHUNKS} chunks, {GAP // 1_000_000} ms apart. Sustained: for {_TRIAL:g} s every stream "
            "ends whole, the p99 of sent - scheduled is within 1 ms, and so is the p99 of the chunk times. The chat "
            f"server's own ceiling, by the CPU time of a stream: {_ceiling(sustained)}.",
        ),
    )


def _ceiling(sustained: list[Trial]) -> str:
    best = max(sustained, key=lambda done: done.rate, default=None)
    return figures.quantity(best.ceiling, "/s") if best else "not measured"


def trial(bench: Bench, rate: float) -> Trial:
    """Run one load at this rate against a server of its own. Raises BenchError."""
    with TemporaryDirectory(prefix="gameday-bench-") as name:
        stamps = Path(name) / "stamps"
        with chat_server(bench.server, stamps) as (url, server):
            plan = {
                "method": "POST",
                "headers": {"Content-Type": "application/json"},
                "classes": (RequestClass(name="chat", body=_BODY),),
                "connections": 16_384,
                "stream": True,
                "chunks": f"{name}/chunks.bin",
            }
            idle = cpu_seconds(server.pid)
            with loaded(bench.client, url, rate, _TRIAL, **plan) as load:
                ceiling = len(load.rows) / max(cpu_seconds(server.pid) - idle, 0.01)
                end(server)
                error = _chunk_error(load, stamps, Path(f"{name}/chunks.bin"))
                done = Trial(rate, load.sustained, error, ceiling)
                bench.say(
                    f"{rate:.0f}/s: send delay p99 {1000 * load.send_delay:.2f} ms, chunks p99 {error:.2f} ms, "
                    f"{'all answered' if load.complete else 'not all answered'}; server could do {ceiling:.0f}/s"
                )
    return done


def _chunk_error(load: Load, stamps: Path, chunks: Path) -> float:
    """Return the p99 of received - sent in ms, over the streams that ended whole; inf for none. Raises BenchError."""
    if not stamps.exists():
        raise BenchError("the chat server left no times behind")
    sent = np.fromfile(stamps, np.int64).reshape(-1, CHUNKS + 1)
    sent = sent[np.argsort(sent[:, 0])]
    number = np.argsort(np.argsort(load.rows["scheduled"], kind="stable"), kind="stable")  # of each row's arrival
    whole = (load.rows["chunks"] == CHUNKS) & np.isin(number, sent[:, 0])
    if not whole.any():
        return float("inf")
    received = _received(chunks, load.rows["chunks"])[whole]
    matching = sent[np.searchsorted(sent[:, 0], number[whole]), 1:]
    return float(np.quantile(received - matching, 0.99)) / NS * 1000


def _received(path: Path, counts: NDArray[np.int32]) -> NDArray[np.int64]:
    """Return a row of CHUNKS times for each row of the samples; 0s where it has another number of chunks."""
    times = np.fromfile(path, np.int64, offset=HEADER)
    first = np.cumsum(counts) - counts
    found = np.zeros((len(counts), CHUNKS), np.int64)
    whole = counts == CHUNKS
    found[whole] = times[first[whole, None] + np.arange(CHUNKS)]
    return found
