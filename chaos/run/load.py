"""The load, in a process of its own: started, watched through its counters, ended."""

from __future__ import annotations

import subprocess
import sys
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO

from chaos.errors import LoadFailed
from chaos.overlays import Overlay
from chaos.plan.plan import PlannedLoad
from probes.keys import KeyLaw
from probes.live import Live, LiveReader
from probes.load import CALL_OFF
from probes.overlay import Overlay as Laid
from probes.plan import LoadPlan, RequestClass
from probes.profile import Step
from probes.slo import Slo

SAMPLES, CHUNKS, STATISTICS = "samples.bin", "chunks.bin", "generator.json"
LIVE, PLAN, LOG = "live.bin", "load.json", "load.log"


def load_plan(folder: Path, load: PlannedLoad, start: int) -> LoadPlan:
    """Return what the load's process is to do, and where in a recording's folder it writes."""
    settings = load.model_dump(exclude={"classes", "slo", "steps", "overlays", "processes", "senders"})
    return LoadPlan(
        **settings,
        classes=tuple(RequestClass(**c.model_dump()) for c in load.classes),
        steps=tuple(Step(**step.model_dump()) for step in load.steps),
        overlays=tuple(map(_laid, load.overlays)),
        slo=Slo(**load.slo.model_dump()),
        start=start,
        samples=str(folder / SAMPLES),
        live=str(folder / LIVE),
        chunks=str(folder / CHUNKS) if load.stream else None,
        statistics=str(folder / STATISTICS),
    )


def _laid(overlay: Overlay) -> Laid:
    """Return an overlay as the load's process takes it; the last piece of a rate goes on to the end."""
    steps = tuple(Step(p.end - p.begin, p.first, p.last) for p in overlay.extra)
    return Laid(
        begin=overlay.begin,
        end=overlay.end,
        extra=(*steps[:-1], *(replace(last, seconds=None) for last in steps[-1:])),
        requests=overlay.requests,
        weights=overlay.weights,
        keys=KeyLaw(**overlay.keys.model_dump()) if overlay.keys else None,
    )


@dataclass
class LoadProcess:
    """One load, writing into a recording's folder."""

    folder: Path
    process: subprocess.Popen[bytes]
    _log: IO[bytes]
    host: str = "localhost"
    offset: int = 0
    _reader: LiveReader | None = field(default=None, init=False)
    _told: bool = field(default=False, init=False)

    @classmethod
    def start(cls, folder: Path, load: PlannedLoad, start: int) -> LoadProcess:
        """Start the load, whose schedule begins at `start` (CLOCK_MONOTONIC ns)."""
        return cls.launch(folder, load_plan(folder, load, start))

    @classmethod
    def launch(cls, folder: Path, plan: LoadPlan) -> LoadProcess:
        """Start the load of a plan whose files are in `folder`."""
        plan.write(folder / PLAN)
        log = (folder / LOG).open("wb")
        # the pipe on its standard input is what ends it, should this process die
        argv = [sys.executable, "-m", "probes.load", str(folder / PLAN)]
        process = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=log, stderr=log, start_new_session=True)
        return cls(folder, process, log)

    def live(self) -> Live | None:
        """Return the counters as they are; None before the load has made them. Raises LoadFailed."""
        if self.process.poll() not in (None, 0):
            raise LoadFailed(f"the load process ended with {self.process.returncode}: {self._said()}")
        if self._reader is None:
            try:
                self._reader = LiveReader(self.folder / LIVE)
            except (OSError, ValueError):
                return None
        return self._reader.read()

    def call_off(self, overlay: int) -> None:
        """Tell the load to leave out what an overlay still has to come; the counters show that it was heard."""
        assert self.process.stdin is not None, "it is a pipe"
        with suppress(BrokenPipeError):  # it has ended
            self.process.stdin.write(f"{CALL_OFF} {overlay}\n".encode())
            self.process.stdin.flush()

    def interrupt(self) -> None:
        """Tell the load to end, and don't wait for it. Once: a second signal would kill it while it writes its rows."""
        if self.process.poll() is None and not self._told:
            self.process.terminate()
        self._told = True

    def wait(self, timeout: float) -> int | None:
        """Return the exit status once it has ended; None when it goes on after `timeout` s."""
        try:
            return self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            return None

    def stop(self) -> int:
        """End the load: it records what is in flight, and stops. Return its exit status."""
        self.interrupt()
        if self.wait(15) is None:
            self.process.kill()
        status = self.process.wait()
        if self.process.stdin:
            self.process.stdin.close()
        self._log.close()
        (self.folder / LIVE).unlink(missing_ok=True)
        return status

    def _said(self) -> str:
        return (self.folder / LOG).read_text(encoding="utf-8", errors="replace").strip()[-1000:] or "it said nothing"
