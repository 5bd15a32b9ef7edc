"""Holds a load against an oracle, each a process of its own, many pairs at once; gives the samples and the journal."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Set
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from probes.plan import LoadPlan, RequestClass
from probes.superposition import schedule_of
from tests.truth.script import Entry, Script
from tests.unit.probes.running_load import Outcome, read

NS = 1_000_000_000
ATTEMPTS = 5
STARVED = 0.002
"""s: a p99 of the send delay above this is the machine's doing, at rates this low."""
ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Scenario:
    """What the service does, and the load on it. Both begin at `script.start`."""

    script: Script
    load: Mapping[str, Any]


@dataclass(frozen=True)
class Measured:
    """What a load says of a scenario, and what the oracle says. `rows` are in scheduled order, with their `numbers`."""

    scenario: Scenario
    outcome: Outcome
    journal: Mapping[int, Entry]
    strays: int
    """Requests that the oracle saw more than once: a load never repeats one."""

    @property
    def rows(self) -> NDArray[np.void]:
        return self.outcome.rows[np.argsort(self.outcome.rows["scheduled"], kind="stable")]

    @property
    def numbers(self) -> list[int]:
        return [number for number, _, _ in schedule_of(self.outcome.plan)]

    @property
    def errors(self) -> list[str]:
        names = self.outcome.header["errors"]
        return [names[code] for code in self.rows["error"].tolist()]

    @property
    def served(self) -> NDArray[np.bool_]:
        """Return which requests the load holds for answered with success."""
        rows = self.rows
        return np.asarray((rows["error"] == 0) & (rows["status"] == 200))

    @property
    def starved(self) -> bool:
        """Whether this machine had no time for the load: it sent late though a connection was free."""
        rows = self.rows[self.rows["sent"] > 0]
        waits = (rows["sent"] - rows["scheduled"]) / NS
        return self.outcome.plan.connections >= len(self.rows) and float(np.quantile(waits, 0.99)) > STARVED

    @property
    def truly_served(self) -> NDArray[np.bool_]:
        """Return which requests the oracle answered with success."""
        fates = [self.journal[seq].fate if seq in self.journal else "" for seq in self.numbers]
        return np.array([fate in ("/ok", "/stream") for fate in fates])

    def journaled(self, name: str) -> NDArray[np.int64]:
        """Return a column of the journal in the order of `rows`, 0 where a request never arrived."""
        entries = [self.journal.get(seq) for seq in self.numbers]
        return np.array([getattr(entry, name) if entry else 0 for entry in entries], np.int64)


class _Pair:
    """One load and its oracle, running; `stack` ends both, whatever happens."""

    def __init__(self, scenario: Scenario, folder: Path, stack: ExitStack) -> None:
        folder.mkdir()
        self._scenario, self._folder, self._stack = scenario, folder, stack
        self._oracle = stack.enter_context(_start("tests.truth.oracle"))
        _pipe(self._oracle.stdin).write(scenario.script.dumps() + "\n")
        _pipe(self._oracle.stdin).flush()

    def load(self) -> None:
        port = int(_pipe(self._oracle.stdout).readline())
        base: dict[str, Any] = {"method": "POST", "classes": (RequestClass(name="default", body="{seq}"),)}
        files = {name: str(self._folder / name) for name in ("samples", "live")}
        here = {"url": f"http://127.0.0.1:{port}/", "start": self._scenario.script.start}
        self._plan = LoadPlan(**base | {"process": "constant"} | files | here | dict(self._scenario.load))
        self._plan.write(self._folder / "plan.json")
        self._load = self._stack.enter_context(_start("probes.load", str(self._folder / "plan.json")))

    def ready_before(self, start: int) -> bool:
        """Return whether the load says so by then."""
        while time.monotonic_ns() < start:
            if Path(self._plan.samples).exists():  # the last thing that a load makes before its loop
                return True
            time.sleep(0.05)
        return False

    def stop(self) -> None:
        for process in (self._load, self._oracle):
            process.kill()

    def finish(self) -> Measured:
        status = self._load.wait(60)
        journal = [Entry(*entry) for entry in json.loads(self._oracle.communicate()[0])]
        by_seq = {entry.seq: entry for entry in journal}
        return Measured(self._scenario, read(self._plan, status), by_seq, len(journal) - len(by_seq))


def measure(scenarios: Callable[[int], Mapping[str, Scenario]], folder: Path) -> dict[str, Measured]:
    """Run all of them at once, from a start (ns) by which every load is ready.

    A load that the machine had no time for says so itself (`starved`): then those are measured again, as often as
    ATTEMPTS, with no others beside them.
    """
    measured: dict[str, Measured] = {}
    missing = set(scenarios(0))
    for attempt in range(ATTEMPTS):
        (run := folder / str(attempt)).mkdir()
        found = _measure_once(scenarios, missing, run, lead=min(4 * 2**attempt, 16))
        measured |= {name: outcome for name, outcome in found.items() if not outcome.starved}
        missing -= set(measured)
        if not missing:
            return measured
    raise AssertionError(f"the machine had no time for {sorted(missing)}, {ATTEMPTS} times: end what else runs on it")


def _measure_once(
    scenarios: Callable[[int], Mapping[str, Scenario]], names: Set[str], folder: Path, lead: int
) -> dict[str, Measured]:
    """Return what was measured of `names`, from `lead` s on; nothing where a load was not ready by then."""
    start = time.monotonic_ns() + lead * NS
    with ExitStack() as stack:
        pairs = {name: _Pair(it, folder / name, stack) for name, it in scenarios(start).items() if name in names}
        for pair in pairs.values():
            pair.load()
        if all(pair.ready_before(start - NS // 2) for pair in pairs.values()):
            return {name: pair.finish() for name, pair in pairs.items()}
        for pair in pairs.values():
            pair.stop()
    return {}


def _start(*module: str) -> subprocess.Popen[str]:
    """Start a process that ends when its standard input does."""
    command = [sys.executable, "-m", *module]
    return subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def _pipe(pipe: IO[str] | None) -> IO[str]:
    assert pipe
    return pipe
