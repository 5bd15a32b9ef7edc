"""The fluctuation that our load shows where there is none: paced arrivals, a server that answers at once."""

from __future__ import annotations

from chaos.judge.fluctuation import fluctuation
from scripts.benchmarks import figures
from scripts.benchmarks.load import loaded
from scripts.benchmarks.result import Bench, Result
from scripts.benchmarks.rounds import absolute
from scripts.benchmarks.servers import nginx

RATE = 2_000
ROUNDS = 3
_WINDOWS = 20
_PACED = 0.0  # the variance-to-mean ratio of paced arrivals


def measure(bench: Bench) -> Result:
    """Run ROUNDS loads and judge the answers per second as a verdict does."""
    with nginx(bench.server) as url:
        values = [_real_cv(bench, url) for _ in range(ROUNDS)]
    note = f"{_WINDOWS} windows of 1 s a round, by the second in which the answer ended"
    return Result(
        "Fluctuation of its own",
        (absolute(figures.STEADINESS, values),),
        {},
        (f"{figures.STEADINESS.figure}: {note}.",),
    )


def _real_cv(bench: Bench, url: str) -> float:
    with loaded(bench.client, url, RATE, _WINDOWS, process="constant") as load:
        found = fluctuation(load.ends(0, _WINDOWS), _PACED)
        bench.say(f"real CV {found.cv_real:.2g}; send delay p99 {1000 * load.send_delay:.2g} ms")
    return found.cv_real
