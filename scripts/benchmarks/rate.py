"""The rate that our open loop sustains on one core, beside what other clients reach on the same core."""

from __future__ import annotations

from functools import partial

from probes.schedule import Process
from scripts.benchmarks import figures
from scripts.benchmarks.load import loaded
from scripts.benchmarks.peers import AIOHTTP, HEY, HTTPX, IN_FLIGHT, LOCUST, LOCUST_FAST, WRK
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
        measures = {
            _FLOODED: partial(_flooded, bench, url),
            _POISSON: partial(_sustained, bench, url, "poisson"),
            _CONSTANT: partial(_sustained, bench, url, "constant"),
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
            "has two tries, and one 5 % higher failed both. Flooded: answers per second when far more is due than can "
            "be sent. The peers are closed loops: they keep no schedule, so nothing of theirs can be late.",
        ),
    )


def _sustained(bench: Bench, url: str, process: Process) -> float:
    def sustains(rate: float) -> bool:
        with loaded(bench.client, url, rate, _TRIAL, process=process) as load:
            return load.sustained

    return highest(twice(sustains), _CAUTIOUS * _flooded(bench, url))


def _flooded(bench: Bench, url: str) -> float:
    with loaded(bench.client, url, _FLOOD, 2.0, process="constant", drain=0.1) as load:
        return float(load.ends(0.5, 1.5)[0])
