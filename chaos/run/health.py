"""The health probes of a run, in a process of their own beside the load: started, watched, ended with it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from chaos.errors import LoadFailed
from chaos.plan.plan import PlannedProbe
from probes.health import HealthPlan, State, read_states
from probes.health import PlannedProbe as Instrument

_FOLDER, _PLAN, _LOG, _LIVE = "probes", "probes.json", "probes.log", "probes-live.bin"
_PATIENCE = 15.0  # s for the process to write its last rows and go


def instrument(probe: PlannedProbe) -> Instrument:
    """Return a probe as `probes` knows it."""
    return Instrument(type=probe.type, parameters=probe.parameters)


@dataclass
class HealthProcess:
    """All probes of one run, writing into a recording's folder; no process at all where there is no probe."""

    folder: Path
    process: subprocess.Popen[bytes] | None
    longest: float
    """The longest timeout of a probe, in s."""
    probes: tuple[PlannedProbe, ...] = ()

    @classmethod
    def start(cls, folder: Path, probes: Sequence[PlannedProbe], start: int, duration: float) -> HealthProcess:
        """Start them; their first checks are due at `start` (CLOCK_MONOTONIC ns), none after `duration` s."""
        if not probes:
            return cls(folder, None, 0.0)
        (folder / _FOLDER).mkdir()
        asked = tuple(map(instrument, probes))
        files = {"folder": str(folder / _FOLDER), "live": str(folder / _LIVE)}
        plan = HealthPlan(start=start, duration=duration, probes=asked, **files)
        plan.write(folder / _PLAN)
        argv = [sys.executable, "-m", "probes.health", str(folder / _PLAN)]
        with (folder / _LOG).open("wb") as log:
            # the pipe on its standard input is what ends it, should this process die
            process = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=log, stderr=log, start_new_session=True)
        longest = max(float(probe.parameters["timeout"]) for probe in probes)
        return cls(folder, process, longest, tuple(probes))

    def check(self) -> None:
        """Raise LoadFailed when the process ended badly."""
        if self.process and self.process.poll() not in (None, 0):
            raise LoadFailed(f"the health probes ended with {self.process.returncode}: {self._said()}")

    def states(self) -> Mapping[str, State]:
        """Return what each probe says now, by its name; none before the probes have begun."""
        states = read_states(self.folder / _LIVE)
        return {p.name: s for p, s in zip(self.probes, states, strict=True)} if states is not None else {}

    def stop(self, *, at_once: bool) -> int | None:
        """End the process and return its exit status; None where there was none.

        Not `at_once`, it is given the time that the last checks may take. What is out then is recorded as cancelled.
        """
        process = self.process
        if process is None:
            return None
        if at_once or not _ended(process, self.longest + _PATIENCE):
            process.terminate()
            if not _ended(process, _PATIENCE):
                process.kill()
        if process.stdin:
            process.stdin.close()
        status = process.wait()
        (self.folder / _LIVE).unlink(missing_ok=True)
        return status

    def _said(self) -> str:
        return (self.folder / _LOG).read_text(encoding="utf-8", errors="replace").strip()[-1000:] or "it said nothing"


def _ended(process: subprocess.Popen[bytes], timeout: float) -> bool:
    try:
        process.wait(timeout)
    except subprocess.TimeoutExpired:
        return False
    return True
