"""The changes of a load, on the same timeline as the faults: each in a thread of its own, and in the same events.

    known beforehand   the load has it in its schedule from the start
    its moment         fault.applied, at the very time that the schedule says
    its end            fault.cleared; nothing has to be done
    a stop before      the load is told to leave out the rest, and shows in its counters that it did: fault.cleared

A load that does not show it within PATIENCE keeps its change until it has ended, which a stopped run sees to in any
case; no more is left then, and only then it is noted as cleared. What was sent in its span is counted in the samples
once the load has ended: the dose.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from chaos.clock import NS, Clock
from chaos.contracts import Dose
from chaos.errors import LoadFailed, RecordingError
from chaos.overlays import Sent
from chaos.plan.step import LoadStep
from chaos.record.events import EventLog
from chaos.record.samples import read_samples
from chaos.run.generators import Load
from chaos.run.load import SAMPLES
from chaos.run.stop import Stop

HOST = "load"
"""What stands in the events for the host."""
PATIENCE = 2.0  # s
_LOOK = 0.02  # s
_ENOUGH = 0.99  # share of the requests due that must have been sent


@dataclass
class Change:
    """One change of a load that was started: overlay number `index` of its plan, from `due` (ns) on."""

    step: LoadStep
    index: int
    due: int
    load: Load
    events: EventLog
    clock: Clock
    stop: Stop
    _applied: bool = field(default=False, init=False)
    _cleared: int = field(default=0, init=False)

    @property
    def state(self) -> str:
        """What to say of it, as of a host."""
        if self._cleared:
            return "undone"
        return f"{self.step.fault.kind} applied" if self._applied else "untouched"

    @property
    def until(self) -> int:
        """When it is over, in ns."""
        return self.due + int(self.step.for_s * NS)

    def carry_out(self) -> None:
        """Wait for its moment and for its end, and note both; call it off when the run is stopped before."""
        if self.stop.wait_until(self.due):
            self._note_applied()
            if self.stop.wait_until(self.until):
                self._note_cleared(self.until, self.until)
                return
        self._call_off()

    def close(self, folder: Path) -> None:
        """Note, once the load has ended, what is not noted yet: that it is over, and what arrived of it."""
        if self._applied:
            if not self._cleared:
                self._note_cleared(self.clock.now(), self.clock.now(), by="end")
            self._note_dose(folder)

    def _call_off(self) -> None:
        began = self.clock.now()
        self.load.call_off(self.index)
        end = began + int(PATIENCE * NS)
        while self._applied and not self._cleared:
            if self._is_heard():
                self._note_cleared(began, self.clock.now())
            elif self.clock.now() > end:
                self.events.write("note", text=f"{self.step.id}: the load does not say that it was called off")
                return
            else:
                self.clock.sleep_until(self.clock.now() + int(_LOOK * NS))

    def _is_heard(self) -> bool:
        try:
            live = self.load.live()
        except LoadFailed:  # a process of it has ended, and others may go on
            return False
        return live is not None and bool(live.called_off >> self.index & 1)

    def _note_applied(self) -> None:
        fault = self.step.fault
        self._applied = True
        self.events.write(
            "fault.applied",
            t=self.due,
            fault=self.step.id,
            host=HOST,
            kind=fault.kind,
            asked=self.step.asked,
            began=self.due,
            confirmed=True,
            shade=fault.shade,
            release=fault.release,
        )

    def _note_cleared(self, began: int, at: int, by: str = "controller") -> None:
        self._cleared = at
        self.events.write("fault.cleared", t=at, fault=self.step.id, host=HOST, began=began, reverted=True, by=by)

    def _note_dose(self, folder: Path) -> None:
        try:
            dose = dose_of(self.step, folder, self.due, self._cleared)
        except RecordingError as error:
            dose = Dose({}, False, str(error))
        self.events.write(
            "fault.dose",
            fault=self.step.id,
            host=HOST,
            achieved=dict(dose.achieved),
            confirmed=dose.confirmed,
            why_not=dose.why_not,
        )


def dose_of(step: LoadStep, folder: Path, begin: int, end: int) -> Dose:
    """Return what was sent of what was due from `begin` to `end` (ns). Raises RecordingError."""
    samples = read_samples(folder / SAMPLES)
    rows = samples.rows
    rows = rows[(rows["scheduled"] >= begin) & (rows["scheduled"] < max(end, begin + 1))]
    sent = rows[rows["sent"] > 0]
    counts = np.bincount(sent["klass"], minlength=len(samples.classes)).tolist()
    by_class = dict(zip(samples.classes, counts, strict=True))
    achieved = step.fault.achieved(Sent((end - begin) / NS, len(sent), by_class))
    if len(sent) and len(sent) >= _ENOUGH * len(rows):
        return Dose(achieved, True)
    return Dose(achieved, False, f"{len(sent)} of {len(rows)} requests were sent that were due meanwhile")
