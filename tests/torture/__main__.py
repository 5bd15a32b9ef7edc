"""`scripts/torture [--trials N] [--seed S] [--hosts K]`: let something die at a random instant, N times over.

Prints a line for each trial that broke a promise, with the command that repeats it, and a table at the end.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import SimpleQueue

from tests.hosts import ssh_hosts
from tests.torture.trials import Outcome, run_trial


def torture(seeds: range, side_by_side: int) -> list[Outcome]:
    """Run the trials of these seeds, so many hosts side by side."""
    with ssh_hosts(side_by_side) as hosts, tempfile.TemporaryDirectory() as folder:
        free: SimpleQueue[str] = SimpleQueue()
        for name in hosts.names:
            free.put(name)

        def trial(seed: int) -> Outcome:
            name = free.get()
            try:
                return run_trial(hosts, name, seed, Path(folder) / f"t{seed}")
            finally:
                free.put(name)

        with ThreadPoolExecutor(side_by_side) as pool:
            return list(pool.map(trial, seeds))


def report(outcomes: list[Outcome]) -> str:
    """Return what is to be said of them."""
    lines = []
    for outcome in outcomes:
        for wrong in outcome.wrong:
            what = f"{outcome.kind}, {outcome.disturbed} after {outcome.at:.2f} s: {wrong}"
            lines.append(f"seed {outcome.seed}: {what}\n  scripts/torture --trials 1 --seed {outcome.seed}")
    counted = Counter((outcome.kind, outcome.disturbed) for outcome in outcomes)
    lines += [f"{count:4} {kind}, {disturbed}" for (kind, disturbed), count in sorted(counted.items())]
    killed = [outcome.cleared for outcome in outcomes if outcome.disturbed == "controller"]
    lines.append(f"{len(outcomes)} trials, {sum(bool(o.wrong) for o in outcomes)} with a promise broken")
    if killed:
        lines.append(f"controller killed -> host clean: at most {max(killed):.2f} s, of {len(killed)}")
    return "\n".join(lines)


def main() -> int:
    """Run what was asked for; 1 when a promise was broken."""
    parser = argparse.ArgumentParser(prog="scripts/torture", description=__doc__)
    parser.add_argument("--trials", type=int, default=300)
    parser.add_argument("--seed", type=int, default=1, help="of the first trial")
    parser.add_argument("--hosts", type=int, default=10, help="so many trials side by side")
    asked = parser.parse_args()
    outcomes = torture(range(asked.seed, asked.seed + asked.trials), min(asked.hosts, asked.trials))
    sys.stdout.write(report(outcomes) + "\n")
    return int(any(outcome.wrong for outcome in outcomes))


if __name__ == "__main__":
    sys.exit(main())
