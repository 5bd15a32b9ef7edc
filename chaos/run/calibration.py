"""Measuring this machine's own load generator, and keeping what came of it.

Paced loads of growing rate go to a null server on another core, each by a process of its own as in any run. A rate is
kept when nothing is left unsent and the p99 of the send delay is at most 1 ms; one that was missed is tried twice,
since a shared machine stalls now and then. Kept under $XDG_STATE_HOME/gameday/calibration, a file a machine.
"""

from __future__ import annotations

import hashlib
import os
import platform
import re
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from time import monotonic_ns

import numpy as np

import chaos
from chaos.clock import NS
from chaos.errors import InputError, LoadFailed, Refusal
from chaos.record.calibration import Calibration, Machine, OwnFluctuation
from chaos.record.samples import Samples, read_samples
from chaos.record.store import slug
from chaos.record.terms import Terms
from probes.plan import LoadPlan

DELAY = 0.001  # s, p99
_FIRST, _LOWEST, _HIGHEST = 4_000.0, 100.0, 512_000.0  # 1/s
_HALVINGS = 2  # of the octave between a rate that was kept and one that was not
_USUAL = 2_000.0  # 1/s, the rate at which the own fluctuation is compared between machines
_START_UP, _WARM_UP, _STEP, _WINDOWS = 1.0, 0.5, 1.0, 10  # s, s, s, windows of 1 s

Say = Callable[[str], None]


def calibrate(say: Say) -> Calibration:
    """Measure for about a minute. Raises LoadFailed when the load or the null server does not run."""
    with tempfile.TemporaryDirectory(prefix="gameday-calibrate-") as folder, _null_server() as url:
        bench = _Bench(Path(folder), url, say)
        ceiling = bench.ceiling()
        rates = sorted({min(_USUAL, ceiling / 2), ceiling / 2})
        own = tuple(bench.fluctuation(rate) for rate in rates)
    now = datetime.now(UTC).isoformat(timespec="seconds")
    return Calibration(measured=now, machine=this_machine(), ceiling=ceiling, fluctuation=own)


def this_machine() -> Machine:
    """Return what a calibration made here is valid for."""
    return Machine(
        hostname=socket.gethostname(),
        cpu=_cpu(),
        cores=os.cpu_count() or 1,
        python=platform.python_version(),
        gameday=chaos.__version__,
    )


def path_of(machine: Machine) -> Path:
    """Return where the calibration of a machine is kept."""
    state = Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local/state")
    digest = hashlib.sha256(machine.model_dump_json().encode()).hexdigest()[:12]
    return state / "gameday" / "calibration" / f"{slug(machine.hostname)}-{digest}.json"


def store(calibration: Calibration) -> Path:
    """Keep a calibration in place of the former one, and return where."""
    path = path_of(calibration.machine)
    path.parent.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    path.parent.mkdir(exist_ok=True)
    fresh = path.with_suffix(f".{os.getpid()}")
    fresh.write_text(calibration.model_dump_json(indent=2) + "\n", encoding="utf-8")
    fresh.replace(path)
    return path


def stored() -> Calibration | None:
    """Return the calibration of this machine, or None. Raises InputError for a file that can't be read."""
    path = path_of(this_machine())
    try:
        return Calibration.model_validate_json(path.read_text(encoding="utf-8")) if path.exists() else None
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: can't be read; `gameday probe --calibrate` writes it anew: {error}") from error


def refuse_unmeasurable(terms: Terms, calibration: Calibration | None, processes: int = 1) -> None:
    """Raise Refusal when this machine is known not to be able to measure what is asked, with so many processes."""
    if calibration and (objections := list(calibration.objections(terms, processes))):
        raise Refusal("\n".join(objections))


