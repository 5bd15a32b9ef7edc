"""The rate that our open loop sustains on one core, beside what other clients reach on the same core."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from probes.schedule import Process
from scripts.benchmarks import figures
from scripts.benchmarks.load import loaded
from scripts.benchmarks.peers import AIOHTTP, HEY, HTTPX, IN_FLIGHT, LOCUST, LOCUST_FAST, WRK
from scripts.benchmarks.processes import BenchError
from scripts.benchmarks.result import Bench, Result
from scripts.benchmarks.rounds import absolute, in_rounds, ratio
from scripts.benchmarks.search import highest, twice
from scripts.benchmarks.servers import nginx

ROUNDS = 3
_TRIAL = 3.0  # s of one load
_PEER = 4.0  # s of one peer
_FLOOD = 200_000  # 1/s, more than any Python can send
_CAUTIOUS = 0.85  # of what a flood gets through, as the first guess
_PEERS = (HTTPX, AIOHTTP, LOCUST, LOCUST_FAST, HEY, WRK)
_POISSON, _CONSTANT = "our load, Poisson arrivals", "our load, paced arrivals"
_FLOODED = "our load, flooded"


def measure(bench: Bench) -> Result:
    """Run ROUNDS rounds of our load and of every peer against nginx."""
    with nginx(bench.server) as url:
        ours = _Ours(bench, url)
        measures: dict[str, Callable[[], float]] = {
            _FLOODED: ours.flooded,
            _POISSON: partial(ours.sustained, "poisson"),
            _CONSTANT: partial(ours.sustained, "constant"),
            **{peer.name: partial(peer.rate, bench.client, url, _PEER) for peer in _PEERS},
        }
        rates = in_rounds(measures, ROUNDS, bench.say)
    return Result(
        "Rate on one core",
        (
            absolute(figures.RATE_POISSON, rates[_POISSON]),
            absolute(figures.RATE_CONSTANT, rates[_CONSTANT]),
            ratio(figures.RATE_TO_LOCUST, rates, _POISSON, LOCUST_FAST.name),
            ratio(figures.RATE_TO_HTTPX, rates, _POISSON, HTTPX.name),
            ratio(figures.RATE_TO_WRK, rates, _POISSON, WRK.name),
        ),
        rates,
        (
            f"nginx answers 3 bytes; every client has {IN_FLIGHT} connections. Sustained: for {_TRIAL:g} s the p99 of "
            "sent - scheduled stays within 1 ms and every arrival has its answer, counted from the samples; each rate "
            "has two tries, and one 6 % higher failed both. Flooded: answers per second when far more is due than can "
            "be sent. The peers are closed loops: they keep no schedule, so nothing of theirs can be late.",
        ),
    )


class _Ours:
    """Our load; each round measures first what it gets through when flooded, where the search then begins."""

    def __init__(self, bench: Bench, url: str) -> None:
        self._core, self._url, self._most = bench.client, url, float(_FLOOD)

    def flooded(self) -> float:
        """Return the answers in one second while far more is due than can be sent."""
        with loaded(self._core, self._url, _FLOOD, 2.0, process="constant", drain=0.1) as load:
            answers = int(load.ends(0.5, 1.5)[0])
        if not answers:
            raise BenchError("no answer in a second")
        self._most = float(answers)
        return self._most

    def sustained(self, process: Process) -> float:
        """Return the highest rate that is sustained."""

        def sustains(rate: float) -> bool:
            with loaded(self._core, self._url, rate, _TRIAL, process=process) as load:
                return load.sustained

        return highest(twice(sustains), _CAUTIOUS * self._most)
