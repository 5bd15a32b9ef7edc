"""Everything off, everywhere, at once: whoever owns the runs, and from whatever machine they are run.

    mark      on this machine, then on each host: no run may begin, and the heartbeat of one that goes on finds the mark
    fire      every fuse, in the same command, which does not wait for the fuses to wake: it runs their undos itself,
              all at once (an undo may run twice, and beside itself), and reads whether each is clean
    finish    what did not read clean, and what bears our marks; then this machine's own fuses and ledgers

A fuse of a run that is alive is fired and left standing: it keeps watch for a lease, so what that run's controller had
sent before it noticed is undone as well. The mark stays until `release`.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.resources import files
from pathlib import Path
from shlex import quote

from chaos.contracts import Target
from chaos.run.connect import controller, controller_home
from chaos.run.fuse import HOME, OWN_HOME
from chaos.run.heal import Healed, finish_ledgers, finish_named, living_owner, on_each, swept_up
from chaos.run.lock import HostLock, this_process
from chaos.spec.inventory import Inventory

_FIRE = files("chaos.run").joinpath("panic.sh").read_text(encoding="utf-8")
_WHAT = "panic"


@dataclass(frozen=True)
class Panicked:
    """What became of a host: `seconds` from the trigger until it read clean, or until it was given up."""

    host: str
    clean: bool
    seconds: float
    found: tuple[Healed, ...]


def panic(inventory: Inventory, runs: Path) -> list[Panicked]:
    """Undo everything of ours on every host and lock new runs out; the last result is this machine's own."""
    began = time.monotonic()
    called = f"{this_process()} at {datetime.now(UTC):%Y-%m-%d %H:%M:%S} UTC"
    took: dict[str, float] = {}

    def let_go(target: Target) -> list[Healed]:
        found = _let_go(target, HOME, called) + swept_up(target)
        took[target.name] = time.monotonic() - began
        return found

    here, home = controller(), controller_home()
    _fire(here, home, called)
    found = on_each(inventory, let_go)
    mine = _let_go(here, home, called) + finish_ledgers(inventory, runs)[1]
    gave_up = time.monotonic() - began
    hosts = [_outcome(name, [f for f in found if f.host == name], took.get(name, gave_up)) for name in inventory.hosts]
    return [*hosts, _outcome(here.name, mine, time.monotonic() - began)]


def release(inventory: Inventory) -> list[Healed]:
    """Take the marks away on every host, then here; `detail` says who had called."""
    return on_each(inventory, lambda target: _let_in(target, HOME)) + _let_in(controller(), controller_home())


def _outcome(host: str, found: list[Healed], seconds: float) -> Panicked:
    return Panicked(host, all(result.clean for result in found), seconds, tuple(found))


def _fire(target: Target, home: str, called: str) -> list[tuple[str, bool]]:
    """Mark a host and fire its fuses; return each fuse's name and whether the host was read clean of it."""
    said = target.run(f"home={quote(home)} called={quote(called)}\n{OWN_HOME}{_FIRE}").stdout
    return [(name, word == "clean") for word, name in (line.split(" ", 1) for line in said.splitlines())]


def _let_go(target: Target, home: str, called: str) -> list[Healed]:
    fuses = _fire(target, home, called)
    alive = living_owner(target, home)
    done = []
    for name, clean in fuses:
        if clean and alive:
            done.append(Healed(target.name, name, True, f"undone; it keeps watch while its run ends ({alive})"))
        else:
            done.append(finish_named(target, home, name, ""))
    if not alive:  # with what its fuses still had to do it was busy
        HostLock(target, "", "", 0, home).drop_abandoned()
    return done


def _let_in(target: Target, home: str) -> list[Healed]:
    mark = f"{quote(home)}/panic"
    called = target.run(f"[ ! -e {mark} ] || {{ cat {mark} && rm -f {mark}; }}").stdout.strip()
    target.run(f"rmdir {quote(home)}/fuses {quote(home)} 2>/dev/null; true")
    return [Healed(target.name, _WHAT, True, f"released; it was called by {called}" if called else "there was none")]