@dataclass
class _Bench:
    """Runs one paced load after the other."""

    folder: Path
    url: str
    say: Say

    def __post_init__(self) -> None:
        self._numbers = count()

    def ceiling(self) -> float:
        """Return the highest rate that was kept, in 1/s, to a quarter of an octave. Raises LoadFailed for none."""
        rate = _FIRST
        while rate <= _HIGHEST and self._keeps(rate):
            rate *= 2
        if rate == _FIRST:
            return self._lower(rate)
        kept = rate / 2
        for _ in range(_HALVINGS if rate <= _HIGHEST else 0):
            middle = (kept * rate) ** 0.5
            kept, rate = (middle, rate) if self._keeps(middle) else (kept, middle)
        return round(kept)

    def fluctuation(self, rate: float) -> OwnFluctuation:
        """Return how much a paced load of this rate wavers by itself."""
        samples, begin = self._run(rate, _WINDOWS)
        ended = (samples.rows["end"][samples.rows["error"] == 0] - begin) // NS
        counts = np.bincount(ended[(ended >= 0) & (ended < _WINDOWS)], minlength=_WINDOWS)
        if not counts.any():
            raise LoadFailed(f"of {len(samples.rows)} requests the null server answered none")
        cv = float(np.std(counts, ddof=1) / np.mean(counts))
        self.say(f"{rate:,.0f}/s: wavers by {cv:.2g} in windows of 1 s")
        return OwnFluctuation(rate=rate, window_s=1.0, n=_WINDOWS, cv=cv)

    def _lower(self, rate: float) -> float:
        while rate > _LOWEST:
            rate /= 2
            if self._keeps(rate):
                return rate
        raise LoadFailed(f"not even {rate:.0f}/s could be sent in time; calibrate when this machine is less busy")

    def _keeps(self, rate: float) -> bool:
        return self._kept(rate) or self._kept(rate)

    def _kept(self, rate: float) -> bool:
        samples, begin = self._run(rate, _STEP)
        due = samples.rows[samples.rows["scheduled"] >= begin]
        unsent = int(np.sum(due["sent"] == 0))
        p99 = float(np.quantile((due["sent"] - due["scheduled"])[due["sent"] != 0] / NS, 0.99)) if len(due) else np.inf
        kept = not unsent and p99 <= DELAY
        self.say(f"{rate:,.0f}/s: {'kept' if kept else 'not kept'}, send delay p99 {p99 * 1e3:.3g} ms, {unsent} unsent")
        return kept

    def _run(self, rate: float, seconds: float) -> tuple[Samples, int]:
        """Return the samples of a paced load, and where behind its warm-up they begin to count (ns)."""
        stem, start = self.folder / str(next(self._numbers)), monotonic_ns() + int(_START_UP * NS)
        plan = LoadPlan(
            url=self.url, rate=rate, duration=_WARM_UP + seconds, start=start, process="constant", timeout=2.0,
            samples=f"{stem}.bin", live=f"{stem}.live",
        )  # fmt: skip
        plan.write(f"{stem}.json")
        with _process("probes.load", f"{stem}.json", core=0) as load:
            status = load.wait()  # and not communicate(): a closed standard input would end it
            said = load.stdout.read().strip() if load.stdout else ""
        if status:
            raise LoadFailed(f"the load process ended with {status}: {said or 'it said nothing'}")
        return read_samples(Path(plan.samples)), start + int(_WARM_UP * NS)


@contextmanager
def _null_server() -> Iterator[str]:
    with _process("probes.null_server", core=-1) as server:
        port = server.stdout.readline().strip() if server.stdout else ""
        if not port.isdecimal():
            raise LoadFailed(f"the null server did not start: {port or 'it said nothing'}")
        yield f"http://127.0.0.1:{port}/"


@contextmanager
def _process(module: str, *arguments: str, core: int) -> Iterator[subprocess.Popen[str]]:
    """Run a module on one of the cores that this process may use; it ends with the block."""
    pipe = subprocess.PIPE
    argv = [sys.executable, "-m", module, *arguments]
    process = subprocess.Popen(argv, stdin=pipe, stdout=pipe, stderr=subprocess.STDOUT, text=True)
    os.sched_setaffinity(process.pid, {sorted(os.sched_getaffinity(0))[core]})
    try:
        yield process
    finally:
        if process.poll() is None:
            process.terminate()
        process.communicate()


def _cpu() -> str:
    try:
        found = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(encoding="utf-8"), re.MULTILINE)
    except OSError:
        found = None
    return found[1].strip() if found else platform.machine()
