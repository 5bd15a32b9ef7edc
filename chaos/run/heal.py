"""Finishing what a run left open: from its ledger, from the fuses on the hosts, and, when both are lost, by our marks.

Each leftover ends the same way: its fuse is asked to undo the fault (or the undo from the ledger is run where no fuse
is left), the host is read, and only a host that reads clean closes the ledger's entry. Then what still bears a mark of
ours is swept away (`chaos.run.sweep`, which says what can't be known without ledger and fuse). Healing a healthy host
does nothing, so it can be repeated. A host that can't be reached is not clean, and keeps no other from being healed.

What belongs to a run that is alive is left alone: here the kernel tells (the ledger is locked), elsewhere the lock on
the host does; its fuse lets go by itself when that run dies.

Hosts are healed side by side, what is owed on one host in the order in which it was written down.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from shlex import quote

from chaos.contracts import Target
from chaos.errors import ChaosError, RecordingError, TargetError
from chaos.run.connect import controller, controller_home, side_by_side, target_of
from chaos.run.fuse import HOME, OWN_HOME, Fuse, Undo
from chaos.run.ledger import Entry, Ledger, all_ledgers
from chaos.run.lock import Held, HostLock, is_dead
from chaos.run.sweep import MARKS, Swept, sweep
from chaos.spec.inventory import Inventory

_PATIENCE = 30.0  # s for a fuse to undo its fault and read the host clean
_NOTHING = "nothing of ours"
_FOREIGN = "not written by this user on this machine, so no undo of theirs is run"


@dataclass(frozen=True)
class Healed:
    """What was found on a host and what became of it. `clean` is True only where the host was read so."""

    host: str
    what: str
    clean: bool
    detail: str = ""


def heal(inventory: Inventory, runs: Path) -> list[Healed]:
    """Finish every open undo in the ledgers under `runs`, then every fuse and mark on the inventory's hosts."""
    alive, done = finish_ledgers(inventory, runs)
    swept = on_each(inventory, lambda target: _finish(target, HOME, alive))
    return done + swept + _finish(controller(), controller_home(), alive)


def check(inventory: Inventory, runs: Path) -> list[Healed]:
    """Look for anything of ours that no living run holds, in the ledgers under `runs` and on the hosts; only looks."""
    ledgers, damaged = _readable(all_ledgers(runs))
    owed = [
        Healed(entry.host, entry.id, False, f"{ledger.path}: an undo that may still be owed")
        for ledger, entries in ledgers
        if entries and not ledger.is_alive()
        for entry in entries
    ]
    left = on_each(inventory, lambda target: _left(target, HOME)) + _left(controller(), controller_home())
    return damaged + owed + left


def finish_ledgers(inventory: Inventory, runs: Path) -> tuple[set[str], list[Healed]]:
    """Finish what the ledgers of dead runs left open; return the fuses of living ones, and what was done."""
    ledgers, done = _readable(all_ledgers(runs))
    alive = {entry.fuse for ledger, entries in ledgers if entries and ledger.is_alive() for entry in entries}
    dead = [ledger for ledger, entries in ledgers if entries and not ledger.is_alive()]
    owed: dict[str, list[tuple[Ledger, Entry]]] = {}
    for ledger in dead:
        for entry in ledger.still_open():
            owed.setdefault(entry.host, []).append((ledger, entry))
    settled = side_by_side(owed.values(), lambda on_host: [_settle(*one, inventory) for one in on_host])
    return alive, done + [result for results in settled for result in results]


def on_each(inventory: Inventory, do: Callable[[Target], list[Healed]]) -> list[Healed]:
    """Do something on every host at once; a host that can't be reached becomes a finding that is not clean."""

    def guarded(name: str) -> list[Healed]:
        try:
            target = target_of(name, inventory.hosts[name])
            try:
                return do(target)
            finally:
                target.close()
        except ChaosError as error:
            return [Healed(name, "reachable", False, f"{error}; once it answers, run `gameday heal` again")]

    return [result for results in side_by_side(inventory.hosts, guarded) for result in results]


def _readable(ledgers: list[Ledger]) -> tuple[list[tuple[Ledger, list[Entry]]], list[Healed]]:
    """Return each ledger with what it left open; one damaged or not ours is a finding, and stops no other."""
    readable, damaged = [], []
    for ledger in ledgers:
        try:
            readable.append((ledger, ledger.still_open()))
            damaged += _not_sound(ledger)
        except RecordingError as error:
            damaged.append(Healed("controller", str(ledger.path), False, f"{error}; its hosts are swept all the same"))
    return readable, damaged


