"""Finishing what a run left open: from its ledger on this machine, and from the fuses that stand on the hosts.

Each leftover ends the same way: its fuse is asked to undo the fault (or the undo from the ledger is run where no fuse
is left), the host is read, and only a host that reads clean closes the ledger's entry. Healing a healthy host does
nothing, so it can be repeated. What belongs to a run that is alive is left alone: here the kernel tells (the ledger is
locked), elsewhere the lock on the host does; its fuse lets go by itself when that run dies.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from shlex import quote

from chaos.contracts import Target
from chaos.errors import ChaosError, RecordingError, TargetError
from chaos.run.connect import controller, controller_home, side_by_side, target_of
from chaos.run.fuse import HOME, Fuse, Undo
from chaos.run.ledger import Entry, Ledger, all_ledgers
from chaos.run.lock import HostLock, is_dead
from chaos.spec.inventory import Inventory

_PATIENCE = 30.0  # s for a fuse to undo its fault and read the host clean
_NO_FUSES = "no fuse, no lock of ours"


@dataclass(frozen=True)
class Healed:
    """What was found on a host and what became of it. `clean` is True only where the host was read so."""

    host: str
    what: str
    clean: bool
    detail: str = ""


def heal(inventory: Inventory, runs: Path) -> list[Healed]:
    """Finish every open undo in the ledgers under `runs`, then every fuse on the inventory's hosts."""
    ledgers, done = _readable(all_ledgers(runs))
    alive = {entry.fuse for ledger, entries in ledgers if entries and ledger.is_alive() for entry in entries}
    for ledger, entries in ledgers:
        if entries and not ledger.is_alive():
            done += _settle(ledger, inventory)
    targets = {name: target_of(name, host) for name, host in inventory.hosts.items()}
    try:
        swept = side_by_side(targets.values(), lambda target: _sweep(target, HOME, alive))
        here = _sweep(controller(), controller_home(), alive)
    finally:
        for target in targets.values():
            target.close()
    return done + [result for results in [*swept, here] for result in results]


def _readable(ledgers: list[Ledger]) -> tuple[list[tuple[Ledger, list[Entry]]], list[Healed]]:
    """Return each ledger with what it left open; one that is damaged is a finding, and stops none of the others."""
    readable, damaged = [], []
    for ledger in ledgers:
        try:
            readable.append((ledger, ledger.still_open()))
        except RecordingError as error:
            damaged.append(Healed("controller", str(ledger.path), False, f"{error}; its hosts are swept all the same"))
    return readable, damaged


def _settle(ledger: Ledger, inventory: Inventory) -> Iterator[Healed]:
    """Finish what one ledger left open."""
    for entry in ledger.still_open():
        try:
            target = _stands_on(entry, inventory)
            result = _undo(target, entry.host, _fuse(target, entry))
            target.close()
        except ChaosError as error:
            result = Healed(entry.host, entry.id, False, str(error))
        if result.clean:
            ledger.close(entry.id)
        yield result


def _stands_on(entry: Entry, inventory: Inventory) -> Target:
    if entry.at == "controller":
        return controller()
    if entry.host not in inventory.hosts:
        raise TargetError(
            f"{entry.host}: the ledger names it and this inventory does not; heal with the run's inventory"
        )
    return target_of(entry.host, inventory.hosts[entry.host])


def _fuse(target: Target, entry: Entry) -> Fuse:
    home = controller_home() if entry.at == "controller" else HOME
    return Fuse(target, entry.fuse, entry.undo, lease=0, ttl=0, home=home)


def _sweep(target: Target, home: str, alive: set[str]) -> list[Healed]:
    """Drop the lock of a dead owner, then finish every fuse but those that a living one has armed."""
    try:
        held_by = _living_owner(target, home)
        names = target.run(f"ls {quote(home)}/fuses 2>/dev/null || true").stdout.split()
        results = [_sweep_one(target, home, name, held_by) for name in names if name not in alive]
        HostLock(target, "", "", 0, home).drop_abandoned()
        target.run(f"rmdir {quote(home)}/fuses {quote(home)} 2>/dev/null; true")
    except TargetError as error:
        return [Healed(target.name, "reachable", False, str(error))]
    return results or [Healed(target.name, _NO_FUSES, True)]


def _living_owner(target: Target, home: str) -> str:
    """Return who holds the host, once a lock of a dead owner, or of none, is dropped; empty when nobody does."""
    lock = HostLock(target, "", "", 0, home)
    lock.drop_abandoned()
    held = lock.held()
    return held.owner if held is not None and not is_dead(held.owner) else ""


def _sweep_one(target: Target, home: str, name: str, held_by: str) -> Healed:
    folder = f"{quote(home)}/fuses/{quote(name)}"
    undo = Undo(*(target.run(f"cat {folder}/{part} 2>/dev/null || true").stdout for part in ("undo", "clean")))
    if not undo.clean:  # the controller died while it placed the fuse, before any fault
        target.run(f"rm -rf {folder}")
        return Healed(target.name, name, True, "a fuse that was never armed; nothing had been applied")
    fuse = Fuse(target, name, undo, lease=0, ttl=0, home=home)
    if held_by and fuse.state() == "armed":
        return Healed(target.name, name, False, f"armed by a run that holds this host ({held_by}); left alone")
    return _undo(target, target.name, fuse)


def _undo(target: Target, host: str, fuse: Fuse) -> Healed:
    """Have the fuse undo its fault, or do it ourselves where it is gone; believe the host's reading only."""
    was = fuse.state()
    if was.startswith(("armed", "reverting", "STUCK")):
        fuse.fire(_PATIENCE)
    if not fuse.reads_clean():
        target.run(fuse.undo.do, check=False)
    if not fuse.reads_clean():
        by_hand = f"cd {fuse.folder} && sh ./undo && sh ./clean && echo clean"
        return Healed(host, fuse.name, False, f"still there; run on {target.name} as root: {by_hand}")
    fuse.disarm()
    return Healed(host, fuse.name, True, f"undone; its fuse said {was!r}" if was else "undone from the ledger")
