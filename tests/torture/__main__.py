"""`scripts/torture [--trials N] [--seed S] [--on namespaced|vm|both]`: let something die at a random instant, N times.

On both, every fifth seed is lived on a VM. Says on standard error what became of each trial, and prints of each that
broke a promise the command that repeats it, and a table at the end. `--exhaustive` leaves nothing to chance
(tests/torture/exhaustive.py).

Emulated hosts take too long for `scripts/test`: there are thirty seeds on namespaced hosts only, and netem's life is
stopped at every step on a fake only. This is where both are run on real kernels.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Literal

from tests.torture.exhaustive import exhaustive
from tests.torture.hosts import Host, Pool, Sort, namespaced_hosts, virtual_hosts
from tests.torture.tables import seconds, table
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
        pools = {"namespaced": Pool(namespaced), "vm": Pool(virtual)}
        for pool in pools.values():
            stack.enter_context(pool.threads)
        first = sorted(sorts, key=takes_long, reverse=True)
        running = {seed: pools[sorts[seed]].submit(_live, seed, folder / f"t{seed}") for seed in first}
        return [running[seed].result() for seed in sorts]


def _live(host: Host, seed: int, folder: Path) -> Outcome:
    began = time.monotonic()
    outcome = run_trial(host, seed, folder)
    became = "\n  ".join(outcome.wrong) or f"clean after {seconds(outcome.cleared)} s"
    sys.stderr.write(f"{_said(outcome)}, in {time.monotonic() - began:.0f} s: {became}\n")
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
    return table([_HEAD, *(_row(*row, these) for row, these in sorted(rows.items(), key=lambda item: item[0]))])


def _row(sort: str, disturbed: str, these: Sequence[Outcome]) -> tuple[str, ...]:
    kinds = ", ".join(f"{kind} {n}" for kind, n in sorted(Counter(o.trial.kind for o in these).items()))
    slowest = max((o.cleared for o in these if o.cleared is not None), default=None)
    broken = sum(bool(o.wrong) for o in these)
    figures = (seconds(slowest), seconds(these[0].trial.allowed), str(broken))
    return (sort, disturbed, str(len(these)), kinds, *figures)


def main() -> int:
    """Run what was asked for; 1 when a promise was broken."""
    parser = argparse.ArgumentParser(prog="scripts/torture", description=__doc__)
    parser.add_argument("--trials", type=int, default=300)
    parser.add_argument("--seed", type=int, default=1, help="of the first trial")
    parser.add_argument("--on", choices=("namespaced", "vm", "both"), default="both", help="which hosts")
    parser.add_argument("--hosts", type=int, default=10, help="so many namespaced hosts side by side")
    parser.add_argument("--vms", type=int, default=4, help="so many VMs side by side")
    parser.add_argument("--exhaustive", action="store_true", help="instead: netem on VMs, stopped at every step")
    asked = parser.parse_args()
    if asked.exhaustive:
        return exhaustive(asked.vms)
    outcomes = torture(range(asked.seed, asked.seed + asked.trials), asked.on, asked.hosts, asked.vms)
    sys.stdout.write(report(outcomes) + "\n")
    return int(any(outcome.wrong for outcome in outcomes))


if __name__ == "__main__":
    sys.exit(main())