def _not_sound(ledger: Ledger) -> list[Healed]:
    """Say of a ledger that somebody else wrote that it was left alone; that somebody changed ours is not clean."""
    lines = ledger.standings()
    others, broken = lines.count("foreign"), [n for n, standing in enumerate(lines, 1) if standing == "misplaced"]
    said = []
    if others == len(lines) > 0:
        said.append(f"it was {_FOREIGN}")
    elif others:
        said.append(f"{others} of its {len(lines)} lines were {_FOREIGN}")
    if broken:
        said.append(
            f"before line {broken[0]} a line was taken out, put elsewhere or replaced, so no undo is run of what was "
            "opened before it"
        )
    if not said:
        return []
    ours = others < len(lines)
    and_then = "; look into it, then move its folder away" if ours else ""
    what = f"{'; '.join(said)}; the hosts of this inventory are healed all the same{and_then}"
    return [Healed("controller", str(ledger.path), not ours, what)]


def _settle(ledger: Ledger, entry: Entry, inventory: Inventory) -> Healed:
    """Finish one thing that a ledger left open."""
    try:
        target = _stands_on(entry, inventory)
        try:
            result = finish_fuse(target, entry.host, _fuse(target, entry))
        finally:
            target.close()
    except ChaosError as error:
        result = Healed(entry.host, entry.id, False, str(error))
    if result.clean:
        ledger.close(entry.id)
    return result


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


def _finish(target: Target, home: str, alive: set[str]) -> list[Healed]:
    """Finish every fuse but those that a living run has armed, drop a dead one's lock, sweep up where nobody is."""
    held_by = living_owner(target, home)
    results = [finish_named(target, home, name, held_by) for name in fuses_on(target, home) if name not in alive]
    lock = HostLock(target, "", "", 0, home)
    lock.drop_abandoned()
    target.run(f"rmdir {quote(home)}/fuses {quote(home)} 2>/dev/null; true")
    if home == HOME and lock.held() is None:
        results += swept_up(target)
    return results or [Healed(target.name, _NOTHING, True)]


def swept_up(target: Target) -> list[Healed]:
    """Sweep our marks away, and say of each thing found whether it is gone."""
    return [_said(target, swept) for swept in sweep(target, MARKS, remove=True)]


def _said(target: Target, swept: Swept) -> Healed:
    by_hand = "" if swept.gone else f"run on {target.name} as root: {swept.by_hand}"
    return Healed(target.name, f"{swept.name} {swept.item}", swept.gone, by_hand or "swept away")


def _left(target: Target, home: str) -> list[Healed]:
    held = HostLock(target, "", "", 0, home).held()
    if held is not None and held.owner and not is_dead(held.owner):
        return [Healed(target.name, _NOTHING, True, f"but what a living run holds: {held}")]
    locked = target.run(f"[ ! -e {quote(home)}/lock ] || echo locked").stdout.strip()
    found = [f"fuse {name}" for name in fuses_on(target, home)] + (["a lock that nobody alive holds"] if locked else [])
    if home == HOME:
        found += [f"{swept.name} {swept.item}" for swept in sweep(target, MARKS, remove=False)]
    left = [Healed(target.name, what, False, "`gameday heal` takes it away") for what in found]
    return left or [Healed(target.name, _NOTHING, True)]


def fuses_on(target: Target, home: str) -> list[str]:
    """Return the names of the fuses that stand on a host. Raises CommandFailed where their home is not ours alone."""
    listed = f"own_home || exit 1; ls {quote(home)}/fuses 2>/dev/null || true"
    return target.run(f"home={quote(home)}\n{OWN_HOME}{listed}").stdout.split()


def living_owner(target: Target, home: str) -> str:
    """Return who holds the host, once a lock of a dead owner, or of none, is dropped; empty when nobody does."""
    lock = HostLock(target, "", "", 0, home)
    if owner := _alive(lock.held()):
        return owner
    lock.drop_abandoned()
    return _alive(lock.held())


def _alive(held: Held | None) -> str:
    return held.owner if held is not None and not is_dead(held.owner) else ""


def finish_named(target: Target, home: str, name: str, held_by: str) -> Healed:
    """Finish one fuse that stands on a host, but one that `held_by`, who is alive, has armed."""
    folder = f"{quote(home)}/fuses/{quote(name)}"
    do, clean = (target.run(f"cat {folder}/{part} 2>/dev/null || true").stdout for part in ("undo", "clean"))
    if not clean:  # the controller died while it placed the fuse, before any fault
        target.run(f"rm -rf {folder}")
        return Healed(target.name, name, True, "a fuse that was never armed; nothing had been applied")
    fuse = Fuse(target, name, Undo(do, clean), lease=0, ttl=0, home=home)
    if held_by and fuse.state() == "armed":
        return Healed(target.name, name, False, f"armed by a run that holds this host ({held_by}); left alone")
    return finish_fuse(target, target.name, fuse)


def finish_fuse(target: Target, host: str, fuse: Fuse) -> Healed:
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
