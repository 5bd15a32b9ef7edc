"""`python -m scripts.benchmarks [NAME...] [--hour]`: run the benchmarks of the load, which write docs/bench.md.

`fleet`, which wants a machine for itself for a quarter of an hour, is run by its name and writes docs/bench-fleet.md.
Any others that are named are shown, and no page is kept.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable

from scripts.benchmarks import fleet, machine, memory, rate, steadiness, streams, transport
from scripts.benchmarks.page import page
from scripts.benchmarks.processes import ROOT, BenchError, end_when_told
from scripts.benchmarks.result import Bench, Result

BENCHMARKS: dict[str, Callable[[Bench], Result]] = {
    "rate": rate.measure,
    "transport": transport.measure,
    "steadiness": steadiness.measure,
    "streams": streams.measure,
    "memory": memory.measure,
    "fleet": fleet.measure,
}
_OF_THE_LOAD = [name for name in BENCHMARKS if name != "fleet"]
_PAGES = {(): "bench.md", ("fleet",): "bench-fleet.md"}


def main() -> int:
    """Run what was asked for, show the page, and keep it when it is whole. Returns the exit status."""
    parser = argparse.ArgumentParser(prog="scripts/bench", description=__doc__)
    known = ", ".join(BENCHMARKS)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {known}; those of the load when none is named")
    parser.add_argument("--hour", action="store_true", help="watch the memory for the whole hour")
    asked = parser.parse_args()
    if unknown := [name for name in asked.names if name not in BENCHMARKS]:
        parser.error(f"{unknown[0]}: no such benchmark; there are {', '.join(BENCHMARKS)}")
    end_when_told()
    return _run(asked.names, asked.hour)


def _run(names: list[str], hour: bool) -> int:
    cores = machine.two_cores()
    others = machine.Others(cores)
    bench = Bench(*cores, hour=hour)
    try:
        results = [BENCHMARKS[name](bench) for name in names or _OF_THE_LOAD]
    except BenchError as error:
        sys.stderr.write(f"scripts/bench: {error}\n")
        return 1
    text = page(results, machine.facts(cores, others), " ".join(["scripts/bench", *names, *["--hour"] * hour]))
    sys.stdout.write(text)
    if kept := _PAGES.get(tuple(names)):
        (ROOT / "docs" / kept).write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
