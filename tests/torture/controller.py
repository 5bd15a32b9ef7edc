"""The controller of one trial: locks a host, lives one injection, lets go.

Its `spec`: inventory, host, kind, parameters, folder (of the recording), lease and hold in s. Where it gives `enough`,
a file, the hold is over once that is there.

It does what a run does, with the run's own parts, and no load beside. Exit 0: read clean; 5: STUCK.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

from chaos import catalog
from chaos.clock import SystemClock
from chaos.errors import ChaosError, Stuck
from chaos.record.events import EventLog
from chaos.run.connect import target_of
from chaos.run.fuse import HOME
from chaos.run.heartbeat import Heartbeat, Held
from chaos.run.injector import Injection, Site
from chaos.run.ledger import Ledger
from chaos.run.lock import HostLock, this_process
from chaos.spec.inventory import load_inventory


def run(spec: dict[str, object]) -> int:
    """Live the injection; return the exit status."""
    try:
        _live(spec)
    except ChaosError as error:
        sys.stderr.write(f"{error}\n")
        return 5 if isinstance(error, Stuck) else 4
    return 0


def _live(spec: dict[str, object]) -> None:
    folder, host = Path(str(spec["folder"])), str(spec["host"])
    lease, hold = float(str(spec["lease"])), float(str(spec["hold"]))
    inventory = load_inventory(Path(str(spec["inventory"])))
    target = target_of(host, inventory.hosts[host])
    fault = catalog.faults().get(str(spec["kind"])).model_validate(spec["parameters"]).bind(inventory.view(host))
    events, ledger = EventLog(folder / "events.jsonl", SystemClock()), Ledger(folder)
    beat = Heartbeat(target, lease, lambda _: None, lambda _: None)
    beat.start()
    lock = HostLock(target, this_process(), "torture", lease)
    injection = Injection(
        f"{folder.name}.{fault.kind}",
        fault,
        Site(target, target, HOME, beat),
        events,
        ledger,
        SystemClock(),
        lease,
        hold,
    )
    with ledger.alive():
        try:
            lock.take()
            beat.keep("its lock", Held(lock.renewal, "held"))
            injection.prepare()
            injection.arm()
            injection.apply()
            _hold(hold, spec.get("enough"))
        finally:
            injection.revert()
            beat.stop()
            lock.release()


def _hold(seconds: float, enough: object) -> None:
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0 and not (enough and Path(str(enough)).exists()):
        time.sleep(min(left, 0.1))
