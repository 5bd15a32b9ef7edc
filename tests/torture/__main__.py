"""`scripts/torture [--trials N] [--seed S] [--on namespaced|vm|both]`: let something die at a random instant, N times.

On both, every fifth seed is lived on a VM. Says on standard error what became of each trial, and prints of each that
broke a promise the command that repeats it, and a table at the end.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from queue import SimpleQueue
from typing import Literal

from tests.torture.hosts import Host, Sort, namespaced_hosts, virtual_hosts
from tests.torture.trials import Outcome, run_trial, takes_long

On = Literal["namespaced", "vm", "both"]
_VM_EVERY = 5
_HEAD: tuple[str, ...] = ("host", "disturbed", "trials", "kinds of fault", "clean at most, s", "allowed, s", "broken")


def torture(seeds: Iterable[int], on: On = "namespaced", side_by_side: int = 10, vms: int = 4) -> list[Outcome]:
    """Run the trials of these seeds, so many namespaced hosts and so many VMs side by side."""
    sorts: dict[int, Sort] = {seed: _sort(seed, on) for seed in seeds}
    counted = Counter(sorts.values())
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        namespaced = stack.enter_context(namespaced_hosts(min(side_by_side, counted["namespaced"])))
        virtual = stack.enter_context(virtual_hosts(min(vms, counted["vm"]), folder / "lab"))
        lived = {"namespaced": _Pool(namespaced), "vm": _Pool(virtual)}
        for pool in lived.values():
            stack.enter_context(pool.threads)
        first = sorted(sorts, key=takes_long, reverse=True)
        running = {seed: lived[sorts[seed]].submit(seed, folder / f"t{seed}") for seed in first}
        return [running[seed].result() for seed in sorts]


class _Pool:
    """Hosts of one sort; each lives one trial at a time."""

    def __init__(self, hosts: Sequence[Host]) -> None:
        self.threads = ThreadPoolExecutor(max(1, len(hosts)))
        self._free: SimpleQueue[Host] = SimpleQueue()
        for host in hosts:
            self._free.put(host)

    def submit(self, seed: int, folder: Path) -> Future[Outcome]:
        return self.threads.submit(self._live, seed, folder)

    def _live(self, seed: int, folder: Path) -> Outcome:
        host, began = self._free.get(), time.monotonic()
        try:
            outcome = run_trial(host, seed, folder)
        finally:
            self._free.put(host)
        became = "BROKEN" if outcome.wrong else "ok"
        sys.stderr.write(f"{_said(outcome)}: {became}, {time.monotonic() - began:.0f} s\n")
        return outcome


def _sort(seed: int, on: On) -> Sort:
    """Return the sort of host that a seed is lived on."""
    if on == "both":
        return "namespaced" if seed % _VM_EVERY else "vm"
    return on


def _said(outcome: Outcome) -> str:
    trial = outcome.trial
    return f"seed {trial.seed}: {outcome.sort}, {trial.kind}, {trial.disturbed} at {outcome.at:.2f} s"


def report(outcomes: Sequence[Outcome]) -> str:
    """Return what is to be said of them."""
    lines = []
    for outcome in outcomes:
        for wrong in outcome.wrong:
            again = f"scripts/torture --trials 1 --seed {outcome.trial.seed} --on {outcome.sort}"
            lines.append(f"{_said(outcome)}: {wrong}\n  {again}")
    lines += _table(outcomes)
    broken = sum(bool(outcome.wrong) for outcome in outcomes)
    return "\n".join([*lines, f"{len(outcomes)} trials, {broken} with a promise broken"])


def _table(outcomes: Sequence[Outcome]) -> list[str]:
    """Return a line for each sort of host and what was disturbed on it."""
    rows: dict[tuple[str, str], list[Outcome]] = {}
    for outcome in outcomes:
        rows.setdefault((outcome.sort, outcome.trial.disturbed), []).append(outcome)
    cells = [_HEAD, *(_row(*row, these) for row, these in sorted(rows.items(), key=lambda item: item[0]))]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in cells]


def _row(sort: str, disturbed: str, these: Sequence[Outcome]) -> tuple[str, ...]:
    kinds = ", ".join(f"{kind} {n}" for kind, n in sorted(Counter(o.trial.kind for o in these).items()))
    slowest = max((o.cleared for o in these if o.cleared is not None), default=None)
    broken = sum(bool(o.wrong) for o in these)
    figures = (_seconds(slowest), _seconds(these[0].trial.allowed), str(broken))
    return (sort, disturbed, str(len(these)), kinds, *figures)


def _seconds(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def main() -> int:
    """Run what was asked for; 1 when a promise was broken."""
    parser = argparse.ArgumentParser(prog="scripts/torture", description=__doc__)
    parser.add_argument("--trials", type=int, default=300)
    parser.add_argument("--seed", type=int, default=1, help="of the first trial")
    parser.add_argument("--on", choices=("namespaced", "vm", "both"), default="both", help="which hosts")
    parser.add_argument("--hosts", type=int, default=10, help="so many namespaced hosts side by side")
    parser.add_argument("--vms", type=int, default=4, help="so many VMs side by side")
    asked = parser.parse_args()
    outcomes = torture(range(asked.seed, asked.seed + asked.trials), asked.on, asked.hosts, asked.vms)
    sys.stdout.write(report(outcomes) + "\n")
    return int(any(outcome.wrong for outcome in outcomes))


if __name__ == "__main__":
    sys.exit(main())
