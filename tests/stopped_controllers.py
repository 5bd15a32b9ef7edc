"""`python -m tests.stopped_controllers`: controllers that live a fault each, on a host each, until they are killed.

Standard input is a `Batch` as JSON; standard output one line a controller: how it ended (an exit status, or -9) and how
many steps it took. They are forked, for starting an interpreter is what would cost most.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import traceback
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from chaos import catalog
from chaos.clock import SystemClock
from chaos.contracts import Target
from chaos.errors import ChaosError
from chaos.record.events import EventLog
from chaos.run.connect import target_of
from chaos.run.fuse import HOME
from chaos.run.heartbeat import Heartbeat, Held
from chaos.run.injector import Injection, Site
from chaos.run.ledger import Ledger
from chaos.run.lock import HostLock, this_process
from chaos.spec.inventory import load_inventory
from chaos.targets.local import LocalTarget
from tests.stopping import Steps, live

# of a fuse's directory, in this order: a guardian would start the fuse again
PROGRAMS = {"nothing": (), "fuse": ("pid",), "pair": ("guardian", "pid")}


@dataclass(frozen=True)
class Batch:
    """`places`: after how many steps each controller is stopped, by host; None never. `pids` names the hosts, or an
    inventory (its file) does.

    Right then `kills` is killed: nothing, the fuse's program, or both of its pair. With `goes_on` nobody else is.
    """

    kind: str
    parameters: dict[str, Any]
    lease: float
    runs: str
    pids: dict[str, int]
    places: dict[str, int | None]
    kills: str = "nothing"
    goes_on: bool = False
    inventory: str = ""

    def dumps(self) -> str:
        """Return it as JSON."""
        return json.dumps(asdict(self))


def main() -> None:
    """Fork every controller, and say how each ended."""
    batch = Batch(**json.load(sys.stdin))
    for name, status, taken in [_ended(*begun) for begun in [_fork(batch, name) for name in batch.places]]:
        sys.stdout.write(f"{name} {status} {taken}\n")


def _fork(batch: Batch, name: str) -> tuple[str, int, int]:
    reader, writer = os.pipe()
    if child := os.fork():
        os.close(writer)
        return name, child, reader
    try:
        os._exit(_control(batch, name, writer))
    except BaseException:
        traceback.print_exc()
        os._exit(70)


def _ended(name: str, child: int, reader: int) -> tuple[str, int, int]:
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    with open(reader, "rb") as told:  # a descriptor has no path
        return name, status, len(told.read())


def _control(batch: Batch, name: str, told: int) -> int:
    """Live the fault on one host as a run does: lock, heartbeat, injection; return the exit status."""
    target, place = _target(batch, name), batch.places[name]
    steps = _Told(told, place, lambda: _stop(target, batch))
    folder = Path(batch.runs) / "exhaustive" / f"{batch.kind}-{name}"
    folder.mkdir(parents=True, exist_ok=True)
    fault = catalog.faults().get(batch.kind).model_validate(batch.parameters)
    beat = Heartbeat(target, batch.lease, lambda _: None, lambda _: None)
    host, ledger = steps.through(target), Ledger(folder)
    lock = HostLock(host, this_process(), "exhaustive", batch.lease)
    events = EventLog(folder / "events.jsonl", SystemClock())
    injection = Injection(
        folder.name, fault, Site(host, host, HOME, beat), events, steps.through(ledger), SystemClock(), batch.lease, 60
    )
    beat.start()
    with ledger.alive():
        lock.take()
        beat.keep("its lock", Held(lock.renewal, "held"))
        try:
            live(injection)
        except ChaosError:
            injection.revert()
        finally:
            beat.stop()
            lock.release()
    return 0


def _target(batch: Batch, name: str) -> Target:
    if batch.inventory:
        return target_of(name, load_inventory(Path(batch.inventory)).hosts[name])
    return LocalTarget(name, batch.pids[name])


class _Told(Steps):
    """Steps that are told as they are taken, a byte each, so that a death loses none."""

    def __init__(self, told: int, last: int | None, stop: Callable[[], object]) -> None:
        super().__init__(last, stop)
        self._told = told

    def take(self, do: Callable[..., Any], *args: Any, **options: Any) -> Any:
        done = super().take(do, *args, **options)
        os.write(self._told, b".")
        return done


def _stop(target: Target, batch: Batch) -> None:
    files = " ".join(f"{HOME}/fuses/*/{program}" for program in PROGRAMS[batch.kills])
    if files:
        target.run(f"for f in {files}; do read -r p <$f && kill -KILL $p; done 2>/dev/null; true")
    if not batch.goes_on:
        os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    main()
